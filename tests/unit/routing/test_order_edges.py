"""What orders are made of, at the edges: figures by hand, words, tables, ties, and who is near enough."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest

from llmgateway_server.core.calls import AttemptRecord, Outcome
from llmgateway_server.core.messages import MediaPart, Message, Part, Role, TextPart
from llmgateway_server.core.money import Price, Rates, RateTier
from llmgateway_server.core.requests import CompleteRequest, EmbedRequest, ReasoningOptions, Tool
from llmgateway_server.core.targets import Profile
from llmgateway_server.core.usage import Usage
from llmgateway_server.routing import affinity, complexity, standing
from llmgateway_server.routing.affinity import affinity_key, keeper
from llmgateway_server.routing.complexity import ASKS, CODE_SIGNS, EFFORTS, complexity_of
from llmgateway_server.routing.eligible import FORMATS, MEDIA, eligible
from llmgateway_server.routing.settings import RoutingSettings
from llmgateway_server.routing.standing import ANSWERS, FAILURES, Standing, Standings
from llmgateway_server.routing.strategies import latency
from llmgateway_server.routing.strategies.balanced import balanced
from llmgateway_server.routing.strategies.contenders import TIER_QUALITY, TIER_RANKS, Field, Words
from llmgateway_server.routing.strategies.cost import cost_optimized, cost_priority_round_robin, rates_for
from llmgateway_server.routing.strategies.latency import latency_optimized
from llmgateway_server.routing.strategies.names import Strategy
from llmgateway_server.routing.strategies.order import order
from llmgateway_server.routing.strategies.table import STRATEGIES, Affinity, Ties
from llmgateway_server.routing.strategies.wishes import wish_for
from llmgateway_server.testing.clock import ManualClock
from tests.unit.routing.routing_kit import Rig, asked, names, price, target


def test_the_figures_of_the_pages() -> None:
    assert (affinity.LEAST_HEALTH, affinity.LOAD_FACTOR, affinity.ALWAYS_IN_FLIGHT) == (0.5, 1.25, 8)
    assert affinity.PREFIX_CHARS == 4096
    assert (complexity.SIMPLE_UP_TO, complexity.MEDIUM_UP_TO, complexity.ASKED) == (0.3, 0.6, 0.5)
    assert (complexity.LENGTH_SHARE, complexity.FULL_LENGTH_TOKENS) == (0.5, 4000)
    assert (complexity.TURNS_SHARE, complexity.FULL_TURNS) == (0.3, 10)
    assert (complexity.TOOLS_SHARE, complexity.FULL_TOOLS, complexity.CODE_SHARE) == (0.5, 4, 0.4)
    assert (complexity.REASONING_SHARE, complexity.FULL_BUDGET_TOKENS) == (0.7, 16_384)
    assert (complexity.MAX_TEXT_CHARS, complexity.MAX_LOOKED_AT_CHARS) == (4096, 8192)
    assert complexity.MAX_LOOKED_AT_MESSAGES == 64
    assert EFFORTS == {"low": 0.3, "medium": 0.6, "high": 1.0, "max": 1.0}
    assert (standing.GUESSED_FIRST_TOKEN_S, standing.GUESSED_TOKENS_PER_S) == (0.2, 200.0)
    assert (standing.GUESSED_SUCCESSES, standing.FAILURES_TO_A_QUARTER_LESS, standing.MAX_STANDINGS) == (2.0, 3.0, 4096)
    assert (latency.IN_FLIGHT_TO_TWICE, latency.LEAST_HEALTH) == (32.0, 0.05)
    assert dict(TIER_RANKS) == {"BASIC": 0, "STANDARD": 1, "PREMIUM": 2}
    assert dict(TIER_QUALITY) == {"BASIC": 0.4, "STANDARD": 0.6, "PREMIUM": 0.8}
    assert {start: each.value for start, each in MEDIA} == {
        "image/": "VISION",
        "audio/": "AUDIO_INPUT",
        "application/pdf": "DOCUMENT_INPUT",
    }
    assert {form.value: each.value for form, each in FORMATS.items()} == {
        "json_object": "JSON_OBJECT",
        "json_schema": "JSON_SCHEMA",
    }


def test_which_reasons_speak_of_a_target() -> None:
    assert sorted(each.name for each in FAILURES) == [
        "UPSTREAM_ERROR",
        "UPSTREAM_MALFORMED",
        "UPSTREAM_OVERLOADED",
        "UPSTREAM_REDIRECT",
        "UPSTREAM_RESET",
        "UPSTREAM_STALLED",
        "UPSTREAM_STREAM_INTERRUPTED",
        "UPSTREAM_TIMEOUT",
        "UPSTREAM_TLS",
        "UPSTREAM_UNCLASSIFIED",
        "UPSTREAM_UNREACHABLE",
    ]
    assert sorted(each.name for each in ANSWERS) == [
        "CONTENT_POLICY",
        "CONTEXT_LENGTH_EXCEEDED",
        "OUTPUT_SCHEMA_MISMATCH",
        "REQUEST_TOO_LARGE",
        "UPSTREAM_REJECTED_REQUEST",
    ]


# --- the table ---------------------------------------------------------------------------------------------------


def test_the_rows_of_the_table() -> None:
    c, r, l = Ties.CONFIGURED, Ties.RANDOM, Ties.LEAST_RECENT  # noqa: E741
    no, near, every = Affinity.NOBODY, Affinity.NEAR, Affinity.ALL
    assert {each.value: (row.ties, row.affinity, row.tiered, row.near) for each, row in STRATEGIES.items()} == {
        "priority": (c, no, False, 0.0),
        "round_robin": (r, every, False, 0.0),
        "weighted": (r, every, False, 0.0),
        "cost_optimized": (r, near, True, 0.0),
        "cost_priority_round_robin": (l, near, True, 0.0),
        "latency_optimized": (r, near, True, 2.0),
        "quality_optimized": (r, near, True, 0.0),
        "balanced": (r, near, True, 0.0),
    }
    assert STRATEGIES[Strategy.ROUND_ROBIN].reach(0.25) == math.inf
    assert STRATEGIES[Strategy.BALANCED].reach(0.25) == 1.25
    assert STRATEGIES[Strategy.LATENCY_OPTIMIZED].reach(0.25) == 2.0
    assert STRATEGIES[Strategy.LATENCY_OPTIMIZED].reach(1.5) == 2.5


@pytest.mark.parametrize(
    ("strategy", "leads", "follows"),
    [
        (Strategy.PRIORITY, "configured order", "configured order"),
        (Strategy.ROUND_ROBIN, "least recently used", "used more recently"),
        (Strategy.WEIGHTED, "drawn by weight 1.5", "weight 1.5"),
        (Strategy.COST_OPTIMIZED, "cheapest: 0.500000 USD", "expected cost: 0.500000 USD"),
        (Strategy.COST_PRIORITY_ROUND_ROBIN, "least cost by priority: 0.5", "cost by priority: 0.5"),
        (Strategy.LATENCY_OPTIMIZED, "among the fastest: 0.50 s", "expected: 0.50 s"),
        (Strategy.QUALITY_OPTIMIZED, "best quality: 0.90", "quality: 0.90"),
        (Strategy.BALANCED, "best balance: 0.500 off the ideal", "balance: 0.500 off the ideal"),
    ],
)
def test_words(strategy: Strategy, leads: str, follows: str) -> None:
    (contender,) = Rig(target("a", weight=1.5, quality_score=0.9)).contenders()
    words = STRATEGIES[strategy].words
    assert words.of(contender, 0.5, leads=True) == leads
    assert words.of(contender, 0.5, leads=False) == follows
    if strategy in {Strategy.COST_OPTIMIZED, Strategy.COST_PRIORITY_ROUND_ROBIN}:
        assert words.of(contender, math.inf, leads=True) == "cost unknown: after those with a price"
    assert Words.always("x").of(contender, math.inf, leads=True) == "x"
    assert repr(contender) == "Contender(a/model-of-a)"


# --- scores by hand ----------------------------------------------------------------------------------------------


def test_costs_by_hand() -> None:
    tiers = (RateTier(1000, Rates(20, 30)), RateTier(2000, Rates(40, 50)))
    tiered = Price.of(Rates(10, 20), version="test", tiers=tiers)
    assert [rates_for(tiered, each).input_pico_usd for each in (0, 1000, 1001, 2000, 2001)] == [10, 10, 20, 20, 40]
    rig = Rig(target("a", price=price(1, 2)), target("b"), target("c", price=tiered, priority=2))
    wish = rig.wish(input_token_count=1001, output_token_count=10)
    assert cost_optimized(rig.contenders(), wish) == pytest.approx(
        [(1001 * 1e6 + 10 * 2e6) * 1e-12, math.inf, (1001 * 20 + 10 * 30) * 1e-12]
    )
    assert cost_priority_round_robin(rig.contenders(), wish) == pytest.approx([1.5, math.inf, 15 * 3 * 1e-6])


def test_speed_and_balance_by_hand() -> None:
    slow, quick = target("slow", price=price(2, 2), quality_score=0.5), target("quick", price=price(1, 1))
    rig = Rig(slow, quick, target("free"))
    rig.ran(slow, first_s=3.8, latency_s=3.8, tokens=0)
    for _ in range(16):
        rig.standings.began(slow)
    wish = rig.wish(input_token_count=100, output_token_count=100)
    assert latency_optimized(rig.contenders(), wish) == pytest.approx([2.5 * 1.5, 0.7, 0.7])
    rig.failed(quick, 99)
    health = rig.standings.of(quick).health(rig.clock.monotonic_s())
    assert health < 0.05
    assert latency_optimized(rig.contenders(), wish)[1] == pytest.approx(0.7 / 0.05)
    expected = [
        (1 - 1 / 2) + (1 - 0.7 / 2.5) + 0.5 + 0.0,
        0.0 + 0.0 + 0.4 + (1 - health),
        1.0 + 0.0 + 0.4 + 0.0,
    ]
    assert balanced(rig.contenders(), wish) == pytest.approx([each / 4 for each in expected])
    free = Rig(target("a"), target("b"))
    assert balanced(free.contenders(), free.wish()) == pytest.approx([0.1, 0.1])


def test_what_is_learned_fades_and_is_bounded() -> None:
    clock = ManualClock()
    standings = Standings(clock)
    place = target("a")
    standings.began(place)
    record = AttemptRecord(1, place, Outcome.SUCCEEDED, latency_s=5.0, time_to_first_token_s=1.0, usage=Usage(10, 400))
    standings.ended(record, streamed=True)
    clock.advance(60.0)  # the half-life where none is set
    figures = standings.figures()["a", "model-of-a", ""]
    assert figures.sample_count == pytest.approx(0.5)
    assert figures.first_token_s == pytest.approx((0.5 + 0.2) / 1.5)
    assert figures.tokens_per_s == pytest.approx((200 + 200) / (2 + 1))
    assert (figures.in_flight, figures.last_used, figures.error_rate) == (0, 1, 0.0)
    standings.began(place)
    standings.ended(record, streamed=False)  # came whole: its time to a first token says nothing
    again = standings.figures()["a", "model-of-a", ""]
    assert again.sample_count == pytest.approx(0.5)
    assert again.last_used == 2
    assert again.tokens_per_s == pytest.approx((600 + 200) / (2 + (5 - figures.first_token_s) + 1))


def test_a_slow_first_token_costs_health_from_ten_seconds_on() -> None:
    fast, slow = Standing(), Standing()
    for one, first_s in ((fast, 19.8), (slow, 39.8)):
        one.time(first_s, first_s, 0, 1.0)
    assert fast.health(1.0) == 1.0  # (19.8 + 0.2) ÷ 2: ten seconds are not slow
    assert slow.health(1.0) == pytest.approx(0.5)
    whole = Standing()
    whole.time(0.1, None, 10, 1.0)  # half of a short reply counts as output
    assert whole.figures(1.0).tokens_per_s == pytest.approx(210 / 1.05)
    odd = Standing()
    odd.time(1.0, 3.0, 10, 1.0)  # a first token after the end takes no time off
    assert odd.figures(1.0).tokens_per_s == pytest.approx(210.0)


# --- groups, ties, who is near -----------------------------------------------------------------------------------


def test_a_conversation_stays_with_those_that_are_near_enough() -> None:
    rig = Rig(target("a", price=price(4, 4)), target("b", price=price(5, 5)), target("c", price=price(5.1, 5.1)))
    kept = set()
    for at in range(60):
        wish = rig.wish(input_token_count=1000, affinity_key=f"session:{at}")
        ranked = order(Strategy.COST_OPTIMIZED, rig.contenders(), wish)
        assert ranked[0].reason == "keeps the conversation"
        assert names(ranked)[1:] == [name for name in "abc" if name != names(ranked)[0]]
        assert ranked[1].reason.startswith("expected cost: ")
        kept.add(names(ranked)[0])
    assert kept == {"a", "b"}  # five quarters are near, more is not
    plain = order(Strategy.COST_OPTIMIZED, rig.contenders(), rig.wish(input_token_count=1000))
    assert [each.reason for each in plain] == [
        "cheapest: 0.004000 USD",
        "expected cost: 0.005000 USD",
        "expected cost: 0.005100 USD",
    ]


def test_turns_go_to_who_waited_longest_and_ties_by_chance() -> None:
    rig = Rig(*(target(name, price=price(1, 1)) for name in "abc"))
    rig.ran(rig.targets[0])
    rig.ran(rig.targets[2])
    ranked = order(Strategy.COST_PRIORITY_ROUND_ROBIN, rig.contenders(), rig.wish())
    assert names(ranked) == ["b", "a", "c"]
    assert names(order(Strategy.ROUND_ROBIN, rig.contenders(), rig.wish())) == ["b", "a", "c"]
    mixed = Rig(target("z", price=price(9, 9)), *(target(name, price=price(1, 1)) for name in "ab"), target("y"))
    seen = {
        tuple(names(order(Strategy.COST_OPTIMIZED, mixed.contenders(), mixed.wish(input_token_count=9))))
        for _ in range(40)
    }
    assert seen == {("a", "b", "z", "y"), ("b", "a", "z", "y")}


def test_the_better_one_of_two_leads_among_the_fast() -> None:
    rig = Rig(*map(target, "abcd"))
    for place, first_s in zip(rig.targets, (0.2, 0.3, 0.4, 5.0), strict=True):
        rig.ran(place, first_s=first_s, latency_s=first_s, tokens=0, times=50)
    leads = [names(order(Strategy.LATENCY_OPTIMIZED, rig.contenders(), rig.wish()))[0] for _ in range(900)]
    assert leads.count("a") == pytest.approx(600, abs=60)  # in two of three pairs
    assert leads.count("b") == pytest.approx(300, abs=60)
    assert set(leads) == {"a", "b"}


def test_inside_a_preferred_group_the_tier_counts() -> None:
    rig = Rig(
        target("a", "BASIC", price=price(1, 1)),
        target("b", "PREMIUM", price=price(2, 2)),
        target("c", price=price(3, 3)),
    )
    wish = rig.wish(input_token_count=9, tier="STANDARD", preferred_providers=("a", "c"))
    ranked = order(Strategy.COST_OPTIMIZED, rig.contenders(), wish)
    assert names(ranked) == ["a", "c", "b"]
    assert [each.reason for each in ranked[:2]] == ["preferred by the request"] * 2
    assert ranked[2].reason.startswith("expected cost: ")
    assert names(order(Strategy.PRIORITY, rig.contenders(), rig.wish(preferred_providers=("c",)))) == ["c", "a", "b"]


def test_a_kept_conversation_moves_when_its_target_is_full() -> None:
    rig = Rig(*map(target, "ab"))
    first = keeper("k", rig.contenders(), rig.clock.monotonic_s())
    assert first is not None
    for _ in range(7):
        rig.standings.began(rig.targets[first])
    assert keeper("k", rig.contenders(), rig.clock.monotonic_s()) == first
    rig.standings.began(rig.targets[first])  # 8 in flight, 1.25 · 9 ÷ 2 of them would be its share
    assert keeper("k", rig.contenders(), rig.clock.monotonic_s()) == 1 - first
    for _ in range(8):
        rig.standings.began(rig.targets[1 - first])
    assert keeper("k", rig.contenders(), rig.clock.monotonic_s()) == first  # 8 < ⌈1.25 · 17 ÷ 2⌉


def test_keys_of_conversations() -> None:
    assert affinity_key("s", asked("x")) == "session:s"
    assert affinity_key("", asked("x" * 4095)) == ""
    whole = affinity_key("", asked("x" * 4096))
    assert whole.startswith("prefix:")
    assert len(whole) == len("prefix:") + 16
    assert whole == affinity_key("", asked("x" * 5000)) == affinity_key("", asked("x" * 4096, "more"))
    assert whole != affinity_key("", asked("x" * 2048, "x" * 2048))
    assert affinity_key("", asked("a" * 4000, "b" * 96)) != ""
    assert affinity_key("", asked("a" * 4000, "b" * 95)) == ""
    picture = MediaPart("image/png", b"x")
    cut = asked("x" * 4000)
    cut.messages[0].parts.append(Part(picture))
    cut.messages.append(Message(Role.USER, [Part(TextPart("y" * 200))]))
    assert affinity_key("", cut) == ""


# --- complexity, eligibility, wishes -----------------------------------------------------------------------------


@pytest.mark.parametrize("words", ASKS)
def test_each_way_to_ask_for_thought_counts(words: str) -> None:
    assert complexity_of(asked(f"Please {words.upper()} it")) == pytest.approx(0.35, abs=0.01)


@pytest.mark.parametrize("sign", CODE_SIGNS)
def test_two_signs_of_code_are_code(sign: str) -> None:
    other = "return " if sign != "return " else "class "
    assert complexity_of(asked(f"{sign} {other}")) == pytest.approx(0.4, abs=0.01)
    assert complexity_of(asked(sign)) < 0.01
    assert complexity_of(asked(sign, other)) == pytest.approx(0.03, abs=0.01)  # one in each text is none


def test_the_front_is_the_first_ones_by_priority_with_what_is_known_of_them() -> None:
    rig = Rig(*(target(name, priority=at) for name, at in (("c", 2), ("a", 0), ("b", 1), ("d", 3))))
    rig.failed(rig.targets[2], times=3)
    front = Field(rig.targets).front(rig.standings, 2)
    assert [each.target.provider for each in front] == ["a", "b"]
    assert [each.standing.consecutive_failures for each in front] == [0, 3]
    whole = {each.target: each for each in rig.contenders()}
    for each in front:
        same = whole[each.target]
        assert (each.quality, each.tier_rank, each.seed) == (same.quality, same.tier_rank, same.seed)


def test_tables_of_words_do_not_shrink() -> None:
    assert (len(ASKS), len(CODE_SIGNS)) == (8, 12)
    assert {"step by step", "prove that", "proof of", "derive ", "think carefully"} < set(ASKS)
    assert {"reason about", "trade-off", "root cause"} < set(ASKS)
    assert set(CODE_SIGNS) == {
        *("def ", "class ", "import ", "return ", "#include", "function "),
        *("public static", "func ", "=> {", "();", "SELECT ", "</"),
    }


def test_only_the_newest_and_the_beginning_is_looked_at() -> None:
    code = "def f(): return 1"
    filler = ["y" * 4096] * 2
    assert complexity_of(asked(code, *filler)) < complexity_of(asked(filler[0], code, filler[1]))
    near_end, too_far = ("y" * (4096 - each) + code for each in (len(code), 5))
    assert complexity_of(asked(near_end)) - complexity_of(asked(too_far)) == pytest.approx(0.4 * 0.87, abs=0.01)
    many = asked(code, *["y"] * 63)
    assert complexity_of(many) - complexity_of(asked(*["y"] * 65)) == pytest.approx(0.4 * 0.7, abs=0.02)
    assert complexity_of(asked(code, *["y"] * 64)) == pytest.approx(complexity_of(asked(*["y"] * 65)), abs=0.02)


def test_turns_and_efforts_are_counted() -> None:
    said = asked("a", "b", "c")
    said.messages[1].role = Role.ASSISTANT
    assert complexity_of(said) == pytest.approx(0.03, abs=0.002)
    said.messages[1].role = Role.TOOL
    assert complexity_of(said) == pytest.approx(0.06, abs=0.002)
    assert complexity_of(asked("")) == 0.0
    for effort, share in (("low", 0.21), ("medium", 0.42), ("high", 0.7), ("max", 0.7), ("odd", 0.0)):
        assert complexity_of(asked("", reasoning=ReasoningOptions(effort=effort))) == pytest.approx(share)
    both = ReasoningOptions(effort="low", budget_token_count=8192)
    assert complexity_of(asked("", reasoning=both)) == pytest.approx(0.35)
    assert complexity_of(asked("", reasoning=ReasoningOptions(budget_token_count=99_999))) == pytest.approx(0.7)
    assert complexity_of(asked("", reasoning=ReasoningOptions())) == 0.0


@pytest.mark.parametrize(
    ("profile", "wish", "reason"),
    [
        (Profile(context_token_count=100), {"input_token_count": 100}, ""),
        (Profile(context_token_count=100), {"input_token_count": 101}, "context too small"),
        (Profile(context_token_count=100), {"input_token_count": 90, "max_output_token_count": 10}, ""),
        (
            Profile(context_token_count=100),
            {"input_token_count": 90, "max_output_token_count": 11},
            "context too small",
        ),
        (Profile(max_output_token_count=10), {"max_output_token_count": 10}, ""),
        (Profile(max_output_token_count=10), {"max_output_token_count": 11}, "output limit too small"),
        (Profile(frozenset({"TOOLS"})), {"needs": frozenset({"TOOLS"})}, ""),
        (Profile(frozenset({"TOOLS"})), {"needs": frozenset({"VISION", "AUDIO_INPUT"})}, "lacks AUDIO_INPUT, VISION"),
        (Profile(), {"needs": frozenset({"VISION"})}, ""),
    ],
)
def test_what_does_not_suit(profile: Profile, wish: dict[str, Any], reason: str) -> None:
    rig = Rig(target("a", profile=profile), target("b"))
    kept, left = eligible(rig.contenders(), rig.wish(**wish))
    assert [each.target.provider for each in kept] == (["b"] if reason else ["a", "b"])
    assert [why for _, why in left] == ([reason] if reason else [])


def test_wishes_of_each_kind_of_request() -> None:
    settings, rng = RoutingSettings(), Random(1)
    hard = asked("x" * 4096, tools=[Tool("t")] * 4, reasoning=ReasoningOptions(effort="max"), max_output_tokens=0)
    for strategy, row in STRATEGIES.items():
        wish = wish_for(hard, strategy, settings, rng, 3.0, session="s", capabilities=frozenset({"TOOLS"}))
        assert wish.tier == ("PREMIUM" if row.tiered else "")
        assert wish.affinity_key == ("" if strategy is Strategy.PRIORITY else "session:s")
        assert (wish.output_token_count, wish.max_output_token_count, wish.now_s) == (0, 0, 3.0)
        assert wish.capabilities == {"TOOLS"}
    embed = EmbedRequest("m", ["x"])
    wish = wish_for(embed, Strategy.BALANCED, settings, rng, 3.0, session="s")
    assert (wish.tier, wish.affinity_key, wish.max_output_token_count) == ("", "", None)
    assert wish.needs == {"EMBEDDING"}
    assert isinstance(hard, CompleteRequest)
