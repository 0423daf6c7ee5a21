"""What all connections of a server share."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmgateway_server.observe.log import logger
from llmgateway_server.transport.http2 import frames, headers
from llmgateway_server.transport.http2.calls import Calls
from llmgateway_server.transport.http2.frames import Setting

if TYPE_CHECKING:
    from llmgateway_server.transport.http2.connection import Connection

STREAM_WINDOW_BYTES = 1024 * 1024
"""What a caller may send on one stream before we say that we took half of it."""
CONNECTION_WINDOW_BYTES = 4 * STREAM_WINDOW_BYTES
MOST_KEPT_HERE = 4
"""Of a connection's requests that are not complete: as much as so many of the largest messages."""
MOST_KEPT = 32
"""The same of all connections."""


@dataclass(slots=True)
class Terms:
    """Bounds, handlers, and the connections themselves."""

    calls: Calls
    max_streams: int
    """Calls at once of one connection."""
    max_message_bytes: int
    max_idle_s: float
    max_age_s: float
    max_connections: int
    kept_bytes: int = 0
    """Of requests that are not complete, of all connections: nobody's key has been looked at yet."""
    connections: set[Connection] = field(default_factory=set)
    leaving: set[Connection] = field(default_factory=set)
    """Connections whose last word is said; their peers have not closed them yet."""
    _full: bool = False
    _fewer: asyncio.Event = field(default_factory=asyncio.Event)

    def let_in(self, connection: Connection) -> bool:
        """Counts a connection in and tells whether there was room."""
        full = len(self.connections) + len(self.leaving) >= self.max_connections
        if full and not self._full:
            logger("transport").error("too_many_connections", at_most=self.max_connections)
        self._full = full
        if not full:
            self.connections.add(connection)
        return not full

    def leave(self, connection: Connection) -> None:
        """Notes that a connection takes no more calls."""
        self.connections.discard(connection)
        self.leaving.add(connection)
        self._fewer.set()

    def let_out(self, connection: Connection) -> None:
        """Counts a connection out, if it was counted in."""
        self.connections.discard(connection)
        self.leaving.discard(connection)
        self._fewer.set()

    def all(self) -> list[Connection]:
        """Returns all connections."""
        return [*self.connections, *self.leaving]

    async def empty(self, within_s: float, *, leaving_too: bool = False) -> None:
        """Waits until there is no connection with calls, or none at all; at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.connections or (leaving_too and self.leaving):
                    self._fewer.clear()
                    await self._fewer.wait()

    def keep(self, more: int, here: int) -> bool:
        """Counts bytes of a request that is not complete, and tells whether there may be so many.

        Args:
            more: bytes.
            here: that its connection keeps, these included.
        """
        self.kept_bytes += more
        largest = self.max_message_bytes
        return here <= MOST_KEPT_HERE * largest and self.kept_bytes <= MOST_KEPT * largest

    def opening(self) -> bytes:
        """Returns what a server says first."""
        values = {
            Setting.MAX_CONCURRENT_STREAMS: self.max_streams,
            Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
            Setting.MAX_HEADER_LIST_SIZE: headers.MAX_METADATA_BYTES,
        }
        more = CONNECTION_WINDOW_BYTES - frames.DEFAULT_WINDOW_BYTES
        return frames.settings(values) + frames.window_update(0, more)
