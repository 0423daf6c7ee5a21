import doctest
from pathlib import Path
from random import Random

import pytest
from pydantic import ValidationError

from llmgateway_server.core.requests import CountTokensRequest, EmbedRequest, ReasoningOptions, RoutingOptions, Tool
from llmgateway_server.routing.settings import RoutingSettings
from llmgateway_server.routing.strategies.names import Strategy
from llmgateway_server.routing.strategies.wishes import wish_for
from tests.unit.routing.routing_kit import asked

DEFAULT = RoutingSettings()
RNG = Random(1)


def test_a_wish_has_what_its_strategy_looks_at() -> None:
    request = asked("x" * 8000, tools=[Tool("t")], reasoning=ReasoningOptions(effort="high"), max_output_tokens=100)
    request.routing = RoutingOptions(preferred_providers=("a",), excluded_providers=("b",))
    wish = wish_for(request, Strategy.BALANCED, DEFAULT, RNG, 5.0, tags=frozenset({"eu"}))
    assert (wish.input_token_count, wish.output_token_count, wish.max_output_token_count) == (2000, 100, 100)
    assert wish.needs == {"TOOLS"}
    assert wish.tags == {"eu"}
    assert wish.capabilities == frozenset()
    assert (wish.preferred_providers, wish.excluded_providers, wish.tier) == (("a",), ("b",), "PREMIUM")
    assert wish.affinity_key.startswith("prefix:")
    assert (wish.rng, wish.now_s, wish.affinity_slack) == (RNG, 5.0, 0.25)
    plain = wish_for(request, Strategy.PRIORITY, DEFAULT, RNG, 5.0, session="s")
    assert (plain.tier, plain.affinity_key) == ("", "")
    assert wish_for(request, Strategy.WEIGHTED, DEFAULT, RNG, 5.0, session="s").affinity_key == "session:s"


def test_expected_output() -> None:
    def expected(allowed: int | None) -> int:
        return wish_for(asked("x", max_output_tokens=allowed), Strategy.PRIORITY, DEFAULT, RNG, 0.0).output_token_count

    assert [expected(each) for each in (None, 10, 512, 100_000)] == [512, 10, 512, 512]
    for request in (EmbedRequest("m", ["x"]), CountTokensRequest(asked("x"))):
        wish = wish_for(request, Strategy.BALANCED, DEFAULT, RNG, 0.0, session="s")
        assert (wish.output_token_count, wish.tier, wish.affinity_key) == (0, "", "")


def test_tiers_can_be_switched_off() -> None:
    hard = asked("x", reasoning=ReasoningOptions(effort="max"))
    off = RoutingSettings(simple_up_to=1.0, medium_up_to=1.0)
    assert wish_for(hard, Strategy.BALANCED, off, RNG, 0.0).tier == ""
    with pytest.raises(ValidationError, match="simple_up_to must not be above"):
        RoutingSettings(simple_up_to=0.7)


def test_the_examples_of_the_page() -> None:
    page = Path(__file__).parents[3] / "docs" / "routing.md"
    outcome = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert outcome.attempted > 10
    assert outcome.failed == 0
