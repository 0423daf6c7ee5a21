"""The stage: which results are judged how, what is refused, and that every permit comes back."""

from __future__ import annotations

import ast
import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

import llmgateway_server
from llmgateway_server.attempts.breaker import BreakerSettings, State, Verdict
from llmgateway_server.attempts.breaker_stage import VERDICTS, BreakerStage, verdict_of
from llmgateway_server.attempts.breakers import Breakers
from llmgateway_server.attempts.meter import Meter
from llmgateway_server.core.calls import Attempt, AttemptRecord, Outcome
from llmgateway_server.core.errors import (
    AccessError,
    CallEndedError,
    DefectError,
    GatewayError,
    RequestError,
    ShedError,
    UpstreamError,
)
from llmgateway_server.core.events import Event, Finished, FinishReason, Started, TextDelta
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import OpenAttempt, Opened, Reply
from llmgateway_server.core.targets import Target
from llmgateway_server.observe.trace import NoTracing
from llmgateway_server.providers.faults import status_error
from llmgateway_server.testing.clock import ManualClock
from tests.unit.attempts.attempt_kit import Said, attempt_of

ROOT = Path(llmgateway_server.__file__).parent
DOCS = ROOT.parents[1] / "docs" / "breakers.md"
BEGIN: list[Event] = [Started("", "m"), TextDelta(0, "x")]
END: list[Event] = [Finished(FinishReason.STOP, "stop")]


class Ring:
    """Meter and breaker, as in the attempt ring.

    Args:
        settings: of the breakers.
    """

    def __init__(self, **settings: float) -> None:
        self.clock = ManualClock()
        self.breakers = Breakers(BreakerSettings.model_validate(settings), self.clock, Random(1))
        self._stage = BreakerStage(self.breakers)
        self._meter = Meter(self.clock, NoTracing())

    def state(self) -> State:
        return self.breakers.of(attempt_of().target).state

    @property
    def in_flight(self) -> int:
        return self.breakers.of(attempt_of().target).in_flight

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.breakers.of(attempt_of().target).counts()

    def open(self, attempt: Attempt, following: OpenAttempt) -> Opened:
        return self._meter.open(attempt, lambda inner: self._stage.open(inner, following))

    async def read(self, *batches: list[Event] | Exception, attempt: Attempt | None = None) -> GatewayError | None:
        """Plays one attempt to its end and returns what it failed with."""
        attempt = attempt or sent()
        try:
            async with self.open(attempt, Said(batches).open) as reply:
                async for _ in reply:
                    pass
        except GatewayError as error:
            return error
        return None

    async def fail(self, times: int = 5) -> None:
        for _ in range(times):
            assert await self.read(UpstreamError(Reason.UPSTREAM_RESET)) is not None

    async def half_open(self) -> None:
        """Waits until the next attempt is a probe."""
        await self.fail()
        self.clock.advance(self.breakers.retry_in_s(attempt_of().target))


def sent(*, streaming: bool = True) -> Attempt:
    attempt = attempt_of(streaming=streaming)
    attempt.request_sent = True
    return attempt


def raised_on_opening(error: BaseException) -> OpenAttempt:
    @asynccontextmanager
    async def opened(attempt: Attempt) -> AsyncIterator[Reply]:
        raise error
        yield  # type: ignore[unreachable]

    return opened


# --- the table ---------------------------------------------------------------------------------------------------


def reasons_in(*rooms: str) -> set[Reason]:
    """Returns the reasons that the source of some rooms names."""
    names = set()
    for room in rooms:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Reason":
                    names.add(node.attr)
    return {Reason[name] for name in names}


def test_every_reason_that_ends_an_attempt_has_a_verdict() -> None:
    raised = reasons_in("attempts", "providers") | UpstreamError.reasons | CallEndedError.reasons | DefectError.reasons
    assert raised - {Reason.NO_HEALTHY_PROVIDER} - VERDICTS.keys() == set(), "only a plan ends with that one"


def test_reasons_that_no_attempt_ends_with_have_none() -> None:
    before = AccessError.reasons | (ShedError.reasons - {Reason.SERVER_DRAINING}) | {Reason.NO_HEALTHY_PROVIDER}
    assert before & VERDICTS.keys() == set()


def test_the_page_says_the_same() -> None:
    page = DOCS.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \*\*(\w+)\*\* \| ([A-Z_, ]+?) \|", page, re.MULTILINE))
    assert {verdict: set(names.split(", ")) for verdict, names in rows.items()} == {
        verdict.value: {reason.value for reason, each in VERDICTS.items() if each is verdict} for verdict in Verdict
    }


STATUSES = {
    **dict.fromkeys((400, 413, 422), Verdict.SUCCESS),
    **dict.fromkeys((401, 402, 403, 404, 405, 409, 410, 418, 425, 429, 431, 451, 499), Verdict.NEUTRAL),
    **dict.fromkeys((301, 302, 307, 408, 500, 501, 502, 503, 504, 505, 520, 529, 599), Verdict.FAILURE),
}


@pytest.mark.parametrize(("status", "verdict"), STATUSES.items())
def test_what_a_status_says(status: int, verdict: Verdict) -> None:
    assert verdict_of(status_error(status, {}, now_s=0.0), attempt_of()) is verdict


def test_every_4xx_but_408_never_counts_as_a_failure() -> None:
    for status in set(range(400, 500)) - {408}:
        assert verdict_of(status_error(status, {}, now_s=0.0), attempt_of()) is not Verdict.FAILURE


@pytest.mark.parametrize("reason", UpstreamError.reasons - {Reason.UPSTREAM_TIMEOUT})
def test_a_4xx_is_no_failure_whatever_its_body_says(reason: Reason) -> None:
    assert verdict_of(UpstreamError(reason, http_status=400), attempt_of()) is not Verdict.FAILURE


def again_after(status: int, earlier: Reason, earlier_status: int | None, at: Target | None = None) -> Verdict:
    attempt = attempt_of()
    before = AttemptRecord(1, at or attempt.target, Outcome.FAILED, earlier, earlier_status)
    attempt.call.attempts = [before, attempt.record]
    attempt.record.reason, attempt.record.http_status = earlier, earlier_status  # its own record is no other attempt
    return verdict_of(status_error(status, {}, now_s=0.0), attempt)


def test_the_same_5xx_again_in_one_call_may_be_the_requests_fault() -> None:
    target = attempt_of().target
    assert again_after(500, Reason.UPSTREAM_ERROR, 500) is Verdict.NEUTRAL
    assert again_after(502, Reason.UPSTREAM_ERROR, 500) is Verdict.FAILURE
    assert again_after(500, Reason.UPSTREAM_RESET, None) is Verdict.FAILURE
    assert again_after(500, Reason.UPSTREAM_ERROR, 500, replace(target, provider="another account")) is Verdict.NEUTRAL
    assert again_after(500, Reason.UPSTREAM_ERROR, 500, replace(target, vendor="another body")) is Verdict.FAILURE
    assert (
        again_after(500, Reason.UPSTREAM_ERROR, 500, replace(target, upstream_model="another body")) is Verdict.FAILURE
    )


def test_an_overload_is_not() -> None:
    assert again_after(503, Reason.UPSTREAM_OVERLOADED, 503) is Verdict.FAILURE


def test_errors_in_a_stream_have_no_status_to_compare() -> None:
    attempt = attempt_of()
    attempt.call.attempts = [AttemptRecord(1, attempt.target, Outcome.FAILED, Reason.UPSTREAM_ERROR), attempt.record]
    assert verdict_of(UpstreamError(Reason.UPSTREAM_ERROR), attempt) is Verdict.FAILURE


# --- what counts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streaming", [True, False])
async def test_an_answer_is_a_success(streaming: bool) -> None:
    ring = Ring()
    assert await ring.read(BEGIN, END, attempt=sent(streaming=streaming)) is None
    assert ring.counts == (1, 0, 0)


@pytest.mark.parametrize("where", ["opening", "before", "after"])
async def test_a_failure_counts_wherever_it_happens(where: str) -> None:
    ring = Ring()
    error = UpstreamError(Reason.UPSTREAM_RESET)
    if where == "opening":
        with pytest.raises(UpstreamError):
            await ring.open(sent(), raised_on_opening(error)).__aenter__()
    else:
        assert await ring.read(*([BEGIN] if where == "after" else []), error) is error
    assert ring.counts == (1, 1, 0)
    assert ring.in_flight == 0


async def test_an_answer_for_which_nobody_was_asked_says_nothing() -> None:
    ring = Ring()
    assert await ring.read(BEGIN, END, attempt=attempt_of()) is None
    assert ring.counts == (0, 0, 0)


async def test_a_reply_that_was_left_early_says_nothing() -> None:
    ring = Ring()
    async with ring.open(sent(), Said([BEGIN, END]).open) as reply:
        await reply.__anext__()
    assert ring.counts == (0, 0, 0)
    assert ring.in_flight == 0


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), GeneratorExit(), ValueError(), CallEndedError(Reason.SLOW_CONSUMER)]
)
@pytest.mark.parametrize("opened", [False, True])
async def test_what_is_not_the_targets_end_says_nothing(error: BaseException, opened: bool) -> None:
    ring = Ring()
    following = Said([BEGIN, END]).open if opened else raised_on_opening(error)
    with suppress(type(error)):
        async with ring.open(sent(), following) as reply:
            await reply.__anext__()
            raise error
    assert ring.counts == (0, 0, 0)
    assert ring.in_flight == 0


async def test_a_caller_who_leaves_after_the_last_event_does_not_unmake_the_success() -> None:
    ring = Ring()
    with suppress(asyncio.CancelledError):
        async with ring.open(sent(), Said([BEGIN, END]).open) as reply:
            await reply.__anext__()
            await reply.__anext__()
            raise asyncio.CancelledError
    assert ring.counts == (1, 0, 0)


async def late(ring: Ring, first_token_s: float, attempt: Attempt) -> None:
    async with ring.open(attempt, Said([BEGIN, END]).open) as reply:
        ring.clock.advance(first_token_s)
        async for _ in reply:
            pass


@pytest.mark.parametrize(("streaming", "first_token_s", "slow"), [(True, 9.0, 0), (True, 11.0, 1), (False, 11.0, 0)])
async def test_a_late_first_token_makes_a_stream_slow(streaming: bool, first_token_s: float, slow: int) -> None:
    ring = Ring(slow_first_token_s=10.0)
    await late(ring, first_token_s, sent(streaming=streaming))
    assert ring.counts == (1, 0, slow)


@pytest.mark.parametrize(
    ("batches", "status", "counts"),
    [([], None, (1, 1, 1)), ([BEGIN], None, (1, 1, 0)), ([], 504, (1, 1, 0))],
    ids=["no first token", "after it", "said by a status"],
)
async def test_a_timeout_is_a_failure_and_slow_before_the_first_token(
    batches: list[list[Event]], status: int | None, counts: tuple[int, int, int]
) -> None:
    ring = Ring()
    await ring.read(*batches, UpstreamError(Reason.UPSTREAM_TIMEOUT, http_status=status))
    assert ring.counts == counts


@pytest.mark.parametrize(
    ("batches", "reason", "status", "fair", "failures"),
    [
        ([], Reason.UPSTREAM_TIMEOUT, None, True, 1),
        ([], Reason.UPSTREAM_TIMEOUT, None, False, 0),
        ([], Reason.UPSTREAM_TIMEOUT, 504, False, 1),
        ([BEGIN], Reason.UPSTREAM_TIMEOUT, None, False, 1),
        ([], Reason.UPSTREAM_RESET, None, False, 1),
    ],
    ids=["fair share", "short share", "said by a status", "after the first token", "not about time"],
)
async def test_a_share_that_was_merely_short_says_nothing(
    batches: list[list[Event]], reason: Reason, status: int | None, fair: bool, failures: int
) -> None:
    ring, attempt = Ring(), sent()
    attempt.fair_share = fair
    await ring.read(*batches, UpstreamError(reason, http_status=status), attempt=attempt)
    assert ring.counts[1] == failures


# --- refusing ----------------------------------------------------------------------------------------------------


async def test_an_open_breaker_refuses_before_anything_is_opened() -> None:
    ring = Ring()
    await ring.fail()
    ring.clock.advance(10.0)
    attempt, opened = sent(), list[Attempt]()

    def following(inner: Attempt) -> Opened:
        opened.append(inner)
        return Said([]).open(inner)

    with pytest.raises(GatewayError) as caught:
        await ring.open(attempt, following).__aenter__()
    assert opened == []
    error = caught.value
    assert (error.reason, error.slots) == (Reason.CIRCUIT_OPEN, {"provider": "p", "model": "upstream-1"})
    assert error.retry_after_s is not None
    assert 17.0 <= error.retry_after_s <= 23.0
    assert (attempt.record.outcome, attempt.record.reason) == (Outcome.SHED, Reason.CIRCUIT_OPEN)
    assert ring.in_flight == 0


async def test_its_own_refusals_do_not_keep_it_open() -> None:
    ring = Ring()
    await ring.fail()
    until_s = ring.breakers.retry_in_s(attempt_of().target)
    for _ in range(100):
        refused = await ring.read(BEGIN, END)
        assert refused is not None
        assert refused.reason is Reason.CIRCUIT_OPEN
    assert ring.breakers.retry_in_s(attempt_of().target) == until_s
    ring.clock.advance(until_s)
    assert await ring.read(BEGIN, END) is None


async def test_two_streams_that_begin_close_it_before_they_end() -> None:
    ring = Ring()
    await ring.half_open()
    streams = [ring.open(sent(), Said([[Started("", "m")], BEGIN, END]).open) for _ in range(2)]
    replies = [await stream.__aenter__() for stream in streams]
    for reply in replies:
        await reply.__anext__()
    assert ring.state() is State.HALF_OPEN, "an event without content proves nothing"
    for reply in replies:
        await reply.__anext__()
    assert ring.state() is State.CLOSED
    for stream in streams:
        await stream.__aexit__(None, None, None)
    assert ring.in_flight == 0


async def test_a_probe_that_breaks_after_its_first_token_opens_it_again() -> None:
    ring = Ring()
    await ring.half_open()
    await ring.read(BEGIN, UpstreamError(Reason.UPSTREAM_STREAM_INTERRUPTED))
    assert ring.state() is State.OPEN


async def test_a_probe_that_begins_too_late_opens_it_again() -> None:
    ring = Ring(slow_first_token_s=10.0)
    await ring.half_open()
    await late(ring, 11.0, sent())
    assert ring.state() is State.OPEN


async def test_whole_replies_close_it_when_they_end() -> None:
    ring = Ring()
    await ring.half_open()
    for state in (State.HALF_OPEN, State.CLOSED):
        assert await ring.read([*BEGIN, *END], attempt=sent(streaming=False)) is None
        assert ring.state() is state


async def test_a_429_gives_its_place_back() -> None:
    ring = Ring()
    await ring.half_open()
    for _ in range(20):
        error = await ring.read(status_error(429, {}, now_s=0.0))
        assert error is not None
        assert error.reason is Reason.UPSTREAM_RATE_LIMITED
    assert ring.state() is State.HALF_OPEN


# --- cost --------------------------------------------------------------------------------------------------------


class _Nothing:
    async def __aenter__(self) -> Reply:
        return Said([])

    async def __aexit__(self, *error: object) -> None:
        return None


async def test_it_costs_little_while_closed() -> None:
    """About 2.5 µs on the machine where it was written; the bound only catches another order of magnitude."""
    nothing, attempt = _Nothing(), sent()
    attempt.record.outcome = Outcome.SUCCEEDED
    stage = BreakerStage(Ring().breakers)

    async def best_s(open_one: Callable[[], Opened]) -> float:
        best = float("inf")
        for _ in range(10):
            began = time.perf_counter()
            for _ in range(1000):
                async with open_one():
                    pass
            best = min(best, (time.perf_counter() - began) / 1000)
        return best

    bare_s = await best_s(lambda: nothing)
    assert await best_s(lambda: stage.open(attempt, lambda _: nothing)) - bare_s < 30e-6


def test_requests_that_are_at_fault_never_count() -> None:
    for reason in RequestError.reasons & VERDICTS.keys():
        assert VERDICTS[reason] is not Verdict.FAILURE
