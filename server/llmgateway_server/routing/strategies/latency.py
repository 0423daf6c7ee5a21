"""The order by speed.

    score = (first_token_s + output tokens ÷ pace) · (1 + in flight ÷ 32) ÷ max(health, 0.05)      seconds

The load is what this process has in flight at the target. It weighs little, because nobody knows how much a provider
can take; it keeps a burst from running after one figure before the next one is known. Who leads is then left to the
power of two choices, see `order`.

Source: Mitzenmacher, The power of two choices in randomized load balancing, IEEE TPDS 12(10), 2001.
"""

from __future__ import annotations

from collections.abc import Sequence

from llmgateway_server.routing.strategies.contenders import Contender, Scores, Wish

IN_FLIGHT_TO_TWICE = 32.0
"""Calls in flight at which a target counts as twice as slow."""
LEAST_HEALTH = 0.05
"""The worst that health can do: twenty times as slow."""


def latency_optimized(contenders: Sequence[Contender], wish: Wish) -> Scores:
    """Returns the seconds that the whole answer is expected to take, under load and with the risk of a failure."""
    now_s, made = wish.now_s, wish.output_token_count
    scores: Scores = []
    for each in contenders:
        standing = each.standing
        expected_s, health = standing.speed(now_s, made)
        if standing.in_flight:
            expected_s *= 1.0 + standing.in_flight / IN_FLIGHT_TO_TWICE
        scores.append(expected_s / max(health, LEAST_HEALTH))
    return scores
