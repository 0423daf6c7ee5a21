"""One HTTP connection with the limits that uvicorn does not have: how many there are, and how long each may be slow."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 32
LEASE_S = 20.0
"""From the start of a connection, or from its last whole request head: for its next head, and to read the answer.

uvicorn itself waits forever for a first request, for the rest of a begun one, and for a reader who does not read.
"""


class LimitedConnection(H11Protocol):
    """A connection that is cut off when there are too many, or when its lease is over."""

    _lease: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Counts the connection; one too many is closed at once, without an answer."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._renew()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the lease."""
        if self._lease is not None:
            self._lease.cancel()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Renews the lease with each whole head."""
        served = self.cycle
        super().handle_events()
        if self.cycle is not served:
            self._renew()

    def _renew(self) -> None:
        if self._lease is not None:
            self._lease.cancel()
        self._lease = self.loop.call_later(LEASE_S, self.transport.abort)
