"""Targets, standings and wishes for the tests of the choice of targets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from llmgateway_server.core.calls import AttemptRecord, Outcome
from llmgateway_server.core.messages import Message, Part, Role, TextPart
from llmgateway_server.core.money import Price, Rates, RateTier
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest
from llmgateway_server.core.targets import Profile, Target
from llmgateway_server.core.usage import Usage
from llmgateway_server.routing.standing import Standings
from llmgateway_server.routing.strategies.contenders import Contender, Field, Ranked, Wish
from llmgateway_server.testing.clock import ManualClock

unhurried = settings(deadline=None)
"""An example may meet a busy machine."""
TIERS = ("", "BASIC", "STANDARD", "PREMIUM")
CAPABILITIES = ("TOOLS", "VISION", "JSON_SCHEMA", "REASONING")


def price(input_usd: float, output_usd: float) -> Price:
    """Per million tokens."""
    return Price(round(input_usd * 1e6), round(output_usd * 1e6), version="test")


def target(name: str, tier: str = "", **fields: Any) -> Target:
    profile = fields.pop("profile", None) or Profile(tier=tier)
    return Target(name, "simulator", f"model-of-{name}", profile=profile, **fields)


class Rig:
    """Some targets with their standings under a clock that the test moves."""

    def __init__(self, *targets: Target, half_life_s: float = 60.0, seed: int = 7) -> None:
        self.clock = ManualClock()
        self.standings = Standings(self.clock, half_life_s)
        self.targets = targets
        self.rng = Random(seed)

    def contenders(self) -> list[Contender]:
        return Field(self.targets).contenders(self.standings)

    def wish(self, **fields: Any) -> Wish:
        return Wish(self.rng, self.clock.monotonic_s(), **fields)

    def ran(
        self,
        target: Target,
        outcome: Outcome = Outcome.SUCCEEDED,
        reason: Reason | None = None,
        *,
        first_s: float | None = None,
        latency_s: float = 0.0,
        tokens: int | None = None,
        times: int = 1,
    ) -> None:
        for _ in range(times):
            self.standings.began(target)
            usage = None if tokens is None else Usage(10, tokens)
            record = AttemptRecord(
                1, target, outcome, reason, latency_s=latency_s, time_to_first_token_s=first_s, usage=usage
            )
            self.standings.ended(record, streamed=first_s is not None)

    def failed(self, target: Target, times: int = 1, reason: Reason = Reason.UPSTREAM_ERROR) -> None:
        self.ran(target, Outcome.FAILED, reason, times=times)


def names(ranked: Iterable[Ranked]) -> list[str]:
    return [each.contender.target.provider for each in ranked]


def asked(*texts: str, **fields: Any) -> CompleteRequest:
    messages = [Message(Role.USER, [Part(TextPart(text))]) for text in texts]
    return CompleteRequest("m", messages, input_byte_count=sum(len(text.encode()) for text in texts), **fields)


_rates = st.integers(0, 10**8)
prices = st.builds(
    lambda rates, tiers: Price.of(
        Rates(*rates),
        version="any",
        tiers=tuple(RateTier(above, Rates(*each)) for above, each in sorted(tiers.items())),
    ),
    st.tuples(_rates, _rates),
    st.dictionaries(st.integers(1, 300_000), st.tuples(_rates, _rates), max_size=2),
)
profiles = st.builds(
    Profile,
    capabilities=st.frozensets(st.sampled_from(CAPABILITIES)),
    context_token_count=st.none() | st.integers(1, 300_000),
    max_output_token_count=st.none() | st.integers(1, 100_000),
    tier=st.sampled_from(TIERS),
)


@st.composite
def some_targets(draw: st.DrawFn, least: int = 1, most: int = 8) -> Sequence[Target]:
    return [
        Target(
            f"p{at % 5}",
            "simulator",
            f"m{at}",
            price=draw(st.none() | prices),
            profile=draw(profiles),
            weight=draw(st.floats(0.01, 100)),
            priority=draw(st.integers(0, 3)),
            tags=draw(st.frozensets(st.sampled_from(("eu", "fast")))),
            enabled=draw(st.booleans()),
            quality_score=draw(st.none() | st.floats(0, 1)),
        )
        for at in range(draw(st.integers(least, most)))
    ]


@st.composite
def rigs(draw: st.DrawFn, least: int = 1) -> Rig:
    """Targets with any history."""
    rig = Rig(*draw(some_targets(least)), seed=draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(0, 12))):
        chosen = draw(st.sampled_from(rig.targets))
        if draw(st.booleans()):
            rig.failed(chosen, draw(st.integers(1, 6)))
        else:
            first_s = draw(st.none() | st.floats(0, 100))
            rig.ran(
                chosen,
                first_s=first_s,
                latency_s=(first_s or 0.0) + draw(st.floats(0, 100)),
                tokens=draw(st.integers(0, 9999)),
            )
        if draw(st.booleans()):
            rig.standings.began(chosen)
        rig.clock.advance(draw(st.floats(0, 1000)))
    return rig


@st.composite
def wishes_of(draw: st.DrawFn, rig: Rig) -> Wish:
    providers = st.lists(st.sampled_from(["p0", "p1", "p2", "p3", "p4", "elsewhere"]), max_size=3).map(tuple)
    return rig.wish(
        input_token_count=draw(st.integers(0, 400_000)),
        output_token_count=draw(st.integers(0, 4096)),
        max_output_token_count=draw(st.none() | st.integers(1, 100_000)),
        capabilities=draw(st.frozensets(st.sampled_from(CAPABILITIES), max_size=2)),
        needs=draw(st.frozensets(st.sampled_from(CAPABILITIES), max_size=2)),
        tier=draw(st.sampled_from(TIERS)),
        preferred_providers=draw(providers),
        excluded_providers=draw(providers),
        tags=draw(st.frozensets(st.sampled_from(("eu", "fast")), max_size=1)),
        affinity_key=draw(st.sampled_from(("", "a", "b"))),
    )
