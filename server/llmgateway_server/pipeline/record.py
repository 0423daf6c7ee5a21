"""Writes one record per call, whatever became of it, and puts the timings on the reply's last event."""

from __future__ import annotations

from typing import Self

from llmgateway_server.core.calls import Call, Outcome
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import CallEndedError, DefectError, GatewayError, ShedError
from llmgateway_server.core.events import Finished, Timings, has_content
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Around, Batch, OpenCall, Opened, Reply
from llmgateway_server.observe.content import ContentReading
from llmgateway_server.observe.records import Records
from llmgateway_server.observe.statistics import Statistics

DEADLINE_RACE_S = 0.05


class Record:
    """See the module.

    Args:
        clock: measures the call.
        records: the log of calls.
        statistics: the figures of this process.
    """

    name = "record"
    why = "outermost: it sees every call and every way in which one can end"

    def __init__(self, clock: Clock, records: Records, statistics: Statistics) -> None:
        self._clock = clock
        self._records = records
        self._statistics = statistics
        self._content = records.content

    def open(self, call: Call, following: OpenCall) -> Opened:
        """See `CallStage.open`."""
        content = self._content.reading(call) if self._content is not None else None
        return _Recorded(call, following, self, content)

    def began(self, call: Call) -> None:
        """Takes the call over from the call ring, which records those that never came here."""
        call.scope.recorded = True
        self._statistics.call_began(call)

    def ended(
        self,
        call: Call,
        finished: bool,
        timings: Timings,
        error: BaseException | None,
        content: ContentReading | None,
    ) -> None:
        """Decides the outcome and writes the call down.

        Args:
            finished: whether the reply's last event was handed on.
            error: what the call ended with.
            content: its texts, where they were asked for.
        """
        outcome, failure = self._outcome(call, finished, error)
        self._statistics.call_ended(call, outcome, timings, failure)
        self._records.call_ended(call, outcome, timings, failure, content)

    def now_s(self) -> float:
        """Returns monotonic time."""
        return self._clock.monotonic_s()

    def _outcome(self, call: Call, finished: bool, error: BaseException | None) -> tuple[Outcome, GatewayError | None]:
        match error:
            case None:
                return (Outcome.SUCCEEDED if finished else Outcome.CANCELLED), None
            case GatewayError():
                return outcome_of(error), error
            case Exception():
                return Outcome.FAILED, DefectError()
            case _:
                return Outcome.CANCELLED, self._cancelled(call)

    def _cancelled(self, call: Call) -> GatewayError:
        """Tells our own stopping, a deadline and a cancel apart.

        Timers of both sides race, so a small rest still is a deadline (docs/reliability.md).
        """
        if call.scope.draining:
            return ShedError(Reason.SERVER_DRAINING)
        rest_s = call.deadline.remaining_s(self._clock.monotonic_s())
        timed_out = call.deadline.from_client and rest_s <= DEADLINE_RACE_S
        return CallEndedError(Reason.DEADLINE_EXCEEDED if timed_out else Reason.CANCELLED)


def outcome_of(error: GatewayError) -> Outcome:
    """Returns how a call ended that ended with `error`."""
    if isinstance(error, ShedError):
        return Outcome.SHED
    return Outcome.CANCELLED if isinstance(error, CallEndedError) else Outcome.FAILED


class _Recorded(Around[Call]):
    """Watches the reply for its first content and its last event."""

    __slots__ = ("_content", "_finished", "_first_token_s", "_stage")

    def __init__(self, call: Call, following: OpenCall, stage: Record, content: ContentReading | None) -> None:
        super().__init__(call, following)
        self._stage = stage
        self._content = content
        self._first_token_s: float | None = None
        self._finished = False

    def begin(self) -> None:
        self._stage.began(self.subject)

    def end(self, error: BaseException | None) -> None:
        self._stage.ended(self.subject, self._finished, self._timings(), error, self._content)

    def entered(self) -> Reply:
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        batch = await self.reply.__anext__()
        if self._content is not None:
            self._content.add(batch)
        if self._first_token_s is None and has_content(batch):
            self._first_token_s = self._stage.now_s() - self.subject.scope.started_s
        if batch and isinstance(last := batch[-1], Finished):
            self._finished = True
            last.timings = self._timings()
        return batch

    def _timings(self) -> Timings:
        call = self.subject
        return Timings(
            total_s=self._stage.now_s() - call.scope.started_s,
            time_to_first_token_s=self._first_token_s,
            provider_s=call.answering.latency_s if call.attempts else 0.0,
        )
