"""Many breakers: what counts as one target, what is forgotten, what people see."""

from __future__ import annotations

from random import Random

import pytest
import structlog.testing

from llmgateway_server.attempts.breaker import Breaker, BreakerSettings, Cause, State, Verdict
from llmgateway_server.attempts.breakers import Breakers
from llmgateway_server.attempts.per_target import LOOKS, TargetKey, key_of
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.targets import Target
from llmgateway_server.testing.clock import ManualClock


def target(model: str = "m", provider: str = "p", region: str = "") -> Target:
    return Target(provider=provider, vendor="v", upstream_model=model, region=region)


def breakers(clock: ManualClock | None = None, max_kept: int = 1024) -> Breakers:
    return Breakers(BreakerSettings(), clock or ManualClock(), Random(1), max_kept=max_kept)


def fail(many: Breakers, which: Target, times: int = 5) -> None:
    for _ in range(times):
        breaker = many.of(which)
        permit = breaker.try_enter()
        assert permit is not None
        breaker.leave(permit, Verdict.FAILURE, reason=Reason.UPSTREAM_RESET)


@pytest.mark.parametrize("other", [target("n"), target(provider="q"), target(region="eu")])
def test_account_region_and_model_make_a_target(other: Target) -> None:
    many = breakers()
    fail(many, target())
    assert many.of(target()).state is State.OPEN
    assert many.of(other).state is State.CLOSED


def test_a_script_makes_no_other_target() -> None:
    many = breakers()
    assert many.of(target("m?a=1")) is many.of(target("m?b=2")) is many.of(target())
    assert key_of(target("m?a=1")) == TargetKey("p", "", "m")
    assert len(many) == 1


def test_asking_when_to_come_again_changes_nothing() -> None:
    clock = ManualClock()
    many = breakers(clock)
    assert many.retry_in_s(target()) == 0.0
    assert len(many) == 0
    fail(many, target())
    left_s = many.retry_in_s(target())
    assert 27.0 <= left_s <= 33.0
    clock.advance(left_s + 0.001)
    assert many.retry_in_s(target()) == 0.0
    assert many.of(target()).state is State.OPEN


def test_the_soonest_of_several() -> None:
    clock = ManualClock()
    many = breakers(clock)
    fail(many, target("a"))
    clock.advance(10.0)
    fail(many, target("b"))
    assert many.soonest_s([target("b"), target("a")]) == many.retry_in_s(target("a"))
    assert many.soonest_s([target("b"), target("unknown")]) == 0.0
    assert many.soonest_s([]) is None


# --- forgetting --------------------------------------------------------------------------------------------------


def test_their_number_is_bounded_and_an_open_one_outlives_names_that_callers_invent() -> None:
    many = breakers(max_kept=LOOKS + 4)
    fail(many, target("real"))
    for number in range(1000):
        breaker = many.of(target(f"invented-{number}"))
        permit = breaker.try_enter()
        assert permit is not None
        breaker.leave(permit, Verdict.NEUTRAL)
        assert many.of(target("real")).state is State.OPEN
    assert len(many) == LOOKS + 4


def test_the_longest_unused_goes_first() -> None:
    many = breakers(max_kept=2)
    kept, gone = many.of(target("a")), many.of(target("b"))
    assert many.of(target("a")) is kept
    many.of(target("c"))
    assert many.of(target("a")) is kept
    assert many.of(target("b")) is not gone


def test_a_blank_one_goes_before_an_older_open_one() -> None:
    many = breakers(max_kept=2)
    fail(many, target("open"))
    many.of(target("blank"))
    many.of(target("new"))
    assert many.of(target("open")).state is State.OPEN


def test_where_none_is_blank_the_longest_unused_goes() -> None:
    many = breakers(max_kept=2)
    for name in "abc":
        fail(many, target(name))
    assert [view.key.model for view in many.views()] == ["b", "c"]


def test_one_that_a_call_holds_stays() -> None:
    many = breakers(max_kept=1)
    held = many.of(target("held"))
    permit = held.try_enter()
    assert permit is not None
    unkept = many.of(target("other"))
    assert many.of(target("other")) is not unkept
    assert many.of(target("held")) is held
    held.leave(permit, Verdict.NEUTRAL)
    kept = many.of(target("other"))
    assert many.of(target("other")) is kept


def test_others_are_looked_at_where_the_oldest_are_held() -> None:
    many = breakers(max_kept=LOOKS + 1)
    for number in range(LOOKS):
        assert many.of(target(f"held-{number}")).try_enter() is not None
    many.of(target("free"))
    many.of(target("new"))  # not kept, but the next one is
    many.of(target("new"))
    assert "new" in [view.key.model for view in many.views()]
    assert len(many) == LOOKS + 1


# --- what people see ---------------------------------------------------------------------------------------------


def test_a_view_says_everything() -> None:
    clock = ManualClock()
    many = breakers(clock)
    running = many.of(target(region="eu")).try_enter()
    assert running is not None
    fail(many, target(region="eu"))
    clock.advance(7.0)
    (view,) = many.views()
    assert view.key == TargetKey("p", "eu", "m")
    assert (view.state, view.cause, view.last_reason) == (
        State.OPEN,
        Cause.CONSECUTIVE_FAILURES,
        Reason.UPSTREAM_RESET,
    )
    assert (view.calls, view.failures, view.slow, view.consecutive_failures) == (5, 5, 0, 5)
    assert (view.opens, view.in_flight, view.for_s) == (1, 1, 7.0)
    assert 20.0 <= view.retry_in_s <= 26.0


def test_transitions_are_logged_and_told() -> None:
    clock = ManualClock()
    told: list[tuple[TargetKey, State]] = []

    def note(key: TargetKey, breaker: Breaker) -> None:
        told.append((key, breaker.state))

    with structlog.testing.capture_logs() as lines:
        many = Breakers(BreakerSettings(), clock, Random(1), note)
        fail(many, target())
        clock.advance(many.retry_in_s(target()))
        for _ in range(2):
            breaker = many.of(target())
            permit = breaker.try_enter()
            assert permit is not None
            breaker.leave(permit, Verdict.SUCCESS)
    key = TargetKey("p", "", "m")
    assert told == [(key, State.OPEN), (key, State.HALF_OPEN), (key, State.CLOSED)]
    assert [(line["log_level"], line["state"], line["cause"], line["reason"]) for line in lines] == [
        ("warning", "open", "consecutive_failures", "UPSTREAM_RESET"),
        ("info", "half_open", "time_passed", None),
        ("info", "closed", "probes_succeeded", None),
    ]
