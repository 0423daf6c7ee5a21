from collections import Counter
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway.v1 import routing_pb2
from llmgateway_server.core.money import Price, Rates, RateTier, cost_of
from llmgateway_server.core.usage import Usage
from llmgateway_server.routing.strategies.balanced import balanced
from llmgateway_server.routing.strategies.cost import cost_optimized
from llmgateway_server.routing.strategies.names import Strategy
from llmgateway_server.routing.strategies.order import order
from llmgateway_server.routing.strategies.table import STRATEGIES
from tests.unit.routing.routing_kit import Rig, names, price, prices, rigs, target, unhurried


def ordered(strategy: Strategy, rig: Rig, **wish: Any) -> list[str]:
    return names(order(strategy, rig.contenders(), rig.wish(**wish)))


def reasons(strategy: Strategy, rig: Rig, **wish: Any) -> list[str]:
    return [each.reason for each in order(strategy, rig.contenders(), rig.wish(**wish))]


def test_every_strategy_of_the_contract_has_a_row() -> None:
    contract = {name.removeprefix("ROUTING_STRATEGY_") for name, _ in routing_pb2.RoutingStrategy.items()}
    assert {each.value.upper() for each in STRATEGIES} == contract - {"UNSPECIFIED"}
    assert set(STRATEGIES) == set(Strategy)


def test_priority_is_by_number_then_as_configured() -> None:
    rig = Rig(target("a", priority=1), target("b"), target("c", priority=1), target("d"))
    assert ordered(Strategy.PRIORITY, rig) == ["b", "d", "a", "c"]
    assert set(reasons(Strategy.PRIORITY, rig)) == {"configured order"}
    assert ordered(Strategy.PRIORITY, rig, affinity_key="x") == ["b", "d", "a", "c"]


@unhurried
@given(st.integers(2, 9), st.integers(0, 99))
def test_round_robin_is_fair(count: int, seed: int) -> None:
    rig = Rig(*(target(f"t{at}") for at in range(count)), seed=seed)
    used: list[str] = []
    for _ in range(count * 4):
        ranked = order(Strategy.ROUND_ROBIN, rig.contenders(), rig.wish())
        rig.ran(ranked[0].contender.target)
        used += names(ranked)[:1]
    assert set(Counter(used).values()) == {4}
    assert used[:count] == used[count : 2 * count]  # the turns keep their order
    assert reasons(Strategy.ROUND_ROBIN, rig)[:2] == ["least recently used", "used more recently"]


def test_weighted_draws_by_weight() -> None:
    rig = Rig(target("a", weight=1.0), target("b", weight=2.0), target("c", weight=5.0))
    drawn = [tuple(ordered(Strategy.WEIGHTED, rig)) for _ in range(20_000)]
    first = Counter(each[0] for each in drawn)
    assert [first[name] / 20_000 for name in "abc"] == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.015)
    after_c = Counter(each[1] for each in drawn if each[0] == "c")  # the second place is drawn from those that are left
    assert after_c["b"] / after_c.total() == pytest.approx(2 / 3, abs=0.02)
    assert reasons(Strategy.WEIGHTED, Rig(target("a", weight=2.5), target("b", weight=2.5)))[0] == "drawn by weight 2.5"


def test_the_cheapest_depends_on_the_request() -> None:
    rig = Rig(target("unpriced"), target("talks", price=price(3, 1)), target("reads", price=price(1, 3)))
    assert ordered(Strategy.COST_OPTIMIZED, rig, input_token_count=1000, output_token_count=10) == [
        "reads",
        "talks",
        "unpriced",
    ]
    wish = {"input_token_count": 10, "output_token_count": 1000}
    assert ordered(Strategy.COST_OPTIMIZED, rig, **wish) == ["talks", "reads", "unpriced"]
    assert reasons(Strategy.COST_OPTIMIZED, rig, **wish) == [
        "cheapest: 0.001030 USD",
        "expected cost: 0.003010 USD",
        "cost unknown: after those with a price",
    ]
    assert (
        reasons(Strategy.COST_OPTIMIZED, Rig(target("x"), target("y")))[0] == "cost unknown: after those with a price"
    )


@unhurried
@given(prices, st.integers(0, 400_000), st.integers(0, 100_000))
def test_the_cost_is_the_one_that_will_be_charged(listed: Price, given_tokens: int, made: int) -> None:
    rig = Rig(target("a", price=listed))
    (score,) = cost_optimized(rig.contenders(), rig.wish(input_token_count=given_tokens, output_token_count=made))
    charged = cost_of(Usage(given_tokens, made), listed).total_nano_usd
    assert abs(score * 1e9 - charged) <= 1 + charged * 1e-9  # each part of a bill is rounded to a nano-USD


def test_rates_for_long_inputs() -> None:
    tiered = Price.of(Rates(10**6, 10**6), version="t", tiers=(RateTier(100, Rates(9 * 10**6, 10**6)),))
    rig = Rig(target("tiered", price=tiered), target("flat", price=price(2, 2)))
    assert ordered(Strategy.COST_OPTIMIZED, rig, input_token_count=100) == ["tiered", "flat"]
    assert ordered(Strategy.COST_OPTIMIZED, rig, input_token_count=101) == ["flat", "tiered"]


def test_average_cost_by_priority_then_in_turns() -> None:
    rig = Rig(
        target("gpt-4", price=price(30, 60), priority=2),
        target("claude-3-sonnet", price=price(15, 75), priority=1),
        target("unpriced"),
    )
    assert ordered(Strategy.COST_PRIORITY_ROUND_ROBIN, rig) == ["claude-3-sonnet", "gpt-4", "unpriced"]
    assert (
        reasons(Strategy.COST_PRIORITY_ROUND_ROBIN, rig)[0] == "least cost by priority: 90"
    )  # (15 + 75) / 2 / (1 / 2)
    same = Rig(*(target(name, price=price(1, 2)) for name in "abc"))
    turns = []
    for _ in range(6):
        first = order(Strategy.COST_PRIORITY_ROUND_ROBIN, same.contenders(), same.wish())[0].contender.target
        same.ran(first)
        turns.append(first.provider)
    assert turns[:3] == turns[3:]
    assert set(turns) == {"a", "b", "c"}


def paced(name: str, rig: Rig, first_s: float, tokens_per_s: float) -> None:
    (found,) = (each for each in rig.targets if each.provider == name)
    rig.ran(found, first_s=first_s, latency_s=first_s + 10.0, tokens=round(tokens_per_s * 10), times=200)


def test_the_fastest_depends_on_how_much_is_to_be_said() -> None:
    rig = Rig(target("quick"), target("steady"))
    paced("quick", rig, 0.3, 30)
    paced("steady", rig, 1.5, 120)
    assert ordered(Strategy.LATENCY_OPTIMIZED, rig, output_token_count=10) == ["quick", "steady"]
    assert ordered(Strategy.LATENCY_OPTIMIZED, rig, output_token_count=1000) == ["steady", "quick"]


def test_the_better_one_of_two_leads_among_the_fast_alone() -> None:
    rig = Rig(*(target(name) for name in "abcz"))
    for name, first_s in zip("abcz", (1.0, 1.3, 1.6, 5.0), strict=True):
        paced(name, rig, first_s, 1e6)
    orders = [ordered(Strategy.LATENCY_OPTIMIZED, rig, output_token_count=1) for _ in range(6000)]
    leads = Counter(each[0] for each in orders)
    assert leads["a"] / 6000 == pytest.approx(2 / 3, abs=0.03)  # in two of three pairs
    assert leads["b"] / 6000 == pytest.approx(1 / 3, abs=0.03)
    assert (leads["c"], leads["z"]) == (0, 0)
    assert {tuple(each[1:]) for each in orders} == {("b", "c", "z"), ("a", "c", "z")}
    assert reasons(Strategy.LATENCY_OPTIMIZED, rig)[0].startswith("among the fastest: ")


def test_load_failures_and_time_move_calls_away_from_the_fastest() -> None:
    rig = Rig(target("fast"), target("slow"))
    paced("fast", rig, 1.0, 1e6)
    paced("slow", rig, 1.5, 1e6)
    assert ordered(Strategy.LATENCY_OPTIMIZED, rig) == ["fast", "slow"]
    for _ in range(40):
        rig.standings.began(rig.targets[0])
    assert ordered(Strategy.LATENCY_OPTIMIZED, rig) == ["slow", "fast"]
    rig = Rig(target("fast"), target("slow"))
    paced("fast", rig, 1.0, 1e6)
    paced("slow", rig, 1.5, 1e6)
    rig.failed(rig.targets[0], 5)
    assert ordered(Strategy.LATENCY_OPTIMIZED, rig) == ["slow", "fast"]
    for _ in range(30):  # while the slow one serves, what was held against the other fades
        rig.clock.advance(60)
        paced("slow", rig, 1.5, 1e6)
    assert ordered(Strategy.LATENCY_OPTIMIZED, rig) == ["fast", "slow"]


def test_quality_by_score_or_tier() -> None:
    rig = Rig(
        target("basic", "BASIC"),
        target("premium", "PREMIUM"),
        target("rated", "BASIC", quality_score=0.7),
        target("standard", "STANDARD", quality_score=None),
    )
    assert ordered(Strategy.QUALITY_OPTIMIZED, rig) == ["premium", "rated", "standard", "basic"]
    assert reasons(Strategy.QUALITY_OPTIMIZED, rig)[:2] == ["best quality: 0.80", "quality: 0.70"]
    equal = Rig(target("none"), target("standard", "STANDARD"))
    assert {ordered(Strategy.QUALITY_OPTIMIZED, equal)[0] for _ in range(50)} == {"none", "standard"}


def test_balanced_by_hand() -> None:
    rig = Rig(
        target("dear", "PREMIUM", price=price(4, 4)),
        target("cheap", "BASIC", price=price(1, 1)),
        target("unpriced", "PREMIUM"),
    )
    scores = balanced(rig.contenders(), rig.wish(input_token_count=100))
    assert scores == pytest.approx([(0.75 + 0.2) / 4, 0.6 / 4, (1 + 0.2) / 4])
    assert ordered(Strategy.BALANCED, rig, input_token_count=100) == ["cheap", "dear", "unpriced"]
    rig.failed(rig.targets[1], 10)
    assert ordered(Strategy.BALANCED, rig, input_token_count=100)[0] == "dear"
    assert reasons(Strategy.BALANCED, Rig(target("a"), target("b")))[0] == "best balance: 0.100 off the ideal"


@unhurried
@given(rigs(), st.integers(0, 10**5), st.integers(0, 4096))
def test_balanced_is_a_share(rig: Rig, given_tokens: int, made: int) -> None:
    wish = rig.wish(input_token_count=given_tokens, output_token_count=made)
    assert all(0.0 <= score <= 1.0 for score in balanced(rig.contenders(), wish))


@unhurried
@given(st.lists(st.none() | st.tuples(st.integers(0, 10**8), st.integers(0, 10**8)), min_size=1), st.integers(2, 1000))
def test_balanced_does_not_depend_on_the_currency(rates: list[tuple[int, int] | None], times: int) -> None:
    def scores(factor: int) -> list[float]:
        costs = (each and Price(each[0] * factor, each[1] * factor) for each in rates)
        rig = Rig(*(target(f"t{at}", price=cost) for at, cost in enumerate(costs)))
        return balanced(rig.contenders(), rig.wish(input_token_count=77, output_token_count=33))

    assert scores(times) == pytest.approx(scores(1))


@unhurried
@given(rigs(), st.sampled_from(Strategy), st.integers(0, 10**5))
def test_scores_are_numbers_one_for_each(rig: Rig, strategy: Strategy, tokens: int) -> None:
    contenders = rig.contenders()
    scores = STRATEGIES[strategy].score(contenders, rig.wish(input_token_count=tokens, output_token_count=tokens))
    assert len(scores) == len(contenders)
    assert all(0.0 <= score <= inf for score in scores)
