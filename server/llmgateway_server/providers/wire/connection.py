"""One HTTP/1.1 connection: sends a request, feeds a response, and knows what really happened on the socket.

Everything is driven by the loop's callbacks; there is no task, queue or timer of its own.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import cast

from llmgateway_server.providers.wire.port import WireLimits, WireProgress, WireReset
from llmgateway_server.providers.wire.response import Response

_SEND_BYTES = 128 * 1024
"""Largest piece of a body given to the transport at once: what the kernel does not take is copied by asyncio."""

_NO_PROGRESS = WireProgress()
_NO_BODY = memoryview(b"")


class Connection(asyncio.BufferedProtocol):
    """A transport; `Pool` owns it, and one exchange at a time uses it.

    Args:
        loop: the running loop.
        limits: bounds of the wire.
        buffer: where the loop reads into. It is shared by all connections of a wire: the bytes are parsed, and
            body bytes copied out, before the callback returns.
        on_lost: called exactly once when the socket is gone, if there ever was one.
    """

    __slots__ = (
        "_buffer",
        "_handed",
        "_limits",
        "_loop",
        "_on_lost",
        "_plain",
        "_poll",
        "_progress",
        "_read_paused",
        "_response",
        "_sending",
        "_transport",
        "_waiter",
        "_write_paused",
        "idle_since",
        "usable",
        "uses",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: WireLimits,
        buffer: memoryview,
        on_lost: Callable[[Connection], None],
    ) -> None:
        self._loop = loop
        self._limits = limits
        self._buffer = buffer
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._plain = True
        self._poll = select.poll()
        self._waiter: asyncio.Future[None] | None = None
        self._response: Response | None = None
        self._progress = _NO_PROGRESS
        self._sending = _NO_BODY
        self._handed = 0
        self._read_paused = False
        self._write_paused = False
        self.usable = False
        """Whether another exchange may start here."""
        self.uses = 0
        """Exchanges started so far."""
        self.idle_since = 0.0
        """Time of the loop, in seconds, at which the last exchange ended."""

    # --- the exchange -------------------------------------------------------------------------------------------

    def undisturbed(self) -> bool:
        """Tells whether the connection is still as its last exchange left it.

        Bytes that wait in the socket, unread since the loop last turned, would be taken for the next answer.
        """
        return self.usable and not self._poll.poll(0)

    def start(self, head: bytes, body: bytes, is_head: bool, progress: WireProgress) -> Response:
        """Sends a request; what the transport does not take now goes out from `resume_writing`.

        Raises:
            WireReset: the connection ended since it was chosen; nothing was sent.
        """
        transport = self._transport
        if transport is None or not self.usable:
            raise WireReset("connection ended before the request was sent")
        self._progress = progress
        response = self._response = Response(self._limits, is_head)
        progress.reused_connection = self.uses > 0
        self.uses += 1
        if len(body) <= _SEND_BYTES:
            data = head + body if body else head
            transport.write(data)
            self._handed = progress.request_bytes_sent = len(data)
            progress.request_complete = True
            return response
        transport.write(head)
        self._handed = progress.request_bytes_sent = len(head)
        self._sending = memoryview(body)
        self._send()
        return response

    def _send(self) -> None:
        transport, progress = self._transport, self._progress
        if transport is None:
            return
        while self._sending and not self._write_paused:
            piece = self._sending[:_SEND_BYTES]
            self._sending = self._sending[_SEND_BYTES:]
            transport.write(piece)
            self._handed += len(piece)
            progress.request_bytes_sent = self._handed
            if not self._sending:
                progress.request_complete = True

    async def wait(self) -> None:
        """Returns when something arrived, ended or failed; the caller looks what it was."""
        if self._waiter is not None:
            raise RuntimeError("the response is already being read by another task")
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def resume(self) -> None:
        """Lets the socket be read again after the body bytes that were ready have been taken."""
        if self._read_paused and self._transport is not None:
            self._read_paused = False
            self._transport.resume_reading()

    def finish(self) -> bool:
        """Ends an exchange whose response was read to its end.

        Returns:
            Whether the connection may serve another one; it was aborted if not.
        """
        transport, response = self._transport, self._response
        if (
            transport is None
            or response is None
            or not (self.usable and response.complete and response.keep_alive)
            or response.overrun
            or self._sending
            or transport.get_write_buffer_size()
        ):
            self.abort()
            return False
        response.close()
        self._response = None
        self._progress = _NO_PROGRESS
        self.idle_since = self._loop.time()
        return True

    def abort(self) -> None:
        """Closes the socket now, drops what was not sent, and corrects the progress for it."""
        self.usable = False
        transport = self._transport
        if transport is None:
            return
        if self._response is not None and self._plain and not transport.is_closing():
            unsent = transport.get_write_buffer_size()
            if unsent:
                self._progress.request_bytes_sent = max(0, self._handed - unsent)
                self._progress.request_complete = False
        self._sending = _NO_BODY
        transport.abort()

    def cut(self, reason: str) -> None:
        """Ends the connection from our side; an exchange in flight sees `WireReset`."""
        response = self._response
        if response is not None:
            response.fail(WireReset(reason, headers_received=response.head_done))
        self._wake()
        self.abort()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- asyncio.BufferedProtocol -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the transport over; with TLS this is after the handshake."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class is registered nowhere
        # Of a TLS transport's backlog nobody can say how much of it is payload: there, what was handed over counts.
        self._plain = transport.get_extra_info("ssl_object") is None
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self.usable = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends whatever was going on."""
        self.usable = False
        response = self._response
        if response is not None:
            reason = f"connection lost: {exc}" if exc else ""
            response.fail(WireReset(reason, headers_received=response.head_done))
            response.close()
            self._response = None
        self._transport = None
        self._sending = _NO_BODY
        self._wake()
        self._on_lost(self)

    def pause_writing(self) -> None:
        """Stops feeding the request body."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """Goes on feeding the request body."""
        self._write_paused = False
        self._send()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Returns the buffer shared by the wire's connections."""
        return self._buffer

    def eof_received(self) -> None:
        """Ends the response, cleanly only if its framing says so; the loop then closes the transport."""
        self.usable = False
        if self._response is not None:
            self._response.eof()
        self._wake()

    def buffer_updated(self, nbytes: int) -> None:
        """Parses what arrived, and stops the reading while the reader is behind."""
        response = self._response
        if response is None:
            # Bytes nobody asked for: whatever they are, the next response could not be told from them.
            self.abort()
            return
        self._progress.response_bytes += nbytes
        response.feed(self._buffer[:nbytes])
        if response.error is not None:
            self._wake()
            self.abort()
        elif response.complete:
            self._wake()
        elif response.head_done:
            self._wake()
            if response.ready_bytes >= self._limits.read_buffer_bytes and not self._read_paused:
                transport = self._transport
                if transport is not None:
                    self._read_paused = True
                    transport.pause_reading()
