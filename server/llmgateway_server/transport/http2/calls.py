"""Runs handlers: finds the one of a method with the call ring around it, and turns its end into the call's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from inspect import isasyncgen
from typing import TYPE_CHECKING, Any

from llmgateway_server.observe.log import logger
from llmgateway_server.transport.http2.context import AbortedError, Context
from llmgateway_server.transport.http2.frames import Code
from llmgateway_server.transport.http2.headers import Pairs
from llmgateway_server.transport.http2.status import DEADLINE_EXCEEDED, UNAVAILABLE, UNIMPLEMENTED, UNKNOWN
from llmgateway_server.transport.http2.stream import Stream

if TYPE_CHECKING:
    from llmgateway_server.transport.http2.connection import Connection


@dataclass(slots=True, frozen=True)
class CallDetails:
    """What interceptors are told, as `grpc.HandlerCallDetails`."""

    method: str
    invocation_metadata: Pairs


class Calls:
    """See the module.

    Args:
        call_ring: interceptors, outermost first.
        handlers: `grpc.GenericRpcHandler`s.
    """

    def __init__(self, call_ring: Sequence[Any], handlers: Sequence[Any]) -> None:
        self._ring = tuple(call_ring)
        self._handlers = tuple(handlers)
        self._known: dict[str, Any] = {}
        self._log = logger("transport")

    def streams_requests(self, method: str) -> bool:
        """Tells whether the request of a method streams."""
        known = self._known.get(method)
        if known is None:
            known = self._served(CallDetails(method, ()))
        return known is not None and known.request_streaming

    async def run(self, connection: Connection, stream: Stream, message: bytes | None) -> None:
        """Runs a call to its end.

        Args:
            connection: it came by.
            stream: of the call.
            message: the request; None where it streams.
        """
        head = stream.head
        stream.running = True
        try:
            handler = self._known.get(head.method) or await self._found(head.method, head.metadata)
            if handler is None:
                connection.sender.end(stream, UNIMPLEMENTED, "the method is not served")
                return
            context = Context(connection, stream, handler.response_serializer)
            if handler.request_streaming:
                replies = handler.stream_stream(_messages(connection, stream), context)
            elif handler.response_streaming:
                replies = handler.unary_stream(message, context)
            else:
                context.reply(await handler.unary_unary(message, context))
                return
            if isasyncgen(replies):
                async for reply in replies:
                    await context.write(reply)
            else:
                await replies
            context.close(0)
        except AbortedError:
            return
        except asyncio.CancelledError:
            self._cut_off(connection, stream)
            raise
        except Exception as error:  # noqa: BLE001  # the ring lets none through; its own defects must not tell their text
            self._log.error("call_failed_by_defect", method=head.method, exc_info=error)
            connection.sender.end(stream, UNKNOWN, "internal error")

    def _cut_off(self, connection: Connection, stream: Stream) -> None:
        """Ends a call that was cancelled, where the caller is still there."""
        if stream.number not in connection.streams:
            return
        if stream.pending:
            connection.cut(stream, Code.CANCEL)
        elif stream.overdue:
            connection.sender.end(stream, DEADLINE_EXCEEDED, "the deadline passed")
        else:
            connection.sender.end(stream, UNAVAILABLE, "the server stops")

    async def _found(self, method: str, metadata: Pairs) -> Any:
        """Returns the handler with the ring around it. Only what is served is remembered: callers choose names."""
        details = CallDetails(method, metadata)

        async def asked(position: int, details: CallDetails) -> Any:
            if position == len(self._ring):
                return self._served(details)
            return await self._ring[position].intercept_service(lambda each: asked(position + 1, each), details)

        handler = await asked(0, details)
        if self._served(details) is not None:
            self._known[method] = handler
        return handler

    def _served(self, details: CallDetails) -> Any:
        for each in self._handlers:
            handler = each.service(details)
            if handler is not None:
                return handler
        return None


async def _messages(connection: Connection, stream: Stream) -> AsyncIterator[bytes]:
    while (message := await connection.next_message(stream)) is not None:
        yield message
