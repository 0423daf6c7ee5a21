"""The server: its sockets, its connections, and their end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmgateway_server.observe.log import logger
from llmgateway_server.transport.http2.calls import Calls
from llmgateway_server.transport.http2.connection import Connection
from llmgateway_server.transport.http2.terms import Terms
from llmgateway_server.transport.http2.tls import context
from llmgateway_server.transport.listen import UNIX, sockets

if TYPE_CHECKING:
    from llmgateway_server.transport.server import ServerSettings

TICK_S = 2.0
BACKLOG = 1024
HANDSHAKE_S = 20.0
LAST_WORDS_S = 0.5
"""How long calls that were ended, and callers, may take until their connections are cut."""
FEWEST, MOST = 16, 1_000_000
FILES_SHARE = 0.5
"""Of the files that the process may open, for connections of callers; the rest is for providers and our own."""


class Http2Transport:
    """gRPC over HTTP/2 on the loop. See `server.Transport`.

    Args:
        settings: of the door.
        call_ring: interceptors, outermost first.
        handlers: `grpc.GenericRpcHandler`s.
        max_streams: calls at once of one connection.

    Raises:
        TlsError: the files of `settings.tls` cannot be used.
    """

    def __init__(
        self, settings: ServerSettings, call_ring: Sequence[Any], handlers: Sequence[Any], max_streams: int
    ) -> None:
        self._terms = Terms(
            Calls(call_ring, handlers),
            max_streams=max_streams,
            max_message_bytes=settings.max_message_bytes,
            max_idle_s=settings.max_connection_idle_s,
            max_age_s=settings.max_connection_age_s,
            max_connections=_max_connections(),
        )
        self._tls = context(settings.tls) if settings.tls is not None else None
        self._shared = settings.workers > 1
        self._servers: list[asyncio.Server] = []
        self._ticking: asyncio.Task[None] | None = None

    async def start(self, listen: str) -> int:
        """Binds and serves; returns the port, 0 for a Unix socket.

        Raises:
            OSError: the address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {"backlog": BACKLOG}
        if self._tls is not None:
            options |= {"ssl": self._tls, "ssl_handshake_timeout": HANDSHAKE_S}

        def accepted() -> Connection:
            return Connection(self._terms, loop)

        port = 0
        if listen.startswith(UNIX):
            self._servers = [await loop.create_unix_server(accepted, listen.removeprefix(UNIX), **options)]
        else:
            bound = sockets(listen, shared=self._shared)
            port = bound[0].getsockname()[1]
            self._servers = [await loop.create_server(accepted, sock=each, **options) for each in bound]
        self._ticking = loop.create_task(self._tick(loop))
        return port

    async def stop(self, grace_s: float) -> None:
        """Accepts nothing more, lets calls go on for `grace_s`, ends the rest and closes all connections."""
        terms = self._terms
        for server in self._servers:
            server.close()
        self._servers.clear()
        now_s = asyncio.get_running_loop().time()
        for each in terms.all():
            each.retire(now_s)
        await terms.empty(grace_s)
        for each in terms.all():
            each.end_calls()
        await terms.empty(LAST_WORDS_S, leaving_too=True)
        for each in terms.all():
            each.abort()
        if self._ticking is not None:
            self._ticking.cancel()

    async def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now_s = loop.time()
            for each in self._terms.all():
                try:
                    each.tick(now_s)
                except Exception as error:  # noqa: BLE001  # a defect of one connection must not stop the clock of all
                    logger("transport").error("connection_dropped_by_defect", exc_info=error)
                    each.abort()


def _max_connections() -> int:
    """Returns how many connections there may be: each takes a file."""
    if sys.platform == "win32":
        return MOST
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if files == resource.RLIM_INFINITY else max(FEWEST, int(files * FILES_SHARE))
