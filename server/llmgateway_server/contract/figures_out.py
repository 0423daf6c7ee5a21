"""Health and figures into the contract's messages."""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from llmgateway.v1 import status_pb2
from llmgateway_server.contract.money_out import money_message
from llmgateway_server.core.errors import RequestError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.observe.figures import View
from llmgateway_server.observe.statistics import Figures, Period, Sums, Tally

DEGRADED_ERROR_RATE = 0.1
"""Above this share of errors a provider is degraded."""
MAX_TOP_MODELS = 10

_PERIODS = {
    status_pb2.METRICS_PERIOD_UNSPECIFIED: Period.ALL,
    status_pb2.METRICS_PERIOD_HOUR: Period.HOUR,
    status_pb2.METRICS_PERIOD_DAY: Period.DAY,
    status_pb2.METRICS_PERIOD_WEEK: Period.WEEK,
    status_pb2.METRICS_PERIOD_MONTH: Period.MONTH,
}


def provider_health(name: str, vendor: str, recent: View) -> status_pb2.ProviderHealth:
    """Judges a provider by its attempts of the last five minutes and by its circuit breakers now.

    The worse of both counts. Without attempts and with all circuits closed it is not known.
    """
    tally = recent.figures.providers.get(name, Tally())
    health = status_pb2.ProviderHealth(
        provider=name,
        vendor=vendor,
        attempt_count=tally.count,
        consecutive_failure_count=recent.consecutive_failures.get(name, 0),
    )
    success = tally.success_rate()
    health.status = max(_by_attempts(success), _by_circuits(name, recent))
    if success is None:
        return health
    health.success_rate, health.error_rate = success, 1 - success
    _set(health, "average_latency_ms", tally.average_latency_s())
    _set(health, "average_time_to_first_token_ms", tally.average_first_token_s())
    return health


def _by_attempts(success: float | None) -> status_pb2.HealthStatus.ValueType:
    if success is None:
        return status_pb2.HEALTH_STATUS_UNSPECIFIED
    if success == 0:
        return status_pb2.HEALTH_STATUS_UNHEALTHY
    degraded = 1 - success > DEGRADED_ERROR_RATE
    return status_pb2.HEALTH_STATUS_DEGRADED if degraded else status_pb2.HEALTH_STATUS_HEALTHY


def _by_circuits(name: str, recent: View) -> status_pb2.HealthStatus.ValueType:
    if name in recent.circuits.open:
        return status_pb2.HEALTH_STATUS_UNHEALTHY
    if name in recent.circuits.troubled:
        return status_pb2.HEALTH_STATUS_DEGRADED
    return status_pb2.HEALTH_STATUS_UNSPECIFIED


def overall_health(providers: list[status_pb2.ProviderHealth], *, draining: bool) -> status_pb2.HealthStatus.ValueType:
    """Judges the gateway: unhealthy when it drains or no provider works, degraded when one does not."""
    statuses = {provider.status for provider in providers}
    if draining or statuses == {status_pb2.HEALTH_STATUS_UNHEALTHY}:
        return status_pb2.HEALTH_STATUS_UNHEALTHY
    if statuses & {status_pb2.HEALTH_STATUS_UNHEALTHY, status_pb2.HEALTH_STATUS_DEGRADED}:
        return status_pb2.HEALTH_STATUS_DEGRADED
    return status_pb2.HEALTH_STATUS_HEALTHY


def wanted_period(request: Any, provider_names: list[str]) -> Period:
    """Returns the period that a MetricsRequest asks for.

    Raises:
        RequestError: RESOURCE_NOT_FOUND when the named provider is not configured.
    """
    if request.provider and request.provider not in provider_names:
        raise RequestError(Reason.RESOURCE_NOT_FOUND, slots={"resource": request.provider})
    return _PERIODS[request.period]


def metrics_message(request: Any, view: View, provider_names: list[str], now_s: float) -> status_pb2.MetricsResponse:
    """Translates the figures of a period."""
    figures = view.figures
    message = status_pb2.MetricsResponse(
        window_start=_timestamp(figures.start_s), window_end=_timestamp(now_s), uptime_s=int(view.uptime_s)
    )
    if not request.provider:
        _fill_calls(message.calls, figures)
        top = sorted(figures.models.items(), key=lambda item: (-item[1].count, item[0]))[:MAX_TOP_MODELS]
        for name, sums in top:
            _fill_model(message.top_models.add(model=name), sums)
    for name in [request.provider] if request.provider else provider_names:
        _fill_provider(message.providers.add(provider=name), figures.providers.get(name, Tally()))
    return message


def _fill_calls(calls: status_pb2.CallFigures, figures: Figures) -> None:
    tally = figures.calls
    calls.call_count, calls.shed_count = tally.count, tally.shed
    calls.cache_hit_count, calls.cache_miss_count = figures.cache_hits, figures.cache_misses
    _fill_tally(calls, tally)


def _fill_provider(provider: status_pb2.ProviderFigures, tally: Tally) -> None:
    provider.attempt_count = tally.count
    _fill_tally(provider, tally)


def _fill_model(model: status_pb2.ModelFigures, sums: Sums) -> None:
    model.call_count = sums.count
    _fill_sums(model, sums)


def _fill_sums(message: Any, sums: Sums) -> None:
    """Fills the fields that all figures have."""
    success = sums.success_rate()
    if success is not None:
        message.success_rate = success
    _set(message, "average_latency_ms", sums.average_latency_s())
    message.input_token_count = sums.input_tokens
    message.output_token_count = sums.output_tokens
    message.cost.CopyFrom(money_message(sums.cost_nano_usd))


def _fill_tally(message: Any, tally: Tally) -> None:
    """Fills the fields that CallFigures and ProviderFigures share."""
    _fill_sums(message, tally)
    message.succeeded_count = tally.succeeded
    message.failed_count = tally.failed
    message.cancelled_count = tally.cancelled
    _set(message, "p95_latency_ms", tally.latency_percentile_s(0.95))
    _set(message, "average_time_to_first_token_ms", tally.average_first_token_s())


def _set(message: Any, field: str, seconds: float | None) -> None:
    if seconds is not None:
        setattr(message, field, seconds * 1000)


def _timestamp(wall_s: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(int(wall_s * 1_000_000_000))
    return stamp
