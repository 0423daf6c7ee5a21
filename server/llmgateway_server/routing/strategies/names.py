"""The words for the ways to order targets."""

from __future__ import annotations

from enum import StrEnum


class Strategy(StrEnum):
    """How targets are ordered; each is the contract's `RoutingStrategy` in lower case without its prefix."""

    PRIORITY = "priority"
    ROUND_ROBIN = "round_robin"
    WEIGHTED = "weighted"
    COST_OPTIMIZED = "cost_optimized"
    COST_PRIORITY_ROUND_ROBIN = "cost_priority_round_robin"
    LATENCY_OPTIMIZED = "latency_optimized"
    QUALITY_OPTIMIZED = "quality_optimized"
    BALANCED = "balanced"
