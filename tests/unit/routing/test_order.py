from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.routing.affinity import LEAST_HEALTH
from llmgateway_server.routing.strategies.contenders import TIER_RANKS, Wish
from llmgateway_server.routing.strategies.names import Strategy
from llmgateway_server.routing.strategies.order import order
from llmgateway_server.routing.strategies.table import STRATEGIES
from tests.unit.routing.routing_kit import Rig, names, price, rigs, target, unhurried, wishes_of


@unhurried
@given(st.data(), rigs(), st.sampled_from(Strategy))
def test_every_contender_stands_once_with_a_reason(data: st.DataObject, rig: Rig, strategy: Strategy) -> None:
    contenders = rig.contenders()
    wish = data.draw(wishes_of(rig))
    ranked = order(strategy, contenders, wish)
    assert sorted(map(id, contenders)) == sorted(id(each.contender) for each in ranked)
    assert all(0 < len(each.reason) <= 60 for each in ranked)


@unhurried
@given(st.data(), rigs(), st.sampled_from(Strategy), st.integers(0, 2**32))
def test_the_same_chance_makes_the_same_order(data: st.DataObject, rig: Rig, strategy: Strategy, seed: int) -> None:
    drawn = data.draw(wishes_of(rig))
    fields = {name: getattr(drawn, name) for name in Wish.__slots__}
    once, again = (order(strategy, rig.contenders(), Wish(**(fields | {"rng": Random(seed)}))) for _ in range(2))
    assert [each.contender.target for each in once] == [each.contender.target for each in again]
    assert [each.reason for each in once] == [each.reason for each in again]


@unhurried
@given(st.data(), rigs(least=2), st.sampled_from(Strategy))
def test_groups_come_before_scores(data: st.DataObject, rig: Rig, strategy: Strategy) -> None:
    wish = data.draw(wishes_of(rig))
    preferred = list(wish.preferred_providers)
    least = TIER_RANKS.get(wish.tier, 0) if STRATEGIES[strategy].tiered else 0
    places = [
        (
            preferred.index(each.contender.target.provider) if each.contender.target.provider in preferred else 99,
            each.contender.tier_rank < least,
        )
        for each in order(strategy, rig.contenders(), wish)
    ]
    assert places == sorted(places)


@unhurried
@given(st.data(), rigs(least=2))
def test_the_scores_decide_inside_a_group_but_for_the_first(data: st.DataObject, rig: Rig) -> None:
    wish = rig.wish(input_token_count=data.draw(st.integers(0, 10**5)), output_token_count=100)
    for strategy in Strategy:
        scores = [each.score for each in order(strategy, rig.contenders(), wish)]
        assert scores[1:] == sorted(scores[1:])
        if not STRATEGIES[strategy].near:
            assert scores == sorted(scores)
        else:
            assert scores[0] <= min(scores) * STRATEGIES[strategy].near


@unhurried
@given(rigs(least=2), st.sampled_from(("x", "y", "z")))
def test_a_conversation_is_kept_near_the_best_and_with_the_healthy(rig: Rig, key: str) -> None:
    for strategy, row in STRATEGIES.items():
        ranked = order(strategy, rig.contenders(), rig.wish(affinity_key=key, output_token_count=100))
        if ranked[0].reason == "keeps the conversation":
            reach = row.reach(0.25)
            assert reach == inf or ranked[0].score <= min(each.score for each in ranked) * reach
            assert ranked[0].contender.standing.health(rig.clock.monotonic_s()) >= LEAST_HEALTH


def test_nobody_and_one() -> None:
    rig = Rig(target("a"))
    for strategy in Strategy:
        assert order(strategy, [], rig.wish()) == []
    assert order(Strategy.BALANCED, rig.contenders(), rig.wish())[0].reason == "only target"
    assert order(Strategy.PRIORITY, rig.contenders(), rig.wish())[0].reason == "configured order"
    preferring = rig.wish(preferred_providers=("a",))
    assert order(Strategy.BALANCED, rig.contenders(), preferring)[0].reason == "preferred by the request"


def test_preferred_providers_go_first_whatever_the_strategy() -> None:
    rig = Rig(
        target("cheap", price=price(1, 1)), target("dear", price=price(9, 9)), target("dearer", price=price(10, 10))
    )
    wish = rig.wish(input_token_count=1000, preferred_providers=("dearer", "dearer", "dear"))
    ranked = order(Strategy.COST_OPTIMIZED, rig.contenders(), wish)
    assert names(ranked) == ["dearer", "dear", "cheap"]
    assert [each.reason for each in ranked] == [*["preferred by the request"] * 2, "expected cost: 0.001000 USD"]


def test_what_is_below_the_tier_goes_last() -> None:
    rig = Rig(
        target("basic", "BASIC", price=price(1, 1)),
        target("standard", "STANDARD", price=price(2, 2)),
        target("premium", "PREMIUM", price=price(3, 3)),
        target("unknown", price=price(4, 4)),
    )
    orders = {
        tier: names(order(Strategy.COST_OPTIMIZED, rig.contenders(), rig.wish(input_token_count=9, tier=tier)))
        for tier in ("BASIC", "STANDARD", "PREMIUM")
    }
    assert orders == {
        "BASIC": ["basic", "standard", "premium", "unknown"],
        "STANDARD": ["standard", "premium", "unknown", "basic"],
        "PREMIUM": ["premium", "basic", "standard", "unknown"],
    }
    ranked = order(Strategy.COST_OPTIMIZED, rig.contenders(), rig.wish(input_token_count=9, tier="PREMIUM"))
    assert ranked[1].reason == "below the tier that suits the request"
    by_hand = order(Strategy.PRIORITY, rig.contenders(), rig.wish(tier="PREMIUM"))
    assert names(by_hand)[0] == "basic"  # the operator's own order stands


@pytest.mark.parametrize("strategy", [Strategy.COST_OPTIMIZED, Strategy.QUALITY_OPTIMIZED, Strategy.BALANCED])
def test_ties_are_decided_at_random(strategy: Strategy) -> None:
    rig = Rig(*(target(name, price=price(1, 1)) for name in "abc"))
    leads = [names(order(strategy, rig.contenders(), rig.wish(input_token_count=9)))[0] for _ in range(600)]
    assert all(150 < leads.count(name) < 250 for name in "abc")
    kept = {names(order(strategy, rig.contenders(), rig.wish(affinity_key="k")))[0] for _ in range(20)}
    assert len(kept) == 1
