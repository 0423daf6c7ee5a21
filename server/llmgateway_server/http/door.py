"""The HTTP door: starlette on uvicorn, in the event loop of the gateway."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress

from starlette.types import ASGIApp
from uvicorn import Config, Server

from llmgateway_server.http.connection import LimitedConnection
from llmgateway_server.http.pages import MAX_HEAD_BYTES
from llmgateway_server.http.settings import HttpSettings

BACKLOG = 64
KEEP_ALIVE_S = 15
GRACE_S = 1
"""How long running answers may go on when the door closes."""


class HttpDoor:
    """Serves an application.

    uvicorn's `serve` is not used: it takes over the process's signal handlers and ends the process when an address is
    taken. Its steps are, one by one: `startup`, `main_loop`, `shutdown`.

    Args:
        settings: where to listen.
        app: what is served.
    """

    def __init__(self, settings: HttpSettings, app: ASGIApp) -> None:
        self._settings = settings
        self._server = Server(
            Config(
                app,
                http=LimitedConnection,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACE_S,
                backlog=BACKLOG,
            )
        )
        self._socket: socket.socket | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Binds and serves.

        Returns:
            The address with the port that was bound.

        Raises:
            OSError: the address cannot be bound.
        """
        server, settings = self._server, self._settings
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        try:
            self._socket = socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
        except OSError as error:
            # its own text repeats the address
            cause = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise OSError(f"http.listen: cannot listen on {settings.listen}: {cause}") from error
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup(sockets=[self._socket])
        self._ticking = asyncio.create_task(server.main_loop(), name="http-door")
        host = settings.listen.rpartition(":")[0]
        return f"{host}:{self._socket.getsockname()[1]}"

    async def stop(self) -> None:
        """Takes no more connections, lets running answers end within `GRACE_S`, then cuts the rest off."""
        if self._ticking is None or self._socket is None:
            return
        self._ticking.cancel()
        with suppress(asyncio.CancelledError):
            await self._ticking
        await self._server.shutdown(sockets=[self._socket])
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        self._ticking = None
