"""Every metric in one table: name, kind, labels, unit, help. docs/metrics.md shows it too; a test holds both equal.

Names ending in `_ms` and the seven names of requests, tokens, cost and cache are fixed: dashboards use them.
Format: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a metric is, in Prometheus' words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Across(StrEnum):
    """How the values of several workers become the one on the page (docs/workers.md)."""

    SUM = "sum"
    MAX = "max"
    PARENT = "parent"
    """It is the parent's own value; workers are not asked."""


@dataclass(slots=True, frozen=True)
class Metric:
    """One row of the table."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    unit: str
    """What one is of: `ms`, `s`, `bytes`, `tokens`, `usd`, `calls`, …"""
    help: str
    buckets: tuple[int, ...] = ()
    """Upper bounds of a histogram, inclusive, without the last one, +Inf."""
    across: Across = Across.SUM
    """Of counters and histograms it is the sum, always: the sum of what never falls never falls."""

    @property
    def width(self) -> int:
        """Series that one set of label values makes: for a histogram its buckets, +Inf, sum and count."""
        return len(self.buckets) + 3 if self.kind is Kind.HISTOGRAM else 1


OPEN_LABELS = frozenset({"provider", "model"})
"""Labels whose values come from the configuration; the values of all others are words of this program."""
OTHER = "other"
"""Stands for values that are not configured, and for all values once there are too many series."""
NONE = "none"
"""Stands for what a call does not have: it was refused before it got one, or nothing went wrong."""
MAX_SERIES = 2000

DURATIONS_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000)
FIRST_TOKENS_MS = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000)

REQUESTS = Metric(
    "llm_gateway_requests_total",
    Kind.COUNTER,
    ("operation", "model", "provider", "outcome"),
    "calls",
    "Calls that ended; the provider is that of the last attempt.",
)
REQUEST_DURATION = Metric(
    "llm_gateway_request_duration_ms",
    Kind.HISTOGRAM,
    ("operation", "streaming", "outcome"),
    "ms",
    "From the arrival of a call to its end.",
    DURATIONS_MS,
)
FIRST_TOKEN = Metric(
    "llm_gateway_time_to_first_token_ms",
    Kind.HISTOGRAM,
    ("provider", "streaming"),
    "ms",
    "From the arrival of a call to its first content, of calls that got any.",
    FIRST_TOKENS_MS,
)
INPUT_TOKENS = Metric(
    "llm_gateway_input_tokens_total",
    Kind.COUNTER,
    ("provider", "model"),
    "tokens",
    "Input tokens of attempts, reported or estimated, as charged.",
)
OUTPUT_TOKENS = Metric(
    "llm_gateway_output_tokens_total",
    Kind.COUNTER,
    ("provider", "model"),
    "tokens",
    "Output tokens of attempts, reported or estimated, as charged.",
)
COST = Metric(
    "llm_gateway_cost_usd_total",
    Kind.COUNTER,
    ("provider", "model"),
    "usd",
    "Cost of attempts at targets with a price.",
)
CACHE_HITS = Metric(
    "llm_gateway_cache_hits_total", Kind.COUNTER, (), "calls", "Replies that came from the response cache."
)
CACHE_MISSES = Metric(
    "llm_gateway_cache_misses_total", Kind.COUNTER, (), "calls", "Look-ups of the response cache that found nothing."
)
REFUSED = Metric(
    "llm_gateway_refused_total",
    Kind.COUNTER,
    ("reason",),
    "calls",
    "Calls that failed or were shed before any attempt.",
)
ATTEMPTS = Metric(
    "llm_gateway_attempts_total",
    Kind.COUNTER,
    ("provider", "outcome", "reason"),
    "attempts",
    "Attempts that ended.",
)
ATTEMPT_DURATION = Metric(
    "llm_gateway_attempt_duration_ms",
    Kind.HISTOGRAM,
    ("provider", "outcome"),
    "ms",
    "From the start of an attempt to its end.",
    DURATIONS_MS,
)
REQUEST_BYTES = Metric(
    "llm_gateway_upstream_request_bytes_total",
    Kind.COUNTER,
    ("provider",),
    "bytes",
    "Sent to providers.",
)
RESPONSE_BYTES = Metric(
    "llm_gateway_upstream_response_bytes_total",
    Kind.COUNTER,
    ("provider",),
    "bytes",
    "Received from providers.",
)
KEYS_SET_ASIDE = Metric(
    "llm_gateway_keys_set_aside_total",
    Kind.COUNTER,
    ("provider", "reason"),
    "refusals",
    "Refusals after which a key was set aside.",
)
BREAKER_STATE = Metric(
    "llm_gateway_circuit_breaker_state",
    Kind.GAUGE,
    ("provider",),
    "state",
    "The worst circuit breaker among the provider's targets: 0 closed, 1 half open, 2 open.",
    across=Across.MAX,
)
BREAKER_TRANSITIONS = Metric(
    "llm_gateway_circuit_breaker_transitions_total",
    Kind.COUNTER,
    ("provider", "state"),
    "transitions",
    "Changes of circuit breakers, by the state that they led to.",
)
RETRIES = Metric(
    "llm_gateway_retries_total",
    Kind.COUNTER,
    ("provider",),
    "attempts",
    "Attempts at a target that the same call had asked before; another target is no retry.",
)
RETRIES_SUPPRESSED = Metric(
    "llm_gateway_retries_suppressed_total",
    Kind.COUNTER,
    ("provider",),
    "calls",
    "Calls that failed because the retry budget was spent; the provider is that of the last attempt.",
)
HEALTH_CHECKS = Metric(
    "llm_gateway_health_checks_total",
    Kind.COUNTER,
    ("provider", "outcome"),
    "checks",
    "Checks of targets that failed; no calls, and counted nowhere else.",
)
DRAINS = Metric(
    "llm_gateway_drains_total",
    Kind.COUNTER,
    ("provider", "outcome"),
    "drains",
    "Streams that were read on, or were to be, after their callers had left.",
)
DRAINS_IN_FLIGHT = Metric(
    "llm_gateway_drains_in_flight", Kind.GAUGE, (), "drains", "Streams without a caller that are read on now."
)
IN_FLIGHT = Metric("llm_gateway_in_flight_calls", Kind.GAUGE, (), "calls", "Calls inside the gateway now.")
OPEN_STREAMS = Metric("llm_gateway_open_streams", Kind.GAUGE, (), "calls", "Streamed calls inside the gateway now.")
LOOP_LAG = Metric(
    "llm_gateway_loop_lag_seconds",
    Kind.GAUGE,
    (),
    "s",
    "How late the event loop runs its timers, smoothed over about a second.",
    across=Across.MAX,
)
RECORDS_DROPPED = Metric(
    "llm_gateway_records_dropped_total",
    Kind.COUNTER,
    (),
    "records",
    "Records of calls and attempts that could not be written.",
)
SPANS_DROPPED = Metric(
    "llm_gateway_spans_dropped_total",
    Kind.COUNTER,
    (),
    "spans",
    "Spans that did not reach the collector.",
)
WORKERS = Metric(
    "llm_gateway_workers",
    Kind.GAUGE,
    ("state",),
    "workers",
    "Worker processes; absent where one process does it all.",
    across=Across.PARENT,
)
WORKER_RESTARTS = Metric(
    "llm_gateway_worker_restarts_total", Kind.COUNTER, (), "restarts", "Workers that ended and were replaced."
)
SERIES = Metric(
    "llm_gateway_series",
    Kind.GAUGE,
    (),
    "series",
    f"Series on this page, at most {MAX_SERIES}.",
    across=Across.PARENT,
)
FOLDED = Metric(
    "llm_gateway_folded_total",
    Kind.COUNTER,
    ("cause",),
    "observations",
    "Observations counted under `other`: the name is not configured (unknown), or there are too many series (full).",
)
BUILD_INFO = Metric(
    "llm_gateway_build_info",
    Kind.GAUGE,
    ("version",),
    "",
    "Always 1; the version is the label.",
    across=Across.PARENT,
)
START_TIME = Metric(
    "process_start_time_seconds",
    Kind.GAUGE,
    (),
    "s",
    "When the gateway was made, in seconds since the Unix epoch.",
    across=Across.PARENT,
)
CPU_SECONDS = Metric("process_cpu_seconds_total", Kind.COUNTER, (), "s", "User and system time of the process.")
RESIDENT_BYTES = Metric(
    "process_resident_memory_bytes", Kind.GAUGE, (), "bytes", "Resident memory; absent where it cannot be read."
)

METRICS = (
    REQUESTS,
    REQUEST_DURATION,
    FIRST_TOKEN,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    COST,
    CACHE_HITS,
    CACHE_MISSES,
    REFUSED,
    ATTEMPTS,
    ATTEMPT_DURATION,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    KEYS_SET_ASIDE,
    BREAKER_STATE,
    BREAKER_TRANSITIONS,
    RETRIES,
    RETRIES_SUPPRESSED,
    HEALTH_CHECKS,
    DRAINS,
    DRAINS_IN_FLIGHT,
    IN_FLIGHT,
    OPEN_STREAMS,
    LOOP_LAG,
    RECORDS_DROPPED,
    SPANS_DROPPED,
    WORKERS,
    WORKER_RESTARTS,
    SERIES,
    FOLDED,
    BUILD_INFO,
    START_TIME,
    CPU_SECONDS,
    RESIDENT_BYTES,
)
"""The table, in the order of the page."""
