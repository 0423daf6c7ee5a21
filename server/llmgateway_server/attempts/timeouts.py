"""The clocks of an attempt: first token, idle, progress, total. Each has its own reason (docs/reliability.md).

Only time that is spent waiting for the provider counts: a caller that reads slowly does not make its provider late.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from llmgateway_server.core.alarm import Alarm, OverdueError
from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import CallEndedError, GatewayError, UpstreamError
from llmgateway_server.core.events import Finished, has_content
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Batch, OpenAttempt, Opened, Reply


class TimeoutSettings(BaseModel):
    """Limits of one attempt in seconds; the call's deadline bounds all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    connect_s: float = Field(default=5.0, gt=0)
    """For DNS, TCP and TLS together."""
    first_token_s: float = Field(default=30.0, gt=0)
    """From the attempt's start to the first token of a stream."""
    idle_s: float = Field(default=60.0, gt=0)
    """Between two reads of a stream, whatever they bring."""
    progress_s: float = Field(default=120.0, gt=0)
    """Between two reads of a stream that bring content; pings do not count."""


class DurationEndedError(UpstreamError):
    """A stream that brings content outlived the duration that the gateway itself allows a call."""

    def __init__(self) -> None:
        super().__init__(Reason.UPSTREAM_TIMEOUT)


class Timeouts:
    """See the module.

    Args:
        settings: the limits.
        clock: measures the waiting.
    """

    name = "timeouts"
    why = "innermost, so that everything around it sees the reason and not a cancelled task"

    def __init__(self, settings: TimeoutSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    def open(self, attempt: Attempt, following: OpenAttempt) -> Opened:
        """See `AttemptStage.open`."""
        return _TimedReply(following(attempt), _Waits(self._settings, self._clock, attempt), self._clock)


class _Waits:
    """How long the provider has been waited for, and how long it may still take."""

    def __init__(self, settings: TimeoutSettings, clock: Clock, attempt: Attempt) -> None:
        self._settings = settings
        self._clock = clock
        self._deadline = deadline = attempt.call.deadline
        self._total_reason = Reason.DEADLINE_EXCEEDED if deadline.from_client else Reason.UPSTREAM_TIMEOUT
        self._streaming = attempt.call.streaming
        self._share_s = attempt.share_s
        self._first_token_seen = False
        self._before_first_s = 0.0
        self._without_content_s = 0.0

    def next_limit(self) -> tuple[float, Reason]:
        """Returns the nearest limit in seconds from now and the reason for its end."""
        nearest = (self._deadline.remaining_s(self._clock.monotonic_s()), self._total_reason)
        if not self._streaming:
            return min(nearest, (self._left(self._share_s), Reason.UPSTREAM_TIMEOUT))
        settings = self._settings
        if not self._first_token_seen:
            first_s = self._left(min(settings.first_token_s, self._share_s))
            return min(nearest, (first_s, Reason.UPSTREAM_TIMEOUT))
        return min(
            nearest,
            (settings.idle_s, Reason.UPSTREAM_STALLED),
            (max(0.0, settings.progress_s - self._without_content_s), Reason.UPSTREAM_STALLED),
        )

    def _left(self, limit_s: float) -> float:
        return max(0.0, limit_s - self._before_first_s)

    def opened(self, waited_s: float) -> None:
        self._before_first_s += waited_s

    def read(self, waited_s: float, batch: Batch) -> None:
        """Notes a read and what it brought."""
        if has_content(batch):
            self._first_token_seen = True
            self._without_content_s = 0.0
        else:
            self._before_first_s += waited_s
            self._without_content_s += waited_s

    def ended(self, reason: Reason) -> GatewayError:
        """Returns the error for a limit that ended."""
        if reason is Reason.DEADLINE_EXCEEDED:
            return CallEndedError(reason)
        if reason is Reason.UPSTREAM_TIMEOUT and self._first_token_seen:
            return DurationEndedError()
        return UpstreamError(reason)


class _TimedReply:
    _reply: Reply

    def __init__(self, opened: Opened, waits: _Waits, clock: Clock) -> None:
        self._opened = opened
        self._waits = waits
        self._clock = clock
        self._alarm = Alarm()
        self._finished = False

    async def __aenter__(self) -> Self:
        limit_s, reason = self._waits.next_limit()
        began = self._clock.monotonic_s()
        try:
            with self._alarm.within(limit_s):
                self._reply = await self._opened.__aenter__()
        except OverdueError as error:
            self._alarm.close()
            raise self._waits.ended(reason) from error
        except BaseException:
            self._alarm.close()
            raise
        self._waits.opened(self._clock.monotonic_s() - began)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._alarm.close()
        await self._opened.__aexit__(kind, error, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        if self._finished:  # only the end of the iteration is left
            return await self._reply.__anext__()
        while True:
            limit_s, reason = self._waits.next_limit()
            began = self._clock.monotonic_s()
            try:
                with self._alarm.within(limit_s):
                    batch = await self._reply.__anext__()
            except OverdueError as error:
                raise self._waits.ended(reason) from error
            self._waits.read(self._clock.monotonic_s() - began, batch)
            if batch:
                self._finished = isinstance(batch[-1], Finished)
                return batch
