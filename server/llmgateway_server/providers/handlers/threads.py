"""Runs handlers that block: each call in a thread of its own from its first line to its last, a few at a time.

A thread cannot be stopped from outside. One whose call has ended works on unseen until it yields or returns, and keeps
its place among the few until then: what hangs is bounded.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from llmgateway_server.providers.handlers.request import Request

END = object()
"""Given after a handler's last piece."""


class Threads:
    """Places for calls that block.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)

    async def run(
        self, function: Callable[[Request], Any], request: Request, begin: Callable[[], None]
    ) -> AsyncIterator[object]:
        """Waits for a place and yields what a handler gives; whatever it raises is raised here.

        Args:
            begin: called once the handler has its thread.
        """
        await self._free.acquire()
        line = _Line(asyncio.get_running_loop(), self._free.release)
        work = (contextvars.copy_context().run, line.work, function, request)
        # Not the interpreter's own pool: it would wait at the end of the process for a handler that hangs.
        thread = threading.Thread(target=work[0], args=work[1:], name="handler", daemon=True)
        try:
            thread.start()
        except BaseException:
            self._free.release()
            raise
        begin()
        try:
            while (piece := await line.ask()) is not END:
                yield piece
        finally:
            line.hang_up()


class _Line:
    """Between the loop and a thread: each piece is asked for, so that nothing is made that nobody wants.

    Args:
        loop: on which pieces are wanted.
        ended: called there when the thread has ended.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ended: Callable[[], None]) -> None:
        self._loop = loop
        self._ended = ended
        self._asked: SimpleQueue[asyncio.Future[object] | None] = SimpleQueue()

    async def ask(self) -> object:
        """Returns the next piece, or END."""
        future: asyncio.Future[object] = self._loop.create_future()
        self._asked.put(future)
        return await future

    def hang_up(self) -> None:
        """Tells the thread that nothing more is wanted."""
        self._asked.put(None)

    def work(self, function: Callable[[Request], Any], request: Request) -> None:
        """Is what the thread does."""
        pieces = _given(function, request)
        try:
            while (asked := self._asked.get()) is not None:
                try:
                    piece = next(pieces, END)
                except BaseException as error:  # noqa: BLE001  # also SystemExit: it is meant for this thread alone
                    self._tell(asked.set_exception, asked, error)
                    return
                self._tell(asked.set_result, asked, piece)
        finally:
            with suppress(BaseException):  # a generator's last words have no listener
                pieces.close()
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._ended)

    def _tell(self, settle: Callable[[Any], None], asked: asyncio.Future[object], what: object) -> None:
        def told() -> None:
            if not asked.done():
                settle(what)

        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(told)


def _given(function: Callable[[Request], Any], request: Request) -> Generator[object, None, None]:
    result = function(request)
    if inspect.isgenerator(result):
        yield from result
    else:
        yield result
