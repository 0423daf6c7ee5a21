"""What happens in this process, told to operators who watch. Nobody who tells something ever waits for a watcher.

Each watcher has a queue of its own. Who reads too slowly loses the oldest events, and is told how many. When the
process begins to drain, every watch ends with that word: a watch must not be what the drain waits for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import ShedError
from llmgateway_server.core.reasons import Reason

MAX_WATCHERS = 16
MAX_WAITING = 256
"""Events that wait for one watcher: a storm in which every breaker of a large catalogue opens fits in."""
RETRY_AFTER_S = 5.0
"""What is told where too many watch: nobody knows when one leaves."""


@dataclass(slots=True, frozen=True)
class BreakerChanged:
    """A circuit breaker has another state."""

    provider: str
    region: str
    upstream_model: str
    state: str
    """A value of `attempts.breaker.State`."""
    cause: str
    """A value of `attempts.breaker.Cause`; empty for none."""
    reason: Reason | None
    """Of the last failure that was counted."""
    retry_in_s: float


@dataclass(slots=True, frozen=True)
class TargetEnabledChanged:
    """An operator switched a target, or with an empty model a whole account."""

    provider: str
    upstream_model: str
    enabled: bool


@dataclass(slots=True, frozen=True)
class KeySetAside:
    """A provider refused a key."""

    provider: str
    key_id: str
    reason: Reason
    for_s: float


@dataclass(slots=True, frozen=True)
class MetricsReset:
    """An operator had the figures forgotten."""


@dataclass(slots=True, frozen=True)
class DrainBegun:
    """The process is about to stop; the last event of every watch."""


@dataclass(slots=True, frozen=True)
class Dropped:
    """Events that a watcher did not read in time; they are older than all that follow."""

    count: int


GatewayEvent = BreakerChanged | TargetEnabledChanged | KeySetAside | MetricsReset | DrainBegun | Dropped


@dataclass(slots=True, frozen=True)
class Told:
    """An event and when it happened, as wall time in seconds since the epoch."""

    at_s: float
    event: GatewayEvent


class Watch:
    """The events of one watcher, oldest first; it is asked by one task.

    Args:
        max_waiting: events that are kept for it.
    """

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._waiting: deque[Told] = deque()
        self._max_waiting = max_waiting
        self._dropped = 0
        self._ready = asyncio.Event()
        self._ended = False
        self.on_end: Callable[[], None] = lambda: None
        """Is called when the last event is there, for a watcher that may be busy with an earlier one."""

    async def next(self) -> list[Told]:
        """Waits for events and returns all that are there; an empty list is the end."""
        if not self._waiting and not self._ended:
            self._ready.clear()
            await self._ready.wait()
        events, self._waiting = [*self._waiting], deque()
        if self._dropped:
            events.insert(0, Told(events[0].at_s, Dropped(self._dropped)))
            self._dropped = 0
        return events

    def tell(self, told: Told) -> None:
        """Takes an event in; where there is no room, the oldest one goes."""
        if len(self._waiting) >= self._max_waiting:
            self._waiting.popleft()
            self._dropped += 1
        self._waiting.append(told)
        self._ready.set()

    def end(self) -> None:
        """Lets the watch end once everything is read."""
        self._ended = True
        self._ready.set()
        self.on_end()


class Events:
    """Where events are told, and where they are watched. Everything happens on the event loop.

    Args:
        clock: wall time of the events.
        max_watchers: who watch at a time.
    """

    def __init__(self, clock: Clock, max_watchers: int = MAX_WATCHERS) -> None:
        self._clock = clock
        self._max_watchers = max_watchers
        self._watches: set[Watch] = set()
        self._draining: Told | None = None

    @property
    def watcher_count(self) -> int:
        """How many watch."""
        return len(self._watches)

    def tell(self, event: GatewayEvent) -> None:
        """Tells all watchers what happened now."""
        if self._watches:
            told = Told(self._clock.wall_s(), event)
            for watch in self._watches:
                watch.tell(told)

    def begin_drain(self) -> None:
        """Tells that the process drains and ends all watches, and those that begin from now on; once is enough."""
        if self._draining is None:
            self._draining = Told(self._clock.wall_s(), DrainBegun())
            for watch in self._watches:
                watch.tell(self._draining)
                watch.end()

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """Watches from now on, for the block.

        Raises:
            ShedError: RATE_LIMITED_CONCURRENCY, too many do.
        """
        if len(self._watches) >= self._max_watchers:
            raise ShedError(Reason.RATE_LIMITED_CONCURRENCY, retry_after_s=RETRY_AFTER_S)
        watch = Watch()
        if self._draining is not None:
            watch.tell(self._draining)
            watch.end()
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)
