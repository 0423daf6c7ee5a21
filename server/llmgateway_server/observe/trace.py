"""Spans by hand: one server span per call, one client span per attempt. `observe.span_attributes` is what they say.

Whether a call is sampled is decided before anything is made: of an unsampled one nothing is formatted, and no code of
the SDK runs.
"""

from __future__ import annotations

import random
import re
from asyncio import CancelledError
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import Token
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from llmgateway_server.core.calls import Attempt, CallScope, Outcome, Trace
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import GatewayError
from llmgateway_server.core.events import Finished, Started
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Batch, OpenAttempt, Opened, Reply
from llmgateway_server.observe import span_attributes
from llmgateway_server.observe.span_attributes import Answered, Surroundings

PROPAGATOR = TraceContextTextMapPropagator()
TRACEPARENT = re.compile("[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
"""https://www.w3.org/TR/trace-context/#traceparent-header; whatever else a caller writes there is not passed on."""
SAMPLED = 1
"""Bit of the header's flags."""
OK = "OK"
DEADLINE_RACE_S = 0.05
"""Timers of both sides race: a call that is ended with so little left ended by its deadline (docs/reliability.md)."""
UNKNOWN = "UNKNOWN"
"""Status code of a reason that the table of statuses does not have."""


class Tracing(Protocol):
    """Makes spans. `call` and `attempt` are plain context managers: they time what happens inside."""

    def introduce(self, surroundings: Surroundings) -> None:
        """Tells what spans say of the gateway itself, before the first call."""
        ...

    def call(self, scope: CallScope) -> AbstractContextManager[None]:
        """Opens the server span of a call and sets `scope.trace`."""
        ...

    def attempt(self, attempt: Attempt) -> AbstractContextManager[None]:
        """Opens the client span of an attempt."""
        ...

    def watching(self, following: OpenAttempt) -> OpenAttempt:
        """Returns `following`, seen by the spans of its attempts: it must be what the attempt's span is around."""
        ...


@dataclass(slots=True)
class RecordedTrace(Trace):
    """The trace of a call whose spans are recorded."""

    span: Span
    attempts: dict[int, AttemptSpan] = field(default_factory=dict)
    """By the number of the attempt."""


class NoTracing:
    """Makes no spans, but names the caller's own trace in replies and records."""

    def introduce(self, surroundings: Surroundings) -> None:
        """Does nothing."""

    def call(self, scope: CallScope) -> AbstractContextManager[None]:
        """Notes the trace that the caller sent, if any (W3C `traceparent`)."""
        if (header := scope.metadata.get("traceparent")) and (parent := TRACEPARENT.fullmatch(header)) is not None:
            scope.trace = Trace(trace_id=parent[1], span_id=parent[2])
        return NOTHING

    def attempt(self, attempt: Attempt) -> AbstractContextManager[None]:
        """Does nothing."""
        del attempt
        return NOTHING

    def watching(self, following: OpenAttempt) -> OpenAttempt:
        """Returns `following`."""
        return following


NOTHING: AbstractContextManager[None] = nullcontext()


class OtelTracing:
    """Makes OpenTelemetry spans of every call that its tracer records.

    Args:
        tracer: of a configured SDK.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._surroundings = Surroundings()

    def introduce(self, surroundings: Surroundings) -> None:
        """See `Tracing.introduce`."""
        self._surroundings = surroundings

    def call(self, scope: CallScope) -> AbstractContextManager[None]:
        """Opens the server span under the caller's trace context."""
        return _CallSpan(self._tracer, scope, self._surroundings)

    def attempt(self, attempt: Attempt) -> AbstractContextManager[None]:
        """Opens the client span; the attempt's figures stand on it when it ends."""
        trace = attempt.call.scope.trace
        if not isinstance(trace, RecordedTrace):
            return NOTHING
        span = trace.attempts[attempt.record.number] = AttemptSpan(self._tracer, trace, attempt, self._surroundings)
        return span

    def watching(self, following: OpenAttempt) -> OpenAttempt:
        """See `Tracing.watching`."""

        def open_attempt(attempt: Attempt) -> Opened:
            trace = attempt.call.scope.trace
            if isinstance(trace, RecordedTrace) and (span := trace.attempts.get(attempt.record.number)) is not None:
                return _Watched(following(attempt), span.answered)
            return following(attempt)

        return open_attempt


class SampledTracing:
    """Decides first which calls get spans, by their caller's wish or by a share.

    Args:
        recording: makes the spans of those that do.
        ratio: the share, 0 to 1.
        follow_caller: whether a `traceparent` decides for its call. Otherwise its trace id does, by its lower 64 bits,
            as in the SDK's `TraceIdRatioBased`: services with the same ratio agree.
    """

    def __init__(self, recording: Tracing, ratio: float, *, follow_caller: bool) -> None:
        self._recording = recording
        self._quiet = NoTracing()
        self._bound = round(ratio * (1 << 64))
        self._follow_caller = follow_caller

    def introduce(self, surroundings: Surroundings) -> None:
        """See `Tracing.introduce`."""
        self._recording.introduce(surroundings)

    def call(self, scope: CallScope) -> AbstractContextManager[None]:
        """See `Tracing.call`."""
        tracing = self._recording if self._wanted(scope.metadata) else self._quiet
        return tracing.call(scope)

    def attempt(self, attempt: Attempt) -> AbstractContextManager[None]:
        """See `Tracing.attempt`."""
        return self._recording.attempt(attempt)

    def watching(self, following: OpenAttempt) -> OpenAttempt:
        """See `Tracing.watching`."""
        return self._recording.watching(following)

    def _wanted(self, metadata: Mapping[str, str]) -> bool:
        header = metadata.get("traceparent")
        parent = TRACEPARENT.fullmatch(header) if header else None
        if parent is None:
            return random.getrandbits(64) < self._bound
        if self._follow_caller:
            return bool(int(parent[3], 16) & SAMPLED)
        return int(parent[1][16:], 16) < self._bound


class _Current:
    """Makes a span the current one while used as a context; log lines name it then."""

    def __init__(self, span: Span, context: Context | None) -> None:
        self._token: Token[Context] = otel_context.attach(otel.set_span_in_context(span, context))

    def end(self) -> None:
        otel_context.detach(self._token)


class _CallSpan:
    def __init__(self, tracer: Tracer, scope: CallScope, surroundings: Surroundings) -> None:
        self._tracer = tracer
        self._scope = scope
        self._surroundings = surroundings

    def __enter__(self) -> None:
        scope = self._scope
        context = PROPAGATOR.extract(scope.metadata)
        self._span = span = self._tracer.start_span(
            span_attributes.method_of(scope),
            context,
            SpanKind.SERVER,
            span_attributes.of_call(scope),
            record_exception=False,
            set_status_on_exception=False,
        )
        ids = span.get_span_context()
        trace_id, span_id = format(ids.trace_id, "032x"), format(ids.span_id, "016x")
        if span.is_recording():
            scope.trace = RecordedTrace(trace_id, span_id, span)
        elif ids.is_valid:
            scope.trace = Trace(trace_id, span_id)
        self._current = _Current(span, context)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._current.end()
        span = self._span
        if span.is_recording():
            reason = None if error is None else _reason_of(error, self._scope, self._surroundings.clock)
            code = OK if reason is None else self._surroundings.codes.get(reason, UNKNOWN)
            span.set_attributes(span_attributes.of_call_end(self._scope, code, reason))
            if code in span_attributes.SERVER_ERRORS:
                span.set_status(StatusCode.ERROR)
        span.end()


class AttemptSpan:
    """The span of one attempt.

    Args:
        tracer: makes it.
        trace: of the call.
        attempt: what it is about.
        surroundings: what it says of the account.
    """

    def __init__(self, tracer: Tracer, trace: RecordedTrace, attempt: Attempt, surroundings: Surroundings) -> None:
        context = otel.set_span_in_context(trace.span)
        self._attempt = attempt
        self.answered = Answered()
        self._span = tracer.start_span(
            f"{span_attributes.operation_of(attempt)} {span_attributes.model_of(attempt)}",
            context,
            SpanKind.CLIENT,
            span_attributes.of_attempt(attempt, surroundings),
            record_exception=False,
            set_status_on_exception=False,
        )
        self._current = _Current(self._span, context)

    @property
    def span_id(self) -> str:
        """Its id, 16 hexadecimal digits."""
        return format(self._span.get_span_context().span_id, "016x")

    def __enter__(self) -> None:
        """Began when it was made."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends the span with what the meter found; an exception's text may quote anything and is not looked at."""
        self._current.end()
        if self._span.is_recording():
            self._span.set_attributes(span_attributes.of_attempt_end(self._attempt, self.answered))
            if self._attempt.record.outcome is Outcome.FAILED:
                self._span.set_status(StatusCode.ERROR)
        self._span.end()


class _Watched:
    """A reply, and the context around it, whose first and last event are noted."""

    def __init__(self, opened: Opened, answered: Answered) -> None:
        self._opened = opened
        self._answered = answered
        self._reply: Reply

    async def __aenter__(self) -> Self:
        self._reply = await self._opened.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._opened.__aexit__(kind, error, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        batch = await self._reply.__anext__()
        if batch:
            if isinstance(first := batch[0], Started):
                self._answered.model, self._answered.response_id = first.provider_model, first.response_id
            if isinstance(last := batch[-1], Finished):
                self._answered.finish_reason = last.finish_reason
        return batch


def _reason_of(error: BaseException, scope: CallScope, clock: Clock | None) -> Reason:
    """Returns why a call ended, in the words of the status that its caller gets."""
    if isinstance(error, GatewayError):
        return error.reason
    if scope.draining:
        return Reason.SERVER_DRAINING
    # A write to a caller that has gone raises an error of gRPC, which has no name in this room.
    if not isinstance(error, CancelledError) and not type(error).__module__.startswith("grpc"):
        return Reason.INTERNAL
    if clock is not None and scope.deadline.from_client:
        rest_s = scope.deadline.remaining_s(clock.monotonic_s())
        return Reason.DEADLINE_EXCEEDED if rest_s <= DEADLINE_RACE_S else Reason.CANCELLED
    return Reason.CANCELLED


def tracing_from_environment() -> Tracing:
    """Returns spans when the process already has an OpenTelemetry SDK, for example of another program around it."""
    provider = otel.get_tracer_provider()
    if type(provider).__module__.startswith("opentelemetry.sdk"):
        return OtelTracing(provider.get_tracer("llmgateway", schema_url=span_attributes.SCHEMA_URL))
    return NoTracing()
