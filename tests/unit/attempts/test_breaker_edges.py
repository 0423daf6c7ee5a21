"""The breaker at its edges: settings at their bounds, words that people read, generations, and who is forgotten."""

from __future__ import annotations

from random import Random

import pytest
import structlog.testing
from pydantic import ValidationError

from llmgateway_server.attempts import breaker, per_target
from llmgateway_server.attempts.breaker import Breaker, BreakerSettings, Cause, State, Verdict
from llmgateway_server.attempts.breaker_stage import BreakerStage, verdict_of
from llmgateway_server.attempts.breakers import Breakers
from llmgateway_server.attempts.per_target import PerTarget, TargetKey
from llmgateway_server.core.calls import AttemptRecord
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Finished, FinishReason, TextDelta
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.targets import Target
from llmgateway_server.testing.clock import ManualClock
from tests.unit.attempts.attempt_kit import Said, attempt_of

S, F = Verdict.SUCCESS, Verdict.FAILURE
LEAST = 1e-9


@pytest.mark.parametrize(
    ("name", "usual", "least", "most", "below"),
    [
        ("window_s", 30.0, 1, 3600, 0.99),
        ("min_calls", 20, 1, 100_000, 0),
        ("failure_rate", 0.5, LEAST, 1, 0),
        ("consecutive_failures", 5, 1, 100_000, 0),
        ("slow_first_token_s", 30.0, LEAST, 3600, 0),
        ("slow_rate", 0.8, LEAST, 1, 0),
        ("open_s", 30.0, LEAST, 3600, 0),
        ("max_open_s", 300.0, LEAST, 86_400, 0),
        ("half_open_calls", 3, 1, 1000, 0),
        ("half_open_successes", 2, 1, 1000, 0),
    ],
)
def test_what_can_be_set(name: str, usual: float, least: float, most: float, below: float) -> None:
    assert getattr(BreakerSettings(), name) == usual
    for value in (least, most):
        assert getattr(BreakerSettings.model_validate({name: value}), name) == value
    for value in (below, most + 1):
        with pytest.raises(ValidationError):
            BreakerSettings.model_validate({name: value})
        if name.endswith(("_s", "_rate")):
            with pytest.raises(ValidationError):
                BreakerSettings.model_validate({name: most + 0.01})


def test_settings_are_on_closed_to_strangers_and_do_not_change() -> None:
    settings = BreakerSettings()
    assert settings.enabled is True
    with pytest.raises(ValidationError):
        BreakerSettings.model_validate({"unknown": 1})
    with pytest.raises(ValidationError):
        settings.enabled = False  # type: ignore[misc]


def test_words_and_figures_that_people_read() -> None:
    assert [each.value for each in State] == ["closed", "open", "half_open"]
    assert [each.value for each in Verdict] == ["success", "failure", "neutral"]
    assert [each.value for each in Cause] == [
        "consecutive_failures",
        "failure_rate",
        "slow_rate",
        "probe_failed",
        "time_passed",
        "probes_succeeded",
    ]
    assert (breaker.BUCKETS, breaker.JITTER, breaker.BUSY_S) == (10, 0.1, 1.0)
    assert (per_target.MAX_KEPT, per_target.LOOKS) == (1024, 16)


def of(clock: ManualClock, **settings: float) -> Breaker:
    return Breaker(BreakerSettings.model_validate(settings), clock, Random(1))


def call(one: Breaker, verdict: Verdict, *, slow: bool = False, reason: Reason | None = None) -> None:
    permit = one.try_enter()
    assert permit is not None
    one.leave(permit, verdict, slow=slow, reason=reason)


def test_a_new_one_is_blank() -> None:
    clock = ManualClock()
    one = of(clock)
    assert (one.state, one.cause, one.opens, one.consecutive_failures) == (State.CLOSED, None, 0, 0)
    assert (one.last_reason, one.in_flight, one.counts(), one.since_s) == (None, 0, (0, 0, 0), clock.monotonic_s())
    assert one.blank
    assert not one.in_use
    assert one.retry_at_s == clock.monotonic_s()


def test_a_failure_and_a_slow_call_each_leave_a_trace() -> None:
    one = of(ManualClock())
    call(one, F, reason=Reason.UPSTREAM_RESET)
    assert (one.blank, one.counts(), one.last_reason) == (False, (1, 1, 0), Reason.UPSTREAM_RESET)
    call(one, S)
    assert (one.blank, one.counts(), one.last_reason) == (False, (2, 1, 0), Reason.UPSTREAM_RESET)
    other = of(ManualClock())
    call(other, S, slow=True)
    assert (other.blank, other.counts()) == (False, (1, 0, 1))


def test_a_success_forgives_the_row_but_not_the_rate() -> None:
    one = of(ManualClock(), consecutive_failures=3, min_calls=6, failure_rate=0.6)
    for verdict in (F, F, S, F, F):
        call(one, verdict)
    assert one.state is State.CLOSED  # 4 of 5, but fewer calls than are judged
    call(one, S)
    assert one.state is State.CLOSED  # 4 of 6: a success is no moment to open
    call(one, F)
    assert (one.state, one.cause) == (State.OPEN, Cause.FAILURE_RATE)


def test_slow_calls_open_it_at_their_rate_and_not_below() -> None:
    one = of(ManualClock(), min_calls=4, slow_rate=0.75)
    for slow in (False, True, True):
        call(one, S, slow=slow)
    assert one.state is State.CLOSED
    call(one, S, slow=True)
    assert (one.state, one.cause, one.counts()) == (State.OPEN, Cause.SLOW_RATE, (4, 0, 3))
    below = of(ManualClock(), min_calls=4, slow_rate=0.75)
    for slow in (False, False, True, True):
        call(below, S, slow=slow)
    assert below.state is State.CLOSED


def test_half_open_places_come_back_and_are_not_more_than_set() -> None:
    clock = ManualClock()
    one = of(clock, consecutive_failures=1, half_open_calls=2, half_open_successes=2, open_s=10)
    call(one, F)
    assert 9.0 <= one.retry_at_s - clock.monotonic_s() <= 11.0
    clock.advance(one.retry_at_s - clock.monotonic_s())
    first, second = one.try_enter(), one.try_enter()
    assert first is not None
    assert second is not None
    assert (first.probe, second.probe) == (True, True)
    assert one.try_enter() is None
    assert one.in_flight == 2
    assert one.retry_at_s == clock.monotonic_s() + breaker.BUSY_S
    one.leave(first, Verdict.NEUTRAL)
    assert one.retry_at_s == clock.monotonic_s()
    third = one.try_enter()
    assert third is not None
    one.leave(second, S)
    assert one.state is State.HALF_OPEN
    one.leave(third, S)
    assert (one.state, one.cause, one.opens, one.blank) == (State.CLOSED, Cause.PROBES_SUCCEEDED, 0, True)


def test_an_early_answer_counts_once_and_a_later_failure_too() -> None:
    clock = ManualClock()
    one = of(clock, consecutive_failures=1, half_open_successes=2, open_s=10)
    call(one, F)
    clock.advance(11.0)
    permit = one.try_enter()
    assert permit is not None
    for _ in range(3):
        one.answered(permit)
    assert one.state is State.HALF_OPEN
    one.leave(permit, S)
    assert one.state is State.HALF_OPEN  # counted before
    one.leave(permit, S)
    one.answered(permit)
    assert (one.state, one.in_flight) == (State.HALF_OPEN, 0)
    late = one.try_enter()
    assert late is not None
    one.answered(late, slow=True)
    assert (one.state, one.cause, one.opens) == (State.OPEN, Cause.PROBE_FAILED, 2)


def test_what_was_let_in_before_counts_no_more() -> None:
    clock = ManualClock()
    one = of(clock, consecutive_failures=1, half_open_successes=1, open_s=10)
    old = one.try_enter()
    assert old is not None
    call(one, F)
    clock.advance(11.0)
    call(one, S)
    assert one.state is State.CLOSED
    one.leave(old, F)
    assert (one.state, one.counts(), one.in_flight) == (State.CLOSED, (0, 0, 0), 0)


def test_open_times_grow_to_their_limit_and_begin_again() -> None:
    clock = ManualClock()
    one = of(clock, consecutive_failures=1, half_open_successes=1, open_s=10, max_open_s=25)
    for longest in (10.0, 20.0, 25.0, 25.0):
        call(one, F)
        open_s = one.retry_at_s - clock.monotonic_s()
        assert 0.9 * longest <= open_s <= 1.1 * longest
        clock.advance(open_s - LEAST)
        assert one.try_enter() is None
        clock.advance(2 * LEAST)
    assert one.opens == 4
    call(one, S)
    call(one, F)
    assert one.opens == 1
    assert one.retry_at_s - clock.monotonic_s() <= 11.0


class Thing:
    """What is kept, with what it says of itself."""

    def __init__(self, key: TargetKey) -> None:
        self.key = key
        self.in_use = False
        self.blank = False


def target(name: str) -> Target:
    return Target("p", "v", name)


def test_the_longest_unused_blank_one_goes_first_then_the_longest_unused() -> None:
    kept = PerTarget(Thing, 3)
    things = {name: kept.of(target(name)) for name in "abc"}
    assert kept.of(target("a")) is things["a"]  # used again: now b is the longest unused
    things["c"].blank = True
    kept.of(target("d"))
    assert [key.model for key, _ in kept] == ["b", "a", "d"]
    kept.of(target("e"))
    assert [key.model for key, _ in kept] == ["a", "d", "e"]
    assert kept.known(target("b")) is None
    assert len(kept) == 3


def test_held_ones_stay_and_the_new_one_has_no_place() -> None:
    kept = PerTarget(Thing, 2)
    for name in "ab":
        kept.of(target(name)).in_use = True
    fresh = kept.of(target("c"))
    assert (fresh.key.model, len(kept), kept.known(target("c"))) == ("c", 2, None)
    known = kept.known(target("b"))
    assert known is not None
    known.in_use = False
    known.blank = True
    kept.of(target("c"))
    assert [key.model for key, _ in kept] == ["a", "c"]


def test_a_look_that_finds_only_held_ones_sees_others_next_time() -> None:
    most = per_target.LOOKS + 1
    kept = PerTarget(Thing, most)
    for at in range(most):
        kept.of(target(f"m{at}")).in_use = at < per_target.LOOKS
    kept.of(target("new"))
    assert kept.known(target("new")) is None
    assert kept.known(target(f"m{most - 1}")) is not None
    kept.of(target("new"))
    assert kept.known(target("new")) is not None
    assert kept.known(target(f"m{most - 1}")) is None


def test_asking_for_one_with_a_script_is_a_use_of_it() -> None:
    kept = PerTarget(Thing, 2)
    first = kept.of(target("a?script"))
    kept.of(target("b"))
    assert kept.of(target("a?other")) is first
    kept.of(target("c"))
    assert [key.model for key, _ in kept] == ["a", "c"]


def test_what_people_see_of_an_open_one() -> None:
    clock = ManualClock()
    told: list[tuple[TargetKey, State]] = []
    many = Breakers(
        BreakerSettings(consecutive_failures=2), clock, Random(1), lambda key, one: told.append((key, one.state))
    )
    place = Target("p", "v", "m", region="eu")
    one = many.of(place)
    clock.advance(7.0)
    running = one.try_enter()
    assert running is not None
    call(one, F, slow=True, reason=Reason.UPSTREAM_RESET)
    call(one, F, reason=Reason.UPSTREAM_STALLED)
    clock.advance(5.0)
    (view,) = many.views()
    assert view.key == TargetKey("p", "eu", "m")
    assert (view.state, view.cause, view.for_s) == (State.OPEN, Cause.CONSECUTIVE_FAILURES, 5.0)
    assert (view.calls, view.failures, view.slow) == (2, 2, 1)
    assert (view.consecutive_failures, view.opens, view.in_flight) == (2, 1, 1)
    assert view.last_reason is Reason.UPSTREAM_STALLED
    assert view.retry_in_s == many.retry_in_s(place) == many.soonest_s([place])
    assert 22.0 <= view.retry_in_s <= 28.0
    assert told == [(view.key, State.OPEN)]
    clock.advance(100.0)
    assert many.views()[0].retry_in_s == 0.0


def test_each_transition_is_logged() -> None:
    clock = ManualClock()
    many = Breakers(BreakerSettings(consecutive_failures=1, half_open_successes=1, open_s=10), clock, Random(1))
    one = many.of(Target("p", "v", "m", region="eu"))
    with structlog.testing.capture_logs() as lines:
        call(one, F, reason=Reason.UPSTREAM_RESET)
        open_s = one.retry_at_s - clock.monotonic_s()
        clock.advance(open_s + 1.0)
        call(one, S)
        call(one, F)
    shared = {"event": "breaker changed", "provider": "p", "region": "eu", "model": "m"}
    for line, expected in zip(
        lines,
        [
            ("warning", "open", "consecutive_failures", "UPSTREAM_RESET", 1, round(open_s, 3)),
            ("info", "half_open", "time_passed", None, 1, 0.0),
            ("info", "closed", "probes_succeeded", None, 0, 0.0),
            ("warning", "open", "consecutive_failures", None, 1, pytest.approx(10.0, abs=1.0)),
        ],
        strict=True,
    ):
        keys = ("log_level", "state", "cause", "reason", "opens", "retry_in_s")
        assert {key: value for key, value in line.items() if key in shared} == shared
        assert tuple(line[key] for key in keys) == expected


async def test_the_reply_of_a_probe_can_be_iterated_and_is_told_early() -> None:
    clock = ManualClock()
    many = Breakers(
        BreakerSettings(consecutive_failures=1, half_open_successes=1, slow_first_token_s=2), clock, Random(1)
    )
    probe = attempt_of()
    one = many.of(probe.target)
    call(one, F)
    clock.advance(100.0)
    async with BreakerStage(many).open(probe, Said([[TextDelta(0, "x")], [Finished(FinishReason.STOP)]]).open) as reply:
        seen = [(len(batch), one.state) async for batch in reply]
    assert seen == [(1, State.CLOSED)] * 2


def test_a_window_that_begins_with_its_clock() -> None:
    window = breaker.Window(10.0)
    window.roll(0.0)
    window.add(failed=True, slow=True)
    window.roll(9.9)
    assert (window.calls, window.failures, window.slow) == (1, 1, 1)
    window.roll(10.0)
    assert (window.calls, window.failures, window.slow) == (0, 0, 0)


def test_the_stage_says_what_it_is() -> None:
    assert BreakerStage.name == "breaker"
    assert BreakerStage.why.startswith("inside the meter")


async def test_nobody_watches_the_stream_of_a_closed_one() -> None:
    said = Said([[TextDelta(0, "x")]])
    many = Breakers(BreakerSettings(), ManualClock(), Random(1))
    async with BreakerStage(many).open(attempt_of(), said.open) as reply:
        assert reply is said  # its batches pass without another call between


def test_only_the_same_failure_again_is_the_doing_of_the_request() -> None:
    tried = attempt_of()
    before = AttemptRecord(1, tried.target, reason=Reason.UPSTREAM_ERROR, http_status=503)
    tried.call.attempts[:] = [before, tried.record]
    for reason, status, verdict in (
        (Reason.UPSTREAM_ERROR, 503, Verdict.NEUTRAL),
        (Reason.UPSTREAM_ERROR, 500, Verdict.FAILURE),
        (Reason.UPSTREAM_OVERLOADED, 503, Verdict.FAILURE),
    ):
        assert verdict_of(UpstreamError(reason, http_status=status), tried) is verdict
