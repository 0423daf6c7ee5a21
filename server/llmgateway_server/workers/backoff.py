"""How long to wait before a worker that ended is replaced."""

from __future__ import annotations

FIRST_S = 0.1
MOST_S = 10.0
SETTLED_S = 60.0
"""A worker that lived so long had no trouble at its start."""


class Backoff:
    """delay = 0.1 s · 2ⁿ, at most 10 s; n counts the lives in a row that were shorter than a minute."""

    def __init__(self) -> None:
        self._next_s = FIRST_S

    def after(self, lived_s: float) -> float:
        """Returns the delay after a worker that lived for `lived_s`."""
        if lived_s >= SETTLED_S:
            self._next_s = FIRST_S
        delay_s, self._next_s = self._next_s, min(MOST_S, self._next_s * 2)
        return delay_s
