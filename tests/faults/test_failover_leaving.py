"""Callers who leave, or have no time left, with another target behind the first: C1 to C4."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from llmgateway_server.testing.upstream import Script, Step, hang, pause, stream
from tests.faults.kit import ask, failure_of, read_all, reason_of, until
from tests.faults.provider_answers import refusal
from tests.faults.provider_kit import BOTH, by_kind
from tests.faults.targets_kit import HELLO, PUBLIC, several, way_of


def silent_second() -> tuple[Script, Script]:
    return refusal(503), hang


@pytest.mark.parametrize("behind", [False, True], ids=["at the first", "at the second"])
@BOTH
async def test_c1_a_cancel_before_the_first_token_asks_nobody_else(streaming: bool, behind: bool) -> None:
    places: tuple[Script, ...] = (*silent_second(), HELLO) if behind else (hang, HELLO)
    async with several(*places) as it:
        waiting = asyncio.create_task(it.call(streaming=streaming))
        silent = it.upstreams["two" if behind else "one"]
        received = await silent.request()
        waiting.cancel()
        await asyncio.wait({waiting})
        await received.gone.wait()
        await until(lambda: it.keyed.gateway.app.parts.gate.in_flight == 0)
        attempts = [each for each in it.keyed.gateway.records() if each["record"] == "attempt"]
        assert it.asked() == ({"one": 1, "two": 1, "three": 0} if behind else {"one": 1, "two": 0})
        assert it.breakers()["two" if behind else "one"].failures == 0
    ends = [(each["outcome"], each["reason"], each["charge"]) for each in attempts]
    assert ends == [("failed", "UPSTREAM_OVERLOADED", "C0")] * behind + [("cancelled", "CANCELLED", "CI")]


async def test_c1_a_cancel_between_two_attempts_begins_no_other() -> None:
    async with several(refusal(429, retry_after="4")) as it:
        waiting = asyncio.create_task(it.call(streaming=True))
        await it.upstreams["one"].request()
        await until(lambda: bool(it.breakers()) and it.breakers()["one"].in_flight == 0)
        waiting.cancel()
        await asyncio.wait({waiting})
        await until(lambda: it.keyed.gateway.app.parts.gate.in_flight == 0)
        assert it.asked() == {"one": 1}
        *_, record = it.keyed.gateway.records()
    assert (record["outcome"], record["reason"]) == ("cancelled", "CANCELLED")


async def test_c2_a_cancel_in_the_middle_asks_nobody_else() -> None:
    script: list[Step] = [*stream("some text")[:2], hang]
    async with several(refusal(503), script, HELLO) as it:
        call = it.keyed.gateway.stub.StreamComplete(ask(model=PUBLIC))
        await call.read()
        call.cancel()
        await it.upstreams["two"].requests[0].gone.wait()
        await until(lambda: it.keyed.gateway.app.parts.gate.in_flight == 0)
        attempts = [each for each in it.keyed.gateway.records() if each["record"] == "attempt"]
        assert it.asked()["three"] == 0
    assert [each["charge"] for each in attempts] == ["C0", "CP"]


@BOTH
async def test_c3_the_callers_deadline_ends_in_the_second_attempt(streaming: bool) -> None:
    async with several(*silent_second()) as it:
        ended = await it.call(streaming=streaming, limits={"max_latency_ms": 1400})
        await it.upstreams["two"].requests[0].gone.wait()
        assert it.breakers()["two"].failures == 0
    assert ended.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert way_of(ended)[-1] == ("two", "DEADLINE_EXCEEDED", "CI")


@BOTH
async def test_c3_the_time_that_no_other_target_can_use_is_the_running_ones(streaming: bool) -> None:
    late: list[Step] = [pause(1.2)]
    script = by_kind([*late, *stream("hello")], [*late, HELLO])
    async with several(script, HELLO, HELLO) as it:
        ended = await it.call(streaming=streaming, limits={"max_latency_ms": 1900})
    assert ended.text == "hello"


@BOTH
async def test_c4_too_little_time_is_refused_before_any_target(streaming: bool) -> None:
    async with several(HELLO, HELLO, deadlines={"min_s": 5.0}) as it:
        stub = it.keyed.gateway.stub
        request = ask(model=PUBLIC)
        call = read_all(stub.StreamComplete(request, timeout=2.0)) if streaming else stub.Complete(request, timeout=2.0)
        error = await failure_of(call)
        assert it.asked() == {"one": 0, "two": 0}
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
