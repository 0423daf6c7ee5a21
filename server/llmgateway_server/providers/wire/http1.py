"""Our own keep-alive HTTP/1.1 client: the default wire.

It exists because the wire is half of the cost of a call, and because charging and failover need to know exactly what
was sent and whether a response was whole (`docs/decisions/0002-wire.md`). The parts: `head` writes requests, `names`
resolves, `connect` opens transports, `connection` moves the bytes of one, `response` parses and bounds what arrives,
`pool` decides who gets which connection.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from llmgateway_server.core.clock import Clock, SystemClock
from llmgateway_server.providers.wire.connect import client_context
from llmgateway_server.providers.wire.connection import Connection
from llmgateway_server.providers.wire.head import authority, encode_head
from llmgateway_server.providers.wire.names import Addresses, Resolver, SystemResolver
from llmgateway_server.providers.wire.pool import Pool
from llmgateway_server.providers.wire.port import (
    Origin,
    WireLimits,
    WireMalformed,
    WireProgress,
    WireRequest,
    WireReset,
)
from llmgateway_server.providers.wire.response import Response

_LIMITS = WireLimits()


class Http1Wire:
    """A `Wire` on `httptools` and the loop's own transports.

    Args:
        origin: where to connect; `https` is verified against the authorities of `ssl_context`.
        limits: bounds of the wire.
        ssl_context: TLS settings that verify certificate and name and allow TLS 1.2 or newer only; `None` means
            the authorities of the system.
        resolver: the port to DNS; the system's by default.
        clock: tells how old the resolver's last answer is.

    Raises:
        ValueError: the origin is not a plain http or https one, or `ssl_context` does not verify.

    Known limit: over TLS a body that is delimited only by the end of the connection ends cleanly even when the peer
    sent no `close_notify`, as loops do not report the difference.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        limits: WireLimits = _LIMITS,
        ssl_context: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._host = authority(origin)
        self._pool = Pool(
            origin,
            limits,
            client_context(ssl_context) if origin.scheme == "https" else None,
            Addresses(origin, limits, resolver or SystemResolver(), clock or SystemClock()),
        )

    def exchange(self, request: WireRequest, progress: WireProgress) -> Http1Exchange:
        """See `Wire.exchange`.

        Raises:
            ValueError: on entering, the request's head cannot be written safely (`head.check_request`); nothing
                was sent.
        """
        return Http1Exchange(self._pool, self._host, request, progress)

    async def aclose(self) -> None:
        """See `Wire.aclose`; waits until the sockets are closed."""
        await self._pool.aclose()


class Http1Exchange:
    """One exchange: the context manager, and the `WireResponse` that it enters with.

    A class instead of a generator because it costs less and leaves without awaiting.
    """

    __slots__ = ("_conn", "_ended", "_host", "_pool", "_progress", "_request", "_response", "headers", "status")

    def __init__(self, pool: Pool, host: str, request: WireRequest, progress: WireProgress) -> None:
        self._pool = pool
        self._host = host
        self._request = request
        self._progress = progress
        self._conn: Connection | None = None
        self._response: Response | None = None
        self._ended = False
        self.status = 0
        self.headers: Mapping[str, str] = {}

    async def __aenter__(self) -> Self:
        request = self._request
        head = encode_head(request, self._host)
        conn = self._pool.take() or await self._pool.acquire()
        try:
            response = conn.start(head, request.body, request.method == "HEAD", self._progress)
            while not response.head_done:
                if response.error is not None:
                    raise response.error
                await conn.wait()
        except BaseException:
            conn.abort()
            raise
        self.status = response.status
        self.headers = response.headers
        self._conn, self._response = conn, response
        return self

    async def read(self) -> bytes:
        """See `WireResponse.read`."""
        if self._ended:
            return b""
        conn, response = self._conn, self._response
        if conn is None or response is None:
            raise WireReset("exchange was left before its response was read", headers_received=True)
        if response.coded:
            raise WireMalformed("response body has a content coding that nobody asked for")
        while True:
            data = response.take()
            if data:
                conn.resume()
                return data
            if response.complete:
                self._ended = True
                return b""
            if response.error is not None:
                raise response.error
            await conn.wait()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        conn = self._conn
        self._conn = self._response = None
        if conn is None:
            return
        if not self._ended:
            conn.abort()
        elif conn.finish():
            self._pool.release(conn)
