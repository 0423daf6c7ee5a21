"""What operators asked for, into their contract's messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from llmgateway.admin.v1 import (
    circuit_breaker_pb2,
    event_pb2,
    metrics_pb2,
    provider_test_pb2,
    route_pb2,
    target_pb2,
)
from llmgateway.v1 import error_pb2
from llmgateway_server.attempts.breaker import Cause, State
from llmgateway_server.attempts.breakers import BreakerView
from llmgateway_server.contract.money_out import cost_message, timings_message, usage_message
from llmgateway_server.contract.reply_out import fill_decision, target_message
from llmgateway_server.core.reasons import Reason
from llmgateway_server.observe.events import (
    BreakerChanged,
    DrainBegun,
    Dropped,
    KeySetAside,
    MetricsReset,
    TargetEnabledChanged,
    Told,
)
from llmgateway_server.observe.statistics import Figures
from llmgateway_server.operators.examination import Check, Verdict
from llmgateway_server.operators.explanation import Explanation, TargetStanding
from llmgateway_server.operators.switching import Switched

_KINDS = {
    False: provider_test_pb2.PROVIDER_CHECK_KIND_UNARY,
    True: provider_test_pb2.PROVIDER_CHECK_KIND_STREAMED,
}
_STATES = {state: circuit_breaker_pb2.CircuitState.Value(f"CIRCUIT_STATE_{state.name}") for state in State}
_CAUSES: dict[Cause | None, circuit_breaker_pb2.CircuitCause.ValueType] = {
    None: circuit_breaker_pb2.CIRCUIT_CAUSE_UNSPECIFIED,
    **{cause: circuit_breaker_pb2.CircuitCause.Value(f"CIRCUIT_CAUSE_{cause.name}") for cause in Cause},
}


def verdict_message(verdict: Verdict) -> provider_test_pb2.TestProviderResponse:
    """Translates what is known of an account."""
    return provider_test_pb2.TestProviderResponse(
        ok=verdict.reason is None,
        provider=verdict.provider,
        vendor=verdict.subject.vendor,
        address=verdict.subject.address,
        model=verdict.model,
        checks=[_check_message(check) for check in verdict.checks],
        hint=verdict.hint,
    )


def reset_message(forgotten: Figures, now_s: float) -> metrics_pb2.ResetMetricsResponse:
    """Translates a reset.

    Args:
        forgotten: all figures before it.
        now_s: wall time of it, in seconds since the epoch.
    """
    return metrics_pb2.ResetMetricsResponse(
        counted_since=_timestamp(forgotten.start_s),
        forgotten_call_count=forgotten.calls.count,
        reset_at=_timestamp(now_s),
    )


def breakers_message(
    views: Iterable[BreakerView], *, enabled: bool, worker_count: int
) -> circuit_breaker_pb2.GetCircuitBreakerResponse:
    """Translates circuit breakers."""
    return circuit_breaker_pb2.GetCircuitBreakerResponse(
        circuit_breakers=[_breaker_message(view) for view in views], enabled=enabled, worker_count=worker_count
    )


def switched_message(switched: Switched, worker_count: int) -> target_pb2.SetTargetEnabledResponse:
    """Translates what was switched."""
    return target_pb2.SetTargetEnabledResponse(
        changed=switched.changed,
        models=switched.models,
        switched_off=[
            target_pb2.SwitchedOff(provider=provider, upstream_model=model) for provider, model in switched.off
        ],
        worker_count=worker_count,
    )


def explanation_message(explanation: Explanation, worker_count: int) -> route_pb2.ExplainRouteResponse:
    """Translates where a call would go."""
    message = route_pb2.ExplainRouteResponse(
        model=explanation.plan.model.name,
        standings=[_standing_message(standing) for standing in explanation.standings],
        worker_count=worker_count,
    )
    fill_decision(message.routing_decision, explanation.plan)
    refusal = explanation.refusal
    if refusal is not None:
        message.routing_decision.reason = ""
        message.refusal = _reason(refusal.reason)
        if refusal.retry_after_s is not None:
            message.retry_after_ms = _ms(refusal.retry_after_s)
    return message


def watch_begun_message(now_s: float, worker_count: int) -> event_pb2.WatchEventsResponse:
    """Returns the first message of a watch."""
    begun = event_pb2.GatewayEvent(time=_timestamp(now_s), watch_begun=event_pb2.WatchBegun(worker_count=worker_count))
    return event_pb2.WatchEventsResponse(events=[begun])


def events_message(events: Iterable[Told]) -> event_pb2.WatchEventsResponse:
    """Translates what happened."""
    message = event_pb2.WatchEventsResponse()
    for told in events:
        name, translate = _EVENTS[type(told.event)]
        made = message.events.add(time=_timestamp(told.at_s))
        getattr(made, name).CopyFrom(translate(told.event))
    return message


def _breaker_message(view: BreakerView) -> circuit_breaker_pb2.CircuitBreaker:
    return circuit_breaker_pb2.CircuitBreaker(
        provider=view.key.provider,
        upstream_model=view.key.model,
        region=view.key.region,
        state=_STATES[view.state],
        cause=_CAUSES[view.cause],
        state_age_ms=_ms(view.for_s),
        retry_in_ms=_ms(view.retry_in_s),
        call_count=view.calls,
        failure_count=view.failures,
        slow_count=view.slow,
        consecutive_failure_count=view.consecutive_failures,
        open_count=view.opens,
        in_flight_attempt_count=view.in_flight,
        last_failure_reason=_reason(view.last_reason),
    )


def _standing_message(standing: TargetStanding) -> route_pb2.TargetStanding:
    figures = standing.figures
    return route_pb2.TargetStanding(
        target=target_message(standing.target),
        time_to_first_token_us=round(figures.first_token_s * 1_000_000),
        output_tokens_per_second=figures.tokens_per_s,
        error_rate=figures.error_rate,
        health=figures.health,
        consecutive_failure_count=figures.consecutive_failures,
        in_flight_attempt_count=figures.in_flight,
        sample_weight=figures.sample_count,
        circuit_state=_STATES[standing.state],
        circuit_retry_in_ms=_ms(standing.retry_in_s),
        cooldown_left_ms=_ms(standing.cooldown_left_s),
        switched_off=standing.switched_off,
    )


def _breaker_changed(event: BreakerChanged) -> event_pb2.CircuitBreakerChanged:
    return event_pb2.CircuitBreakerChanged(
        provider=event.provider,
        upstream_model=event.upstream_model,
        region=event.region,
        state=_STATES[State(event.state)],
        cause=_CAUSES[Cause(event.cause) if event.cause else None],
        last_failure_reason=_reason(event.reason),
        retry_in_ms=_ms(event.retry_in_s),
    )


def _target_enabled_changed(event: TargetEnabledChanged) -> event_pb2.TargetEnabledChanged:
    return event_pb2.TargetEnabledChanged(
        provider=event.provider, upstream_model=event.upstream_model, enabled=event.enabled
    )


def _key_set_aside(event: KeySetAside) -> event_pb2.KeySetAside:
    return event_pb2.KeySetAside(
        provider=event.provider, key_id=event.key_id, reason=_reason(event.reason), duration_ms=_ms(event.for_s)
    )


_EVENTS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    BreakerChanged: ("circuit_breaker_changed", _breaker_changed),
    TargetEnabledChanged: ("target_enabled_changed", _target_enabled_changed),
    KeySetAside: ("key_set_aside", _key_set_aside),
    MetricsReset: ("metrics_reset", lambda _: event_pb2.MetricsReset()),
    DrainBegun: ("drain_begun", lambda _: event_pb2.DrainBegun()),
    Dropped: ("events_dropped", lambda event: event_pb2.EventsDropped(count=event.count)),
}
"""Kinds of events: the field of each, and what makes its message."""


def _check_message(check: Check) -> provider_test_pb2.ProviderCheck:
    message = provider_test_pb2.ProviderCheck(kind=_KINDS[check.streamed], ok=check.reason is None)
    if check.reason is not None:
        message.reason = _reason(check.reason)
        return message
    if check.usage is not None:
        message.usage.CopyFrom(usage_message(check.usage))
    if check.timings is not None:
        message.timings.CopyFrom(timings_message(check.timings, check.usage))
    message.cost.CopyFrom(cost_message(check.cost))
    return message


def _reason(reason: Reason | None) -> error_pb2.ErrorReason.ValueType:
    if reason is None:
        return error_pb2.ERROR_REASON_UNSPECIFIED
    return error_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")


def _ms(seconds: float) -> int:
    """Returns milliseconds, rounded up: what is told as 0 is over."""
    return ceil(seconds * 1000)


def _timestamp(wall_s: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(int(wall_s * 1_000_000_000))
    return stamp
