"""Sets the time budget of a call."""

from __future__ import annotations

from llmgateway_server.admission.deadline import DeadlineSettings, deadline_for
from llmgateway_server.core.calls import CallScope
from llmgateway_server.core.clock import Clock
from llmgateway_server.transport.interceptors.step import Check, Context


class DeadlineStep(Check):
    """See the module.

    Args:
        settings: defaults and bounds.
        clock: monotonic time of the deadline.
        streaming_methods: whose default is that of streams.
    """

    name = "deadline"
    why = "first of the refusals: a call without time left is not worth any work"

    def __init__(self, settings: DeadlineSettings, clock: Clock, streaming_methods: frozenset[str]) -> None:
        super().__init__()
        self._settings = settings
        self._clock = clock
        self._streaming_methods = streaming_methods

    def check(self, scope: CallScope, context: Context) -> None:
        """See `Check.check`."""
        scope.deadline = deadline_for(
            self._settings,
            now_s=self._clock.monotonic_s(),
            remaining_s=context.time_remaining(),
            streaming=scope.method in self._streaming_methods,
        )
