"""Targets that said 429 go last for a while."""

from __future__ import annotations

import math

import pytest

from llmgateway_server.core.targets import Target
from llmgateway_server.routing.cooldown import DEFAULT_S, LONGEST_S, Cooldowns
from llmgateway_server.testing.clock import ManualClock

A, B, C = (Target(provider=name, vendor="v", upstream_model="m") for name in "abc")


def test_nobody_cools_down_at_first() -> None:
    cooldowns = Cooldowns(ManualClock())
    assert cooldowns.ordered([A, B]) == (A, B)
    assert cooldowns.left_s(A) == 0.0
    assert cooldowns.soonest_s([A, B]) is None


def test_who_cools_down_goes_last_and_the_first_back_before_the_others() -> None:
    clock = ManualClock()
    cooldowns = Cooldowns(clock)
    cooldowns.limited(A, 30.0)
    cooldowns.limited(B, 10.0)
    assert cooldowns.ordered([A, B, C]) == (C, B, A)
    assert cooldowns.soonest_s([A, B, C]) == 10.0
    clock.advance(10.0)
    assert cooldowns.ordered([A, B, C]) == (B, C, A)
    assert cooldowns.soonest_s([A, B, C]) == 20.0
    clock.advance(20.0)
    assert cooldowns.ordered([A, B, C]) == (A, B, C)
    assert len(cooldowns) == 0


@pytest.mark.parametrize(
    ("asked_s", "left_s"),
    [
        (None, DEFAULT_S),
        (0.0, DEFAULT_S),
        (-1.0, DEFAULT_S),
        (-math.inf, DEFAULT_S),
        (math.nan, DEFAULT_S),
        (0.25, 0.25),
        (3600.0, LONGEST_S),
        (math.inf, LONGEST_S),
    ],
)
def test_times_are_clamped(asked_s: float | None, left_s: float) -> None:
    cooldowns = Cooldowns(ManualClock())
    cooldowns.limited(A, asked_s)
    assert cooldowns.left_s(A) == pytest.approx(left_s)


def test_a_shorter_limit_does_not_end_a_longer_one() -> None:
    cooldowns = Cooldowns(ManualClock())
    cooldowns.limited(A, 60.0)
    cooldowns.limited(A, 1.0)
    assert cooldowns.left_s(A) == 60.0
    cooldowns.limited(A, 90.0)
    assert cooldowns.left_s(A) == 90.0


def test_the_wall_clock_is_not_asked() -> None:
    clock = ManualClock()
    cooldowns = Cooldowns(clock)
    cooldowns.limited(A, 60.0)
    clock.jump_wall(3600.0)
    assert cooldowns.left_s(A) == 60.0


def test_a_script_makes_no_other_target() -> None:
    cooldowns = Cooldowns(ManualClock())
    cooldowns.limited(Target(provider="s", vendor="v", upstream_model="m?status=429"), 60.0)
    assert cooldowns.left_s(Target(provider="s", vendor="v", upstream_model="m")) == 60.0


def test_their_number_is_bounded_and_the_longest_stay() -> None:
    cooldowns = Cooldowns(ManualClock(), max_kept=8)
    cooldowns.limited(A, 299.0)
    for number in range(100):
        cooldowns.limited(Target(provider="p", vendor="v", upstream_model=f"m{number}"), 1.0 + number)
        assert len(cooldowns) <= 8
    assert cooldowns.left_s(A) == 299.0


def test_room_is_made_of_what_is_over() -> None:
    clock = ManualClock()
    cooldowns = Cooldowns(clock, max_kept=2)
    cooldowns.limited(A, 10.0)
    clock.advance(10.0)
    cooldowns.limited(B, 5.0)
    cooldowns.limited(C, 5.0)
    assert (cooldowns.left_s(A), cooldowns.left_s(C)) == (0.0, 5.0)
