"""Measures an attempt and decides its outcome, its usage and its charge: the only place that does.

| how it ended | charge |
| --- | --- |
| answered | CU: what the provider reported; CP where a total is missing or cannot be believed, estimated |
| cut off by us (`attempts.bounds`) | CP: input and delivered output, estimated |
| anyhow, after content was delivered | CP: input and delivered output, estimated |
| the caller left before content, the request was sent | CI: input, estimated |
| everything else | C0 |
"""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from typing import Self

from llmgateway_server.attempts.believable import filled, is_believable
from llmgateway_server.attempts.bounds import CutOff
from llmgateway_server.core.calls import Attempt, Charge, Notice, NoticeCode, Outcome
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import CallEndedError, DefectError, GatewayError, UpstreamError
from llmgateway_server.core.events import (
    Finished,
    MediaDelta,
    PartFinished,
    PartKind,
    PartStarted,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
    UsageSnapshot,
    has_content,
)
from llmgateway_server.core.money import cost_of
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Around, Batch, OpenAttempt, Opened, Reply
from llmgateway_server.core.requests import Operation
from llmgateway_server.core.usage import Usage, UsageSource, estimate_token_count
from llmgateway_server.observe.log import logger
from llmgateway_server.observe.trace import NOTHING, Tracing


class Meter:
    """See the module.

    Args:
        clock: measures latencies.
        tracing: opens the attempt's span.
    """

    name = "meter"
    why = "outermost, because it decides the outcome and must see the reason"

    def __init__(self, clock: Clock, tracing: Tracing) -> None:
        self._clock = clock
        self._tracing = tracing

    def open(self, attempt: Attempt, following: OpenAttempt) -> Opened:
        """See `AttemptStage.open`."""
        return _Metered(attempt, following, _Reading(attempt, self._clock), self._tracing.attempt(attempt))


class _Metered(Around[Attempt]):
    __slots__ = ("_opened", "_reading", "_span")

    def __init__(
        self, attempt: Attempt, following: OpenAttempt, reading: _Reading, span: AbstractContextManager[None]
    ) -> None:
        super().__init__(attempt, following)
        self._reading = reading
        self._span = span
        self._opened = False

    def begin(self) -> None:
        if self._span is not NOTHING:
            self._span.__enter__()

    def entered(self) -> Reply:
        self._opened = True
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        batch = await self.reply.__anext__()
        self._reading.pass_on(batch)
        return batch

    def end(self, error: BaseException | None) -> None:
        match error:
            case GatewayError(reason=Reason.CIRCUIT_OPEN):
                self._reading.ended(Outcome.SHED, error)
            case GatewayError():
                failed = isinstance(error, UpstreamError | DefectError)
                refused = not self._opened and not isinstance(error, CallEndedError)
                self._reading.ended(Outcome.FAILED if failed or refused else Outcome.CANCELLED, error)
            case Exception():
                self._reading.ended(Outcome.FAILED, DefectError())
            case _:
                self._reading.ended(Outcome.CANCELLED, None)
        if self._span is NOTHING:
            return
        with suppress(BaseException):  # a span's manager raises what it is told of
            self._span.__exit__(type(error) if error is not None else None, error, None)


class _Reading:
    """What was measured of one attempt; written to its record once."""

    def __init__(self, attempt: Attempt, clock: Clock) -> None:
        self._attempt = attempt
        self._clock = clock
        self._started_s = clock.monotonic_s()
        self._reported: Usage | None = None
        self._doubted = False
        self._texts: set[int] = set()
        self._vendor_read_more = False
        self._delivered_bytes = 0
        self._delivered = False

    def pass_on(self, batch: Batch) -> None:
        """Looks at events on their way out and completes the last one."""
        if not self._delivered and has_content(batch):
            self._delivered = True
            self._attempt.record.time_to_first_token_s = self._clock.monotonic_s() - self._started_s
        for event in batch:
            match event:
                case TextDelta(text=text) | ReasoningDelta(text=text) | ToolArgumentsDelta(arguments_json=text):
                    self._delivered_bytes += len(text) if text.isascii() else len(text.encode())
                case MediaDelta(data=data):
                    self._delivered_bytes += len(data)
                case PartStarted(part_index=index, kind=PartKind.TEXT):
                    self._texts.add(index)
                case PartFinished(part_index=index, provider_state=state, citations=citations):
                    if citations or (state is not None and index in self._texts):
                        self._vendor_read_more = True
                case UsageSnapshot():
                    self._judge(event)
                case Finished():
                    self._finish(event)

    def _judge(self, event: UsageSnapshot) -> None:
        """Keeps a report that can be, and puts our own estimate in the place of one that cannot."""
        estimate = self._estimate()
        if is_believable(event.usage, estimate, self._attempt, vendor_read_more=self._vendor_read_more):
            self._reported = event.usage
            return
        if not self._doubted:
            self._doubted = True
            _log_doubt(self._attempt, event.usage, estimate)
        self._reported, event.usage = None, estimate

    def _finish(self, event: Finished) -> None:
        if isinstance(event, CutOff):
            self._reported = None
        self.ended(Outcome.SUCCEEDED, None)
        record = self._attempt.record
        event.usage, event.cost = record.usage, record.cost
        notices = self._attempt.call.notices
        if record.usage is not None and record.usage.source is UsageSource.ESTIMATED:
            notices.append(
                Notice(
                    NoticeCode.USAGE_ESTIMATED,
                    "usage",
                    "the provider did not report the whole usage, or nothing that can be; the gateway estimated it",
                )
            )
        if record.usage is not None and record.cost is None:
            notices.append(
                Notice(NoticeCode.UNPRICED, str(record.target), "the target has no price; the cost is unknown")
            )

    def ended(self, outcome: Outcome, error: GatewayError | None) -> None:
        """Completes the record; only the first call counts."""
        record = self._attempt.record
        if record.outcome is not None:
            return
        record.outcome = outcome
        record.latency_s = self._clock.monotonic_s() - self._started_s
        if error is not None:
            record.reason = error.reason
            record.http_status = getattr(error, "http_status", None) or record.http_status
        elif outcome is Outcome.CANCELLED:
            record.reason = Reason.CANCELLED
        record.charge, record.usage = self._charge(outcome)
        price = record.target.price
        if record.usage is not None and price is not None:
            request = self._attempt.call.request
            record.cost = cost_of(record.usage, price, getattr(request, "service_tier", ""))

    def _charge(self, outcome: Outcome) -> tuple[Charge, Usage | None]:
        if self._attempt.call.operation is Operation.COUNT_TOKENS:
            return Charge.NONE, None
        estimate = self._estimate()
        if outcome is Outcome.SUCCEEDED and self._reported is not None:
            usage = filled(self._reported, estimate, has_output=self._attempt.call.operation is Operation.COMPLETE)
            return Charge.REPORTED if usage.source is UsageSource.REPORTED else Charge.DELIVERED, usage
        if outcome is Outcome.SUCCEEDED or self._delivered:
            return Charge.DELIVERED, estimate
        if outcome is Outcome.CANCELLED and self._attempt.request_sent:
            return Charge.INPUT, estimate
        return Charge.NONE, None

    def _estimate(self) -> Usage:
        """Returns our own count of what was sent and of what was delivered so far."""
        return Usage(
            estimate_token_count(self._attempt.call.request.input_byte_count),
            estimate_token_count(self._delivered_bytes),
            source=UsageSource.ESTIMATED,
        )


def _log_doubt(attempt: Attempt, reported: Usage, estimate: Usage) -> None:
    """Tells the operator that a provider's figures were not used."""
    logger("attempts").warning(
        "usage cannot be believed",
        provider=attempt.target.provider,
        model=attempt.target.upstream_model.partition("?")[0],
        call_id=attempt.call.scope.call_id,
        reported_input=reported.input_token_count,
        reported_output=reported.output_token_count,
        estimated_input=estimate.input_token_count,
        estimated_output=estimate.output_token_count,
    )
