"""Reads streams on that their callers left, to learn what the vendor bills: for vendors that bill after a disconnect.

The call has ended then and waits for nothing. A drain is bounded in time, and in number by process; what exceeds either
is cut at once, as it is for all other vendors. Nothing that is read here reaches anybody.

Source for such a vendor: Amazon Bedrock charges the whole answer of a stream that was left,
https://github.com/BerriAI/litellm/issues/34147.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import CallEndedError, GatewayError
from llmgateway_server.core.events import (
    Event,
    Finished,
    MediaDelta,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
    UsageSnapshot,
)
from llmgateway_server.core.reply import Reply
from llmgateway_server.core.usage import Usage

LEFT: tuple[type[BaseException], ...] = (asyncio.CancelledError, CallEndedError)
"""How an attempt ends that its caller left, or that lost a race."""


class DrainSettings(BaseModel):
    """For how long streams are read on whose callers left, of accounts with `drain_on_cancel`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drain_s: float = Field(default=5.0, gt=0, le=60)
    """After this many seconds a stream is cut, and its own estimate stands."""
    max_drains: int = Field(default=32, ge=0, le=1000)
    """At most this many at once in one process; further ones are cut at once."""


class Ending(StrEnum):
    """How a drain ended."""

    FINISHED = "finished"
    """The stream was read to its end."""
    OVERDUE = "overdue"
    """It took too long."""
    BROKEN = "broken"
    """The provider broke it off."""
    CUT = "cut"
    """The gateway stopped."""
    REFUSED = "refused"
    """There were too many at once, or the gateway was about to stop; nothing was read."""


@dataclass(slots=True, frozen=True)
class Drained:
    """What a drain found."""

    attempt: Attempt
    """That its caller left; its record is complete, except after REFUSED."""
    ending: Ending
    usage: Usage | None = None
    """The provider's last figures; of the whole answer only after FINISHED."""
    output_bytes: int = 0
    """Content that came after the caller left: UTF-8 of text, bytes of media."""
    took_s: float = 0.0
    """From the caller's leaving."""


Leave = Callable[[BaseException | None], Awaitable[None]]
"""Ends an exchange; what it is told decides whether its connection can be used again."""


class Drainer:
    """See the module. One for all accounts of a process.

    Args:
        settings: the bounds.
        clock: measures how long drains took.
        ended: is told of each drain once, also of those that were refused.
    """

    def __init__(self, settings: DrainSettings, clock: Clock, ended: Callable[[Drained], None]) -> None:
        self._settings = settings
        self._clock = clock
        self._ended = ended
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def in_flight(self) -> int:
        """Drains that run."""
        return len(self._running)

    def take(self, attempt: Attempt, reply: Reply, leave: Leave) -> bool:
        """Takes over a stream that its caller left, unless there are too many; then it must be left as usual.

        Args:
            attempt: that the stream belongs to.
            reply: the rest of it; read by nobody else from now on.
            leave: called once, after the last read.
        """
        stopping = self._closed or attempt.call.scope.draining
        if stopping or len(self._running) >= self._settings.max_drains:
            self._ended(Drained(attempt, Ending.REFUSED))
            return False
        task = asyncio.create_task(self._drain(_Rest(attempt, reply), leave), name="drain-after-cancel")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return True

    async def aclose(self) -> None:
        """Cuts what runs; afterwards nothing is taken."""
        self._closed = True
        running = tuple(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    async def _drain(self, rest: _Rest, leave: Leave) -> None:
        began_s = self._clock.monotonic_s()
        cause: BaseException | None = None
        try:
            async with asyncio.timeout(self._settings.drain_s):
                await rest.read()
            ending = Ending.FINISHED if rest.finished else Ending.BROKEN
        except TimeoutError as error:
            ending, cause = Ending.OVERDUE, error
        except GatewayError as error:
            ending, cause = Ending.BROKEN, error
        except asyncio.CancelledError as error:
            ending, cause = Ending.CUT, error
        if rest.finished:
            ending = Ending.FINISHED
        with suppress(GatewayError):
            await leave(cause)
        took_s = self._clock.monotonic_s() - began_s
        self._ended(Drained(rest.attempt, ending, rest.usage, rest.output_bytes, took_s))


class _Rest:
    """What comes of a stream after its caller left."""

    def __init__(self, attempt: Attempt, reply: Reply) -> None:
        self.attempt = attempt
        self._reply = reply
        self.finished = False
        self.usage: Usage | None = None
        self.output_bytes = 0

    async def read(self) -> None:
        async for batch in self._reply:
            for event in batch:
                self._look_at(event)

    def _look_at(self, event: Event) -> None:
        match event:
            case TextDelta(text=text) | ReasoningDelta(text=text) | ToolArgumentsDelta(arguments_json=text):
                self.output_bytes += len(text.encode())
            case MediaDelta(data=data):
                self.output_bytes += len(data)
            case UsageSnapshot(usage=usage):
                self.usage = usage
            case Finished():
                self.finished = True
