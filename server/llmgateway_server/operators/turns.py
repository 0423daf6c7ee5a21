"""One at a time for each name, with a rest in between: for what costs money whenever somebody asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import ShedError
from llmgateway_server.core.reasons import Reason

RETRY_AFTER_S = 1.0
"""What is told while one is running: nobody knows when it ends."""


class Turns:
    """See the module.

    Args:
        clock: monotonic time of the rests.
        rest_s: from the end of a turn to the beginning of the next one of the same name, in seconds.
    """

    def __init__(self, clock: Clock, rest_s: float) -> None:
        self._clock = clock
        self._rest_s = rest_s
        self._running: set[str] = set()
        self._free_at_s: dict[str, float] = {}

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Holds the turn of `name`; however it ends, the rest follows.

        Args:
            name: one of a bounded set, because every name is remembered.

        Raises:
            ShedError: RATE_LIMITED_CONCURRENCY while one runs, RATE_LIMITED_RPM with what is left of the rest.
        """
        if name in self._running:
            raise ShedError(Reason.RATE_LIMITED_CONCURRENCY, retry_after_s=RETRY_AFTER_S)
        rest_s = self._free_at_s.get(name, 0.0) - self._clock.monotonic_s()
        if name in self._free_at_s and rest_s > 0:
            raise ShedError(Reason.RATE_LIMITED_RPM, retry_after_s=rest_s)
        self._running.add(name)
        try:
            yield
        finally:
            self._running.discard(name)
            self._free_at_s[name] = self._clock.monotonic_s() + self._rest_s
