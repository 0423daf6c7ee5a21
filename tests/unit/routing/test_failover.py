"""The loop that starts attempts, with attempts that do what a test says and a clock that it moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest

from llmgateway_server.attempts.breaker import Verdict
from llmgateway_server.core.calls import Attempt, AttemptRecord, Call, CallScope, Deadline, Outcome
from llmgateway_server.core.errors import DefectError, GatewayError, RequestError, UpstreamError
from llmgateway_server.core.events import (
    Event,
    Finished,
    FinishReason,
    PartFinished,
    PartKind,
    PartStarted,
    Started,
    TargetSwitched,
    TextDelta,
)
from llmgateway_server.core.messages import TextPart
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Batch, Reply
from llmgateway_server.core.requests import (
    CompleteRequest,
    EmbedRequest,
    HedgePolicy,
    MidStreamPolicy,
    Operation,
    RoutingOptions,
)
from llmgateway_server.core.targets import Model, ModelStatus, Profile, Target
from llmgateway_server.routing.failover import Failover
from llmgateway_server.routing.midstream import Delivered, GoingOn, may_go_on
from llmgateway_server.routing.plan import MAX_FIELDS
from llmgateway_server.routing.poison import is_poison
from llmgateway_server.routing.tries import ROWS, STOP, Again, Elsewhere, row_of
from llmgateway_server.testing.clock import ManualClock
from tests.unit.routing.failover_kit import routes

A, B, C = (Target(name, "simulator", f"{name}-1") for name in "abc")
START, END = Started("id", "m"), Finished(FinishReason.STOP)
Act = list[Event] | Exception | float
"""A batch, an error, or so many seconds of silence."""


def text(said: str, part: int = 0) -> list[Event]:
    return [PartStarted(part, PartKind.TEXT), TextDelta(part, said)]


class Script:
    """Plays attempts at targets, each with the acts of its provider in turn.

    Args:
        acts: by provider, one list for each of its attempts; the last one is played again and again.
    """

    def __init__(self, clock: ManualClock, **acts: list[list[Act]]) -> None:
        self.clock = clock
        self.acts = acts
        self.began: list[Attempt] = []
        self.closed: list[tuple[str, Reason | None]] = []

    @asynccontextmanager
    async def open(self, attempt: Attempt) -> AsyncIterator[Reply]:
        self.began.append(attempt)
        record = attempt.record
        acts = self.acts[record.target.provider]
        playing = _Playing(acts.pop(0) if len(acts) > 1 else acts[0], self.clock)
        try:
            yield playing
        except GatewayError as error:
            record.outcome, record.reason = Outcome.FAILED, error.reason
            record.http_status = getattr(error, "http_status", None)
            self.closed.append((record.target.provider, error.reason))
            raise
        except BaseException:
            record.outcome = Outcome.CANCELLED
            self.closed.append((record.target.provider, Reason.CANCELLED))
            raise
        record.outcome = Outcome.SUCCEEDED
        self.closed.append((record.target.provider, None))


class _Playing:
    def __init__(self, acts: list[Act], clock: ManualClock) -> None:
        self._acts = list(acts)
        self._clock = clock

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        while self._acts:
            act = self._acts.pop(0)
            if isinstance(act, float):
                self._clock.advance(act)
            elif isinstance(act, Exception):
                raise act
            else:
                return act
        raise StopAsyncIteration


class Tried:
    """One call through failover and what became of it."""

    def __init__(
        self,
        *targets: Target,
        streaming: bool = True,
        deadline_s: float = 600.0,
        most: int = 3,
        wishes: RoutingOptions | None = None,
        **acts: list[list[Act]],
    ) -> None:
        self.clock = ManualClock()
        self.routes = routes(self.clock)
        self.script = Script(self.clock, **acts)
        self.stage = Failover(self.script.open, self.routes, most, 30.0)
        deadline = Deadline(self.clock.monotonic_s() + deadline_s, from_client=True)
        scope = CallScope("call", "/s/m", "peer", {}, 0.0, deadline)
        asked = CompleteRequest("m", [], routing=wishes or RoutingOptions())
        self.call = Call(scope, Operation.COMPLETE, streaming, asked, resolved=Model("m", targets or (A, B)))
        self.seen: list[Batch] = []
        self.error: GatewayError | None = None

    async def run(self) -> Self:
        """Reads everything; delays before retries pass by themselves."""
        passing = asyncio.create_task(self._pass_time())
        try:
            async with self.stage.open(self.call) as reply:
                async for batch in reply:
                    self.seen.append(list(batch))
        except GatewayError as error:
            self.error = error
        finally:
            passing.cancel()
        return self

    async def _pass_time(self) -> None:
        while True:
            await asyncio.sleep(0.002)
            self.clock.advance(0.25)

    @property
    def tried(self) -> list[str]:
        return [attempt.record.target.provider for attempt in self.script.began]

    @property
    def reason(self) -> Reason | None:
        return self.error.reason if self.error else None

    @property
    def in_flight(self) -> list[int]:
        places = [record.target for record in self.call.attempts]
        counts = [self.routes.standings.of(place).in_flight for place in places]
        return counts + [self.routes.budgets.of(place).in_flight for place in places]


def error(reason: Reason = Reason.UPSTREAM_ERROR, **facts: Any) -> UpstreamError:
    return UpstreamError(reason, **facts)


ANSWER: list[Act] = [[START], text("hi"), [PartFinished(0), END]]


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


# --- streams that are taken over ---------------------------------------------------------------------------------

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


# --- hedges ------------------------------------------------------------------------------------------------------


class Gated(Script):
    """Attempts that wait until a test lets them on."""

    def __init__(self, clock: ManualClock, **acts: list[list[Act]]) -> None:
        super().__init__(clock, **acts)
        self.gates = {name: asyncio.Event() for name in acts}

    @asynccontextmanager
    async def open(self, attempt: Attempt) -> AsyncIterator[Reply]:
        async with super().open(attempt) as reply:
            await self.gates[attempt.target.provider].wait()
            yield reply


async def raced(
    order: str, *, delay_s: float = 0.0, streaming: bool = True, targets: tuple[Target, ...] = (A, B), **acts: Any
) -> Tried:
    run = Tried(*targets, streaming=streaming, wishes=RoutingOptions(hedge=HedgePolicy(delay_s)), **acts)
    run.script = Gated(run.clock, **acts)
    run.stage.open_attempt = run.script.open
    reading = asyncio.create_task(run.run())
    async with asyncio.timeout(10):
        while len(run.script.began) < min(2, len(targets)):
            await asyncio.sleep(0.001)
        for name in order:
            run.script.gates[name].set()
            for _ in range(10):
                await asyncio.sleep(0)
        return await reading


@pytest.mark.parametrize(("order", "number"), [("ab", 1), ("ba", 2)])
async def test_who_brings_content_first_is_the_reply(order: str, number: int) -> None:
    run = await raced(order, a=[ANSWER], b=[ANSWER])
    assert run.error is None
    assert run.seen == [[START, *text("hi")], [PartFinished(0), END]]
    assert run.call.serving is run.call.attempts[number - 1]
    assert sorted(run.script.closed, key=str) == sorted([(order[0], None), (order[1], Reason.CANCELLED)], key=str)
    assert run.in_flight == [0] * 4


async def test_the_loser_ends_before_the_first_content_is_handed_on() -> None:
    run = Tried(wishes=RoutingOptions(hedge=HedgePolicy(0.0)))
    script = run.script = Gated(run.clock, a=[ANSWER], b=[ANSWER])
    run.stage.open_attempt = script.open
    script.gates["b"].set()
    async with asyncio.timeout(10), run.stage.open(run.call) as reply:
        assert await reply.__anext__() == [START, *text("hi")]
        assert ("a", Reason.CANCELLED) in script.closed
        assert [batch async for batch in reply] == [[PartFinished(0), END]]


async def test_a_failure_leaves_the_race_to_the_other() -> None:
    run = await raced("ab", a=[[error(Reason.UPSTREAM_TLS)]], b=[ANSWER])
    assert (run.error, run.call.serving) == (None, run.call.attempts[1])
    run = await raced("ba", a=[ANSWER], b=[[error(Reason.UPSTREAM_TLS)]])
    assert (run.error, run.call.serving) == (None, run.call.attempts[0])


async def test_two_failures_are_one_failure_of_the_race() -> None:
    run = await raced("ab", a=[[error(Reason.UPSTREAM_TLS)]], b=[[error(Reason.UPSTREAM_REDIRECT)]])
    assert (run.reason, run.tried) == (Reason.UPSTREAM_REDIRECT, ["a", "b"])
    assert run.in_flight == [0] * 4


async def test_a_winner_without_an_end_is_a_failure() -> None:
    run = await raced("ab", a=[[text("hi")]], b=[ANSWER])
    assert run.reason is Reason.UPSTREAM_STREAM_INTERRUPTED
    run = await raced("ab", a=[[[START]]], b=[[[START]]])
    assert run.reason is Reason.UPSTREAM_RESET
    assert run.error is not None
    assert run.error.detail == "reply without content"
    run = await raced("ab", a=[[text("hi"), error(Reason.UPSTREAM_STALLED)]], b=[ANSWER])
    assert (run.reason, run.seen) == (Reason.UPSTREAM_STALLED, [text("hi")])
    run = await raced("ab", a=[[[START], [END]]], b=[ANSWER])
    assert (run.error, run.seen) == (None, [[START, END]])


async def test_an_answer_within_the_delay_needs_no_company() -> None:
    run = await Tried(wishes=RoutingOptions(hedge=HedgePolicy(20.0)), a=[ANSWER], b=[ANSWER]).run()
    assert (run.tried, run.error) == (["a"], None)
    failed = await Tried(
        wishes=RoutingOptions(hedge=HedgePolicy(20.0)), a=[[error(Reason.UPSTREAM_TLS)]], b=[ANSWER]
    ).run()
    assert (failed.tried, failed.error) == (["a", "b"], None)


async def test_without_another_account_there_is_no_company() -> None:
    run = await raced("a", targets=(A,), a=[ANSWER])
    assert (run.tried, run.error) == (["a"], None)


async def test_who_leaves_a_race_cancels_both() -> None:
    run = Tried(wishes=RoutingOptions(hedge=HedgePolicy(0.0)))
    run.script = Gated(run.clock, a=[ANSWER], b=[ANSWER])
    run.stage.open_attempt = run.script.open
    reading = asyncio.create_task(run.run())
    async with asyncio.timeout(10):
        while len(run.script.began) < 2:
            await asyncio.sleep(0.001)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert sorted(run.script.closed) == [("a", Reason.CANCELLED), ("b", Reason.CANCELLED)]
    assert run.in_flight == [0] * 4


# --- plans -------------------------------------------------------------------------------------------------------


def planned(run: Tried) -> GatewayError | None:
    try:
        run.call.plan = run.routes.planner.plan(run.call)
    except GatewayError as refused:
        return refused
    return None


def told(run: Tried) -> list[tuple[str, bool, str]]:
    assert run.call.plan is not None
    return [(each.target.provider, each.eligible, each.reason) for each in run.call.plan.told()]


def test_a_plan_says_why() -> None:
    off = Target("d", "simulator", "d-1", enabled=False)
    run = Tried(A, B, C, off)
    run.routes.switches.turn("c", "", on=False)
    run.routes.cooldowns.limited(A, 30.0)
    assert planned(run) is None
    assert told(run) == [
        ("b", True, "configured order"),
        ("a", True, "cools down after a rate limit"),
        ("d", False, "disabled"),
        ("c", False, "switched off by an operator"),
    ]
    assert run.call.plan is not None
    assert run.call.plan.strategy == "priority"


def open_circuit(run: Tried, place: Target) -> None:
    for _ in range(5):
        breaker = run.routes.breakers.of(place)
        permit = breaker.try_enter()
        assert permit is not None
        breaker.leave(permit, Verdict.FAILURE)


def test_open_circuits_are_left_out_until_all_are_open() -> None:
    run = Tried()
    open_circuit(run, A)
    assert planned(run) is None
    assert told(run) == [("b", True, "configured order"), ("a", False, "circuit open")]
    open_circuit(run, B)
    refused = planned(run)
    assert refused is not None
    assert (refused.reason, refused.slots) == (Reason.CIRCUIT_OPEN, {"model": "m"})
    assert refused.retry_after_s == run.routes.breakers.soonest_s([A, B])


WORDS = {
    "routing.excluded": [("routing.excluded_providers", "leaves no provider for this model")],
    "routing.tags": [("routing.tags", "no target of this model carries all of them")],
    "routing.required_capabilities": [
        ("routing.required_capabilities", "no target of this model has all of them"),
    ],
}


@pytest.mark.parametrize(
    ("targets", "wishes", "reason", "code"),
    [
        ((A, B), RoutingOptions(excluded_providers=("a", "b")), Reason.INVALID_REQUEST, "routing.excluded"),
        ((A, B), RoutingOptions(tags=frozenset({"eu"})), Reason.INVALID_REQUEST, "routing.tags"),
        (
            (A, B),
            RoutingOptions(required_capabilities=frozenset({"TOOLS"})),
            Reason.INVALID_REQUEST,
            "routing.required_capabilities",
        ),
        ((Target("a", "simulator", "x", enabled=False),), RoutingOptions(), Reason.NO_HEALTHY_PROVIDER, ""),
        (
            (Target("a", "simulator", "x", profile=Profile(status=ModelStatus.NOT_READY)),),
            RoutingOptions(),
            Reason.NO_HEALTHY_PROVIDER,
            "",
        ),
    ],
)
def test_a_plan_without_targets(targets: Any, wishes: RoutingOptions, reason: Reason, code: str) -> None:
    refused = planned(Tried(*targets, wishes=wishes))
    assert refused is not None
    assert refused.reason is reason
    assert [each.rule for each in refused.violations] == ([code] if code else [])
    assert [(each.field, each.description) for each in refused.violations] == WORDS.get(code, [])
    if not code:
        assert isinstance(refused, UpstreamError)
        assert refused.slots == {"model": "m"}
    else:
        assert isinstance(refused, RequestError)


def test_a_call_without_a_model_is_a_defect() -> None:
    run = Tried()
    run.call.resolved = None
    with pytest.raises(DefectError):
        run.routes.planner.plan(run.call)
    run = Tried(A, B)
    for place in (A, B):
        run.routes.switches.turn(place.provider, "", on=False)
    refused = planned(run)
    assert refused is not None
    assert refused.reason is Reason.NO_HEALTHY_PROVIDER


def test_switches() -> None:
    switches = Tried().routes.switches
    scripted = Target("a", "simulator", "a-1?tokens=3")
    assert not switches.is_off(A)
    assert (switches.turn("a", "a-1", on=False), switches.turn("a", "a-1", on=False)) == (True, False)
    assert (switches.is_off(A), switches.is_off(scripted), switches.is_off(B)) == (True, True, False)
    assert switches.off() == [("a", "a-1")]
    assert (switches.turn("b", "", on=False), switches.is_off(B), switches.off()) == (
        True,
        True,
        [("a", "a-1"), ("b", "")],
    )
    assert (switches.turn("a", "a-1", on=True), switches.turn("a", "a-1", on=True)) == (True, False)
    assert not switches.is_off(A)
    assert switches.is_off(B)


# --- tables ------------------------------------------------------------------------------------------------------

AGAIN = {
    Again.ONCE: {"UPSTREAM_UNREACHABLE", "UPSTREAM_MALFORMED", "UPSTREAM_CONFLICT"},
    Again.WHILE_ALLOWED: {"UPSTREAM_RESET", "UPSTREAM_ERROR", "UPSTREAM_OVERLOADED", "UPSTREAM_RATE_LIMITED"},
}
NOT_ANYWHERE = {
    "UPSTREAM_CONFLICT": Elsewhere.NONE,
    "CONTEXT_LENGTH_EXCEEDED": Elsewhere.LARGER,
    "REQUEST_TOO_LARGE": Elsewhere.LARGER,
}
NEVER_AGAIN = {
    *("UPSTREAM_TLS", "UPSTREAM_TIMEOUT", "UPSTREAM_STALLED", "UPSTREAM_REDIRECT", "UPSTREAM_UNCLASSIFIED"),
    *("PROVIDER_AUTH_FAILED", "PROVIDER_QUOTA_EXHAUSTED", "MODEL_NOT_FOUND", "CIRCUIT_OPEN"),
    *("CONTEXT_LENGTH_EXCEEDED", "REQUEST_TOO_LARGE"),
}


def test_the_rows() -> None:
    rows = {reason.name: row for reason, row in ROWS.items()}
    assert set(rows) == NEVER_AGAIN.union(*AGAIN.values())
    for name, row in rows.items():
        assert row.again is next((again for again, named in AGAIN.items() if name in named), Again.NEVER), name
        assert row.elsewhere is NOT_ANYWHERE.get(name, Elsewhere.ANY), name
    assert (STOP.again, STOP.elsewhere) == (Again.NEVER, Elsewhere.NONE)
    told_to = row_of(error(Reason.UPSTREAM_TIMEOUT, http_status=504))
    assert (told_to.again, told_to.elsewhere) == (Again.WHILE_ALLOWED, Elsewhere.ANY)
    assert row_of(error(Reason.UPSTREAM_TIMEOUT)).again is Again.NEVER
    assert row_of(error(Reason.UPSTREAM_REJECTED_REQUEST)) is STOP


@pytest.mark.parametrize(
    "wishes",
    [
        RoutingOptions(strategy="weighted"),
        RoutingOptions(preferred_providers=("a",)),
        RoutingOptions(required_capabilities=frozenset({"TOOLS"})),
        RoutingOptions(tags=frozenset({"eu"})),
    ],
)
def test_a_single_target_has_one_plan_for_all_calls_that_wish_nothing(wishes: RoutingOptions) -> None:
    alone = Target("a", "simulator", "x", tags=frozenset({"eu"}), profile=Profile(frozenset({"TOOLS"})))
    run = Tried(alone)
    plan = run.routes.planner.plan(run.call)
    assert run.routes.planner.plan(run.call) is plan
    assert (plan.lasting, plan.strategy, plan.targets) == (True, "priority", (alone,))
    assert [(each.eligible, each.reason) for each in plan.told()] == [(True, "only target")]
    run.call.request = CompleteRequest("m", [], routing=wishes)
    other = run.routes.planner.plan(run.call)
    assert other is not plan
    assert (other.lasting, other.targets) == (False, (alone,))
    assert other.strategy == (wishes.strategy or "priority")


def test_the_strategy_is_that_of_the_call_or_the_model_or_the_gateway() -> None:
    run = Tried(A)
    run.call.resolved = Model("m", (A,), strategy="balanced")
    assert run.routes.planner.plan(run.call).strategy == "balanced"
    run.call.resolved = Model("m", (A, B), strategy="balanced")
    assert run.routes.planner.plan(run.call).strategy == "balanced"
    run.call.request = CompleteRequest("m", [], routing=RoutingOptions(strategy="weighted"))
    assert run.routes.planner.plan(run.call).strategy == "weighted"


def test_prepared_models_are_bounded_and_those_in_use_stay() -> None:
    run = Tried()
    planner = run.routes.planner
    models = [Model(f"m{at}", (A, B)) for at in range(MAX_FIELDS + 1)]
    for model in models[:-1]:
        run.call.resolved = model
        planner.plan(run.call)
    run.call.resolved = models[0]
    planner.plan(run.call)  # used again: it is no longer the first to go
    run.call.resolved = models[-1]
    planner.plan(run.call)
    assert MAX_FIELDS == len(planner._fields) == 2048
    assert id(models[0]) in planner._fields
    assert id(models[1]) not in planner._fields


def test_a_refused_call_is_told_who_was_left_out() -> None:
    run = Tried(wishes=RoutingOptions(excluded_providers=("a",), tags=frozenset({"eu"})))
    assert planned(run) is not None
    plan = run.routes.planner.left_out(run.call)
    assert plan.targets == ()
    assert [(each.target.provider, each.eligible, each.reason) for each in plan.told()] == [
        ("a", False, "excluded by the request"),
        ("b", False, "lacks a tag of the request"),
    ]
