"""The strategies, one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from math import inf

from llmgateway_server.routing.strategies.balanced import balanced
from llmgateway_server.routing.strategies.contenders import Contender, Scores, Wish, Words
from llmgateway_server.routing.strategies.cost import cost_optimized, cost_priority_round_robin
from llmgateway_server.routing.strategies.latency import latency_optimized
from llmgateway_server.routing.strategies.names import Strategy
from llmgateway_server.routing.strategies.quality import quality_optimized
from llmgateway_server.routing.strategies.turns import priority, round_robin, weighted


class Ties(Enum):
    """Who goes first of those with the same score."""

    CONFIGURED = auto()
    RANDOM = auto()
    LEAST_RECENT = auto()
    """The one that was used longest ago; at random where that is equal, too."""


class Affinity(Enum):
    """Among whom a conversation keeps its target."""

    NOBODY = auto()
    """The order is the operator's."""
    NEAR = auto()
    """Those that are not much worse than the best, see `Wish.affinity_slack`."""
    ALL = auto()
    """All: the order is by turns or by chance."""


@dataclass(slots=True, frozen=True)
class Row:
    """How one strategy orders.

    Attributes:
        score: one number for each contender, less is better; a pure function of its arguments.
        words: the reasons.
        ties: who goes first of equals.
        affinity: among whom a conversation keeps its target.
        tiered: whether targets below the tier that the request wants go last.
        near: two are drawn at random from those whose score is at most `near` times the best, and the better one leads;
            0 for no draw.
    """

    score: Callable[[Sequence[Contender], Wish], Scores]
    words: Words
    ties: Ties
    affinity: Affinity
    tiered: bool
    near: float = 0.0

    def reach(self, slack: float) -> float:
        """Returns how many times the best score a target may have to keep a conversation."""
        return inf if self.affinity is Affinity.ALL else max(self.near, 1.0 + slack)


CONFIGURED_ORDER = "configured order"
UNPRICED = "cost unknown: after those with a price"
STRATEGIES: Mapping[Strategy, Row] = {
    Strategy.PRIORITY: Row(
        priority,
        Words.always(CONFIGURED_ORDER),
        Ties.CONFIGURED,
        Affinity.NOBODY,
        tiered=False,
    ),
    Strategy.ROUND_ROBIN: Row(
        round_robin,
        Words("least recently used", "used more recently"),
        Ties.RANDOM,
        Affinity.ALL,
        tiered=False,
    ),
    Strategy.WEIGHTED: Row(
        weighted,
        Words("drawn by weight {target.weight:g}", "weight {target.weight:g}"),
        Ties.RANDOM,
        Affinity.ALL,
        tiered=False,
    ),
    Strategy.COST_OPTIMIZED: Row(
        cost_optimized,
        Words("cheapest: {score:.6f} USD", "expected cost: {score:.6f} USD", UNPRICED),
        Ties.RANDOM,
        Affinity.NEAR,
        tiered=True,
    ),
    Strategy.COST_PRIORITY_ROUND_ROBIN: Row(
        cost_priority_round_robin,
        Words("least cost by priority: {score:.4g}", "cost by priority: {score:.4g}", UNPRICED),
        Ties.LEAST_RECENT,
        Affinity.NEAR,
        tiered=True,
    ),
    Strategy.LATENCY_OPTIMIZED: Row(
        latency_optimized,
        Words("among the fastest: {score:.2f} s", "expected: {score:.2f} s"),
        Ties.RANDOM,
        Affinity.NEAR,
        tiered=True,
        near=2.0,
    ),
    Strategy.QUALITY_OPTIMIZED: Row(
        quality_optimized,
        Words("best quality: {quality:.2f}", "quality: {quality:.2f}"),
        Ties.RANDOM,
        Affinity.NEAR,
        tiered=True,
    ),
    Strategy.BALANCED: Row(
        balanced,
        Words("best balance: {score:.3f} off the ideal", "balance: {score:.3f} off the ideal"),
        Ties.RANDOM,
        Affinity.NEAR,
        tiered=True,
    ),
}
