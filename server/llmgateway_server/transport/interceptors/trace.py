"""Opens the server span of a call."""

from __future__ import annotations

from contextlib import AbstractContextManager

from llmgateway_server.core.calls import CallScope
from llmgateway_server.observe.trace import Tracing
from llmgateway_server.transport.interceptors.step import Hold


class Trace(Hold):
    """See the module.

    Args:
        tracing: makes the spans.
    """

    name = "trace"
    why = "before anything can refuse, so that refusals show in traces"

    def __init__(self, tracing: Tracing) -> None:
        super().__init__()
        self._tracing = tracing

    def hold(self, scope: CallScope) -> AbstractContextManager[None]:
        """See `Hold.hold`."""
        return self._tracing.call(scope)
