"""Orders that look at no figure of a reply: by priority, in turns, by chance.

    priority      score = priority                        equal ones in the configured order
    round_robin   score = number of the last attempt      0 for a target that was never used
    weighted      score = −ln(u) ÷ weight                 u at random from (0, 1], one for each target

The last makes a whole order in which each place is drawn in proportion to the weights of those that are left:
P(first) = weight ÷ sum of weights.

Source: Efraimidis and Spirakis, Weighted random sampling with a reservoir, IPL 97(5), 2006.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from llmgateway_server.routing.strategies.contenders import Contender, Scores, Wish


def priority(contenders: Sequence[Contender], _wish: Wish) -> Scores:
    """Returns the configured priorities, 0 first."""
    return [float(each.target.priority) for each in contenders]


def round_robin(contenders: Sequence[Contender], _wish: Wish) -> Scores:
    """Returns when each was used last, as a number that counts attempts."""
    return [float(each.standing.last_used) for each in contenders]


def weighted(contenders: Sequence[Contender], wish: Wish) -> Scores:
    """Returns exponential draws, see the module."""
    random = wish.rng.random
    return [-log(1.0 - random()) / each.target.weight for each in contenders]
