from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llmgateway_server.core.calls import AttemptRecord, Outcome
from llmgateway_server.core.events import (
    PartFinished,
)
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import (
    RoutingOptions,
)
from llmgateway_server.core.targets import Target
from llmgateway_server.routing.poison import is_poison
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


async def test_one_attempt_is_enough_where_it_answers() -> None:
    run = await Tried(a=[ANSWER], b=[ANSWER]).run()
    assert (run.tried, run.error) == (["a"], None)
    assert run.seen == [[START, *text("hi")], [PartFinished(0), END]]  # what comes before content is held back
    assert (run.call.max_attempts, run.call.serving, run.call.scope.upstream_began) == (3, run.call.attempts[0], True)
    assert (run.call.attempts[0].number, run.script.closed) == (1, [("a", None)])
    assert run.call.plan is not None
    assert run.call.plan.targets == (A, B)
    assert run.in_flight == [0, 0]
    assert run.script.began[0].share_s == pytest.approx(300.0)  # one other could still be tried


async def test_what_a_failed_attempt_said_before_its_content_is_dropped() -> None:
    run = await Tried(a=[[[START], [], error(http_status=500)]], b=[ANSWER]).run()
    assert (run.tried, run.error, run.seen[0]) == (["a", "b"], None, [START, *text("hi")])
    assert run.script.closed == [("a", Reason.UPSTREAM_ERROR), ("b", None)]
    assert [record.number for record in run.call.attempts] == [1, 2]
    assert run.call.serving is run.call.attempts[1]
    assert run.in_flight == [0] * 4


async def test_a_reply_without_content_is_handed_on_at_its_end() -> None:
    run = await Tried(a=[[[START], [END]]]).run()
    assert (run.seen, run.error, run.call.serving) == ([[START, END]], None, run.call.attempts[0])


@pytest.mark.parametrize("content", [False, True])
async def test_a_reply_that_stops_short_is_a_failure(content: bool) -> None:
    acts: list[Act] = [[START], *([text("hi")] if content else [])]
    run = await Tried(A, a=[acts], most=1).run()
    assert run.reason is (Reason.UPSTREAM_STREAM_INTERRUPTED if content else Reason.UPSTREAM_RESET)
    assert run.error is not None
    assert run.error.detail == "reply without its last event"
    assert run.call.attempts[0].reason is run.reason or run.call.attempts[0].reason is None


async def test_a_reset_is_named_by_whether_content_came() -> None:
    run = await Tried(A, a=[[text("hi"), error(Reason.UPSTREAM_RESET)]]).run()
    assert (run.reason, run.tried) == (Reason.UPSTREAM_STREAM_INTERRUPTED, ["a"])
    run = await Tried(A, a=[[error(Reason.UPSTREAM_STREAM_INTERRUPTED)]], most=1).run()
    assert (run.reason, run.call.attempts[0].reason) == (Reason.UPSTREAM_RESET, Reason.UPSTREAM_RESET)


async def test_the_failure_names_its_target_and_keeps_what_it_says_itself() -> None:
    run = await Tried(A, a=[[error(Reason.UPSTREAM_TLS, slots={"model": "other"})]]).run()
    assert run.error is not None
    assert run.error.slots == {"provider": "a", "model": "other"}
    run = await Tried(A, a=[[error(Reason.UPSTREAM_TLS)]]).run()
    assert run.error is not None
    assert run.error.slots == {"provider": "a", "model": "a-1"}


async def test_nothing_is_tried_again_after_content() -> None:
    run = await Tried(a=[[text("hi"), error(http_status=500)]], b=[ANSWER]).run()
    assert (run.tried, run.reason, run.seen) == (["a"], Reason.UPSTREAM_ERROR, [text("hi")])


@pytest.mark.parametrize(
    ("wishes", "most", "tried", "allowed"),
    [
        (RoutingOptions(), 3, "abc", 3),
        (RoutingOptions(), 2, "ab", 2),
        (RoutingOptions(max_attempts=2), 3, "ab", 2),
        (RoutingOptions(max_attempts=9), 3, "abc", 3),
        (RoutingOptions(max_attempts=1), 3, "a", 1),
        (RoutingOptions(fallback_enabled=False), 3, "a", 3),
    ],
)
async def test_how_many_are_tried(wishes: RoutingOptions, most: int, tried: str, allowed: int) -> None:
    acts: dict[str, Any] = {name: [[error(Reason.UPSTREAM_TLS)]] for name in "abc"}
    run = await Tried(A, B, C, wishes=wishes, most=most, **acts).run()
    assert ("".join(run.tried), run.call.max_attempts, run.reason) == (tried, allowed, Reason.UPSTREAM_TLS)


async def test_the_last_target_has_all_the_time_that_is_left() -> None:
    acts: dict[str, Any] = {name: [[20.0, error(Reason.UPSTREAM_TLS)]] for name in "ab"}
    run = await Tried(deadline_s=60.0, **acts).run()
    first, last = run.script.began
    assert (first.share_s, first.fair_share, last.share_s) == (30.0, True, float("inf"))


async def test_nothing_begins_when_the_time_is_over() -> None:
    run = await Tried(deadline_s=10.0, a=[[9.5, error(http_status=500)]], b=[ANSWER]).run()
    assert (run.tried, run.reason) == (["a"], Reason.UPSTREAM_ERROR)


async def test_a_retry_waits_and_is_paid_by_its_budget() -> None:
    run = await Tried(A, a=[[error(http_status=503, retry_after_s=2.0)], ANSWER]).run()
    assert (run.tried, run.error) == (["a", "a"], None)
    budget = run.routes.budgets.of(A)
    assert (budget.tokens, budget.in_flight, budget.retries) == (95, 0, 0)  # a retry that succeeds gives nothing back
    assert run.clock.monotonic_s() >= 1002.0
    assert run.in_flight == [0] * 4


async def test_who_leaves_during_a_delay_holds_nothing() -> None:
    run = Tried(A, a=[[error(http_status=503, retry_after_s=5.0)]])

    async def read() -> None:
        async with run.stage.open(run.call) as reply:
            await reply.__anext__()

    reading = asyncio.create_task(read())
    while not run.clock._sleepers:
        await asyncio.sleep(0)
    assert run.routes.budgets.of(A).retries == 1
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    budget = run.routes.budgets.of(A)
    assert (budget.in_flight, budget.retries, budget.tokens) == (0, 0, 95)
    assert run.tried == ["a"]


async def test_who_leaves_during_an_attempt_cancels_it() -> None:
    run = Tried(a=[ANSWER])

    async def read() -> None:
        async with run.stage.open(run.call) as reply:
            await reply.__anext__()
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await read()
    assert run.script.closed == [("a", Reason.CANCELLED)]
    assert run.in_flight == [0, 0]


async def test_a_limit_makes_a_target_cool_down_and_tells_when_to_come_again() -> None:
    limited: list[list[Act]] = [[error(Reason.UPSTREAM_RATE_LIMITED, retry_after_s=each)] for each in (90.0, 60.0)]
    run = await Tried(a=[limited[0]], b=[limited[1]]).run()
    assert (run.tried, run.reason) == (["a", "b"], Reason.UPSTREAM_RATE_LIMITED)
    assert run.routes.cooldowns.left_s(A) == pytest.approx(90.0, abs=1.0)
    assert run.routes.cooldowns.left_s(B) == pytest.approx(60.0, abs=1.0)
    assert run.error is not None
    assert run.error.retry_after_s == pytest.approx(60.0, abs=1.0)
    other = await Tried(a=[[error(Reason.UPSTREAM_TLS)]], b=[[error(Reason.UPSTREAM_TLS)]]).run()
    assert len(other.routes.cooldowns) == 0


async def test_what_a_provider_said_goes_before_our_breakers() -> None:
    run = await Tried(a=[[error(Reason.UPSTREAM_TLS)]], b=[[error(Reason.CIRCUIT_OPEN, retry_after_s=3.0)]]).run()
    assert (run.tried, run.reason) == (["a", "b"], Reason.UPSTREAM_TLS)
    run = await Tried(a=[[error(Reason.CIRCUIT_OPEN)]], b=[[error(Reason.CIRCUIT_OPEN)]]).run()
    assert run.reason is Reason.CIRCUIT_OPEN


async def test_a_request_that_breaks_two_is_not_sent_to_a_third() -> None:
    same = [Target(name, "simulator", "chat") for name in "abc"]
    acts: dict[str, Any] = {name: [[error(http_status=500)]] for name in "abc"}
    run = await Tried(*same, **acts).run()
    assert (run.tried, run.reason) == (["a", "b"], Reason.UPSTREAM_ERROR)
    down = Tried(*same, **acts)
    down.routes.standings.began(same[0])  # one of them failed before: then it shows nothing
    down.routes.standings.ended(_failed(same[0]), streamed=True)
    assert is_poison([], down.routes.standings) is False
    await down.run()
    assert down.tried == ["a", "b", "c"]


def _failed(place: Target) -> AttemptRecord:
    return AttemptRecord(1, place, Outcome.FAILED, Reason.UPSTREAM_ERROR)
