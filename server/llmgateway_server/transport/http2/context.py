"""What a handler sees of its call: as much of grpc.aio's context as our services and steps use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from llmgateway_server.transport.http2.headers import Pairs
from llmgateway_server.transport.http2.stream import Stream
from llmgateway_server.transport.interceptors import step

if TYPE_CHECKING:
    from llmgateway_server.transport.http2.connection import Connection

BREATH = 16
"""After so many messages that no window held up, others get a turn."""


class AbortedError(Exception):
    """Ends a handler whose status is already on its way."""


class Context(step.Context):
    """See the module and `interceptors.step.Context`.

    Args:
        connection: the call came by.
        stream: of the call.
        serialize: makes bytes of the handler's messages; None: they are bytes.
    """

    __slots__ = ("_connection", "_deadline_s", "_serialize", "_since_pause", "_stream", "_trailing")

    def __init__(self, connection: Connection, stream: Stream, serialize: Callable[[Any], bytes] | None) -> None:
        self._connection = connection
        self._stream = stream
        self._serialize = serialize
        timeout_s = stream.head.timeout_s
        self._deadline_s = None if timeout_s is None else stream.began_s + timeout_s
        self._trailing: Pairs = ()
        self._since_pause = 0

    def invocation_metadata(self) -> Pairs:
        """Returns the caller's metadata, without what the protocol itself uses."""
        return self._stream.head.metadata

    def peer(self) -> str:
        """Returns where the caller is, as `ipv4:127.0.0.1:5000`, `ipv6:[::1]:5000` or `unix:`."""
        return self._connection.peer

    def auth_context(self) -> Mapping[str, Any]:
        """Returns what the handshake verified, in the form of gRPC."""
        return self._connection.auth_context

    def time_remaining(self) -> float | None:
        """Returns the seconds until the caller's deadline; None where it set none."""
        if self._deadline_s is None:
            return None
        return max(0.0, self._deadline_s - self._connection.loop.time())

    def set_trailing_metadata(self, trailing_metadata: Pairs, /) -> None:
        """Sets what goes with the status at the end."""
        self._trailing = trailing_metadata

    async def write(self, message: Any, /) -> None:
        """Sends a message of a streamed reply, and waits while the caller's windows are closed.

        Raises:
            asyncio.CancelledError: the caller is gone.
        """
        data = message if self._serialize is None else self._serialize(message)
        if self._connection.sender.message(self._stream, data):
            self._since_pause += 1
            if self._since_pause < BREATH:
                return
            await asyncio.sleep(0)
        else:
            await self._connection.sender.flushed(self._stream)
        self._since_pause = 0

    async def abort(self, code: Any, details: str = "", trailing_metadata: Pairs = ()) -> NoReturn:
        """Ends the call with a status, and waits until it is on its way.

        Args:
            code: a `grpc.StatusCode`.
            details: the message.
            trailing_metadata: goes with it.

        Raises:
            AbortedError: always.
            asyncio.CancelledError: the caller is gone.
        """
        if not self._connection.sender.end(self._stream, code.value[0], details, trailing_metadata or self._trailing):
            await self._connection.sender.flushed(self._stream)
        raise AbortedError

    def reply(self, message: Any) -> None:
        """Ends a unary call well."""
        data = message if self._serialize is None else self._serialize(message)
        self._connection.sender.reply(self._stream, data, self._trailing)

    def close(self, code: int, details: str = "") -> None:
        """Ends a call with a status that nobody waits for."""
        self._connection.sender.end(self._stream, code, details, self._trailing)
