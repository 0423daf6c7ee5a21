"""The port between a provider and the network: one HTTP exchange, and nothing that knows a dialect.

Two implementations pass the same contract suite (`tests/contract/test_wire_*.py`): `http1.py`, our own keep-alive
HTTP/1.1 client, and `httpx_wire.py` for outgoing proxies. Which one is the default, and the measurement behind it, is
in `docs/decisions/0002-wire.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

Headers = tuple[tuple[str, str], ...]
"""Names in lower case, and values."""


@dataclass(slots=True)
class WireRequest:
    """One request, complete before anything is sent.

    `path` is the request target with its query, percent-encoded, starting with `/`. `headers` has lower-case names; the
    wire adds `host`, `content-length` and `accept-encoding: identity` itself.
    """

    method: str
    path: str
    headers: Headers
    body: bytes = b""


@dataclass(slots=True)
class WireProgress:
    """What has really happened on the socket; the meter decides charges from it, so it is never guessed.

    The wire writes it, the caller owns it and may read it after an error or a cancellation.
    """

    request_bytes_sent: int = 0
    """Bytes of this request (head and body) handed to the socket; 0 means the provider cannot have seen it. While
    sending it may be one piece ahead, after leaving the exchange it is final."""
    request_complete: bool = False
    """Whether the whole request was handed to the socket."""
    response_bytes: int = 0
    """Bytes of the response (head and body) received so far."""
    reused_connection: bool = False
    """Whether the exchange ran on a kept-alive connection."""


class WireResponse(Protocol):
    """The response of one exchange; valid inside the `async with` that made it."""

    status: int
    """HTTP status, 100 to 599; informational responses are consumed by the wire."""
    headers: Mapping[str, str]
    """Lower-case names; repeated headers are joined with `, `."""

    async def read(self) -> bytes:
        """Returns everything that has arrived since the last call, waiting for at least one byte.

        Returns:
            Body bytes with the transfer coding removed, `b""` once and for ever after a *complete* body.

        Raises:
            WireReset: the body was cut (EOF, RST) before its framing said it was complete.
            WireMalformed: chunk framing is broken, or a content coding was applied that we did not ask for.
            WireTooLarge: a cap of `WireLimits` was exceeded.
        """
        ...


class Wire(Protocol):
    """A client for one origin (scheme, host, port) with its pool of connections."""

    def exchange(self, request: WireRequest, progress: WireProgress) -> AbstractAsyncContextManager[WireResponse]:
        """Sends the request and enters with the response head received.

        Leaving the context before `read()` returned `b""`, for whatever reason (an exception, a cancelled task), closes
        the connection at once with no awaiting; only a cleanly finished exchange returns it to the pool. A cancel while
        connecting or waiting for the head does the same. Redirects are not followed. Nothing is ever retried here:
        retries have one owner, `routing.failover`.

        Raises:
            ValueError: on entering, the request cannot be written safely: a control character or text outside
                latin-1 in its head, or a header that the wire writes itself; nothing was sent.
            WireError: see its subclasses; `WireReset` also when the wire is closed.
        """
        ...

    async def aclose(self) -> None:
        """Closes every connection; exchanges in flight end with `WireReset`."""
        ...


@dataclass(slots=True, frozen=True)
class WireLimits:
    """Bounds of one wire. Seconds, bytes."""

    connect_timeout_s: float = 5.0
    """DNS + TCP + TLS."""
    resolve_timeout_s: float = 2.0
    """Longest wait for DNS; `Http1Wire` alone reads it and the next one."""
    stale_addresses_s: float = 60.0
    """How old the resolver's last answer may be that is used when it fails or is silent."""
    pool_timeout_s: float = 1.0
    """Longest wait for a free connection when `max_connections` are in use."""
    max_connections: int = 1000
    keepalive_s: float = 30.0
    """An idle connection older than this is closed instead of reused."""
    max_header_bytes: int = 64 * 1024
    """Status line and headers, also trailers."""
    read_buffer_bytes: int = 64 * 1024
    """Body bytes buffered ahead of `read()`; the socket is not read while it is full, so a slow reader pauses the
    provider."""
    max_body_bytes: int = 256 * 1024 * 1024


@dataclass(slots=True, frozen=True)
class Origin:
    """Where a wire connects to."""

    scheme: str
    """`http` or `https`."""
    host: str
    """Name or IP literal: the certificate must be for it, SNI and the `host` field say it."""
    port: int
    addresses: tuple[str, ...] = ()
    """IP literals to connect to, in order of preference; empty: those that `host` resolves to. `Http1Wire` alone reads
    it."""


class WireError(Exception):
    """An exchange failed on the network. Its text never leaves the process: it may hold addresses."""


class WireUnreachable(WireError):
    """DNS failed, the connection was refused, or `connect_timeout_s` passed: no byte of the request was sent."""


class WireTlsError(WireError):
    """The TLS handshake failed: certificate, name, authority or version."""


class WirePoolTimeout(WireError):
    """No connection became free within `pool_timeout_s`: nothing was sent."""


@dataclass(slots=True, eq=False)  # `eq` would make the exception unhashable
class WireReset(WireError):
    """The connection ended before the response was complete."""

    detail: str = ""
    headers_received: bool = field(default=False, kw_only=True)

    def __str__(self) -> str:
        return self.detail or "connection ended before the response was complete"


class WireMalformed(WireError):
    """What arrived is not HTTP/1.1 as announced: bad status line, header, chunk or content coding."""


class WireTooLarge(WireError):
    """The head or the body is larger than its cap."""
