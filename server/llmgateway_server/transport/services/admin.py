"""`llmgateway.admin.v1.AdminService`. What changes something is written to the log with who did it."""

from __future__ import annotations

from typing import Any

from llmgateway_server.contract import admin_in, admin_out
from llmgateway_server.core.calls import CallScope
from llmgateway_server.core.clock import Clock
from llmgateway_server.observe.figures import FiguresSource
from llmgateway_server.observe.log import logger
from llmgateway_server.observe.statistics import Period
from llmgateway_server.operators.examination import Examiner
from llmgateway_server.transport.interceptors.step import SCOPE, Context


class AdminService:
    """See the module and the comments of the service in the protos.

    Args:
        examiner: asks providers.
        figures: of the whole gateway, which can be forgotten.
        clock: wall time of what is done.
    """

    name = "llmgateway.admin.v1.AdminService"

    def __init__(self, *, examiner: Examiner, figures: FiguresSource, clock: Clock) -> None:
        self._examiner = examiner
        self._figures = figures
        self._clock = clock
        self._log = logger("audit")

    async def reset_metrics(self, data: bytes, context: Context) -> bytes:
        """Serves ResetMetrics."""
        admin_in.decode("ResetMetricsRequest", data)
        forgotten = (await self._figures.over(Period.ALL)).figures
        await self._figures.reset()
        self._audit("metrics_reset", SCOPE.get(), forgotten_calls=forgotten.calls.count)
        return admin_out.reset_message(forgotten, self._clock.wall_s()).SerializeToString()

    async def test_provider(self, data: bytes, context: Context) -> bytes:
        """Serves TestProvider."""
        request = admin_in.decode("TestProviderRequest", data)
        scope = SCOPE.get()
        verdict = await self._examiner.examine(scope, request.provider, request.model)
        self._audit(
            "provider_tested",
            scope,
            provider=verdict.provider,
            model=verdict.model.partition("?")[0],
            reason=verdict.reason,
        )
        return admin_out.verdict_message(verdict).SerializeToString()

    def _audit(self, action: str, scope: CallScope, **facts: Any) -> None:
        principal = scope.principal
        self._log.warning(action, key_id=principal.key_id, tenant=principal.tenant, call_id=scope.call_id, **facts)
