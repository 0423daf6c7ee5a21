"""Holds a place in the process while the call runs."""

from __future__ import annotations

from contextlib import AbstractContextManager

from llmgateway_server.admission.gate import Gate
from llmgateway_server.core.calls import CallScope
from llmgateway_server.transport.interceptors.step import Hold


class Admit(Hold):
    """See the module.

    Args:
        gate: the process's back-stop.
    """

    name = "admit"
    why = "before authentication: overload is refused before any look-up"

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate

    def hold(self, scope: CallScope) -> AbstractContextManager[None]:
        """See `Hold.hold`."""
        return self._gate.permit()
