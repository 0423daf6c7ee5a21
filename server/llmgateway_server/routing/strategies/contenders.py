"""What an order is made of: the targets with what is known of them, and what the call wishes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from math import inf
from random import Random

from llmgateway_server.core.targets import Target
from llmgateway_server.routing.standing import Standing, Standings

TIER_RANKS: Mapping[str, int] = {"BASIC": 0, "STANDARD": 1, "PREMIUM": 2}
UNKNOWN_TIER = "STANDARD"
"""What a target without a tier counts as."""
TIER_QUALITY: Mapping[str, float] = {"BASIC": 0.4, "STANDARD": 0.6, "PREMIUM": 0.8}
"""The quality score of a target that has none of its own, 0 to 1."""
SEED_BYTES = 8


class Contender:
    """A target that may serve a call.

    Attributes:
        target: what the catalogue says.
        standing: what is known of it now.
        quality: 0 to 1: its own score, else that of its tier.
        tier_rank: 0 `BASIC`, 1 `STANDARD` or unknown, 2 `PREMIUM`.
        seed: 64 bits of its name, equal in every process.
    """

    __slots__ = ("quality", "seed", "standing", "target", "tier_rank")

    def __init__(self, target: Target, standing: Standing, quality: float, tier_rank: int, seed: int) -> None:
        self.target = target
        self.standing = standing
        self.quality = quality
        self.tier_rank = tier_rank
        self.seed = seed

    def __repr__(self) -> str:
        return f"Contender({self.target})"


class Field:
    """The targets of a model, prepared once, so that a call pays for what changes alone.

    Args:
        targets: in the configured order.
    """

    __slots__ = ("_by_priority", "_prepared")

    def __init__(self, targets: Iterable[Target]) -> None:
        self._prepared = [(target, _quality(target), _tier_rank(target), _seed(target)) for target in targets]
        self._by_priority = sorted(self._prepared, key=lambda each: each[0].priority)

    def __len__(self) -> int:
        return len(self._prepared)

    def contenders(self, standings: Standings) -> list[Contender]:
        """Returns the targets with what is known of them now."""
        of = standings.of
        return [Contender(target, of(target), quality, rank, seed) for target, quality, rank, seed in self._prepared]

    def front(self, standings: Standings, count: int) -> list[Contender]:
        """Returns the first ones by priority, as `contenders` does."""
        of = standings.of
        return [Contender(each[0], of(each[0]), *each[1:]) for each in self._by_priority[:count]]


@dataclass(slots=True, frozen=True)
class Wish:
    """What a call wishes; built once per call.

    Attributes:
        rng: where chance comes from.
        now_s: on the monotonic clock.
        input_token_count: estimated.
        output_token_count: expected.
        max_output_token_count: what the caller allows; None where it says nothing.
        capabilities: that the caller requires, names of `core.targets.Capability`.
        needs: capabilities that the request itself needs.
        tier: the least tier that suits, empty for any.
        preferred_providers: to be tried first, in this order.
        excluded_providers: never to be tried.
        tags: that a target must carry, all of them.
        affinity_key: calls with the same key prefer the same target; empty for none.
        affinity_slack: how much worse than the best that target may be, as a share.
    """

    rng: Random
    now_s: float
    input_token_count: int = 0
    output_token_count: int = 0
    max_output_token_count: int | None = None
    capabilities: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    tier: str = ""
    preferred_providers: tuple[str, ...] = ()
    excluded_providers: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    affinity_key: str = ""
    affinity_slack: float = 0.25


Scores = list[float]
"""One number for each contender; less is better."""


@dataclass(slots=True, frozen=True)
class Words:
    """Why a target stands where it does: templates over its `target`, its `quality` and the `score` by which it stands.

    Attributes:
        leads: of the first.
        follows: of any other.
        unknown: where the score is infinite, because nothing is known.
    """

    leads: str
    follows: str
    unknown: str = ""

    @classmethod
    def always(cls, text: str) -> Words:
        """Returns words that are the same for all."""
        return cls(text, text, text)

    def of(self, contender: Contender, score: float, *, leads: bool) -> str:
        """Returns the words for one target."""
        words = self.unknown if score == inf else self.leads if leads else self.follows
        return words.format(target=contender.target, quality=contender.quality, score=score)


class Ranked:
    """A contender in its place.

    Attributes:
        contender: who.
        score: by which it stands there; less is better.
    """

    __slots__ = ("_leads", "_words", "contender", "score")

    def __init__(self, contender: Contender, score: float, words: Words, leads: bool) -> None:
        self.contender = contender
        self.score = score
        self._words = words
        self._leads = leads

    @property
    def reason(self) -> str:
        """Why it stands there: a fixed phrase, with a number where there is one. Written when it is asked for."""
        return self._words.of(self.contender, self.score, leads=self._leads)


def _tier_rank(target: Target) -> int:
    return TIER_RANKS.get(target.profile.tier, TIER_RANKS[UNKNOWN_TIER])


def _quality(target: Target) -> float:
    if target.quality_score is not None:
        return target.quality_score
    return TIER_QUALITY.get(target.profile.tier, TIER_QUALITY[UNKNOWN_TIER])


def _seed(target: Target) -> int:
    name = f"{target.provider}\0{target.upstream_model}\0{target.region}"
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=SEED_BYTES).digest(), "big")
