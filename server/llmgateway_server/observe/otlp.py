"""Sends spans to a collector: a bounded queue, and a thread that empties it. Loaded only where it is configured.

A collector that is down, slow or silent costs spans, which are counted, and never a call: handing over a span is an
append, and stopping waits no longer than it is told to. https://opentelemetry.io/docs/specs/otlp/#otlpgrpc
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from importlib.metadata import version
from urllib.parse import unquote

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from llmgateway_server.core.secret import Secret
from llmgateway_server.observe.log import logger
from llmgateway_server.observe.span_attributes import SCHEMA_URL
from llmgateway_server.observe.telemetry import TelemetrySettings
from llmgateway_server.observe.trace import OtelTracing, SampledTracing, Tracing

MAX_WAITING = 2048
"""Spans that wait for the collector, about 10 MB."""
BATCH = 128
"""Most spans of one export. Encoding them holds the interpreter for about 5 ms."""
INTERVAL_S = 1.0
"""A span waits no longer for the rest of its batch."""
EXPORT_TIMEOUT_S = 5.0
"""Of one batch, the exporter's own retries included."""
STOP_S = 2.0
"""What is left may take so long to be sent at the end."""
HEADER_NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


class SpanQueue(SpanProcessor):
    """Keeps ended spans until a thread of its own has handed them to an exporter.

    Args:
        make_exporter: called at the start. The exporter's `export` may block; it is bounded by its own timeout, and
            `shutdown` must end it early.
        interval_s: see `INTERVAL_S`.
        max_waiting: see `MAX_WAITING`.
    """

    def __init__(
        self,
        make_exporter: Callable[[], SpanExporter],
        *,
        interval_s: float = INTERVAL_S,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._make_exporter = make_exporter
        self._interval_s = interval_s
        self._max_waiting = max_waiting
        self._waiting: deque[ReadableSpan] = deque()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._exporter: SpanExporter | None = None
        self._stopping = False
        self._given_up = False
        self._losing = False
        self._lost_count = 0
        self._refused_count = 0
        self._log = logger("observe")

    @property
    def dropped_count(self) -> int:
        """Spans that did not reach the collector: the queue was full, or they could not be sent."""
        return self._lost_count + self._refused_count

    def start(self) -> None:
        """Begins to send. Nothing is connected before there is something to send."""
        self._exporter = self._make_exporter()
        self._thread = threading.Thread(target=self._work, name="llmgateway-spans", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        """Takes a span, or counts it as dropped. Never waits."""
        if len(self._waiting) >= self._max_waiting or self._stopping:
            self._refused_count += 1
            return
        self._waiting.append(span)
        if len(self._waiting) == BATCH:
            self._wake.set()

    def stop(self, within_s: float = STOP_S) -> None:
        """Sends what waits and ends the thread.

        Args:
            within_s: most seconds that sending may take; what is left then is dropped.
        """
        if self._stopping:
            return
        self._stopping = True
        self._wake.set()
        if self._thread is not None and self._exporter is not None:
            self._thread.join(within_s)
            self._given_up = True
            self._exporter.shutdown()  # ends an export that still runs
            self._thread.join(within_s / 10)
        self._lost_count += len(self._waiting)
        self._waiting.clear()
        if self.dropped_count:
            self._log.warning("spans were dropped", count=self.dropped_count)

    def _work(self) -> None:
        while not self._stopping:
            self._wake.wait(self._interval_s)
            self._wake.clear()
            while self._waiting and not self._given_up:
                self._send([self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))])

    def _send(self, batch: list[ReadableSpan]) -> None:
        cause = ""
        try:
            if self._exporter is None or self._exporter.export(batch) is not SpanExportResult.SUCCESS:
                cause = "collector"
        except Exception as error:  # noqa: BLE001  # whatever the exporter raises, it costs this batch and no more
            cause = type(error).__name__
        if cause:
            self._lost_count += len(batch)
        if bool(cause) is not self._losing:
            self._losing = bool(cause)
            if cause:
                self._log.warning("spans are being lost", cause=cause)
            else:
                self._log.info("spans reach the collector again", dropped=self.dropped_count)


class Export:
    """Spans of this gateway, and their way to the collector.

    Args:
        settings: with `traces` set to `otlp`.
        headers: for the collector, see `headers_of`.
        gateway_version: the resource's `service.version`.
    """

    def __init__(self, settings: TelemetrySettings, headers: Mapping[str, str], gateway_version: str) -> None:
        self.queue = SpanQueue(
            lambda: OTLPSpanExporter(
                endpoint=settings.collector,
                insecure=settings.collector.startswith("http:"),
                headers=dict(headers),
                timeout=EXPORT_TIMEOUT_S,
            )
        )
        provider = TracerProvider(ALWAYS_ON, _resource(settings, gateway_version), shutdown_on_exit=False)
        provider.add_span_processor(self.queue)
        tracer = provider.get_tracer("llmgateway", gateway_version, SCHEMA_URL)
        self.tracing: Tracing = SampledTracing(
            OtelTracing(tracer), settings.sample_ratio, follow_caller=settings.follow_caller
        )


def headers_of(text: Secret) -> dict[str, str]:
    """Returns headers by their lower-case names.

    Args:
        text: `name=value`, several by commas, values percent-encoded: the form of `OTEL_EXPORTER_OTLP_HEADERS`
            (https://opentelemetry.io/docs/specs/otel/protocol/exporter/).

    Raises:
        ValueError: it has another form. The error does not quote it.
    """
    found: dict[str, str] = {}
    for pair in filter(None, (each.strip() for each in text.reveal().split(","))):
        name, equals, value = pair.partition("=")
        name, value = name.strip().lower(), unquote(value.strip())
        if (
            not equals
            or not name
            or not HEADER_NAME_CHARS.issuperset(name)
            or not (value.isascii() and value.isprintable())
        ):
            raise ValueError("must be name=value, several by commas, values percent-encoded")
        found[name] = value
    return found


def _resource(settings: TelemetrySettings, gateway_version: str) -> Resource:
    """Returns who makes the spans; not the SDK's own detection, which would stand above the configuration."""
    return Resource(
        {
            "telemetry.sdk.language": "python",
            "telemetry.sdk.name": "opentelemetry",
            "telemetry.sdk.version": version("opentelemetry-sdk"),
            "service.version": gateway_version,
            **settings.resource_attributes,
            "service.name": settings.service_name,
        },
        SCHEMA_URL,
    )
