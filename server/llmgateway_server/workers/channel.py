"""Messages over a stream socket: four bytes of length, then MessagePack."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Generic, Self, TypeVar, cast

import msgspec

LENGTH_BYTES = 4
MAX_FRAME_BYTES = 16 * 1024 * 1024
"""No message comes near it: the largest, a report on all series, has a few hundred kilobytes."""
CLOGGED_BYTES = 1024 * 1024

T = TypeVar("T")


class Channel(Generic[T]):
    """One end of the connection between a parent and a worker.

    Args:
        reader: of the socket.
        writer: likewise.
        decoder: of what the other end says.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, decoder: msgspec.msgpack.Decoder[T]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = decoder
        self._encode = msgspec.msgpack.Encoder().encode

    @classmethod
    async def over(cls, connection: socket.socket, incoming: object) -> Self:
        """Takes over a connected socket.

        Args:
            connection: is closed with the channel.
            incoming: the type, or union of types, of what the other end says.
        """
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        return cls(reader, writer, cast("msgspec.msgpack.Decoder[T]", msgspec.msgpack.Decoder(incoming)))

    @property
    def clogged(self) -> bool:
        """Whether the other end has not read for so long that nothing more should be said."""
        return self._writer.transport.get_write_buffer_size() > CLOGGED_BYTES

    def send(self, message: object) -> None:
        """Says something without waiting; it is lost when the other end is gone."""
        if not self._writer.is_closing():
            data = self._encode(message)
            self._writer.write(len(data).to_bytes(LENGTH_BYTES, "big") + data)

    async def receive(self) -> T | None:
        """Returns the next message, None when the other end is gone or talks nonsense."""
        try:
            length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "big")
            if length > MAX_FRAME_BYTES:
                return None
            return self._decoder.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError, msgspec.DecodeError):
            return None

    async def flush(self, within_s: float) -> None:
        """Waits until everything that was said is on its way, or the time is over."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(within_s):
                self._writer.transport.set_write_buffer_limits(0)
                await self._writer.drain()

    def close(self) -> None:
        """Hangs up."""
        self._writer.close()
