"""One log record per call and one per attempt, whatever became of them. Written in batches, off the path of a call."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, TextIO

import msgspec

from llmgateway_server.core.calls import AttemptRecord, Call, CallScope, Outcome
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import GatewayError
from llmgateway_server.core.events import Timings
from llmgateway_server.observe.content import ContentLog, ContentReading
from llmgateway_server.observe.log import logger
from llmgateway_server.observe.trace import RecordedTrace

FLUSH_INTERVAL_S = 0.2
MAX_PENDING = 10_000
"""Records that wait for the writer; beyond it they are dropped and counted, so that a stuck disk costs no memory."""


class Records:
    """Turns what ended into JSON lines.

    Args:
        clock: wall time of the records.
        stream: where lines go; standard output by default.
        enabled: False writes nothing.
        content: whose texts are written, too; nobody's by default.
    """

    def __init__(
        self,
        clock: Clock,
        stream: TextIO | None = None,
        *,
        enabled: bool = True,
        content: ContentLog | None = None,
    ) -> None:
        self.content = content if enabled else None
        """Collects texts for `call_ended`; None where nothing needs to be collected."""
        self._clock = clock
        self._stream = stream or sys.stdout
        self._enabled = enabled
        self._pending: list[bytes] = []
        self._encode = msgspec.json.Encoder().encode
        self._flusher: asyncio.TimerHandle | None = None
        self._log = logger("observe")
        self.dropped_count = 0

    def call_ended(
        self,
        call: Call,
        outcome: Outcome,
        timings: Timings,
        error: GatewayError | None,
        content: ContentReading | None = None,
    ) -> None:
        """Queues the record of a call and those of its attempts.

        Args:
            call: with the records of its attempts.
            outcome: how it ended.
            timings: of the whole call.
            error: what it ended with, if it failed.
            content: its texts, where `content` of these records collected them.
        """
        if not self._enabled:
            return
        for record in call.attempts:
            self._put(self._attempt_line(call, record))
        line = {
            **self._head("call", call.scope, outcome, error),
            "operation": call.operation,
            "streaming": call.streaming,
            "model": call.model,
            "attempts": len(call.attempts),
            "duration_ms": _ms(timings.total_s),
            "first_token_ms": _ms(timings.time_to_first_token_s),
            "project": call.request.metadata.project or None,
            "feature": call.request.metadata.feature or None,
        }
        if content is not None:
            line["request_text"], line["reply_text"] = content.request_text(), content.reply_text()
        self._put(line)

    def refused(self, scope: CallScope, outcome: Outcome, error: GatewayError | None) -> None:
        """Queues the record of a call that ended before it reached the request ring."""
        if self._enabled:
            duration = self._clock.monotonic_s() - scope.started_s
            self._put({**self._head("call", scope, outcome, error), "duration_ms": _ms(duration)})

    def flush(self) -> None:
        """Writes what is queued. A stream that fails loses lines, never a call."""
        self._flusher = None
        lines, self._pending = self._pending, []
        if not lines:
            return
        try:
            self._stream.write(b"\n".join(lines).decode() + "\n")
            self._stream.flush()
        except (OSError, ValueError) as error:
            if not self.dropped_count:
                self._log.error("records_are_being_lost", cause=type(error).__name__)
            self.dropped_count += len(lines)

    def _head(self, kind: str, scope: CallScope, outcome: Outcome, error: GatewayError | None) -> dict[str, Any]:
        return {
            "record": kind,
            "time": round(self._clock.wall_s(), 3),
            "call_id": scope.call_id,
            "method": scope.method,
            "tenant": scope.principal.tenant or None,
            "key_id": scope.principal.key_id or None,
            "outcome": outcome,
            "reason": error.reason if error else None,
            "trace_id": scope.trace.trace_id if scope.trace else None,
            "span_id": scope.trace.span_id if isinstance(scope.trace, RecordedTrace) else None,
        }

    def _attempt_line(self, call: Call, record: AttemptRecord) -> dict[str, Any]:
        usage, cost, trace = record.usage, record.cost, call.scope.trace
        span = trace.attempts.get(record.number) if isinstance(trace, RecordedTrace) else None
        return {
            "record": "attempt",
            "time": round(self._clock.wall_s(), 3),
            "call_id": call.scope.call_id,
            "attempt": record.number,
            "provider": record.target.provider,
            "upstream_model": record.target.upstream_model.partition("?")[0],
            "outcome": record.outcome,
            "reason": record.reason,
            "http_status": record.http_status,
            "charge": record.charge,
            "duration_ms": _ms(record.latency_s),
            "first_token_ms": _ms(record.time_to_first_token_s),
            "request_bytes": record.request_bytes,
            "response_bytes": record.response_bytes,
            "key_id": record.key_id or None,
            "input_tokens": usage.input_token_count if usage else None,
            "output_tokens": usage.output_token_count if usage else None,
            "usage_source": usage.source if usage else None,
            "cost_nano_usd": cost.total_nano_usd if cost else None,
            "trace_id": trace.trace_id if trace else None,
            "span_id": span.span_id if span else None,
        }

    def _put(self, record: dict[str, Any]) -> None:
        if len(self._pending) >= MAX_PENDING:
            self.dropped_count += 1
            return
        self._pending.append(self._encode(record))
        if self._flusher is None:
            self._flusher = asyncio.get_running_loop().call_later(FLUSH_INTERVAL_S, self.flush)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
