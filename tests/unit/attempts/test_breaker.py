"""The state machine of one breaker: what opens it, for how long, and what closes it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.attempts.breaker import (
    BUCKETS,
    BUSY_S,
    JITTER,
    Breaker,
    BreakerSettings,
    Cause,
    Permit,
    State,
    Verdict,
    Window,
)
from llmgateway_server.core.reasons import Reason
from llmgateway_server.testing.clock import ManualClock

S, F, N = Verdict.SUCCESS, Verdict.FAILURE, Verdict.NEUTRAL


class Rig:
    """A breaker, its clock, and what it told of its transitions."""

    def __init__(self, **settings: float) -> None:
        self.clock = ManualClock()
        self.settings = BreakerSettings.model_validate(settings)
        self.changes: list[tuple[State, Cause | None]] = []
        self.breaker = Breaker(
            self.settings, self.clock, Random(1), lambda each: self.changes.append((each.state, each.cause))
        )

    def state(self) -> State:
        return self.breaker.state

    def blank(self) -> bool:
        return self.breaker.blank

    def enter(self) -> Permit:
        permit = self.breaker.try_enter()
        assert permit is not None
        return permit

    def calls(self, *verdicts: Verdict, slow: bool = False) -> None:
        for verdict in verdicts:
            self.breaker.leave(self.enter(), verdict, slow=slow, reason=Reason.UPSTREAM_ERROR)

    def open(self) -> None:
        self.calls(*[F] * self.settings.consecutive_failures)
        assert self.state() is State.OPEN

    def wait(self) -> None:
        """Waits until the next call is let in."""
        self.clock.advance(max(0.0, self.breaker.retry_at_s - self.clock.monotonic_s()))


# --- what opens it -----------------------------------------------------------------------------------------------


def test_it_is_closed_at_first() -> None:
    rig = Rig()
    assert (rig.breaker.state, rig.breaker.cause) == (State.CLOSED, None)
    assert rig.breaker.retry_at_s <= rig.clock.monotonic_s()


def test_five_failures_in_a_row_open_it_however_long_that_takes() -> None:
    rig = Rig()
    for _ in range(4):
        rig.calls(F)
        rig.clock.advance(3600)
    assert rig.state() is State.CLOSED
    rig.calls(F)
    assert rig.changes == [(State.OPEN, Cause.CONSECUTIVE_FAILURES)]
    assert rig.breaker.last_reason is Reason.UPSTREAM_ERROR


def test_a_success_ends_a_row_and_a_neutral_result_does_not() -> None:
    rig = Rig()
    rig.calls(F, F, F, F, S, F, F, F, F)
    assert rig.state() is State.CLOSED
    rig.calls(N, F)
    assert rig.state() is State.OPEN


@pytest.mark.parametrize(("failures", "successes", "opens"), [(10, 10, True), (9, 11, False), (9, 10, False)])
def test_half_of_twenty_calls_open_it(failures: int, successes: int, opens: bool) -> None:
    rig = Rig(consecutive_failures=100)
    rig.calls(*[S] * successes, *[F] * failures)
    assert rig.changes == ([(State.OPEN, Cause.FAILURE_RATE)] if opens else [])


def test_a_success_never_opens_it() -> None:
    rig = Rig(consecutive_failures=100)
    rig.calls(*[F] * 19, S)
    assert rig.state() is State.CLOSED
    rig.calls(F)
    assert rig.state() is State.OPEN


def test_neutral_results_are_no_calls_of_the_window() -> None:
    rig = Rig(consecutive_failures=100)
    rig.calls(*[F] * 19, *[N] * 100)
    assert rig.breaker.counts() == (19, 19, 0)
    assert rig.state() is State.CLOSED


def test_what_is_older_than_the_window_does_not_count() -> None:
    rig = Rig(consecutive_failures=100)
    rig.calls(*[F] * 19)
    rig.clock.advance(30.0)
    rig.calls(F)
    assert rig.breaker.counts() == (1, 1, 0)
    assert rig.state() is State.CLOSED


@pytest.mark.parametrize(("slow", "fast", "opens"), [(16, 4, True), (15, 5, False), (19, 0, False)])
def test_four_fifths_of_twenty_calls_that_are_slow_open_it(slow: int, fast: int, opens: bool) -> None:
    rig = Rig()
    rig.calls(*[S] * fast)
    rig.calls(*[S] * slow, slow=True)
    assert rig.changes == ([(State.OPEN, Cause.SLOW_RATE)] if opens else [])


# --- how long it stays open --------------------------------------------------------------------------------------


def test_an_open_one_lets_nothing_in_until_its_time() -> None:
    rig = Rig()
    rig.open()
    left_s = rig.breaker.retry_at_s - rig.clock.monotonic_s()
    assert 27.0 <= left_s <= 33.0
    rig.clock.advance(left_s - 0.001)
    assert rig.breaker.try_enter() is None
    assert rig.state() is State.OPEN
    rig.clock.advance(0.002)
    assert rig.breaker.try_enter() is not None
    assert rig.changes[-1] == (State.HALF_OPEN, Cause.TIME_PASSED)


def test_each_opening_in_a_row_lasts_longer_up_to_a_bound() -> None:
    rig = Rig()
    rig.open()
    for opening in range(1, 15):
        left_s = rig.breaker.retry_at_s - rig.clock.monotonic_s()
        usual_s = min(300.0, 30.0 * opening)
        assert usual_s * (1 - JITTER) <= left_s <= usual_s * (1 + JITTER)
        assert rig.breaker.opens == opening
        rig.wait()
        rig.calls(F)
        assert rig.changes[-1] == (State.OPEN, Cause.PROBE_FAILED)


def test_a_close_ends_the_row_of_openings() -> None:
    rig = Rig()
    rig.open()
    rig.wait()
    rig.calls(F)
    rig.wait()
    rig.calls(S, S)
    assert (rig.breaker.state, rig.breaker.opens) == (State.CLOSED, 0)
    rig.open()
    assert rig.breaker.retry_at_s - rig.clock.monotonic_s() <= 33.0


def test_several_gateways_do_not_come_back_together() -> None:
    ends = set()
    for seed in range(20):
        breaker = Breaker(BreakerSettings(consecutive_failures=1), ManualClock(), Random(seed))
        permit = breaker.try_enter()
        assert permit is not None
        breaker.leave(permit, F)
        ends.add(breaker.retry_at_s)
    assert len(ends) == 20


def test_an_open_one_shows_what_opened_it() -> None:
    rig = Rig()
    rig.calls(S)
    rig.open()
    assert rig.breaker.counts() == (6, 5, 0)
    assert rig.breaker.consecutive_failures == 5
    rig.wait()
    rig.calls(S, S)
    assert rig.breaker.counts() == (0, 0, 0)
    assert rig.breaker.consecutive_failures == 0


# --- half open ---------------------------------------------------------------------------------------------------


def half_open(**settings: float) -> Rig:
    rig = Rig(**settings)
    rig.open()
    rig.wait()
    return rig


def test_three_may_try_at_once() -> None:
    rig = half_open()
    permits = [rig.enter() for _ in range(3)]
    assert rig.breaker.try_enter() is None
    assert rig.breaker.retry_at_s == rig.clock.monotonic_s() + BUSY_S
    rig.breaker.leave(permits[0], N)
    assert rig.breaker.retry_at_s <= rig.clock.monotonic_s()
    assert rig.breaker.try_enter() is not None


def test_two_successes_close_it() -> None:
    rig = half_open()
    rig.calls(S)
    assert rig.state() is State.HALF_OPEN
    rig.calls(S)
    assert rig.changes[-1] == (State.CLOSED, Cause.PROBES_SUCCEEDED)
    assert all(rig.breaker.try_enter() for _ in range(100))


def test_one_failure_opens_it_also_after_a_success() -> None:
    rig = half_open()
    rig.calls(S, F)
    assert rig.changes[-1] == (State.OPEN, Cause.PROBE_FAILED)


def test_a_slow_success_is_a_failure_of_a_probe() -> None:
    rig = half_open()
    rig.calls(S, slow=True)
    assert rig.changes[-1] == (State.OPEN, Cause.PROBE_FAILED)


def test_neutral_results_give_their_places_back_and_decide_nothing() -> None:
    """Otherwise three calls that a limit refuses would lock the target out for ever."""
    rig = half_open()
    rig.calls(*[N] * 50)
    assert rig.state() is State.HALF_OPEN
    rig.calls(S, N, N, N, S)
    assert rig.state() is State.CLOSED


def test_a_probe_that_answers_counts_before_its_end() -> None:
    rig = half_open()
    streams = [rig.enter() for _ in range(3)]
    rig.breaker.answered(streams[0])
    rig.breaker.answered(streams[0])
    assert rig.state() is State.HALF_OPEN
    assert rig.breaker.try_enter() is None, "its place stays taken"
    rig.breaker.answered(streams[1])
    assert rig.state() is State.CLOSED


def test_its_end_counts_no_second_success() -> None:
    rig = half_open()
    stream = rig.enter()
    rig.breaker.answered(stream)
    rig.breaker.leave(stream, S)
    assert rig.state() is State.HALF_OPEN


def test_a_failure_after_its_first_answer_opens_it() -> None:
    rig = half_open()
    stream = rig.enter()
    rig.breaker.answered(stream)
    rig.breaker.leave(stream, F)
    assert rig.state() is State.OPEN


def test_a_probe_that_answers_late_opens_it() -> None:
    rig = half_open()
    rig.breaker.answered(rig.enter(), slow=True)
    assert rig.state() is State.OPEN


def test_the_answers_of_usual_calls_count_at_their_end_alone() -> None:
    rig = Rig()
    rig.calls(F)
    permit = rig.enter()
    rig.breaker.answered(permit)
    assert rig.breaker.counts() == (1, 1, 0)
    rig.breaker.leave(permit, S)
    assert rig.breaker.counts() == (2, 1, 0)


# --- generations and permits -------------------------------------------------------------------------------------


def test_results_from_before_a_transition_are_ignored() -> None:
    rig = Rig()
    old = [rig.enter() for _ in range(10)]
    rig.open()
    rig.breaker.leave(old[0], S)
    rig.breaker.leave(old[1], F)
    assert (rig.breaker.state, rig.breaker.opens) == (State.OPEN, 1)
    rig.wait()
    probes = [rig.enter(), rig.enter()]
    rig.breaker.leave(old[2], F)
    rig.breaker.leave(old[3], S)
    rig.breaker.leave(old[4], S)
    assert rig.state() is State.HALF_OPEN
    assert rig.breaker.try_enter() is not None
    assert rig.breaker.try_enter() is None, "an old call does not give back a place that it never had"
    for probe in probes:
        rig.breaker.leave(probe, S)
    for each in old[5:]:
        rig.breaker.leave(each, F)
    assert rig.state() is State.CLOSED
    assert rig.breaker.counts() == (0, 0, 0)


def test_a_permit_is_given_back_once() -> None:
    rig = half_open()
    permit = rig.enter()
    rig.breaker.leave(permit, S)
    rig.breaker.leave(permit, S)
    rig.breaker.answered(permit)
    assert rig.state() is State.HALF_OPEN
    assert rig.breaker.in_flight == 0
    assert [rig.breaker.try_enter() is not None for _ in range(4)] == [True, True, True, False]


def test_it_is_blank_when_nothing_would_be_lost_with_it() -> None:
    rig = Rig()
    assert rig.blank()
    rig.calls(*[S] * 10)
    assert rig.blank()
    rig.calls(F, S)
    assert not rig.blank()
    rig.clock.advance(30.0)
    assert rig.blank()
    rig.open()
    assert not rig.blank()
    rig.wait()
    rig.calls(S, S)
    assert rig.blank()


# --- the window against a list of everything ---------------------------------------------------------------------

STEPS = st.lists(st.tuples(st.floats(0.0, 40.0), st.booleans(), st.booleans()), max_size=60)


@given(length_s=st.floats(1.0, 100.0), steps=STEPS)
def test_the_window_holds_its_last_ten_buckets(length_s: float, steps: list[tuple[float, bool, bool]]) -> None:
    window, now_s, added = Window(length_s), 1000.0, list[tuple[int, bool, bool]]()
    bucket_s = length_s / BUCKETS
    for passed_s, failed, slow in steps:
        now_s += passed_s
        window.roll(now_s)
        window.add(failed=failed, slow=slow)
        at = int(now_s // bucket_s)
        added.append((at, failed, slow))
        kept = [each for each in added if each[0] > at - BUCKETS]
        assert (window.calls, window.failures, window.slow) == (
            len(kept),
            sum(each[1] for each in kept),
            sum(each[2] for each in kept),
        )


def test_a_clock_that_goes_back_changes_nothing() -> None:
    window = Window(30.0)
    window.roll(1000.0)
    window.add(failed=True, slow=False)
    window.roll(1.0)
    window.add(failed=True, slow=False)
    assert window.failures == 2


@pytest.mark.parametrize(
    "name", ["window_s", "failure_rate", "slow_rate", "open_s", "max_open_s", "slow_first_token_s"]
)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0])
def test_settings_that_mean_nothing_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        BreakerSettings.model_validate({name: value})
