"""Says where a call would go now and why, without making it.

The plan is the one that the call itself would get; nothing is counted as used, and nobody is called. Where no target is
left the refusal is the answer, with the reason for each target: that is when somebody asks.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmgateway_server.attempts.breaker import State
from llmgateway_server.attempts.breakers import BreakerView
from llmgateway_server.attempts.per_target import TargetKey, key_of
from llmgateway_server.core.calls import Call, CallScope
from llmgateway_server.core.errors import GatewayError
from llmgateway_server.core.requests import Operation, Request
from llmgateway_server.core.targets import Plan, Target
from llmgateway_server.routing.catalog import Catalog
from llmgateway_server.routing.failover import Routes
from llmgateway_server.routing.standing import Figures


@dataclass(slots=True, frozen=True)
class TargetStanding:
    """What is known of a target at one moment."""

    target: Target
    figures: Figures
    state: State
    """Of its breaker."""
    retry_in_s: float
    """Until the breaker may let a call in, 0 where it may now."""
    cooldown_left_s: float
    switched_off: bool


@dataclass(slots=True, frozen=True)
class Explanation:
    """Where a call would go.

    Attributes:
        plan: of the call; where it would be refused, one without targets.
        standings: one for each candidate of the plan, in its order.
        refusal: why no target is left; None where one is.
    """

    plan: Plan
    standings: tuple[TargetStanding, ...]
    refusal: GatewayError | None


class Explainer:
    """See the module.

    Args:
        catalog: resolves the model, with the rights of who asks.
        routes: plans, and what is known of targets.
    """

    def __init__(self, catalog: Catalog, routes: Routes) -> None:
        self._catalog = catalog
        self._routes = routes

    def explain(self, scope: CallScope, request: Request, operation: Operation) -> Explanation:
        """Plans a call.

        Args:
            scope: of the operator's call: who asks.
            request: what would be asked.
            operation: of the request.

        Raises:
            AccessError: MODEL_NOT_ALLOWED, the operator may not use the model.
            RequestError: as `Catalog.resolve`.
        """
        model = self._catalog.resolve(request.model, operation, scope.principal.may_use)
        call = Call(scope, operation, streaming=False, request=request, model=model.name, resolved=model)
        refusal: GatewayError | None = None
        try:
            plan = self._routes.planner.plan(call, whole=True)
        except GatewayError as error:
            refusal, plan = error, self._routes.planner.left_out(call)
        candidates = tuple(plan.told())
        plan = Plan(plan.model, plan.strategy, plan.targets, lambda: iter(candidates))
        views = {view.key: view for view in self._routes.breakers.views()}
        return Explanation(plan, tuple(self._standing(each.target, views) for each in candidates), refusal)

    def _standing(self, target: Target, views: dict[TargetKey, BreakerView]) -> TargetStanding:
        routes = self._routes
        view = views.get(key_of(target))
        return TargetStanding(
            target=target,
            figures=routes.standings.of(target).figures(routes.clock.monotonic_s()),
            state=State.CLOSED if view is None else view.state,
            retry_in_s=0.0 if view is None else view.retry_in_s,
            cooldown_left_s=routes.cooldowns.left_s(target),
            switched_off=routes.switches.is_off(target),
        )
