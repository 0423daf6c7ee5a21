"""How long to wait before a target is asked again.

    delay(n) = max(Retry-After, U(0, min(8 s, 0.5 s · 2^n, what the deadline allows)))        n = 0, 1, 2 …

Full jitter, because callers that failed together would otherwise come back together; Retry-After is a minimum. One that
is longer than `LONGEST_RETRY_AFTER_S`, or than the deadline allows, is not waited for: another target is asked instead.

Sources: RFC 9110 §10.2.3; Brooker, https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/; the
figures are those of OpenAI's client, https://github.com/openai/openai-python (`_constants.py`).
"""

from __future__ import annotations

from random import Random

BASE_S = 0.5
CAP_S = 8.0
LONGEST_RETRY_AFTER_S = 5.0
_DOUBLINGS_TO_CAP = 4


class Backoff:
    """Draws delays.

    Args:
        rng: chance.
    """

    def __init__(self, rng: Random | None = None) -> None:
        self._rng = rng or Random()

    def delay_s(self, retries: int, retry_after_s: float | None, allowed_s: float) -> float | None:
        """Returns the delay before the next retry in seconds.

        Args:
            retries: how many the call has made before.
            retry_after_s: what the target asked for. None, NaN, zero and less: nothing.
            allowed_s: what the deadline leaves for waiting, the time of the next attempt taken off; infinite without
                a deadline.

        Returns:
            Seconds in [0, allowed_s], not below `retry_after_s`; None: do not wait, ask another target.
        """
        if not allowed_s >= 0:  # NaN, too
            return None
        asked_s = retry_after_s if retry_after_s is not None and retry_after_s > 0 else 0.0
        if asked_s > min(LONGEST_RETRY_AFTER_S, allowed_s):
            return None
        return max(asked_s, self._rng.uniform(0.0, min(longest_s(retries), allowed_s)))


def longest_s(retries: int) -> float:
    """Returns the longest delay that jitter may draw after so many retries: min(8, 0.5 · 2^n)."""
    return min(CAP_S, BASE_S * 2.0 ** min(max(retries, 0), _DOUBLINGS_TO_CAP))
