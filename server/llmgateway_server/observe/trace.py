"""Spans by hand: one server span per call, one client span per attempt, GenAI semantic conventions for their names.

Without a configured tracer nothing is made and nothing is paid. Attributes are formatted only for spans that record,
and hold names and numbers, never content. https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from opentelemetry import trace as otel
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from llmgateway_server.core.calls import Attempt, CallScope, Outcome, Trace
from llmgateway_server.core.errors import GatewayError

PROPAGATOR = TraceContextTextMapPropagator()
TRACEPARENT = re.compile("[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
"""https://www.w3.org/TR/trace-context/#traceparent-header; whatever else a caller writes there is not passed on."""


class Tracing(Protocol):
    """Makes spans. Both methods are plain context managers: they time what happens inside."""

    def call(self, scope: CallScope) -> AbstractContextManager[None]:
        """Opens the server span of a call and sets `scope.trace`."""
        ...

    def attempt(self, attempt: Attempt) -> AbstractContextManager[None]:
        """Opens the client span of an attempt."""
        ...


class NoTracing:
    """Makes no spans, but names the caller's own trace in replies and records."""

    def call(self, scope: CallScope) -> AbstractContextManager[None]:
        """Notes the trace that the caller sent, if any (W3C `traceparent`)."""
        parent = TRACEPARENT.fullmatch(scope.metadata.get("traceparent", ""))
        if parent is not None:
            scope.trace = Trace(trace_id=parent[1], span_id=parent[2])
        return NOTHING

    def attempt(self, attempt: Attempt) -> AbstractContextManager[None]:
        """Does nothing."""
        del attempt
        return NOTHING


NOTHING: AbstractContextManager[None] = nullcontext()


class OtelTracing:
    """Makes OpenTelemetry spans.

    Args:
        tracer: of the configured SDK.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def call(self, scope: CallScope) -> Iterator[None]:
        """Opens the server span under the caller's trace context."""
        service, _, method = scope.method.lstrip("/").partition("/")
        context = PROPAGATOR.extract(scope.metadata)
        with self._tracer.start_as_current_span(
            f"{service}/{method}", context, SpanKind.SERVER, record_exception=False, set_status_on_exception=False
        ) as span:
            ids = span.get_span_context()
            scope.trace = Trace(format(ids.trace_id, "032x"), format(ids.span_id, "016x"))
            if span.is_recording():
                span.set_attributes(
                    {
                        "rpc.system": "grpc",
                        "rpc.service": service,
                        "rpc.method": method,
                        "llmgateway.call_id": scope.call_id,
                    }
                )
            with _naming_failure(span):
                yield

    @contextmanager
    def attempt(self, attempt: Attempt) -> Iterator[None]:
        """Opens the client span and puts the attempt's figures on it when it ends."""
        model = attempt.target.upstream_model.partition("?")[0]  # a simulator's script may hold a text
        operation = attempt.call.operation.value
        with self._tracer.start_as_current_span(
            f"{operation} {model}",
            kind=SpanKind.CLIENT,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                with _naming_failure(span):
                    yield
            finally:
                if span.is_recording():
                    self._describe(span, attempt)

    def _describe(self, span: Span, attempt: Attempt) -> None:
        record = attempt.record
        span.set_attributes(
            {
                "gen_ai.operation.name": "chat"
                if attempt.call.operation.value == "complete"
                else attempt.call.operation.value,
                "gen_ai.provider.name": attempt.target.vendor,
                "gen_ai.request.model": attempt.target.upstream_model.partition("?")[0],
                "llmgateway.provider": attempt.target.provider,
                "llmgateway.attempt": record.number,
                "llmgateway.outcome": (record.outcome or Outcome.CANCELLED).value,
            }
        )
        if record.usage is not None:
            span.set_attributes(
                {
                    "gen_ai.usage.input_tokens": record.usage.input_token_count or 0,
                    "gen_ai.usage.output_tokens": record.usage.output_token_count or 0,
                }
            )
        if record.http_status is not None:
            span.set_attribute("http.response.status_code", record.http_status)


@contextmanager
def _naming_failure(span: Span) -> Iterator[None]:
    """Marks the span failed with the reason alone: an exception's text may quote anything."""
    try:
        yield
    except GatewayError as error:
        span.set_attribute("error.type", error.reason.value)
        span.set_status(StatusCode.ERROR)
        raise
    except Exception as error:
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(StatusCode.ERROR)
        raise


def tracing_from_environment() -> Tracing:
    """Returns spans when the process has an OpenTelemetry SDK configured, otherwise none."""
    provider = otel.get_tracer_provider()
    if type(provider).__module__.startswith("opentelemetry.sdk"):
        return OtelTracing(provider.get_tracer("llmgateway"))
    return NoTracing()
