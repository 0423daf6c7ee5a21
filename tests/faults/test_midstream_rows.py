"""Streams that break after their first token, with another target behind: P6, P7, P8, P13 under each policy.

FAIL ends the call with what was delivered; CONTINUE has the next target go on in the same text; RESTART has it answer
afresh. What the caller gets is put together by the client's own `fold`, which finds every event that is doubled or
lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from llmgateway.fold import fold
from llmgateway.v1 import error_pb2, reply_pb2, routing_pb2
from llmgateway_server.testing.upstream import END, STREAM_HEAD, Step, chunk, close, event, hang, json_answer, wait
from tests.faults.faulty import cut_after, flood, for_ever
from tests.faults.kit import ask, failure_of, reason_of
from tests.faults.provider_answers import Answered, refusal
from tests.faults.provider_kit import UNAVAILABLE, said
from tests.faults.targets_kit import HELLO, PUBLIC, Several, several, told_way_of, way_of
from tests.faults.test_provider_connect import closed_port

CONTINUE = {"mid_stream_policy": routing_pb2.MID_STREAM_POLICY_CONTINUE}
RESTART = {"mid_stream_policy": routing_pb2.MID_STREAM_POLICY_RESTART}
CLOCKS = {"idle_s": 0.3, "progress_s": 0.5}
POLICIES = pytest.mark.parametrize("routing", [CONTINUE, RESTART], ids=["continue", "restart"])


@dataclass(slots=True, frozen=True)
class Break:
    """How a stream breaks after it has said `once `, and the reason."""

    script: list[Step]
    reason: str


BREAKS = {
    "p6 silence": Break([*said("once "), hang], "UPSTREAM_STALLED"),
    "p6 pings": Break([*said("once "), for_ever(chunk(b": ping\n\n"))], "UPSTREAM_STALLED"),
    "p7 cut": Break(cut_after("once "), "UPSTREAM_STREAM_INTERRUPTED"),
    "p7 half a chunk": Break([*said("once "), chunk(b"data: {")], "UPSTREAM_STREAM_INTERRUPTED"),
    "p8 no last event": Break([*said("once "), END], "UPSTREAM_STREAM_INTERRUPTED"),
    "p9 no JSON": Break([*said("once "), event("{nonsense")], "UPSTREAM_MALFORMED"),
    "p10 an error": Break([*said("once "), event({"error": {"type": "server_error"}}), END], "UPSTREAM_ERROR"),
    "p13 a flood": Break([*said("once "), *flood(chunk(b""), b"data: " + b"x" * 65536)], "UPSTREAM_MALFORMED"),
}
BREAKS["p7 half a chunk"].script.append(close)
BREAKS["p13 a flood"].script.pop(-2)
"""An empty chunk would end the body."""
BROKEN = pytest.mark.parametrize("broken", [pytest.param(each, id=name) for name, each in BREAKS.items()])


def text_of(ended: Answered) -> str:
    """Returns the text of a whole stream as the client's `fold` puts it together."""
    return "".join(part.text for part in fold(ended.events).parts)


def switches_of(ended: Answered) -> list[reply_pb2.TargetSwitched]:
    return [each.target_switched for each in ended.events if each.HasField("target_switched")]


def prefix_of(it: Several, account: str) -> Sequence[Any]:
    """Returns the messages that an account was sent, as (role, content)."""
    return [(each["role"], each["content"]) for each in it.upstreams[account].requests[-1].body["messages"]]


@BROKEN
async def test_fail_ends_the_call_with_what_was_delivered(broken: Break) -> None:
    async with several(broken.script, HELLO, timeouts=CLOCKS) as it:
        ended = await it.call(streaming=True)
        assert it.asked() == {"one": 1, "two": 0}
        assert it.verdict("one") == "failure"
    assert (ended.code, ended.text) == (UNAVAILABLE, "once ")
    assert way_of(ended) == [("one", broken.reason, "CP")]
    assert ended.detail(error_pb2.PartialReply).last_seq == ended.events[-1].seq


@BROKEN
async def test_continue_goes_on_in_the_same_text(broken: Break) -> None:
    async with several(broken.script, HELLO, timeouts=CLOCKS) as it:
        ended = await it.call(streaming=True, routing=CONTINUE)
        assert (it.verdict("one"), it.verdict("two")) == ("failure", "success")
        assert prefix_of(it, "two")[-1] == ("assistant", "once ")
    assert text_of(ended) == "once hello"
    assert_both_are_billed(ended, broken.reason)
    [switched] = switches_of(ended)
    assert (switched.target.provider, switched.attempt, switched.restarted) == ("two", 2, False)
    assert error_pb2.ErrorReason.Name(switched.reason) == f"ERROR_REASON_{broken.reason}"
    kinds = [each.WhichOneof("event") for each in ended.events]
    assert (kinds.count("started"), kinds.count("part_started"), kinds.count("part_finished")) == (1, 1, 1)


@BROKEN
async def test_restart_answers_afresh(broken: Break) -> None:
    async with several(broken.script, HELLO, timeouts=CLOCKS) as it:
        ended = await it.call(streaming=True, routing=RESTART)
        assert prefix_of(it, "two") == prefix_of(it, "one")
    assert text_of(ended) == "hello"
    assert_both_are_billed(ended, broken.reason)
    [switched] = switches_of(ended)
    assert (switched.target.provider, switched.attempt, switched.restarted) == ("two", 2, True)
    kinds = [each.WhichOneof("event") for each in ended.events]
    assert ended.events[kinds.index("target_switched") - 1].seq == switched.at_seq


def assert_both_are_billed(ended: Answered, reason: str) -> None:
    assert ended.code is grpc.StatusCode.OK
    assert way_of(ended) == [("one", reason, "CP"), ("two", None, "CU")]
    assert told_way_of(ended) == [("one", "failed", True), ("two", "succeeded", True)]
    assert all(each.cost.nano_usd > 0 for each in ended.summary.attempts)
    assert ended.record["outcome"] == "succeeded"


@POLICIES
async def test_p7_streams_that_break_twice_are_taken_over_twice(routing: dict[str, Any]) -> None:
    async with several(cut_after("once "), cut_after("upon "), HELLO) as it:
        ended = await it.call(streaming=True, routing=routing)
    assert text_of(ended) == ("once upon hello" if routing is CONTINUE else "hello")
    assert [each[2] for each in way_of(ended)] == ["CP", "CP", "CU"]
    assert [each.target.provider for each in switches_of(ended)] == ["two", "three"]


@POLICIES
async def test_p7_the_only_target_takes_over_from_itself(routing: dict[str, Any]) -> None:
    async with several(HELLO) as it:
        it.upstreams["one"].then(cut_after("once "))
        ended = await it.call(streaming=True, routing=routing)
        assert it.asked() == {"one": 2}
    assert text_of(ended) == ("once hello" if routing is CONTINUE else "hello")


SECONDS: dict[str, Any] = {
    "p1": None,
    "p7": [STREAM_HEAD, close],
    "p9": [STREAM_HEAD, event("{nonsense")],
    "p16": refusal(401),
    "p17": refusal(402),
    "p18": refusal(404),
    "p24": refusal(429),
    "p25": refusal(503),
    "p31": refusal(307),
}


@pytest.mark.parametrize("second", SECONDS)
@POLICIES
async def test_who_takes_over_may_fail_and_the_next_one_does_it(routing: dict[str, Any], second: str) -> None:
    """A take-over that fails before its first content is a fault like any other: the row decides."""
    place = SECONDS[second] or f"http://127.0.0.1:{closed_port()}/v1"
    async with several(cut_after("once "), place, HELLO) as it:
        ended = await it.call(streaming=True, routing=routing)
    assert ended.code is grpc.StatusCode.OK
    assert text_of(ended) == ("once hello" if routing is CONTINUE else "hello")
    assert [each[0] for each in way_of(ended)] == ["one", "two", "three"]


@POLICIES
async def test_p33_a_target_that_was_set_aside_meanwhile_is_passed_over(routing: dict[str, Any]) -> None:
    """The plan is made when the call begins; a breaker may open while its stream runs."""
    cut = asyncio.Event()
    first: list[Step] = [*said("once "), wait(cut), close]
    async with several(first, refusal(503), HELLO, breakers={"consecutive_failures": 1}) as it:
        running = asyncio.create_task(it.call(streaming=True, routing=routing))
        await it.upstreams["one"].request()
        request = ask(model=PUBLIC, routing={"excluded_providers": ["one", "three"], "max_attempts": 1})
        assert reason_of(await failure_of(it.keyed.gateway.stub.Complete(request))) == "UPSTREAM_OVERLOADED"
        cut.set()
        ended = await running
        assert it.asked() == {"one": 1, "two": 1, "three": 1}
    assert text_of(ended) == ("once hello" if routing is CONTINUE else "hello")


@POLICIES
async def test_p7_where_nobody_is_left_the_caller_keeps_what_it_has(routing: dict[str, Any]) -> None:
    async with several(cut_after("once "), cut_after("upon "), cut_after("a time")) as it:
        ended = await it.call(streaming=True, routing=routing)
    assert ended.code is UNAVAILABLE
    assert way_of(ended)[-1] == ("three", "UPSTREAM_STREAM_INTERRUPTED", "CP")
    partial = ended.detail(error_pb2.PartialReply)
    assert partial.last_seq == ended.events[-1].seq


@POLICIES
async def test_p15_a_request_that_is_refused_is_not_taken_over(routing: dict[str, Any]) -> None:
    """The caller, whom another one has served, is told why that one stopped and not that its request is at fault."""
    async with several(cut_after("once "), refusal(400), HELLO) as it:
        ended = await it.call(streaming=True, routing=routing)
        assert it.asked()["three"] == 0
    assert (ended.code, ended.text) == (UNAVAILABLE, "once ")
    assert ended.record["reason"] == "UPSTREAM_STREAM_INTERRUPTED"
    assert way_of(ended)[-1] == ("two", "UPSTREAM_REJECTED_REQUEST", "C0")


async def test_p7_unary_calls_have_no_middle() -> None:
    async with several(
        cut_after("once "), json_answer({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]})
    ) as it:
        ended = await it.call(streaming=False, routing=CONTINUE)
    assert ended.text == "hi"
