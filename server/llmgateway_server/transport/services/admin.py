"""`llmgateway.admin.v1.AdminService`. What changes something is written to the log with who did it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from llmgateway_server.attempts.breakers import Breakers, BreakerView
from llmgateway_server.contract import admin_in, admin_out
from llmgateway_server.core.calls import CallScope
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import RequestError, ShedError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.observe.events import Events, MetricsReset
from llmgateway_server.observe.figures import FiguresSource
from llmgateway_server.observe.log import logger
from llmgateway_server.observe.statistics import Period
from llmgateway_server.operators.examination import Examiner
from llmgateway_server.operators.explanation import Explainer
from llmgateway_server.operators.switching import Switchboard
from llmgateway_server.transport.interceptors.step import SCOPE, Context

LAST_WORDS_S = 1.0
"""How long a watcher that reads slowly may take for the last event, before its watch is ended without it."""


class AdminService:
    """See the module and the comments of the service in the protos.

    Args:
        examiner: asks providers.
        explainer: plans calls that nobody makes.
        switchboard: switches targets.
        breakers: of this process.
        providers: the configured accounts.
        events: what happens in this process.
        figures: of the whole gateway, which can be forgotten.
        clock: wall time of what is done.
        worker_count: processes of the gateway.
    """

    name = "llmgateway.admin.v1.AdminService"

    def __init__(
        self,
        *,
        examiner: Examiner,
        explainer: Explainer,
        switchboard: Switchboard,
        breakers: Breakers,
        providers: Iterable[str],
        events: Events,
        figures: FiguresSource,
        clock: Clock,
        worker_count: int,
    ) -> None:
        self._examiner = examiner
        self._explainer = explainer
        self._switchboard = switchboard
        self._breakers = breakers
        self._providers = frozenset(providers)
        self._events = events
        self._figures = figures
        self._clock = clock
        self._worker_count = worker_count
        self._log = logger("audit")

    async def explain_route(self, data: bytes, context: Context) -> bytes:
        """Serves ExplainRoute."""
        request, operation = await admin_in.call_to_explain(data)
        explanation = self._explainer.explain(SCOPE.get(), request, operation)
        return admin_out.explanation_message(explanation, self._worker_count).SerializeToString()

    async def get_circuit_breaker(self, data: bytes, context: Context) -> bytes:
        """Serves GetCircuitBreaker."""
        request = admin_in.decode("GetCircuitBreakerRequest", data)
        if request.provider and request.provider not in self._providers:
            raise RequestError(Reason.RESOURCE_NOT_FOUND, slots={"resource": request.provider})

        def wanted(view: BreakerView) -> bool:
            return request.provider in ("", view.key.provider) and request.upstream_model in ("", view.key.model)

        views = sorted(filter(wanted, self._breakers.views()), key=_place)
        message = admin_out.breakers_message(
            views, enabled=self._breakers.settings.enabled, worker_count=self._worker_count
        )
        return message.SerializeToString()

    async def set_target_enabled(self, data: bytes, context: Context) -> bytes:
        """Serves SetTargetEnabled."""
        request = admin_in.decode("SetTargetEnabledRequest", data)
        scope = SCOPE.get()
        switched = self._switchboard.set_enabled(
            scope.principal, request.provider, request.upstream_model, enabled=request.enabled
        )
        self._audit(
            "target_switched",
            scope,
            provider=switched.provider,
            model=switched.upstream_model,
            enabled=request.enabled,
            changed=switched.changed,
        )
        return admin_out.switched_message(switched, self._worker_count).SerializeToString()

    async def reset_metrics(self, data: bytes, context: Context) -> bytes:
        """Serves ResetMetrics."""
        admin_in.decode("ResetMetricsRequest", data)
        forgotten = (await self._figures.over(Period.ALL)).figures
        await self._figures.reset()
        self._events.tell(MetricsReset())
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

    async def watch_events(self, data: bytes, context: Context) -> None:
        """Serves WatchEvents. It writes and never yields: a cancel then unwinds in this task."""
        admin_in.decode("WatchEventsRequest", data)
        scope, loop = SCOPE.get(), asyncio.get_running_loop()
        with self._events.watch() as watch:
            scope.recorded = True  # a watch is no call that fails or succeeds: its end, by whomever, is no outcome
            try:
                async with asyncio.timeout(None) as limit:
                    watch.on_end = lambda: limit.reschedule(loop.time() + LAST_WORDS_S)
                    begun = admin_out.watch_begun_message(self._clock.wall_s(), self._worker_count)
                    await context.write(begun.SerializeToString())
                    while events := await watch.next():
                        await context.write(admin_out.events_message(events).SerializeToString())
            except TimeoutError:
                raise ShedError(Reason.SERVER_DRAINING, retry_after_s=LAST_WORDS_S) from None

    def _audit(self, action: str, scope: CallScope, **facts: Any) -> None:
        principal = scope.principal
        self._log.warning(action, key_id=principal.key_id, tenant=principal.tenant, call_id=scope.call_id, **facts)


def _place(view: BreakerView) -> tuple[str, str, str]:
    return view.key.provider, view.key.model, view.key.region
