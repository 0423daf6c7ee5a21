"""Takes what the socket brings apart into frames, and says what they mean where that needs no stream (RFC 9113 §4, §6).

Lengths, padding, flags and the order of a header block's parts are checked here; what a stream has to do with them is
the sink's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Protocol

from llmgateway_server.transport.http2 import frames
from llmgateway_server.transport.http2.frames import Code, ConnectionFaultError
from llmgateway_server.transport.http2.headers import MAX_BLOCK_BYTES

DEPENDENCY_BYTES = 5
PING_BYTES = 8
GOAWAY_BYTES = 8


class FrameSink(Protocol):
    """What frames are told to. Every method may raise `ConnectionFaultError`."""

    def greeting_came(self) -> None:
        """The peer speaks HTTP/2."""

    def headers_came(self, number: int, block: bytes, *, ended: bool) -> None:
        """A whole header block."""

    def data_came(self, number: int, content: bytes, size: int, *, ended: bool) -> None:
        """A part of a body; `size` counts the padding, as windows do."""

    def reset_came(self, number: int) -> None:
        """A call is taken back."""

    def settings_came(self, values: Iterable[tuple[int, int]]) -> None:
        """Settings of the peer."""

    def ping_came(self, payload: bytes, *, answer: bool) -> None:
        """A ping, or the answer to one of ours."""

    def goaway_came(self) -> None:
        """The peer makes no more calls."""

    def window_came(self, number: int, by: int) -> None:
        """A window opens, the connection's for 0."""

    def nothing_came(self, cost: float = 1.0) -> None:
        """A frame that carries nothing."""


class FrameReader:
    """See the module.

    Args:
        sink: is told.
    """

    def __init__(self, sink: FrameSink) -> None:
        self._sink = sink
        self._rest = b""
        self.greeted = False
        """Whether the peer has said that it speaks HTTP/2."""
        self._stopped = False
        self._expected: int | None = frames.SETTINGS
        """The only type that may come next: at first, and inside a header block."""
        self._block = bytearray()
        self._block_of = (0, 0)

    def stop(self) -> None:
        """Reads nothing more, not even what came with the frame that is being read."""
        self._stopped = True

    def feed(self, data: bytes) -> None:
        """Reads all whole frames.

        Raises:
            ConnectionFaultError: the peer breaks the protocol.
        """
        pending = self._rest + data if self._rest else data
        start = 0 if self.greeted else self._greet(pending)
        size = len(pending) if self.greeted else 0
        while size - start >= frames.HEAD_BYTES and not self._stopped:
            high, low, kind, flags, number = frames.HEAD.unpack_from(pending, start)
            begin = start + frames.HEAD_BYTES
            start_next = begin + (high << 8 | low)
            if start_next - begin > frames.MAX_FRAME_BYTES:
                raise ConnectionFaultError(Code.FRAME_SIZE_ERROR, "a frame is too long")
            if start_next > size:
                break
            if kind != self._expected and self._expected is not None:
                raise ConnectionFaultError(Code.PROTOCOL_ERROR, "another frame was to come here")
            if kind < len(_READ):
                _READ[kind](self, flags, number & frames.STREAM_BITS, pending[begin:start_next])
            else:
                self._sink.nothing_came()
            start = start_next
        self._rest = pending[start:]

    def _greet(self, pending: bytes) -> int:
        preface = frames.PREFACE
        if not pending.startswith(preface[: len(pending)]):
            raise ConnectionFaultError(Code.PROTOCOL_ERROR, "this is not HTTP/2")
        if len(pending) < len(preface):
            return 0
        self.greeted = True
        self._sink.greeting_came()
        return len(preface)

    def data(self, flags: int, number: int, payload: bytes) -> None:
        """RFC 9113 §6.1."""
        content = frames.unpadded(flags, payload)
        self._sink.data_came(number, content, len(payload), ended=bool(flags & frames.END_STREAM))

    def headers(self, flags: int, number: int, payload: bytes) -> None:
        """§6.2."""
        if not number & 1:
            raise ConnectionFaultError(Code.PROTOCOL_ERROR, "callers' streams have odd numbers")
        block = frames.unpadded(flags, payload)
        if flags & frames.WITH_PRIORITY:
            self.priority(0, number, block[:DEPENDENCY_BYTES])
            block = block[DEPENDENCY_BYTES:]
        if flags & frames.END_HEADERS:
            self._sink.headers_came(number, block, ended=bool(flags & frames.END_STREAM))
        else:
            self._block, self._block_of, self._expected = bytearray(block), (number, flags), frames.CONTINUATION

    def priority(self, _flags: int, number: int, payload: bytes) -> None:
        """§6.3: nobody's priority counts."""
        _expect_length(payload, DEPENDENCY_BYTES)
        if not number or int.from_bytes(payload[:4], "big") & frames.STREAM_BITS == number:
            raise ConnectionFaultError(Code.PROTOCOL_ERROR, "a stream depends on itself, or is the connection")
        self._sink.nothing_came()

    def rst_stream(self, _flags: int, number: int, payload: bytes) -> None:
        """§6.4."""
        _expect_length(payload, 4)
        self._sink.reset_came(number)

    def settings(self, flags: int, number: int, payload: bytes) -> None:
        """§6.5."""
        _expect_connection(number)
        if self._expected is not None:
            if flags & frames.ACK:
                raise ConnectionFaultError(Code.PROTOCOL_ERROR, "an acknowledgement of nothing")
            self._expected = None
        if len(payload) % 6 or (flags & frames.ACK and payload):
            raise ConnectionFaultError(Code.FRAME_SIZE_ERROR, "a frame has another length")
        self._sink.nothing_came(SETTINGS_COST)
        if not flags & frames.ACK:
            self._sink.settings_came(struct.iter_unpack(">HI", payload))

    def push_promise(self, _flags: int, _number: int, _payload: bytes) -> None:
        """§6.6: only servers may."""
        raise ConnectionFaultError(Code.PROTOCOL_ERROR, "callers push nothing")

    def ping(self, flags: int, number: int, payload: bytes) -> None:
        """§6.7."""
        _expect_connection(number)
        _expect_length(payload, PING_BYTES)
        self._sink.ping_came(payload, answer=bool(flags & frames.ACK))

    def goaway(self, _flags: int, number: int, payload: bytes) -> None:
        """§6.8."""
        _expect_connection(number)
        if len(payload) < GOAWAY_BYTES:
            raise ConnectionFaultError(Code.FRAME_SIZE_ERROR, "a frame has another length")
        self._sink.goaway_came()

    def window_update(self, _flags: int, number: int, payload: bytes) -> None:
        """§6.9."""
        _expect_length(payload, 4)
        by = int.from_bytes(payload, "big") & frames.STREAM_BITS
        if not by:
            raise ConnectionFaultError(Code.PROTOCOL_ERROR, "a window update of nothing")
        self._sink.window_came(number, by)

    def continuation(self, flags: int, number: int, payload: bytes) -> None:
        """§6.10."""
        if self._expected is None or number != self._block_of[0]:
            raise ConnectionFaultError(Code.PROTOCOL_ERROR, "a continuation of nothing")
        if not payload:
            self._sink.nothing_came()
        self._block += payload
        if len(self._block) > MAX_BLOCK_BYTES:
            raise ConnectionFaultError(Code.ENHANCE_YOUR_CALM, "the headers are too large")
        if flags & frames.END_HEADERS:
            block, self._block, self._expected = bytes(self._block), bytearray(), None
            self._sink.headers_came(number, block, ended=bool(self._block_of[1] & frames.END_STREAM))


SETTINGS_COST = 100.0
"""What a SETTINGS counts for among frames that carry nothing: it is answered."""
_READ: tuple[Callable[[FrameReader, int, int, bytes], None], ...] = (
    FrameReader.data,
    FrameReader.headers,
    FrameReader.priority,
    FrameReader.rst_stream,
    FrameReader.settings,
    FrameReader.push_promise,
    FrameReader.ping,
    FrameReader.goaway,
    FrameReader.window_update,
    FrameReader.continuation,
)
"""By the number of the frame's type."""


def _expect_length(payload: bytes, size: int) -> None:
    if len(payload) != size:
        raise ConnectionFaultError(Code.FRAME_SIZE_ERROR, "a frame has another length")


def _expect_connection(number: int) -> None:
    if number:
        raise ConnectionFaultError(Code.PROTOCOL_ERROR, "a frame of the connection names a stream")
