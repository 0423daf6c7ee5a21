"""What goes out: replies and statuses, through the stream's window, the connection's, and the socket (RFC 9113 §5.2).

What fits everywhere goes to the socket at once. What does not waits in its stream and leaves in turn, when a window
opens or the socket takes bytes again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from llmgateway_server.transport.http2 import frames, headers
from llmgateway_server.transport.http2.frames import Code, ConnectionFaultError, frame
from llmgateway_server.transport.http2.headers import Pairs
from llmgateway_server.transport.http2.stream import MESSAGE_HEAD_BYTES, Stream, framed

NO_TRAILERS = b""
"""The last part of a body ends its stream."""


class Sender:
    """The sending half of a connection.

    Args:
        loop: that serves it.
        transport: its socket.
        streams: that are open, by number.
        done: told of a stream whose end was sent.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: Any,
        streams: dict[int, Stream],
        done: Callable[[Stream], None],
    ) -> None:
        self._loop = loop
        self._write = transport.write
        self._streams = streams
        self._done = done
        self._window = frames.DEFAULT_WINDOW_BYTES
        self.stream_window = frames.DEFAULT_WINDOW_BYTES
        """What new streams may send."""
        self._waiting: dict[int, Stream] = {}
        """Streams that wait for the connection's window or the socket. Those that wait for their own window are not
        among them: one caller's thousand stuck streams would be looked at with every frame."""
        self.paused = False
        """Whether the socket takes nothing for now."""
        self.sent_since_ping = True
        """Whether something of a call was sent since the peer's last ping."""
        self.updates_due = 0
        """How many window updates the peer may owe us for what was sent: one of the stream and one of the connection
        for each frame."""
        self._table_note = b""

    def reply(self, stream: Stream, message: bytes, metadata: Pairs) -> None:
        """Sends the one message of a reply and its good end. A caller who is gone gets nothing."""
        if stream.number not in self._streams:
            return
        block = headers.trailers(0, "", metadata)
        if not self._has_room(stream, len(message)):
            self.message(stream, message)
            self.finish(stream, block)
            return
        data = frame(frames.DATA, 0, stream.number, framed(message))
        self._write(self._beginning(stream) + data + self._block(stream.number, block, frames.END_STREAM))
        self._spend(stream, MESSAGE_HEAD_BYTES + len(message))
        self._done(stream)

    def message(self, stream: Stream, message: bytes) -> bool:
        """Sends a message of a reply and tells whether all of it left.

        Raises:
            asyncio.CancelledError: the caller is gone.
        """
        if stream.number not in self._streams:
            raise asyncio.CancelledError
        if self._has_room(stream, len(message)):
            self._write(self._beginning(stream) + frame(frames.DATA, 0, stream.number, framed(message)))
            self._spend(stream, MESSAGE_HEAD_BYTES + len(message))
            return True
        stream.pending.append(memoryview(framed(message)))
        self._pump(stream)
        return not stream.pending

    def end(self, stream: Stream, code: int, details: str = "", metadata: Pairs = ()) -> bool:
        """Ends a call with a status and tells whether it left; otherwise it leaves behind what is pending.

        Raises:
            asyncio.CancelledError: the caller is gone.
        """
        if stream.number not in self._streams:
            raise asyncio.CancelledError
        return self.finish(stream, headers.trailers(code, details, metadata))

    def refuse_request(self, stream: Stream) -> None:
        """Answers what is no call as HTTP would."""
        stream.answered = True
        text = stream.head.refusal_text
        self._write(self._block(stream.number, stream.head.refusal, 0 if text else frames.END_STREAM))
        if not text:
            self._done(stream)
            return
        stream.pending.append(memoryview(text))
        stream.trailers = NO_TRAILERS
        self._pump(stream)

    def finish(self, stream: Stream, block: bytes) -> bool:
        """Sends the block that ends a stream, behind what is pending."""
        if stream.pending:
            stream.trailers, stream.ending_s = block, self._loop.time()
            return False
        if not stream.answered:
            block = headers.OK_HEADERS + block  # gRPC's Trailers-Only
        self._write(self._block(stream.number, block, frames.END_STREAM))
        self.sent_since_ping = True
        self._done(stream)
        return True

    async def flushed(self, stream: Stream) -> None:
        """Waits until nothing of a stream is pending.

        Raises:
            asyncio.CancelledError: the caller is gone.
        """
        while stream.pending:
            stream.flushed = self._loop.create_future()
            await stream.flushed

    def forget(self, stream: Stream) -> None:
        """Sends nothing more of a stream."""
        self._waiting.pop(stream.number, None)
        stream.pending.clear()
        if stream.flushed is not None:
            stream.flushed.cancel()

    # Windows

    def widen(self, by: int) -> None:
        """Opens the connection's window.

        Raises:
            ConnectionFaultError: wider than there is.
        """
        self._window += by
        if self._window > frames.MAX_WINDOW_BYTES:
            raise ConnectionFaultError(Code.FLOW_CONTROL_ERROR, "the connection's window is too wide")
        self.pump()

    def widen_stream(self, stream: Stream, by: int) -> None:
        """Opens a stream's window.

        Raises:
            ConnectionFaultError: wider than there is.
        """
        self._widen(stream, by)
        if stream.pending:
            self._pump(stream)

    def _widen(self, stream: Stream, by: int) -> None:
        stream.window += by
        if stream.window > frames.MAX_WINDOW_BYTES:
            raise ConnectionFaultError(Code.FLOW_CONTROL_ERROR, "a stream's window is too wide")

    def resize_streams(self, size: int) -> None:
        """Changes the window of all streams (§6.9.2), to be used by the next `pump`.

        Raises:
            ConnectionFaultError: wider than there is.
        """
        by, self.stream_window = size - self.stream_window, size
        for stream in self._streams.values():
            self._widen(stream, by)
            if stream.pending and stream.window > 0:
                self._waiting[stream.number] = stream

    def forget_table(self) -> None:
        """Says in the next block that we use no table, as the peer has changed its own (RFC 7541 §4.2)."""
        self._table_note = headers.NEW_TABLE_SIZE_0

    def pump(self) -> None:
        """Sends what there is room for now, of all streams."""
        for stream in list(self._waiting.values()):
            if self.paused or self._window <= 0:
                break
            self._pump(stream)

    def _pump(self, stream: Stream) -> None:
        """Sends what there is room for; a stream that still waits goes to the end of the row."""
        pending = stream.pending
        while pending and stream.window > 0 and self._window > 0 and not self.paused:
            part = pending[0]
            size = min(len(part), stream.window, self._window, frames.MAX_FRAME_BYTES)
            if size == len(part):
                pending.popleft()
            else:
                pending[0] = part[size:]
            last = stream.trailers is NO_TRAILERS and not pending
            data = frame(frames.DATA, frames.END_STREAM if last else 0, stream.number, bytes(part[:size]))
            self._spend(stream, size)
            self._write(self._beginning(stream) + data)
        self._waiting.pop(stream.number, None)
        if pending:
            if stream.window > 0:
                self._waiting[stream.number] = stream
            return
        if stream.flushed is not None and not stream.flushed.done():
            stream.flushed.set_result(None)
        if stream.trailers is NO_TRAILERS:
            self._done(stream)
        elif stream.trailers is not None:
            self.finish(stream, stream.trailers)

    def _has_room(self, stream: Stream, size: int) -> bool:
        size += MESSAGE_HEAD_BYTES
        return (
            size <= stream.window
            and size <= self._window
            and size <= frames.MAX_FRAME_BYTES
            and not stream.pending
            and not self.paused
        )

    def _spend(self, stream: Stream, size: int) -> None:
        stream.window -= size
        self._window -= size
        self.sent_since_ping = True
        self.updates_due += 2

    def _beginning(self, stream: Stream) -> bytes:
        """Returns the frame that begins a reply, where it has not begun."""
        if stream.answered:
            return b""
        stream.answered = True
        return self._block(stream.number, headers.OK_HEADERS, 0)

    def _block(self, number: int, block: bytes, flags: int) -> bytes:
        """Returns the frames of a header block."""
        if self._table_note:
            block, self._table_note = self._table_note + block, b""
        most = frames.MAX_FRAME_BYTES
        if len(block) <= most:
            return frame(frames.HEADERS, flags | frames.END_HEADERS, number, block)
        parts = [block[at : at + most] for at in range(0, len(block), most)]
        first = frame(frames.HEADERS, flags, number, parts[0])
        middle = [frame(frames.CONTINUATION, 0, number, part) for part in parts[1:-1]]
        return b"".join((first, *middle, frame(frames.CONTINUATION, frames.END_HEADERS, number, parts[-1])))
