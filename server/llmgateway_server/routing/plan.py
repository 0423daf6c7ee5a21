"""The plan of a call: which targets may be tried, in which order, and why."""

from __future__ import annotations

from llmgateway_server.core.calls import Call
from llmgateway_server.core.errors import DefectError, GatewayError, RequestError, Violation
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import RoutingOptions
from llmgateway_server.core.targets import Candidate, Plan, Target


def plan_call(call: Call) -> Plan:
    """Orders the targets of the call's model: preferred providers first, then the configured order.

    Raises:
        RequestError: INVALID_REQUEST when the caller's own exclusions leave no target.
    """
    model = call.resolved
    if model is None:
        raise DefectError("planned before the model was resolved")
    routing = call.request.routing
    kept = sorted(
        (target for target in model.targets if target.provider not in routing.excluded_providers),
        key=lambda target: _preference(routing, target),
    )
    if not kept:
        raise _nothing_left()
    left_out = [target for target in model.targets if target.provider in routing.excluded_providers]
    candidates = [Candidate(target, eligible=True, reason=_why(routing, target)) for target in kept]
    candidates += [Candidate(target, eligible=False, reason="excluded by the request") for target in left_out]
    return Plan(model=model, reason=candidates[0].reason, candidates=tuple(candidates))


def _preference(routing: RoutingOptions, target: Target) -> int:
    preferred = routing.preferred_providers
    return preferred.index(target.provider) if target.provider in preferred else len(preferred)


def _why(routing: RoutingOptions, target: Target) -> str:
    return "preferred by the request" if target.provider in routing.preferred_providers else "configured order"


def _nothing_left() -> GatewayError:
    violation = Violation("routing.excluded_providers", "leaves no provider for this model", "routing.excluded")
    return RequestError(Reason.INVALID_REQUEST, violations=(violation,))
