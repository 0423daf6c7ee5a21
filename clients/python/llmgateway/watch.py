"""What happens in a gateway, as its operators watch it."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Any, Self

import grpc.aio

from llmgateway.admin.v1 import event_pb2
from llmgateway.async_stream import translated_async
from llmgateway.status import translated


class EventWatch:
    """The events of a gateway as they happen, the first one `watch_begun`. It ends when the gateway begins to drain.

    Leaving its `with` block, or `close`, ends it from this side. Iterating raises `GatewayError` where it breaks.

    Args:
        call: as the stub gives it.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._ready: deque[event_pb2.GatewayEvent] = deque()
        self._closed = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> event_pb2.GatewayEvent:
        while not self._ready:
            if self._closed:
                raise StopIteration
            with translated():
                message = next(self._call, None)
            if message is None:
                raise StopIteration
            self._ready.extend(message.events)
        return self._ready.popleft()

    def close(self) -> None:
        """Ends the watch."""
        self._closed = True
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncEventWatch:
    """The same as `EventWatch`, awaited.

    Args:
        call: as the stub gives it.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._ready: deque[event_pb2.GatewayEvent] = deque()
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> event_pb2.GatewayEvent:
        while not self._ready:
            if self._closed:
                raise StopAsyncIteration
            with translated_async():
                message = await self._call.read()
            if message is grpc.aio.EOF:
                raise StopAsyncIteration
            self._ready.extend(message.events)
        return self._ready.popleft()

    def close(self) -> None:
        """Ends the watch."""
        self._closed = True
        self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
