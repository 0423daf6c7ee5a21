"""Turns floods of one key away."""

from __future__ import annotations

from contextlib import AbstractContextManager

from llmgateway_server.admission.throttle import Throttle
from llmgateway_server.core.calls import CallScope
from llmgateway_server.transport.interceptors.step import NOTHING, Context, Step


class ThrottleStep(Step):
    """See the module.

    Args:
        throttle: counts calls per key.
    """

    name = "throttle"
    why = "needs to know the key; failed logins are throttled where they fail"

    def __init__(self, throttle: Throttle) -> None:
        super().__init__()
        self._throttle = throttle

    def around(self, scope: CallScope, context: Context) -> AbstractContextManager[None]:
        """See `Step.around`."""
        self._throttle.call(scope.principal)
        return NOTHING
