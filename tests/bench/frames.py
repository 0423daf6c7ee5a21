"""A caller of many streams that costs little: gRPC over HTTP/2, as far as a server that keeps to the protocol needs it.

The library's caller takes fifty times as long for a message, and a thousand streams would then measure the caller. This
one sends a request per stream on one connection, opens all windows as far as they go, answers settings and pings, and
takes frames apart (RFC 9113 §4.1 and §6). It does not decode header blocks (RFC 7541): whether a stream is complete is
told by its tokens.
"""

from __future__ import annotations

import asyncio
import struct
import time
from types import TracebackType
from typing import Any, Self

from tests.bench import payloads
from tests.bench.callers import WORD, CallFailedError, Stream
from tests.bench.payloads import Kind

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
MAX_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535
INITIAL_WINDOW_SIZE = 4
FRAME_HEAD = 9
MESSAGE_HEAD = 5
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Returns one frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _text(text: str) -> bytes:
    data = text.encode()
    if len(data) > 126:
        raise ValueError("a header field is longer than this caller can write")
    return bytes((len(data),)) + data


def _headers(address: str, key: str) -> bytes:
    """Returns a header block: static names and literal values, so that no side has to remember anything."""
    fields = (
        b"\x83",  # :method POST
        b"\x86",  # :scheme http
        b"\x04" + _text(f"{payloads.SERVICE}StreamComplete"),  # :path
        b"\x01" + _text(address),  # :authority
        b"\x0f\x10" + _text("application/grpc"),  # content-type
        b"\x00" + _text("te") + _text("trailers"),
        b"\x00" + _text("grpc-timeout") + _text("60S"),
        b"\x0f\x08" + _text(f"Bearer {key}") if key else b"",  # authorization
    )
    return b"".join(fields)


class _Reader:
    """One stream as it comes in."""

    __slots__ = ("ended", "got", "pending")

    def __init__(self, ended: asyncio.Future[None]) -> None:
        self.got = Stream(began=time.perf_counter())
        self.pending = b""
        self.ended = ended

    def data(self, payload: bytes) -> None:
        pending = self.pending + payload if self.pending else payload
        while len(pending) >= MESSAGE_HEAD:
            end = MESSAGE_HEAD + int.from_bytes(pending[1:MESSAGE_HEAD], "big")
            if len(pending) < end:
                break
            self.got.note(pending[:end].count(WORD))
            pending = pending[end:]
        self.pending = pending


class StreamCaller(asyncio.Protocol):
    """Calls StreamComplete of one server on one connection.

    Args:
        address: where it serves.
        model: that is asked for.
        key: an API key; empty: none is sent.
    """

    def __init__(self, address: str, model: str, key: str = "") -> None:
        self._address = address
        self._block = _headers(address, key)
        request = payloads.request(model)
        self._message = struct.pack(">BI", 0, len(request)) + request
        self._readers: dict[int, _Reader] = {}
        self._next = 1
        self._pending = b""
        self._transport: Any = None

    async def __aenter__(self) -> Self:
        host, _, port = self._address.rpartition(":")
        await asyncio.get_running_loop().create_connection(lambda: self, host, int(port))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._transport.close()

    async def stream(self, kind: Kind) -> Stream:
        """Makes a streamed call and reads it to its end.

        Raises:
            CallFailedError: tokens are missing, or the connection is gone.
        """
        if self._transport.is_closing():
            raise CallFailedError("the connection is gone")
        number, self._next = self._next, self._next + 2
        reader = self._readers[number] = _Reader(asyncio.get_running_loop().create_future())
        self._transport.write(
            frame(HEADERS, END_HEADERS, number, self._block) + frame(DATA, END_STREAM, number, self._message)
        )
        await reader.ended
        if reader.got.tokens != kind.tokens:
            raise CallFailedError(f"a stream brought {reader.got.tokens} of {kind.tokens} tokens")
        return reader.got

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Opens the windows."""
        self._transport = transport
        settings = struct.pack(">HI", INITIAL_WINDOW_SIZE, MAX_WINDOW)
        more = struct.pack(">I", MAX_WINDOW - DEFAULT_WINDOW)
        self._transport.write(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, more))

    def data_received(self, data: bytes) -> None:
        """Takes frames apart."""
        pending = self._pending + data if self._pending else data
        start, size = 0, len(pending)
        while size - start >= FRAME_HEAD:
            end = start + FRAME_HEAD + int.from_bytes(pending[start : start + 3], "big")
            if size < end:
                break
            kind, flags = pending[start + 3], pending[start + 4]
            number = int.from_bytes(pending[start + 5 : start + FRAME_HEAD], "big")
            self._frame(kind, flags, number, pending[start + FRAME_HEAD : end])
            start = end
        self._pending = pending[start:]

    def connection_lost(self, error: Exception | None) -> None:
        """Ends all streams; they find that their tokens are missing."""
        for number in list(self._readers):
            self._end(number)

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == DATA and (reader := self._readers.get(number)) is not None:
            reader.data(payload)
        if (kind in {DATA, HEADERS} and flags & END_STREAM) or kind == RST_STREAM:
            self._end(number)
        elif kind in {SETTINGS, PING} and not flags & ACK:
            self._transport.write(frame(kind, ACK, 0, payload if kind == PING else b""))

    def _end(self, number: int) -> None:
        reader = self._readers.pop(number, None)
        if reader is not None and not reader.ended.done():
            reader.ended.set_result(None)
