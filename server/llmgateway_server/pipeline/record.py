"""Writes one record per call, whatever became of it, and puts the timings on the reply's last event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from llmgateway_server.core.calls import Call, Outcome
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import CallEndedError, DefectError, GatewayError, ShedError
from llmgateway_server.core.events import CONTENT, Finished, Timings
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Batch, OpenCall, Reply
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

    @asynccontextmanager
    async def open(self, call: Call, following: OpenCall) -> AsyncIterator[Reply]:
        """See `CallStage.open`."""
        watched: _WatchedReply | None = None
        error: GatewayError | None = None
        outcome = Outcome.CANCELLED
        call.scope.recorded = True
        self._statistics.call_began(call)
        try:
            async with following(call) as reply:
                watched = _WatchedReply(reply, call, self._clock)
                yield watched
            if watched.finished:
                outcome = Outcome.SUCCEEDED
        except GatewayError as raised:
            error, outcome = raised, outcome_of(raised)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            error = self._cancelled(call)
            raise
        except Exception:
            error, outcome = DefectError(), Outcome.FAILED
            raise
        finally:
            timings = watched.timings() if watched is not None else _elapsed(call, self._clock)
            self._statistics.call_ended(call, outcome, timings, error)
            self._records.call_ended(call, outcome, timings, error)

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


class _WatchedReply:
    def __init__(self, reply: Reply, call: Call, clock: Clock) -> None:
        self._reply = reply
        self._call = call
        self._clock = clock
        self._first_token_s: float | None = None
        self.finished = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        batch = await self._reply.__anext__()
        if self._first_token_s is None and any(isinstance(event, CONTENT) for event in batch):
            self._first_token_s = self._clock.monotonic_s() - self._call.scope.started_s
        if batch and isinstance(last := batch[-1], Finished):
            self.finished = True
            last.timings = self.timings()
        return batch

    def timings(self) -> Timings:
        provider_s = self._call.attempts[-1].latency_s if self._call.attempts else 0.0
        total_s = self._clock.monotonic_s() - self._call.scope.started_s
        return Timings(total_s=total_s, time_to_first_token_s=self._first_token_s, provider_s=provider_s)


def _elapsed(call: Call, clock: Clock) -> Timings:
    return Timings(clock.monotonic_s() - call.scope.started_s, None, 0.0)
