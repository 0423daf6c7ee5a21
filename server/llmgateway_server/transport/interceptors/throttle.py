"""Turns floods of one key away."""

from __future__ import annotations

from llmgateway_server.admission.throttle import Throttle
from llmgateway_server.core.calls import CallScope
from llmgateway_server.transport.interceptors.step import Check, Context


class ThrottleStep(Check):
    """See the module.

    Args:
        throttle: counts calls per key.
    """

    name = "throttle"
    why = "needs to know the key; failed logins are throttled where they fail"

    def __init__(self, throttle: Throttle) -> None:
        super().__init__()
        self._throttle = throttle

    def check(self, scope: CallScope, context: Context) -> None:
        """See `Check.check`."""
        self._throttle.call(scope.principal)
