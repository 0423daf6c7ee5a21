"""The order by everything at once, in equal parts.

score = ((1 − least cost ÷ cost) + (1 − least time ÷ time) + (1 − quality) + (1 − health)) ÷ 4

Each part is 0 for the best there can be and 1 for the worst. Cost and time are held against the best of the contenders
rather than spread between the best and the worst, so that one very dear target does not make the others look alike. A
target without a price has 1 for its cost; where none has a price, all have 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from llmgateway_server.routing.strategies.contenders import Contender, Scores, Wish
from llmgateway_server.routing.strategies.cost import cost_optimized


def balanced(contenders: Sequence[Contender], wish: Wish) -> Scores:
    """Returns the mean of the four parts, 0 to 1."""
    now_s, made = wish.now_s, wish.output_token_count
    costs = cost_optimized(contenders, wish)
    speeds = [each.standing.speed(now_s, made) for each in contenders]
    least_cost, least_s = min(costs), min(speeds)[0]
    scores: Scores = []
    for each, cost, (expected_s, health) in zip(contenders, costs, speeds, strict=True):
        if cost > least_cost:
            dear = 1.0 if cost == inf else 1.0 - least_cost / cost
        else:
            dear = 0.0
        scores.append((dear + 1.0 - least_s / expected_s + 1.0 - each.quality + 1.0 - health) / 4.0)
    return scores
