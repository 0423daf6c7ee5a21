"""A server without manners: what each connection does is a coroutine of the test, byte by byte."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from llmgateway_server.providers.wire.port import Origin

BACKSTOP_S = 10.0
"""No wait of a test is longer; it is there to fail a hanging test, never to pass one."""


@dataclass
class Seen:
    """One request as it arrived."""

    head: bytes
    body: bytes

    @property
    def lines(self) -> list[str]:
        """The head without its empty line."""
        return self.head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")


class Peer:
    """The server's end of one connection."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        """Position in the order of acceptance, from 0."""
        self.reader = reader
        self.writer = writer

    async def request(self) -> Seen:
        """Reads one request, whose length must be announced by `content-length` if it has a body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return Seen(head, await self.reader.readexactly(length))

    async def send(self, *pieces: bytes) -> None:
        """Sends each piece by itself, letting the loop turn in between."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def gone(self) -> None:
        """Returns when the client has closed its side."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass

    def reset(self) -> None:
        """Closes with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Behaviour = Callable[[Peer], Awaitable[None]]


class RawServer:
    """Listens on loopback and runs `behaviour` for every connection; the connection closes when it returns."""

    def __init__(self, behaviour: Behaviour, *, context: ssl.SSLContext | None = None) -> None:
        self._behaviour = behaviour
        self._context = context
        self._tasks: set[asyncio.Task[None]] = set()
        self.accepted = 0
        self.failures: list[BaseException] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._context)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if error is None and self.failures:
            raise self.failures[0]

    @property
    def origin(self) -> Origin:
        """Where a wire finds this server."""
        if self._context is not None:
            return Origin("https", "localhost", self.port)
        return Origin("http", "127.0.0.1", self.port)

    @property
    def live(self) -> int:
        """Connections whose behaviour still runs."""
        return len(self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(self.accepted, reader, writer)
        self.accepted += 1
        try:
            await self._behaviour(peer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client's end of it is what tests look at
        except AssertionError as error:
            self.failures.append(error)
        finally:
            writer.close()
            try:
                await asyncio.wait_for(writer.wait_closed(), 1)
            except (ConnectionError, ssl.SSLError, TimeoutError, asyncio.CancelledError):
                writer.transport.abort()
            self._tasks.discard(task)


def answering(response: bytes) -> Behaviour:
    """Returns the behaviour of a server that answers every request with `response`."""

    async def behave(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(response)

    return behave


def answering_once(*pieces: bytes) -> Behaviour:
    """Returns the behaviour of a server that answers one request and closes."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)

    return behave


async def until(condition: Callable[[], bool], within_s: float = BACKSTOP_S) -> None:
    """Returns as soon as `condition` holds; fails after `within_s` seconds."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.001)


async def black_hole() -> tuple[list[socket.socket], int]:
    """Returns sockets that keep a port's backlog full, and the port: connecting to it hangs (docs/reliability.md)."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port = listener.getsockname()[1]
    held = [listener]
    for _ in range(4):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", port))
        held.append(sock)
    return held, port
