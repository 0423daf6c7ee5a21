"""HTTP/2 frames made by hand, for callers that no library lets one be (RFC 9113, RFC 7541)."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
CANCEL, ENHANCE_YOUR_CALM = 0x8, 0xB
HEAD_BYTES = 9


class Kind(IntEnum):
    """Types of frames."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


@dataclass(slots=True, frozen=True)
class Frame:
    """A frame that was received."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def error(self) -> int:
        """The error code of a GOAWAY or RST_STREAM."""
        at = 4 if self.kind == Kind.GOAWAY else 0
        return int.from_bytes(self.payload[at : at + 4], "big")


def frame(kind: Kind, stream: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def fields(values: Mapping[str, str]) -> bytes:
    """Returns a block of fields, each a literal that nobody remembers (RFC 7541, 6.2.2); below 127 characters each."""
    return b"".join(
        b"\x00" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
        for name, value in values.items()
    )


def call_fields(method: str) -> bytes:
    return fields(
        {
            ":method": "POST",
            ":scheme": "http",
            ":path": method,
            ":authority": "localhost",
            "te": "trailers",
            "content-type": "application/grpc",
        }
    )


def call(stream: int, method: str, message: bytes) -> bytes:
    """Returns the frames of a whole request."""
    body = b"\x00" + struct.pack(">I", len(message)) + message
    return frame(Kind.HEADERS, stream, call_fields(method), END_HEADERS) + frame(Kind.DATA, stream, body, END_STREAM)


async def frames(reader: asyncio.StreamReader) -> AsyncIterator[Frame]:
    """Yields what the server sends until it closes the connection."""
    while True:
        try:
            head = await reader.readexactly(HEAD_BYTES)
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        yield Frame(head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, payload)


@asynccontextmanager
async def connection(address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Opens a connection and says hello."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(PREFACE + frame(Kind.SETTINGS))
        yield reader, writer
    finally:
        writer.transport.abort()
