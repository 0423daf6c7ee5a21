"""Shares of time, terms of hedges and cool-downs at their edges."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest

from llmgateway_server.core.calls import Attempt, AttemptRecord, Call, CallScope, Deadline
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.money import Price
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import (
    CompleteRequest,
    EmbedRequest,
    HedgePolicy,
    Operation,
    Request,
    RoutingOptions,
)
from llmgateway_server.core.targets import Target
from llmgateway_server.routing import backoff, cooldown, hedge, hedge_terms, progress, retry_budget, shares
from llmgateway_server.routing.backoff import Backoff
from llmgateway_server.routing.cooldown import Cooldowns
from llmgateway_server.routing.hedge_terms import HedgeTerms
from llmgateway_server.routing.progress import Progress
from llmgateway_server.routing.retry_budget import RetryBudgets
from llmgateway_server.routing.shares import set_share
from llmgateway_server.routing.standing import Figures, Standings
from llmgateway_server.routing.tries import Again, Elsewhere
from llmgateway_server.testing.clock import ManualClock

A, B = (Target(name, "simulator", "chat") for name in "ab")


def test_the_figures_of_the_pages() -> None:
    assert (backoff.BASE_S, backoff.CAP_S, backoff.LONGEST_RETRY_AFTER_S) == (0.5, 8.0, 5.0)
    assert (cooldown.DEFAULT_S, cooldown.LONGEST_S) == (5.0, 300.0)
    assert (hedge.QUEUED_BATCHES, hedge_terms.P95_OF_MEAN, hedge_terms.DEFAULT_OUTPUT_TOKENS) == (2, 3.0, 512)
    assert (retry_budget.CAPACITY, retry_budget.RETRY_COST, retry_budget.TIMEOUT_COST) == (100, 5, 10)
    assert (retry_budget.CLEAN_SUCCESS, retry_budget.LEAST_RETRIES, retry_budget.RETRY_SHARE_PERCENT) == (1, 3, 20)
    assert shares.LEAST_FAIR_S == 5.0
    assert (shares.LEAST_S, shares.PATIENCE, shares.LEAST_SAMPLES, shares.WHOLE_REPLY) == (1.0, 4.0, 3.0, 2)
    assert progress.MIN_ATTEMPT_S == 1.0
    assert [each.value for each in Again] == [0, 1, 8]
    assert [each.value for each in Elsewhere] == ["none", "any", "larger"]
    budget = RetryBudgets().of(Target("a", "simulator", "chat"))
    assert (budget.in_use, budget.blank) == (False, True)


def call(request: Request, *, streaming: bool = True) -> Call:
    scope = CallScope("id", "/s/m", "p", {}, 0.0, Deadline(1.0, from_client=False))
    return Call(scope, Operation.COMPLETE, streaming, request)


def share(
    others: int, remaining_s: float, known: Figures | None = None, *, streaming: bool = True, **fields: Any
) -> tuple[float, bool]:
    tried = Attempt(call(CompleteRequest("m", [], **fields), streaming=streaming), A, AttemptRecord(1, A))
    set_share(tried, others, remaining_s, known, first_token_s=30.0)
    return tried.share_s, tried.fair_share


def usual(first_s: float, samples: float = 3.0) -> Figures:
    return Figures(first_s, 100.0, 0.0, 1.0, 0, 0, 0, samples)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (share(1, 0.5, usual(0.01)), (math.inf, True)),
        (share(1, 1.0), (math.inf, True)),  # no more than the least: no share
        (share(3, 2.0), (1.0, False)),  # never below the least
        (share(1, 60.0), (30.0, True)),  # as long as the limit to the first token is fair
        (share(1, 59.0), (29.5, False)),
        (share(1, 1.9), (math.inf, True)),  # nobody could use the rest
        (share(2, 12.0, usual(1.25)), (5.0, True)),  # three samples are enough
        (share(2, 9.0, usual(1.0)), (4.0, False)),  # a quick one may pause for five seconds
        (share(2, 9.0, usual(1.0, 2.9)), (3.0, False)),
        (share(2, 15.0, usual(0.75)), (5.0, True)),
        (share(2, 18.0, usual(1.75)), (7.0, True)),
        (share(1, 9.0, usual(3.0)), (8.0, False)),  # leaves a second for the other one
        (share(3, 60.0, usual(1.0), streaming=False, max_output_tokens=100), (30.0, True)),
        (share(3, 12.0, usual(1.0), streaming=False, max_output_tokens=100), (8.0, True)),
        (share(3, 60.0, usual(4.0), streaming=False), (36.48, True)),
    ],
)
def test_shares_of_time(got: tuple[float, bool], expected: tuple[float, bool]) -> None:
    assert got[0] == pytest.approx(expected[0])
    assert got[1] is expected[1]


# --- hedges ------------------------------------------------------------------------------------------------------


class Terms:
    """Terms over their parts."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.standings, self.budgets = Standings(self.clock), RetryBudgets()
        self.terms = HedgeTerms(self.standings, self.budgets)

    def delay_s(self, policy: HedgePolicy | None) -> float | None:
        asked = CompleteRequest("m", [], routing=RoutingOptions(hedge=policy))
        return self.terms.delay_s(call(asked), A, self.clock.monotonic_s())

    def allows(
        self, other: Target, policy: HedgePolicy | None, request: CompleteRequest | EmbedRequest | None = None
    ) -> bool:
        asked = request or CompleteRequest("m", [])
        asked.routing = RoutingOptions(hedge=policy)
        return self.terms.allow(call(asked), other, A)


def test_when_a_hedge_begins() -> None:
    terms = Terms()
    assert terms.delay_s(None) is None
    assert terms.delay_s(HedgePolicy(0.25)) == 0.25
    assert terms.delay_s(HedgePolicy()) == pytest.approx(3 * 0.2)  # of a target that nobody knows
    for _ in range(9):
        assert terms.delay_s(HedgePolicy(0.25)) == 0.25
        terms.budgets.of(A).tokens -= 5
    assert terms.budgets.of(A).tokens == 55
    terms.budgets.of(A).tokens = 51
    assert terms.delay_s(HedgePolicy(0.25)) == 0.25
    terms.budgets.of(A).tokens = 50
    assert terms.delay_s(HedgePolicy(0.25)) is None


def test_with_whom_and_for_how_much() -> None:
    terms = Terms()
    price = Price(1_000_000, 2_000_000, version="test")  # 1 and 2 USD per million tokens: 1,000 and 2,000 nano a token
    priced = Target("b", "simulator", "chat", price=price)
    assert not terms.allows(B, None)
    assert not terms.allows(Target("a", "simulator", "other"), HedgePolicy())  # another model of the same account
    assert terms.allows(B, HedgePolicy())
    assert not terms.allows(B, HedgePolicy(max_extra_cost_nano_usd=10**12))  # nobody knows its price
    for asked, cost in (
        (CompleteRequest("m", [], max_output_tokens=10, input_byte_count=400), 100 * 1000 + 10 * 2000),
        (CompleteRequest("m", []), 512 * 2000),
        (EmbedRequest("m", ["x"]), 512 * 2000),
    ):
        assert terms.allows(priced, HedgePolicy(max_extra_cost_nano_usd=cost), asked)
        assert not terms.allows(priced, HedgePolicy(max_extra_cost_nano_usd=cost - 1), asked)


# --- cool-downs and delays ---------------------------------------------------------------------------------------


def test_of_several_limits_the_one_that_ends_last_counts() -> None:
    clock = ManualClock()
    cooldowns = Cooldowns(clock)
    cooldowns.limited(A, 10.0)
    cooldowns.limited(A, 20.0)
    cooldowns.limited(B, 4.0)
    assert (cooldowns.left_s(A), cooldowns.left_s(B)) == (20.0, 4.0)
    clock.advance(5.0)
    assert (cooldowns.left_s(A), cooldowns.left_s(B)) == (15.0, 0.0)
    assert cooldowns.ordered([A, B]) == (B, A)
    assert cooldowns.soonest_s([A, B]) == 15.0
    assert len(cooldowns) == 2
    clock.advance(15.0)
    assert cooldowns.ordered([A, B]) == (A, B)
    assert len(cooldowns) == 0


def test_those_that_end_first_are_forgotten_down_to_three_quarters() -> None:
    clock = ManualClock()
    cooldowns = Cooldowns(clock, max_kept=8)
    many = [Target(f"p{at}", "simulator", "chat") for at in range(9)]
    for at, each in enumerate(many[:8]):
        cooldowns.limited(each, 10.0 + at)
    assert len(cooldowns) == 8
    cooldowns.limited(many[8], 5.0)
    assert len(cooldowns) == 6
    assert [cooldowns.left_s(each) > 0 for each in many] == [False] * 2 + [True] * 6 + [False]
    tiny = Cooldowns(clock, max_kept=1)
    tiny.limited(A, 5.0)
    tiny.limited(B, 6.0)
    assert (tiny.left_s(A), tiny.left_s(B)) == (0.0, 6.0)


def test_what_is_over_makes_room_first() -> None:
    clock = ManualClock()
    cooldowns = Cooldowns(clock, max_kept=4)
    many = [Target(f"p{at}", "simulator", "chat") for at in range(5)]
    for each in many[:3]:
        cooldowns.limited(each, 1.0)
    cooldowns.limited(many[3], 50.0)
    clock.advance(1.0)
    cooldowns.limited(many[4], 50.0)
    assert len(cooldowns) == 2


def test_the_edges_of_a_delay() -> None:
    assert Backoff(Random(1)).delay_s(0, 5.0, 5.0) == 5.0
    assert Backoff(Random(1)).delay_s(0, 5.01, 60.0) is None
    assert Backoff(Random(1)).delay_s(0, 2.0, 1.99) is None
    assert Backoff(Random(1)).delay_s(0, None, 0.0) == 0.0
    assert Backoff(Random(1)).delay_s(0, None, -0.1) is None
    assert Backoff().delay_s(0, None, 60.0) is not None
    negative = Backoff(Random(1)).delay_s(-3, None, 60.0)
    assert negative is not None
    assert negative <= 0.5


def test_a_fifth_of_what_runs_may_be_retries() -> None:
    budget = RetryBudgets().of(A)
    budget.in_flight, budget.retries = 500, 99
    assert budget.take(timed_out=False)
    assert not budget.take(timed_out=False)
    assert (budget.in_flight, budget.retries, budget.tokens) == (501, 100, 95)


def test_what_may_not_be_used_now_is_neither_the_next_nor_asked_again() -> None:
    barred: set[str] = set()
    tries = Progress([A, B], 5, RetryBudgets(), Backoff(Random(1)), lambda place: place.provider not in barred)
    assert tries.first().target == A
    barred.add("b")
    again = tries.after(A, UpstreamError(Reason.UPSTREAM_ERROR, http_status=503), 60.0)
    assert again is not None
    assert (again.target, again.again) == (A, True)
    barred.add("a")
    failure = UpstreamError(Reason.UPSTREAM_ERROR, http_status=503)
    assert tries.after(A, failure, 60.0) is None
    assert tries.onward(A, failure, 60.0, spoke=True) is None
