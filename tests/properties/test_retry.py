"""Invariants 11 and 12 as far as they are those of the parts: retry budgets, delays, cool-downs.

11. Over any time a target is asked again for at most  100 + clean successes  tokens, 5 or 10 for each retry.
12. A delay lies in [0, min(8, 0.5 · 2^n)] and within what the deadline leaves, and not before Retry-After.
"""

from __future__ import annotations

import math
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llmgateway_server.core.targets import Target
from llmgateway_server.routing.backoff import LONGEST_RETRY_AFTER_S, Backoff, longest_s
from llmgateway_server.routing.cooldown import LONGEST_S, Cooldowns
from llmgateway_server.routing.retry_budget import (
    CAPACITY,
    RETRY_COST,
    TIMEOUT_COST,
    RetryBudget,
)
from llmgateway_server.testing.clock import ManualClock

ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)


class RetryBudgetMachine(RuleBasedStateMachine):
    """Attempts and retries in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = RetryBudget()
        self.firsts = 0
        self.retries = 0
        self.owed = 0
        """The most that was ever spent beyond what was earned, over all stretches of time that end now."""

    @rule(times=st.integers(1, 40))
    def begin(self, times: int) -> None:
        for _ in range(times):
            self.budget.began()
        self.firsts += times

    @rule(timed_out=st.booleans(), times=st.integers(1, 8))
    def retry(self, timed_out: bool, times: int) -> None:
        for _ in range(times):
            running = self.firsts + self.retries
            if not self.budget.take(timed_out=timed_out):
                return
            assert self.retries + 1 <= max(3, 0.2 * running)
            self.retries += 1
            self.owed += TIMEOUT_COST if timed_out else RETRY_COST
            assert self.owed <= CAPACITY

    @precondition(lambda self: self.firsts)
    @rule(succeeded=st.booleans(), times=st.integers(1, 40))
    def end(self, succeeded: bool, times: int) -> None:
        for _ in range(min(times, self.firsts)):
            self.budget.ended(again=False, succeeded=succeeded)
            self.firsts -= 1
            self.owed = max(0, self.owed - succeeded)

    @precondition(lambda self: self.retries)
    @rule(succeeded=st.booleans())
    def end_retry(self, succeeded: bool) -> None:
        self.budget.ended(again=True, succeeded=succeeded)
        self.retries -= 1

    @invariant()
    def nothing_is_lost(self) -> None:
        assert (self.budget.in_flight, self.budget.retries) == (self.firsts + self.retries, self.retries)
        assert self.budget.tokens == CAPACITY - self.owed

    def teardown(self) -> None:
        """Successes fill it again."""
        for _ in range(self.retries):
            self.budget.ended(again=True, succeeded=False)
        for _ in range(self.firsts):
            self.budget.ended(again=False, succeeded=True)
        for _ in range(CAPACITY):
            self.budget.began()
            self.budget.ended(again=False, succeeded=True)
        assert self.budget.blank


TestRetryBudget = RetryBudgetMachine.TestCase
TestRetryBudget.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


@given(st.integers(-5, 10_000), st.one_of(st.none(), ANY_FLOAT), ANY_FLOAT, st.integers(0, 1000))
def test_a_delay_keeps_its_bounds(retries: int, retry_after_s: float | None, allowed_s: float, seed: int) -> None:
    delay_s = Backoff(Random(seed)).delay_s(retries, retry_after_s, allowed_s)
    asked_s = retry_after_s if retry_after_s is not None and retry_after_s > 0 else 0.0
    too_long = math.isnan(allowed_s) or allowed_s < 0 or asked_s > min(LONGEST_RETRY_AFTER_S, allowed_s)
    assert (delay_s is None) is too_long
    if delay_s is not None:
        assert asked_s <= delay_s <= max(asked_s, min(longest_s(retries), allowed_s))
        assert delay_s <= allowed_s


TARGETS = [Target(provider=name, vendor="v", upstream_model="m") for name in "abcdef"]


@given(
    st.lists(st.tuples(st.sampled_from(TARGETS), st.one_of(st.none(), ANY_FLOAT), st.floats(0.0, 100.0)), max_size=30),
    st.permutations(TARGETS),
)
def test_cooling_targets_go_last_and_none_is_lost(
    limits: list[tuple[Target, float | None, float]], targets: list[Target]
) -> None:
    clock = ManualClock()
    cooldowns = Cooldowns(clock)
    for target, retry_after_s, passed_s in limits:
        cooldowns.limited(target, retry_after_s)
        clock.advance(passed_s)
    left = {target: cooldowns.left_s(target) for target in targets}
    ordered = cooldowns.ordered(targets)
    assert sorted(ordered, key=targets.index) == targets
    assert all(0.0 <= seconds <= LONGEST_S + 1e-9 for seconds in left.values())
    assert [left[target] for target in ordered] == sorted(left.values())
    warm = [target for target in targets if not left[target]]
    assert list(ordered[: len(warm)]) == warm, "those that do not cool down keep their order"
    assert cooldowns.soonest_s(targets) == min((seconds for seconds in left.values() if seconds), default=None)
