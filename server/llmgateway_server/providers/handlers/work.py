"""A handler at work on one attempt, in a task of its own: whatever it does, its call can leave at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from llmgateway_server.core.errors import GatewayError
from llmgateway_server.providers.handlers.answer import Piece, pieces_of, size_of
from llmgateway_server.providers.handlers.failure import failure_of, is_unforeseen, place_of
from llmgateway_server.providers.handlers.request import Request

MAX_WAITING_BYTES = 64 * 1024
"""As much as the wire holds of an HTTP provider: a caller that does not read makes the handler wait at its `yield`."""
MAX_WAITING_PIECES = 256


async def awaited(function: Callable[[Request], Any], request: Request) -> AsyncIterator[object]:
    """Yields what a coroutine function returns."""
    yield await function(request)


class Work:
    """What a handler gives, as it becomes ready.

    Args:
        given: yields what the handler gives; begins with the first turn of the loop.
        unforeseen: told of an exception that a handler is not meant to raise: `ValueError at house.py:12`.
    """

    def __init__(self, given: AsyncIterator[object], unforeseen: Callable[[str], None]) -> None:
        self._unforeseen = unforeseen
        self._ready: list[Piece] = []
        self._ready_bytes = 0
        self._begun = False
        self._over = False
        self._left = False
        self._failure: GatewayError | None = None
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._task = asyncio.create_task(self._run(given))

    @property
    def over(self) -> bool:
        """Whether all was taken and the handler has ended well."""
        return self._over and not self._ready and self._failure is None

    async def wait(self) -> None:
        """Returns once something can be taken, or the handler has ended.

        Raises:
            GatewayError: the handler has failed, and everything that came before was taken.
        """
        await self._arrived.wait()
        if not self._ready and self._failure is not None:
            raise self._failure

    def take(self) -> list[Piece]:
        """Returns what is ready and makes room for more."""
        ready, self._ready, self._ready_bytes = self._ready, [], 0
        if not self._over:
            self._arrived.clear()
            self._room.set()
        return ready

    def leave(self) -> asyncio.Task[None] | None:
        """Cancels the handler without waiting for it; returns its task while that still runs."""
        self._left = True
        if self._task.done():
            return None
        self._task.cancel()
        return self._task

    async def _run(self, given: AsyncIterator[object]) -> None:
        try:
            async for each in given:
                for piece in pieces_of(each):
                    await self._put(piece)
                if self._left:  # it goes on although it was cancelled
                    return
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # a handler that exits or cancels itself ends its own call alone
            self._fail(error)
        finally:
            self._over = True
            self._arrived.set()
            if (aclose := getattr(given, "aclose", None)) is not None:
                with suppress(Exception, asyncio.CancelledError):
                    await aclose()

    async def _put(self, piece: Piece) -> None:
        self._begun = True
        self._ready.append(piece)
        self._ready_bytes += size_of(piece)
        self._arrived.set()
        while self._ready_bytes > MAX_WAITING_BYTES or len(self._ready) >= MAX_WAITING_PIECES:
            self._room.clear()
            await self._room.wait()

    def _fail(self, error: BaseException) -> None:
        if self._left:
            return
        self._failure = failure_of(error, begun=self._begun)
        if is_unforeseen(error):
            self._unforeseen(place_of(error))
