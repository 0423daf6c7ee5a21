"""The order by quality.

score = 1 − quality        the target's own score, else 0.4 BASIC, 0.6 STANDARD or unknown, 0.8 PREMIUM
"""

from __future__ import annotations

from collections.abc import Sequence

from llmgateway_server.routing.strategies.contenders import Contender, Scores, Wish


def quality_optimized(contenders: Sequence[Contender], _wish: Wish) -> Scores:
    """Returns what each lacks of the best quality, 0 to 1."""
    return [1.0 - each.quality for each in contenders]
