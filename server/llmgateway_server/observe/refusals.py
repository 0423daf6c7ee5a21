"""Records that are counted: the status step tells them, and nobody else, why it refused a call."""

from __future__ import annotations

from typing import TextIO

from llmgateway_server.core.calls import CallScope, Outcome
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import GatewayError
from llmgateway_server.observe.counting import Counting
from llmgateway_server.observe.records import Records


class CountedRecords(Records):
    """Records that also count calls that ended before the request ring; the ring counts its own.

    Args:
        clock: wall time of the records.
        counting: counts also where no records are written.
        stream: as in `Records`.
        enabled: as in `Records`.
    """

    def __init__(self, clock: Clock, counting: Counting, stream: TextIO | None = None, *, enabled: bool = True) -> None:
        super().__init__(clock, stream, enabled=enabled)
        self._counting = counting

    def refused(self, scope: CallScope, outcome: Outcome, error: GatewayError | None) -> None:
        """Counts and queues the record of a call that ended before it reached the request ring."""
        self._counting.refused(outcome, self._clock.monotonic_s() - scope.started_s, error)
        super().refused(scope, outcome, error)
