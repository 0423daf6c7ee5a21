"""A small token bucket for the call ring: GCRA, one number per key.

Source: https://brandur.org/rate-limiting
"""

from __future__ import annotations

from collections import OrderedDict


class Buckets:
    """One bucket per key, bounded in number: the least recently used is forgotten first.

    Args:
        per_minute: sustained rate.
        burst: how many may come at once.
        max_keys: most buckets.
    """

    def __init__(self, per_minute: float, burst: int, max_keys: int = 10_000) -> None:
        self._interval_s = 60.0 / per_minute
        self._tolerance_s = self._interval_s * (burst - 1)
        self._max_keys = max_keys
        self._arrival_s: OrderedDict[str, float] = OrderedDict()

    def delay_s(self, key: str, now_s: float) -> float:
        """Returns how long until one more fits, 0 when it fits now. Takes nothing."""
        return max(0.0, self._arrival_s.get(key, 0.0) - self._tolerance_s - now_s)

    def take(self, key: str, now_s: float) -> float:
        """Takes one if it fits; returns how long until it would, 0 when it was taken."""
        delay_s = self.delay_s(key, now_s)
        if delay_s == 0:
            self._arrival_s[key] = max(self._arrival_s.get(key, now_s), now_s) + self._interval_s
        self._arrival_s.move_to_end(key)  # also when refused: who keeps trying is not forgotten first
        if len(self._arrival_s) > self._max_keys:
            self._arrival_s.popitem(last=False)
        return delay_s
