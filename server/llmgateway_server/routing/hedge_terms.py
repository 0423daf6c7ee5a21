"""When a slow attempt may get company, and after how long (RELIABILITY §3.9).

Off unless the call asks for it; before the first token only; at another account; only while the target's retry budget
is more than half full, so that hedges stop when a provider is in trouble; within the caller's cap on the extra cost.

    delay = the caller's, else the 95th percentile of the target's time to first token, taken as 3 · its mean
"""

from __future__ import annotations

from llmgateway_server.core.calls import Call
from llmgateway_server.core.money import cost_of
from llmgateway_server.core.targets import Target
from llmgateway_server.core.usage import Usage, estimate_token_count
from llmgateway_server.routing.retry_budget import CAPACITY, RetryBudgets
from llmgateway_server.routing.standing import Standings

P95_OF_MEAN = 3.0
"""Of an exponential distribution: −ln 0.05. Times to a first token have a tail, but none that long."""
DEFAULT_OUTPUT_TOKENS = 512
"""Expected of a call that sets no cap."""


class HedgeTerms:
    """See the module.

    Args:
        standings: know how fast targets are.
        budgets: know whether they are in trouble.
    """

    def __init__(self, standings: Standings, budgets: RetryBudgets) -> None:
        self._standings = standings
        self._budgets = budgets

    def delay_s(self, call: Call, target: Target, now_s: float) -> float | None:
        """Returns how long the first attempt has before it gets company; None for never."""
        hedge = call.request.routing.hedge
        if hedge is None or self._budgets.of(target).tokens * 2 <= CAPACITY:
            return None
        if hedge.delay_s is not None:
            return hedge.delay_s
        return P95_OF_MEAN * self._standings.of(target).figures(now_s).first_token_s

    def allow(self, call: Call, other: Target, than: Target) -> bool:
        """Tells whether `other` may be the company of an attempt at `than`."""
        hedge = call.request.routing.hedge
        if hedge is None or other.provider == than.provider:
            return False
        if hedge.max_extra_cost_nano_usd is None:
            return True
        if other.price is None:
            return False
        request = call.request
        output = getattr(request, "max_output_tokens", None) or DEFAULT_OUTPUT_TOKENS
        usage = Usage(estimate_token_count(request.input_byte_count), output)
        return cost_of(usage, other.price).total_nano_usd <= hedge.max_extra_cost_nano_usd
