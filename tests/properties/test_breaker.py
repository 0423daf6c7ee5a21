"""Invariants 9 and 10 of the breaker, against a model that counts everything, in any order of events.

9.  Open: no call until its time. Half open: never more probes than permits, and all of them come back. From any state
    successes close it as time passes.
10. 4xx other than 408, 429 and callers who leave never open it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llmgateway_server.attempts.breaker import BUCKETS, Breaker, BreakerSettings, Permit, State, Verdict
from llmgateway_server.attempts.breaker_stage import BreakerStage, verdict_of
from llmgateway_server.attempts.breakers import Breakers
from llmgateway_server.attempts.meter import Meter
from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.errors import CallEndedError, GatewayError, UpstreamError
from llmgateway_server.core.events import Event, Finished, FinishReason, Started, TextDelta
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Opened, Reply
from llmgateway_server.observe.trace import NoTracing
from llmgateway_server.providers.faults import status_error
from llmgateway_server.testing.clock import ManualClock
from tests.unit.attempts.attempt_kit import Said, attempt_of

SETTINGS = st.builds(
    BreakerSettings,
    window_s=st.sampled_from([1.0, 10.0, 30.0]),
    min_calls=st.integers(1, 8),
    failure_rate=st.sampled_from([0.1, 0.5, 1.0]),
    consecutive_failures=st.integers(1, 6),
    slow_rate=st.sampled_from([0.5, 0.8, 1.0]),
    open_s=st.sampled_from([1.0, 30.0]),
    max_open_s=st.sampled_from([1.0, 60.0, 300.0]),
    half_open_calls=st.integers(1, 4),
    half_open_successes=st.integers(1, 4),
)


@dataclass(slots=True)
class Running:
    """A call that was let in, and in which era of the model."""

    permit: Permit
    era: int
    counted: bool = False


@dataclass(slots=True, frozen=True)
class Result:
    """A counted result."""

    bucket: int
    failed: bool
    slow: bool


class BreakerMachine(RuleBasedStateMachine):
    """Plays calls against a breaker and against a list of all that happened."""

    @initialize(given_settings=SETTINGS, seed=st.integers(0, 1000))
    def begin(self, given_settings: BreakerSettings, seed: int) -> None:
        self.settings = given_settings
        self.clock = ManualClock()
        self.breaker = Breaker(given_settings, self.clock, Random(seed))
        self.state = State.CLOSED
        self.era = 0
        self.opens = 0
        self.until_s = 0.0
        self.results: list[Result] = []
        self.in_a_row = 0
        self.probes_that_succeeded = 0
        self.running: list[Running] = []
        self.returned: list[Permit] = []

    # --- what can happen -----------------------------------------------------------------------------------------

    @rule()
    def enter(self) -> None:
        now_s = self.clock.monotonic_s()
        if self.state is State.OPEN and now_s >= self.until_s:
            self._model_becomes(State.HALF_OPEN)
        expected = self.state is State.CLOSED or (self.state is State.HALF_OPEN and self._free_places() > 0)
        promised = self.breaker.retry_at_s <= now_s
        permit = self.breaker.try_enter()
        assert (permit is not None) is expected is promised
        if permit is not None:
            self.running.append(Running(permit, self.era))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), verdict=st.sampled_from(Verdict), slow=st.booleans())
    def leave(self, data: st.DataObject, verdict: Verdict, slow: bool) -> None:
        call = data.draw(st.sampled_from(self.running))
        self.running.remove(call)
        self.returned.append(call.permit)
        self.breaker.leave(call.permit, verdict, slow=slow)
        failed = verdict is Verdict.FAILURE
        if call.era == self.era and verdict is not Verdict.NEUTRAL and (failed or not call.counted):
            self._model_counts(failed, slow)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), slow=st.booleans())
    def answer(self, data: st.DataObject, slow: bool) -> None:
        call = data.draw(st.sampled_from(self.running))
        self.breaker.answered(call.permit, slow=slow)
        if call.era == self.era and self.state is State.HALF_OPEN and not call.counted:
            call.counted = True
            self._model_counts(failed=False, slow=slow)

    @precondition(lambda self: self.returned)
    @rule(data=st.data(), verdict=st.sampled_from(Verdict))
    def leave_twice(self, data: st.DataObject, verdict: Verdict) -> None:
        permit = data.draw(st.sampled_from(self.returned))
        self.breaker.leave(permit, verdict)
        self.breaker.answered(permit)

    @rule(seconds=st.floats(0.0, 400.0))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.floats(-0.01, 0.01))
    def wait_for_its_time(self, seconds: float) -> None:
        self.clock.advance(max(0.0, self.breaker.retry_at_s + seconds - self.clock.monotonic_s()))

    # --- the model -----------------------------------------------------------------------------------------------

    def _free_places(self) -> int:
        return self.settings.half_open_calls - sum(call.era == self.era for call in self.running)

    def _model_counts(self, failed: bool, slow: bool) -> None:
        self.in_a_row = self.in_a_row + 1 if failed else 0
        if self.state is State.HALF_OPEN:
            if failed or slow:
                self._model_opens()
            else:
                self.probes_that_succeeded += 1
                if self.probes_that_succeeded >= self.settings.half_open_successes:
                    self.opens = 0
                    self._model_becomes(State.CLOSED)
            return
        self.results.append(Result(self._bucket(), failed, slow))
        if failed or slow:
            window = self._window()
            enough = len(window) >= self.settings.min_calls
            if (
                self.in_a_row >= self.settings.consecutive_failures
                or (enough and sum(each.failed for each in window) / len(window) >= self.settings.failure_rate)
                or (enough and sum(each.slow for each in window) / len(window) >= self.settings.slow_rate)
            ):
                self._model_opens()

    def _model_opens(self) -> None:
        self.opens += 1
        self._model_becomes(State.OPEN)
        usual_s = min(self.settings.max_open_s, self.settings.open_s * self.opens)
        self.until_s = self.breaker.retry_at_s
        assert 0.9 * usual_s - 1e-6 <= self.until_s - self.clock.monotonic_s() <= 1.1 * usual_s + 1e-6

    def _model_becomes(self, state: State) -> None:
        self.state = state
        self.era += 1
        self.probes_that_succeeded = 0
        if state is not State.OPEN:
            self.results.clear()
            self.in_a_row = 0

    def _bucket(self) -> int:
        return int(self.clock.monotonic_s() // (self.settings.window_s / BUCKETS))

    def _window(self) -> list[Result]:
        return [each for each in self.results if each.bucket > self._bucket() - BUCKETS]

    # --- what always holds ---------------------------------------------------------------------------------------

    @invariant()
    def states_are_equal(self) -> None:
        assert self.breaker.state is self.state
        assert self.breaker.opens == self.opens

    @invariant()
    def counts_are_equal(self) -> None:
        window = self._window()
        counts = len(window), sum(each.failed for each in window), sum(each.slow for each in window)
        assert self.breaker.counts() == counts

    @invariant()
    def places_and_probes_are_constant(self) -> None:
        assert self.breaker.in_flight == len(self.running)
        if self.state is State.HALF_OPEN:
            assert 0 <= self._free_places() <= self.settings.half_open_calls
            assert (self.breaker.retry_at_s <= self.clock.monotonic_s()) is (self._free_places() > 0)

    def teardown(self) -> None:
        """From wherever it is: what runs comes back, time passes, successes close it."""
        if not hasattr(self, "breaker"):
            return
        for call in self.running:
            self.breaker.leave(call.permit, Verdict.NEUTRAL)
        assert self.breaker.in_flight == 0
        for _ in range(self.settings.half_open_successes):
            self.clock.advance(max(0.0, self.breaker.retry_at_s - self.clock.monotonic_s()))
            permit = self.breaker.try_enter()
            assert permit is not None
            self.breaker.leave(permit, Verdict.SUCCESS)
        assert self.breaker.state is State.CLOSED


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


# --- 10 ----------------------------------------------------------------------------------------------------------

HARMLESS_STATUSES = sorted(set(range(400, 500)) - {408})
HARMLESS = st.one_of(
    st.sampled_from(HARMLESS_STATUSES).map(lambda status: status_error(status, {}, now_s=0.0)),
    st.sampled_from(sorted(CallEndedError.reasons)).map(CallEndedError),
    st.builds(
        UpstreamError,
        st.sampled_from(sorted(UpstreamError.reasons - {Reason.UPSTREAM_TIMEOUT})),
        http_status=st.sampled_from(HARMLESS_STATUSES),
    ),
    st.just(None),
)


@given(SETTINGS, st.lists(st.tuples(HARMLESS, st.floats(0.0, 5.0)), max_size=80))
def test_what_is_not_the_targets_fault_never_opens_it(
    given_settings: BreakerSettings, ends: list[tuple[GatewayError | None, float]]
) -> None:
    clock = ManualClock()
    breaker = Breaker(given_settings, clock, Random(1))
    for error, passed_s in ends:
        clock.advance(passed_s)
        permit = breaker.try_enter()
        assert permit is not None
        breaker.leave(permit, Verdict.SUCCESS if error is None else verdict_of(error, attempt_of()))
        assert breaker.state is State.CLOSED
    assert breaker.counts()[1] == 0


# --- the stage: attempts that run beside each other --------------------------------------------------------------

BEGIN: list[Event] = [Started("", "m"), TextDelta(0, "x")]
END: list[Event] = [Finished(FinishReason.STOP, "stop")]
STEPS = st.lists(
    st.tuples(st.sampled_from(["open", "read", "fail", "cancel", "leave", "wait"]), st.integers(0, 100)), max_size=60
)


class _Upstream:
    """Counts who is asked at the same time."""

    def __init__(self) -> None:
        self.asked = 0

    def open(self, attempt: Attempt) -> Opened:
        attempt.request_sent = True
        self.asked += 1
        return Said([BEGIN, END]).open(attempt)


@pytest.mark.parametrize("half_open", [False, True])
@given(steps=STEPS)
@settings(deadline=None)
def test_whatever_becomes_of_attempts_their_permits_come_back(half_open: bool, steps: list[tuple[str, int]]) -> None:
    asyncio.run(_play(steps, half_open=half_open))


async def _play(steps: list[tuple[str, int]], *, half_open: bool) -> None:
    clock, upstream = ManualClock(), _Upstream()
    breakers = Breakers(BreakerSettings(consecutive_failures=3, half_open_successes=3), clock, Random(1))
    stage, meter = BreakerStage(breakers), Meter(clock, NoTracing())
    breaker = breakers.of(attempt_of().target)
    if half_open:
        for _ in range(3):
            permit = breaker.try_enter()
            assert permit is not None
            breaker.leave(permit, Verdict.FAILURE)
        clock.advance(60.0)
    running: list[tuple[Opened, Reply]] = []

    async def close(which: int, error: BaseException | None) -> None:
        opened, _ = running.pop(which % len(running))
        with suppress(GatewayError, asyncio.CancelledError):
            await opened.__aexit__(type(error) if error else None, error, None)

    for step, which in steps:
        if step == "wait":
            clock.advance(float(which))
        elif step == "open":
            asked, allowed = upstream.asked, breaker.retry_at_s <= clock.monotonic_s()
            opened = meter.open(attempt_of(), lambda attempt: stage.open(attempt, upstream.open))
            with suppress(UpstreamError):
                running.append((opened, await opened.__aenter__()))
            assert (upstream.asked > asked) is allowed
        elif running and step == "read":
            with suppress(StopAsyncIteration):
                await running[which % len(running)][1].__anext__()
        elif running:
            ends = {"fail": UpstreamError(Reason.UPSTREAM_RESET), "cancel": asyncio.CancelledError()}
            await close(which, ends.get(step))
        assert breaker.in_flight == len(running)
    while running:
        await close(0, None)
    assert breaker.in_flight == 0
