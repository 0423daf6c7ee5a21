"""How much of a call's time one attempt may take while others could still be tried.

    share of a stream, to its first token   = time left ÷ (others + 1)
    share of a whole reply, to its end      = time left ÷ 2, or 4 · what the target usually takes, whichever is more
    without others to try                   : all that is left

So a target that hangs leaves time for the next one. A whole reply gets more, because nothing shows that it is coming.
Running into a share speaks against the target only if the share was fair: not below the limit to the first token, or
four times what this target usually takes and five seconds.
"""

from __future__ import annotations

import math

from llmgateway_server.core.calls import Attempt
from llmgateway_server.routing.standing import Figures

LEAST_S = 1.0
"""No share is shorter, if that much is left."""
LEAST_FAIR_S = 5.0
"""A target that is usually quick may still pause for so long: no breaker should count that."""
PATIENCE = 4.0
"""How many times its usual time a target gets."""
LEAST_SAMPLES = 3.0
"""Weight of samples from which on the usual time is known."""
WHOLE_REPLY = 2


def set_share(
    attempt: Attempt, others: int, remaining_s: float, usual: Figures | None, *, first_token_s: float
) -> None:
    """Sets an attempt's share of the call's time.

    Args:
        others: targets that could be tried after it.
        remaining_s: until the call's deadline.
        usual: what is known of the target.
        first_token_s: the limit to the first token of a stream.
    """
    if not others or remaining_s <= LEAST_S:
        return
    streaming = attempt.call.streaming
    share_s = remaining_s / (others + 1 if streaming else WHOLE_REPLY)
    usual_s = math.inf
    if usual is not None and usual.sample_count >= LEAST_SAMPLES:
        usual_s = usual.first_token_s if streaming else usual.first_token_s + _expected(attempt) / usual.tokens_per_s
        share_s = max(share_s, min(PATIENCE * usual_s, remaining_s - LEAST_S))
    share_s = max(LEAST_S, share_s)
    if remaining_s - share_s < LEAST_S:  # nobody could use the rest
        return
    attempt.share_s = share_s
    attempt.fair_share = attempt.share_s >= min(first_token_s, max(LEAST_FAIR_S, PATIENCE * usual_s))


def _expected(attempt: Attempt) -> float:
    return float(getattr(attempt.call.request, "max_output_tokens", None) or 512)
