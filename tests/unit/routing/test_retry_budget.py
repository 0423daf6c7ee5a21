"""How many retries a target may be asked for."""

from __future__ import annotations

from llmgateway_server.core.targets import Target
from llmgateway_server.routing.retry_budget import RetryBudget, RetryBudgets

A, B = (Target(provider=name, vendor="v", upstream_model="m") for name in "ab")


def retry(budget: RetryBudget, *, timed_out: bool = False, succeeded: bool = False) -> bool:
    if not budget.take(timed_out=timed_out):
        return False
    budget.ended(again=True, succeeded=succeeded)
    return True


def first(budget: RetryBudget, *, succeeded: bool) -> None:
    budget.began()
    budget.ended(again=False, succeeded=succeeded)


def test_a_full_budget_pays_twenty_retries() -> None:
    budget = RetryBudget()
    assert [retry(budget) for _ in range(21)] == [True] * 20 + [False]


def test_after_timeouts_it_pays_ten() -> None:
    budget = RetryBudget()
    assert [retry(budget, timed_out=True) for _ in range(11)] == [True] * 10 + [False]


def test_what_a_timeout_cannot_pay_another_failure_can() -> None:
    budget = RetryBudget()
    for _ in range(19):
        assert retry(budget)
    assert not retry(budget, timed_out=True)
    assert retry(budget)


def test_five_clean_successes_pay_one_retry() -> None:
    budget = RetryBudget()
    while retry(budget):
        pass
    for _ in range(4):
        first(budget, succeeded=True)
    assert not retry(budget)
    first(budget, succeeded=True)
    assert retry(budget)


def test_failures_and_retries_that_succeed_pay_nothing() -> None:
    budget = RetryBudget()
    while retry(budget, succeeded=True):
        pass
    first(budget, succeeded=False)
    assert budget.tokens == 0


def test_it_is_never_more_than_full() -> None:
    budget = RetryBudget()
    for _ in range(500):
        first(budget, succeeded=True)
    assert budget.tokens == 100


def test_few_calls_have_three_retries_at_once() -> None:
    budget = RetryBudget()
    assert [budget.take(timed_out=False) for _ in range(4)] == [True, True, True, False]
    assert budget.tokens == 85, "a refusal costs nothing"
    budget.ended(again=True, succeeded=False)
    assert budget.take(timed_out=False)


def test_many_calls_have_a_fifth_of_them() -> None:
    budget = RetryBudget()
    for _ in range(50):
        budget.began()
    taken = 0
    while taken < 20 and budget.take(timed_out=False):
        taken += 1
        assert budget.retries <= max(3, budget.in_flight * 0.2)
    assert taken == 12  # of 50 + 12 calls a fifth


def test_targets_have_budgets_of_their_own() -> None:
    budgets = RetryBudgets()
    for _ in range(3):
        assert budgets.take(A, timed_out=False)
    assert not budgets.take(A, timed_out=False)
    assert budgets.take(B, timed_out=False)
    budgets.ended(A, again=True, succeeded=False)
    assert budgets.take(A, timed_out=False)


def test_their_number_is_bounded_and_a_spent_one_outlives_full_ones() -> None:
    budgets = RetryBudgets(max_kept=10)
    assert budgets.take(A, timed_out=True)
    budgets.ended(A, again=True, succeeded=True)
    for number in range(100):
        other = Target(provider="p", vendor="v", upstream_model=f"m{number}")
        budgets.began(other)
        budgets.ended(other, again=False, succeeded=True)
    assert len(budgets) == 10
    assert budgets.of(A).tokens == 90


def test_the_end_of_an_attempt_whose_budget_had_no_room() -> None:
    budgets = RetryBudgets(max_kept=1)
    budgets.began(A)
    budgets.began(B)
    budgets.ended(B, again=False, succeeded=True)
    assert budgets.of(A).in_flight == 1
    budgets.ended(A, again=False, succeeded=True)
    budgets.ended(A, again=True, succeeded=True)
    assert (budgets.of(A).in_flight, budgets.of(A).retries) == (0, 0)
