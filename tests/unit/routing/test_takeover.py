from __future__ import annotations

from typing import Any

import pytest

from llmgateway_server.core.calls import Call
from llmgateway_server.core.errors import CallEndedError
from llmgateway_server.core.events import (
    Event,
    PartFinished,
    PartKind,
    PartStarted,
    TargetSwitched,
    TextDelta,
)
from llmgateway_server.core.messages import TextPart
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import (
    CompleteRequest,
    EmbedRequest,
    HedgePolicy,
    MidStreamPolicy,
    RoutingOptions,
)
from llmgateway_server.routing.midstream import Delivered, GoingOn, may_go_on
from tests.unit.routing.failover_world import (
    ANSWER,
    END,
    START,
    A,
    Act,
    B,
    C,
    Tried,
    error,
    text,
)

BREAK: list[Act] = [[START], text("one "), [TextDelta(0, "two ")], error(Reason.UPSTREAM_RESET)]
REST: list[Act] = [[START], text("three"), [PartFinished(0), END]]


async def test_a_stream_is_continued_elsewhere() -> None:
    wishes = RoutingOptions(mid_stream_policy=MidStreamPolicy.CONTINUE)
    run = await Tried(wishes=wishes, a=[BREAK], b=[REST]).run()
    assert (run.error, run.tried) == (None, ["a", "b"])
    interrupted = Reason.UPSTREAM_STREAM_INTERRUPTED
    switched = TargetSwitched(interrupted, "b", "simulator", "b-1", "", 2, restarted=False)
    flat = [event for batch in run.seen for event in batch]
    assert flat == [START, *text("one "), TextDelta(0, "two "), switched, TextDelta(0, "three"), PartFinished(0), END]
    sent = run.call.request
    assert isinstance(sent, CompleteRequest)
    assert [part.content for part in sent.messages[-1].parts] == [TextPart("one two ")]
    assert run.call.serving is run.call.attempts[1]


async def test_a_stream_is_started_afresh_as_often_as_it_breaks() -> None:
    wishes = RoutingOptions(mid_stream_policy=MidStreamPolicy.RESTART)
    run = await Tried(A, B, C, wishes=wishes, a=[BREAK], b=[BREAK], c=[REST]).run()
    assert (run.error, run.tried) == (None, ["a", "b", "c"])
    flat = [event for batch in run.seen for event in batch]
    switches = [event for event in flat if isinstance(event, TargetSwitched)]
    assert [(each.provider, each.attempt, each.restarted) for each in switches] == [("b", 2, True), ("c", 3, True)]
    assert flat[-4:] == [*text("three"), PartFinished(0), END]
    assert isinstance(run.call.request, CompleteRequest)
    assert run.call.request.messages == []


async def test_a_stream_that_breaks_twice_is_continued_from_all_that_was_delivered() -> None:
    wishes = RoutingOptions(mid_stream_policy=MidStreamPolicy.CONTINUE, hedge=HedgePolicy(20.0))
    run = await Tried(A, B, C, wishes=wishes, a=[BREAK], b=[BREAK], c=[REST]).run()
    assert (run.error, run.tried) == (None, ["a", "b", "c"])
    assert isinstance(run.call.request, CompleteRequest)
    assert [part.content for part in run.call.request.messages[-1].parts] == [TextPart("one two one two ")]


async def test_the_soonest_of_all_limits_is_told_and_not_the_last() -> None:
    acts: dict[str, Any] = {
        name: [[error(Reason.UPSTREAM_RATE_LIMITED, retry_after_s=each)]] for name, each in (("a", 60.0), ("b", 90.0))
    }
    run = await Tried(**acts).run()
    assert run.error is not None
    assert run.error.retry_after_s == pytest.approx(60.0, abs=1.0)


async def test_who_may_not_take_over_is_not_what_the_caller_is_told() -> None:
    """Neither its refusal nor its name, but what broke the stream; a caller who ends the call is told that."""
    breaks: list[Act] = [*ANSWER[:2], error(Reason.UPSTREAM_STALLED)]
    wishes = RoutingOptions(mid_stream_policy=MidStreamPolicy.CONTINUE)
    for reason, told in (
        (Reason.UPSTREAM_REJECTED_REQUEST, Reason.UPSTREAM_STALLED),
        (Reason.CONTENT_POLICY, Reason.UPSTREAM_STALLED),
        (Reason.UPSTREAM_TLS, Reason.UPSTREAM_TLS),
    ):
        run = await Tried(wishes=wishes, a=[breaks], b=[[error(reason)]]).run()
        assert (run.tried, run.reason) == (["a", "b"], told)
        assert run.error is not None
        assert run.error.slots["provider"] == ("a" if told is Reason.UPSTREAM_STALLED else "b")
    over = CallEndedError(Reason.DEADLINE_EXCEEDED)
    run = await Tried(wishes=wishes, a=[breaks], b=[[over]]).run()
    assert run.error is over


@pytest.mark.parametrize(("apart_s", "told_s"), [(0.05, 60.05), (0.15, 60.0)])
async def test_limits_that_end_together_are_one(apart_s: float, told_s: float) -> None:
    """Then it is the word of the target that failed last, to the letter."""
    limits = {"a": 60.0, "b": 60.0 + apart_s}
    acts: dict[str, Any] = {
        name: [[error(Reason.UPSTREAM_RATE_LIMITED, retry_after_s=limit_s)]] for name, limit_s in limits.items()
    }
    run = Tried(**acts)
    run.clock.advance = lambda seconds: None  # type: ignore[method-assign]
    await run.run()
    assert run.error is not None
    assert run.error.retry_after_s == pytest.approx(told_s, abs=0.001)


async def test_a_whole_reply_is_not_taken_over() -> None:
    wishes = RoutingOptions(mid_stream_policy=MidStreamPolicy.RESTART)
    run = await Tried(wishes=wishes, streaming=False, a=[BREAK], b=[REST]).run()
    assert (run.tried, run.reason) == (["a"], Reason.UPSTREAM_STREAM_INTERRUPTED)


async def test_taking_over_ends_with_the_attempts_and_the_time() -> None:
    wishes = RoutingOptions(mid_stream_policy=MidStreamPolicy.RESTART)
    run = await Tried(wishes=wishes, most=2, a=[BREAK, REST], b=[BREAK]).run()
    assert (run.tried, run.reason) == (["a", "b"], Reason.UPSTREAM_STREAM_INTERRUPTED)
    late = await Tried(wishes=wishes, deadline_s=20.0, a=[[*BREAK[:2], 19.5, BREAK[-1]]], b=[REST]).run()
    assert late.tried == ["a"]
    alone = await Tried(A, wishes=wishes, a=[BREAK, REST]).run()
    assert (alone.tried, alone.routes.budgets.of(A).tokens) == (["a", "a"], 95)


async def test_a_target_that_did_not_speak_is_asked_again_only_if_its_failure_allows_it() -> None:
    wishes = RoutingOptions(mid_stream_policy=MidStreamPolicy.RESTART)
    run = await Tried(A, wishes=wishes, a=[BREAK, [error(http_status=503)], REST]).run()
    assert (run.tried, run.error) == (["a"] * 3, None)
    run = await Tried(A, wishes=wishes, a=[BREAK, [error(Reason.UPSTREAM_TLS)], REST]).run()
    assert (run.tried, run.reason) == (["a"] * 2, Reason.UPSTREAM_TLS)


async def test_no_target_is_asked_more_than_eight_times_again() -> None:
    run = await Tried(A, most=20, a=[[error(http_status=503)]]).run()
    assert (len(run.tried), run.reason) == (9, Reason.UPSTREAM_ERROR)


def call_with(policy: MidStreamPolicy) -> Call:
    return Tried(wishes=RoutingOptions(mid_stream_policy=policy)).call


def test_who_may_be_taken_over() -> None:
    plain, had, policy = Delivered(), Delivered(), MidStreamPolicy
    had.add([START, *text("x")])
    assert may_go_on(call_with(policy.CONTINUE), had)
    assert not may_go_on(call_with(policy.CONTINUE), plain)
    assert may_go_on(call_with(policy.RESTART), plain)
    assert not may_go_on(call_with(policy.FAIL), had)
    embedding = call_with(policy.RESTART)
    embedding.request = EmbedRequest("m", ["x"], routing=embedding.request.routing)
    assert may_go_on(embedding, had) is False


def test_what_was_delivered() -> None:
    had = Delivered()
    assert (had.continues, had.text, had.next_part, had.text_part, had.open_others()) == (False, "", 0, None, [])
    had.add([START, PartStarted(0, PartKind.REASONING), PartStarted(1, PartKind.TEXT), TextDelta(1, "x")])
    had.add([TextDelta(1, "y"), TextDelta(0, "not its text")])
    assert (had.continues, had.text, had.next_part, had.text_part, had.open_others()) == (True, "xy", 2, 1, [0])
    had.add([PartFinished(0)])
    assert (had.continues, had.open_others()) == (True, [])
    had.add([PartFinished(1)])
    assert not had.continues
    tool = Delivered()
    tool.add([*text("x"), PartStarted(1, PartKind.TOOL_CALL)])
    assert not tool.continues


def test_parts_are_counted_on_where_a_stream_goes_on() -> None:
    had, call = Delivered(), call_with(MidStreamPolicy.CONTINUE)
    had.add([PartStarted(0, PartKind.REASONING), PartStarted(1, PartKind.TEXT), TextDelta(1, "x")])
    going = GoingOn(call, call.request, MidStreamPolicy.CONTINUE, had, Reason.UPSTREAM_STALLED)
    assert going.joined([], B, 2) == []
    switched = TargetSwitched(Reason.UPSTREAM_STALLED, "b", "simulator", "b-1", "", 2, restarted=False)
    thinking: list[Event] = [START, PartStarted(0, PartKind.REASONING), PartFinished(0)]
    assert going.joined(thinking, B, 2) == [
        PartFinished(0),
        switched,
        PartStarted(2, PartKind.REASONING),
        PartFinished(2),
    ]
    assert going.joined(text("y", 1), B, 2) == [TextDelta(1, "y")]
    assert going.joined([*text("z", 2), PartFinished(1)], B, 2) == [*text("z", 3), PartFinished(1)]
