"""One timer for the many waits of a task."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

TICK_S = 0.001
"""uvloop counts in these: waits until the same deadline, read from two clocks, differ by less and share a timer."""


class OverdueError(TimeoutError):
    """A wait took longer than it may; no other timer's end looks like this."""


class Alarm:
    """Limits waits as `asyncio.timeout` does, with one timer of the loop for all of them.

    `with alarm.within(seconds): await …` raises OverdueError when it takes longer. A timer is made for the first wait
    and goes on; when it rings, it looks whether somebody waits for too long and otherwise sets itself again. So a wait
    costs two reads of the clock instead of a timer made and cancelled, which every message of a stream would pay.

    All waits are those of one task, the one that enters first; they do not nest. `close` must follow the last one.
    """

    __slots__ = ("_cancelling", "_due_s", "_handle", "_loop", "_rang", "_rings_s", "_task", "_waiting")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[object] | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        self._rings_s = 0.0
        self._waiting = False
        self._rang = False
        self._cancelling = 0

    def within(self, limit_s: float) -> Self:
        """Returns the context manager of the next wait, of at most `limit_s` seconds from now."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
            self._task = asyncio.current_task(loop)
        self._due_s = due_s = loop.time() + limit_s
        if self._handle is None:
            self._set(loop, due_s)
        elif due_s < self._rings_s - TICK_S:
            self._handle.cancel()
            self._set(loop, due_s)
        return self

    def _set(self, loop: asyncio.AbstractEventLoop, due_s: float) -> None:
        # The time is kept here: a handle of uvloop does not tell it where the delay is next to nothing.
        self._rings_s = due_s
        self._handle = loop.call_at(due_s, self._ring)

    def close(self) -> None:
        """Lets go of the timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def __enter__(self) -> Self:
        if self._task is None:
            raise RuntimeError("a wait must be that of a task")
        self._waiting = True
        self._cancelling = self._task.cancelling()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._waiting = False
        if not self._rang:
            return
        self._rang = False
        # As in asyncio.timeout: a cancel by somebody else beside ours remains one.
        if self._task is not None and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise OverdueError from error

    def _ring(self) -> None:
        self._handle = None
        if not self._waiting or self._loop is None or self._task is None:
            return
        if self._loop.time() < self._due_s:
            self._set(self._loop, self._due_s)
            return
        self._rang = True
        self._task.cancel()
