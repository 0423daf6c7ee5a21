"""A streamed reply of the asyncio client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc
import grpc.aio

from llmgateway.errors import Cancelled, GatewayError
from llmgateway.events import StreamEvent
from llmgateway.progress import Progress
from llmgateway.reply import Reply
from llmgateway.status import translated

T = TypeVar("T")


@contextmanager
def translated_async() -> Iterator[None]:
    """Turns errors of the library inside the block into `GatewayError`s.

    The library raises CancelledError also where nobody cancelled the task, for example when its channel is closed.
    """
    try:
        with translated():
            yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Cancelled("the call was given up", code=grpc.StatusCode.CANCELLED) from None


class AsyncStream:
    """The events of a reply as they arrive. Leaving a loop over it, or its `async with` block, cancels what is left.

    Iterating raises `GatewayError` where the reply breaks; what came before can be had from `so_far`.

    Args:
        call: as the stub gives it.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._progress = Progress()

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        return _Loop(self, lambda event: event)

    @property
    def text(self) -> AsyncIterator[str]:
        """The pieces of the answer's text alone."""
        text_of = self._progress.assembly.text_of
        return _Loop(self, lambda event: text_of(event) or None)

    async def reply(self) -> Reply:
        """Waits for the end and returns the whole reply, as `AsyncClient.complete` would have.

        Raises:
            GatewayError: the stream broke or was left.
        """
        while await self._pull():
            pass
        return self._progress.assembly.reply()

    def so_far(self) -> Reply:
        """Returns what has arrived, without waiting."""
        return self._progress.assembly.so_far()

    def close(self) -> None:
        """Cancels the call if it still runs; the gateway then stops the provider."""
        if self._progress.leave():
            self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def next_event(self) -> StreamEvent | None:
        """Waits for the next event; None at the end. Unlike a loop it never cancels."""
        while not self._progress.ready:
            if not await self._pull():
                return None
        return self._progress.ready.popleft()

    async def _pull(self) -> bool:
        """Waits for the next message; False at the end."""
        if self._progress.over():
            return False
        try:
            with translated_async():
                message = await self._call.read()
            found = None if message is grpc.aio.EOF else message
            self._progress.take(found)
        except GatewayError as failure:
            self._progress.fail(failure)
            self._call.cancel()
            raise
        return found is not None


class _Loop(Generic[T]):
    """An iterator that belongs to one loop: when the loop drops it, the stream is left.

    An asynchronous generator would be closed by a task of its own, some time later.
    """

    def __init__(self, stream: AsyncStream, choose: Callable[[StreamEvent], T | None]) -> None:
        self._stream = stream
        self._choose = choose
        self._begun = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        self._begun = True
        while (event := await self._stream.next_event()) is not None:
            chosen = self._choose(event)
            if chosen is not None:
                return chosen
        raise StopAsyncIteration

    def __del__(self) -> None:
        if self._begun:
            self._stream.close()
