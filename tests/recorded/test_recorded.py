"""Recorded provider traffic, from a folder beside the repository, through a real client and a real gateway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import pytest

from llmgateway.v1 import completion_pb2
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from tests.recorded.neutral import is_sayable, request_of
from tests.recorded.outcome import ALONE, DEFECTS, Outcome, assert_reply, completed, streamed
from tests.recorded.played import Played, played

pytestmark = pytest.mark.recorded

FOLDER = os.environ.get("LLMGATEWAY_RECORDED_DIR", "")
NO_FOLDER = "no-folder"
REASONS = {
    "unauthenticated": {"PROVIDER_AUTH_FAILED"},
    "not_found": {"MODEL_NOT_FOUND"},
    "rate_limited": {"UPSTREAM_RATE_LIMITED"},
    "invalid_argument": {"UPSTREAM_REJECTED_REQUEST"},
    "context_length": {"CONTEXT_LENGTH_EXCEEDED"},
    "internal": {"UPSTREAM_ERROR"},
    "overloaded": {"UPSTREAM_OVERLOADED"},
}
BROKEN = {"UPSTREAM_RESET", "UPSTREAM_STREAM_INTERRUPTED", "UPSTREAM_MALFORMED"}
CUTS = ["recorded", "whole", "bytes1", "random:1", "random:2", "random:3", "utf8"]
FRACTIONS = ("0.001", "0.1", "0.25", "0.5", "0.75", "0.9", "0.97", "0.999")
BREAKS = [*(f"cut:{share}" for share in FRACTIONS), *(f"cutclean:{share}" for share in FRACTIONS), "reset"]


def names(*prefixes: str) -> list[str]:
    """Returns the cases of these kinds; one name that skips where there is no folder."""
    if not FOLDER:
        return [NO_FOLDER]
    found = sorted(path.stem for path in Path(FOLDER, "cases").glob("*.json") if path.stem.startswith(prefixes))
    return found or [NO_FOLDER]


@cache
def case_of(name: str) -> dict[str, Any]:
    case: dict[str, Any] = json.loads(Path(FOLDER, "cases", f"{name}.json").read_text("utf-8"))
    return case


def how(case: dict[str, Any]) -> Played:
    """Returns how a case is played."""
    row = played(case)
    assert row is not None, f"no row of played.ROWS is for {case['id']}"
    return row


EVERY = names("")


@dataclass
class Replay:
    """The recordings' own server."""

    address: str
    log: Path

    def sent(self, name: str) -> Any:
        """Returns the body that was sent last for a case."""
        lines = [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]
        return [line["body"] for line in lines if line["case"] == name][-1]


@pytest.fixture(scope="session")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    """In a process of its own."""
    if not FOLDER:
        reason = "LLMGATEWAY_RECORDED_DIR names no folder of recordings"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, which CI must have")
        pytest.skip(reason)
    log = tmp_path_factory.mktemp("replay") / "received.jsonl"
    command = [sys.executable, "replay_server.py", "--port", "0", "--log", str(log)]
    with subprocess.Popen(command, cwd=FOLDER, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            hello = process.stdout.readline()
            assert " at http://" in hello, hello
            yield Replay(hello.split(" at ")[1].split("/case/")[0], log)
        finally:
            process.kill()


def provider_of(mode: str) -> str:
    return mode.replace(":", "-")


@asynccontextmanager
async def gateway_for(replay: Replay, case: dict[str, Any], modes: list[str]) -> AsyncIterator[RunningGateway]:
    """A gateway with an account, and a model of the same name, for each way in which the case is to be played."""
    row = how(case)
    providers = {
        provider_of(mode): {
            "vendor": row.vendor,
            "base_url": f"{replay.address}/case/{case['id']}~{mode}{row.path}",
            **row.settings,
        }
        for mode in modes
    }
    upstream = case["neutral_request"]["model"] or "none"
    models = {name: {"targets": [{"provider": name, "model": upstream, "dialect": row.dialect}]} for name in providers}
    async with running_gateway({"providers": providers, "models": models, **ALONE}) as gateway:
        yield gateway


def asked(case: dict[str, Any], mode: str) -> completion_pb2.CompleteRequest:
    """Returns the request of a case, for the model that stands for a mode."""
    return request_of(how(case).said(case["neutral_request"]), provider_of(mode))


async def play(gateway: RunningGateway, case: dict[str, Any], mode: str) -> Outcome:
    return await (streamed if case["streaming"] else completed)(gateway, asked(case, mode))


def assert_error(case: dict[str, Any], outcome: Outcome) -> None:
    expected = case["expected"]
    assert outcome.code.name in expected["grpc_status_accept"]
    assert outcome.code not in DEFECTS
    assert outcome.reason in REASONS[expected["error_kind"]]
    assert (expected["text"] or "").startswith(outcome.text)


def assert_outcome(case: dict[str, Any], outcome: Outcome) -> None:
    if case["expected"]["error_kind"]:
        assert_error(case, outcome)
    else:
        assert_reply(case["expected"], outcome)


@pytest.mark.parametrize("name", EVERY)
async def test_the_answer_is_the_same_however_it_is_cut(replay: Replay, name: str) -> None:
    case = sayable_case(name)
    modes = CUTS if case["streaming"] else ["recorded", "whole"]
    async with gateway_for(replay, case, modes) as gateway:
        outcomes = [await play(gateway, case, mode) for mode in modes]
    for outcome in outcomes:
        if case["tier"] == "exotic" and outcome.code is not grpc.StatusCode.OK:
            assert_named(outcome)
        else:
            assert_outcome(case, outcome)
        assert outcome.comparable() == outcomes[0].comparable()


@pytest.mark.parametrize("name", EVERY)
async def test_what_is_sent_is_what_a_real_client_sent(replay: Replay, name: str) -> None:
    case = sayable_case(name)
    if not isinstance(case["request"]["body"], dict) or case["request"]["synthetic"]:
        pytest.skip("the recording has no body")
    if "messages" not in case["neutral_request"]:
        pytest.skip("the recording does not say neutrally what was asked")
    async with gateway_for(replay, case, ["recorded"]) as gateway:
        await play(gateway, case, "recorded")
    comparable = how(case).comparable
    assert comparable(replay.sent(name)) == comparable(case["request"]["body"])


@pytest.mark.parametrize("name", EVERY)
async def test_a_broken_answer_is_an_error(replay: Replay, name: str) -> None:
    case = sayable_case(name)
    async with gateway_for(replay, case, BREAKS) as gateway:
        for mode in BREAKS:
            outcome = await play(gateway, case, mode)
            if case["expected"]["error_kind"] and mode != "reset":
                assert_broken_refusal(case, outcome)
            elif outcome.code is grpc.StatusCode.OK:
                assert case["streaming"], "a unary answer is announced by its length"
                assert how(case).is_whole(case, mode), mode
                assert_reply(case["expected"], outcome)
            else:
                assert outcome.code is grpc.StatusCode.UNAVAILABLE, mode
                assert outcome.reason in BROKEN, mode
                assert (case["expected"]["text"] or "").startswith(outcome.text), mode


@pytest.mark.parametrize("name", [name for name in EVERY if "-err" in name or name == NO_FOLDER])
async def test_a_refusal_is_the_same_for_streams(replay: Replay, name: str) -> None:
    case = sayable_case(name)
    async with gateway_for(replay, case, ["recorded"]) as gateway:
        outcome = await streamed(gateway, asked(case, "recorded"))
    assert_outcome(case, outcome)


def sayable_case(name: str) -> dict[str, Any]:
    if name == NO_FOLDER:
        pytest.skip("there is no folder of recordings")
    case = case_of(name)
    if not is_sayable(case["neutral_request"]):
        pytest.skip("the request refers to tools in a way that only its vendor has")
    return case


def assert_named(outcome: Outcome) -> None:
    """Holds a case that only its vendor's own tools understand to an error with a name."""
    assert outcome.code not in DEFECTS
    assert outcome.reason


def assert_broken_refusal(case: dict[str, Any], outcome: Outcome) -> None:
    """The status came whole: what it alone says is an answer, however little of the body followed."""
    by_status_alone = {
        400: "UPSTREAM_REJECTED_REQUEST",
        401: "PROVIDER_AUTH_FAILED",
        403: "PROVIDER_AUTH_FAILED",
        404: "MODEL_NOT_FOUND",
        429: "UPSTREAM_RATE_LIMITED",
        500: "UPSTREAM_ERROR",
        503: "UPSTREAM_OVERLOADED",
        529: "UPSTREAM_OVERLOADED",
    }
    allowed = REASONS[case["expected"]["error_kind"]] | BROKEN | {by_status_alone.get(case["response"]["status"], "")}
    assert outcome.code not in (grpc.StatusCode.OK, *DEFECTS)
    assert outcome.reason in allowed
