import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.calls import AttemptRecord, Outcome
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.targets import Target
from llmgateway_server.routing.standing import ANSWERS, FAILURES, Standings
from llmgateway_server.testing.clock import ManualClock
from tests.unit.routing.routing_kit import Rig, rigs, target, unhurried

A, B = target("a"), target("b")


def health(rig: Rig, of: Target = A) -> float:
    return rig.standings.of(of).health(rig.clock.monotonic_s())


def test_of_a_target_that_was_never_used_nothing_bad_is_known() -> None:
    rig = Rig(A)
    figures = rig.standings.of(A).figures(rig.clock.monotonic_s())
    assert (figures.health, figures.error_rate, figures.in_flight, figures.last_used) == (1.0, 0.0, 0, 0)
    assert (figures.first_token_s, figures.tokens_per_s, figures.sample_count) == (0.2, 200.0, 0.0)
    assert len(rig.standings) == 0


def test_the_formulas_by_hand() -> None:
    rig = Rig(A, half_life_s=60.0)
    rig.ran(A, first_s=1.4, latency_s=5.4, tokens=200)
    figures = rig.standings.of(A).figures(rig.clock.monotonic_s())
    assert figures.first_token_s == pytest.approx((1.4 + 0.2) / 2)
    assert figures.tokens_per_s == pytest.approx((200 + 200) / (4 + 1))
    assert rig.standings.of(A).speed(rig.clock.monotonic_s(), 160)[0] == pytest.approx(0.8 + 160 / 80)
    rig.failed(A, 3)
    figures = rig.standings.of(A).figures(rig.clock.monotonic_s())
    assert figures.error_rate == pytest.approx(3 / (4 + 2))
    assert figures.health == pytest.approx((1 - 0.5) / (1 + 3 / 3))
    rig.clock.advance(60.0)  # one half-life
    figures = rig.standings.of(A).figures(rig.clock.monotonic_s())
    assert figures.first_token_s == pytest.approx((0.7 + 0.2) / 1.5)
    assert figures.error_rate == pytest.approx(1.5 / (2 + 2))
    assert figures.health == pytest.approx((1 - 0.375) / (1 + 1.5 / 3))
    assert figures.consecutive_failures == 3
    assert figures.sample_count == pytest.approx(0.5)


def test_a_slow_first_token_costs_health_in_proportion() -> None:
    rig = Rig(A)
    rig.ran(A, first_s=40.0, latency_s=41.0, tokens=10, times=999)
    expected = (999 * 40 + 0.2) / 1000
    assert health(rig) == pytest.approx(10 / expected)


def test_a_reply_that_came_whole_tells_the_pace() -> None:
    rig = Rig(A)
    rig.ran(A, latency_s=4.2, tokens=400, times=500)
    figures = rig.standings.of(A).figures(rig.clock.monotonic_s())
    assert figures.tokens_per_s == pytest.approx(100, rel=0.01)
    assert (figures.first_token_s, figures.sample_count) == (0.2, 0.0)  # it says nothing about a first token
    rig.ran(B, latency_s=3.0, tokens=0, times=500)  # embeddings have no output: all the time is the first
    assert rig.standings.of(B).figures(rig.clock.monotonic_s()).first_token_s == pytest.approx(3, rel=0.01)


def test_what_says_nothing_of_a_target_changes_nothing() -> None:
    rig = Rig(A)
    rig.failed(A)
    before = health(rig)
    for reason in set(Reason) - FAILURES - ANSWERS:
        rig.failed(A, reason=reason)
        rig.ran(A, Outcome.CANCELLED, reason)
    rig.ran(A, Outcome.CANCELLED, Reason.CANCELLED)
    assert health(rig) == before
    for reason in ANSWERS:  # the provider works: it judged the request
        rig.failed(A, reason=reason)
        assert rig.standings.of(A).consecutive_failures == 0
        rig.failed(A)
    assert not FAILURES & ANSWERS


@unhurried
@given(rigs())
def test_figures_are_in_their_ranges(rig: Rig) -> None:
    for each in rig.standings.figures().values():
        assert 0.0 <= each.health <= 1.0
        assert 0.0 <= each.error_rate < 1.0
        assert each.first_token_s > 0.0
        assert each.tokens_per_s > 0.0
        assert each.in_flight >= 0


@unhurried
@given(st.integers(0, 20), st.integers(1, 10))
def test_each_failure_lowers_health_and_a_success_raises_it(successes: int, failures: int) -> None:
    rig = Rig(A)
    rig.ran(A, times=successes)
    for _ in range(failures):
        before = health(rig)
        rig.failed(A)
        assert health(rig) < before
    before = health(rig)
    rig.ran(A)
    assert health(rig) > before


@unhurried
@given(st.integers(1, 50), st.floats(0.1, 1e6), st.floats(0.1, 1e6))
def test_health_comes_back_with_time_alone(failures: int, first_s: float, then_s: float) -> None:
    rig = Rig(A)
    rig.failed(A, failures)
    seen = [health(rig)]
    for seconds in (first_s, then_s, 1e4):
        rig.clock.advance(seconds)
        seen.append(health(rig))
    assert seen == sorted(seen)
    assert seen[-1] > 0.99


def test_attempts_in_flight_and_their_numbers() -> None:
    rig = Rig(A, B)
    for each in (A, B, A):
        rig.standings.began(each)
    standing = rig.standings.of(A)
    assert (standing.in_flight, standing.last_used, rig.standings.of(B).last_used) == (2, 3, 2)
    for outcome in (Outcome.SUCCEEDED, Outcome.CANCELLED):
        rig.standings.ended(AttemptRecord(1, A, outcome), streamed=True)
    assert standing.in_flight == 0


def test_scripts_of_the_simulator_and_regions() -> None:
    rig = Rig()
    rig.ran(Target("a", "simulator", "chat?tokens=3"))
    rig.ran(Target("a", "simulator", "chat?tokens=9"))
    rig.ran(Target("a", "simulator", "chat", region="eu"))
    assert set(rig.standings.figures()) == {("a", "chat", ""), ("a", "chat", "eu")}


def test_memory_is_bounded_and_no_running_attempt_is_forgotten() -> None:
    clock = ManualClock()
    standings = Standings(clock, max_known=10)
    running = [target(f"r{at}") for at in range(25)]
    for each in running:
        standings.began(each)
    for at in range(500):
        idle = target(f"i{at}")
        standings.began(idle)
        standings.ended(AttemptRecord(1, idle, Outcome.SUCCEEDED), streamed=False)
        assert len(standings) <= 2 * (len(running) + 1)
    assert all(standings.of(each).in_flight == 1 for each in running)
    for each in running:
        standings.ended(AttemptRecord(1, each, Outcome.SUCCEEDED), streamed=False)
    for at in range(60):
        idle = target(f"j{at}")
        standings.began(idle)
        standings.ended(AttemptRecord(1, idle, Outcome.SUCCEEDED), streamed=False)
    assert len(standings) <= 10
    assert ("j59", "model-of-j59", "") in standings.figures()  # the last ones stay


def test_an_end_without_a_beginning_is_passed_over() -> None:
    standings = Standings(ManualClock())
    standings.ended(AttemptRecord(1, A, Outcome.SUCCEEDED), streamed=True)
    assert len(standings) == 0
