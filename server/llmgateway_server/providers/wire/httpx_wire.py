"""The wire on `httpx`, for targets behind an outgoing proxy; it costs two orders of magnitude more than `http1`.

What the library does not let it do as exactly as `Http1Wire` (each point has its named place in the contract suite):

- connections are not kept alive: the library takes bytes that follow a complete response for the answer to the
  *next* request on that connection, and offers no way to see them (safety wins over speed);
- `request_bytes_sent` counts a piece of the body when it is given to the library, which may be one piece too
  early but never too late; the head counts when its sending starts; `response_bytes` counts the payload and the head as
  the library reports it, without chunk framing;
- a response that arrives before the request is sent completely is seen only after the sending;
- leaving early closes the socket orderly within the same `async with`, and not without awaiting;
- the cap of the head is checked after the library accepted it (its own cap is 100 KiB), trailers are dropped
  by the library.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from llmgateway_server.providers.wire.connect import client_context
from llmgateway_server.providers.wire.head import authority, check_request
from llmgateway_server.providers.wire.port import (
    Origin,
    WireError,
    WireLimits,
    WireMalformed,
    WirePoolTimeout,
    WireProgress,
    WireRequest,
    WireReset,
    WireTlsError,
    WireTooLarge,
    WireUnreachable,
)

if TYPE_CHECKING:
    import httpx

_LIMITS = WireLimits()
_PIECE_BYTES = 64 * 1024
_CUT = ("disconnected", "closed connection", "without sending", "incomplete chunked read")
"""How the library's texts name a connection that ended too early; it has no class for it."""


class HttpxWire:
    """A `Wire` on `httpx` with an optional proxy; settings of the environment are ignored.

    Args:
        origin: where to connect.
        limits: bounds of the wire; `keepalive_s` and `read_buffer_bytes` have no meaning here (the library reads
            64 KiB at a time, and only when asked).
        ssl_context: as for `Http1Wire`.
        proxy: URL of the proxy, `http://` or `https://`, with credentials if it asks for them.

    Raises:
        ValueError: the origin, the TLS context or the proxy's URL cannot be used.
        ImportError: `httpx` is not installed.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        limits: WireLimits = _LIMITS,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
    ) -> None:
        import httpx  # an optional dependency, and slow to import

        if origin.addresses:
            raise ValueError("this wire cannot be told which addresses to connect to")
        self.lib = httpx
        self.limits = limits
        self._host = authority(origin)
        self._base = httpx.URL(f"{origin.scheme}://{self._host}/")
        self.live: set[HttpxExchange] = set()
        self.closed = False
        try:
            self.transport = httpx.AsyncHTTPTransport(
                verify=client_context(ssl_context),
                trust_env=False,
                limits=httpx.Limits(max_connections=limits.max_connections, max_keepalive_connections=0),
                proxy=proxy,
            )
        except httpx.InvalidURL as error:
            raise ValueError("the proxy's URL is not valid") from error

    def exchange(self, request: WireRequest, progress: WireProgress) -> HttpxExchange:
        """See `Wire.exchange`; raises ValueError on entering as `Http1Wire.exchange` does."""
        return HttpxExchange(self, request, progress)

    async def aclose(self) -> None:
        """See `Wire.aclose`."""
        self.closed = True
        for exchange in list(self.live):
            exchange.cut()
        await self.transport.aclose()

    def build(self, request: WireRequest, body: _Body, trace: Any) -> httpx.Request:
        """Returns the library's form of `request`, with the path as it was given.

        Raises:
            ValueError: see `head.check_request`.
        """
        check_request(request)
        headers = [("host", self._host), ("accept-encoding", "identity"), ("connection", "close")]
        if request.body or request.method not in ("GET", "HEAD"):
            headers.append(("content-length", str(len(request.body))))
        timeout = {"connect": self.limits.connect_timeout_s, "pool": self.limits.pool_timeout_s}
        return self.lib.Request(
            request.method,
            self._base.copy_with(raw_path=request.path.encode("ascii")),
            headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in (*headers, *request.headers)],
            stream=_as_stream(self.lib, body),
            extensions={"timeout": timeout, "trace": trace},
        )

    def translate(self, error: BaseException, *, in_body: bool, progress: WireProgress) -> WireError:
        """Returns the error of the port for one of the library's."""
        lib, text = self.lib, str(error)
        # Texts about what the other side said quote it.
        told = type(error).__name__ if isinstance(error, lib.RemoteProtocolError | lib.ProxyError) else text
        if _caused_by_tls(error) and not progress.request_bytes_sent:
            return WireTlsError(told)
        if isinstance(error, lib.PoolTimeout):
            return WirePoolTimeout(told)
        if isinstance(error, lib.ConnectError | lib.ConnectTimeout | lib.ProxyError):
            return WireUnreachable(told)
        if isinstance(error, lib.RemoteProtocolError):
            if "Receive buffer too long" in text or "too big" in text:
                return WireTooLarge(told)
            if not any(word in text for word in _CUT):
                return WireMalformed(told)
        return WireReset(told, headers_received=in_body)


class HttpxExchange:
    """One exchange of `HttpxWire`, and the response that it enters with."""

    def __init__(self, wire: HttpxWire, request: WireRequest, progress: WireProgress) -> None:
        self._wire = wire
        self._request = request
        self._progress = progress
        self._response: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None
        self._body_bytes = 0
        self._ended = False
        self._coded = False
        self._task: asyncio.Task[Any] | None = None
        self._cut = False
        self._tunnelling = False
        self.status = 0
        self.headers: Mapping[str, str] = {}

    async def __aenter__(self) -> Self:
        wire = self._wire
        request = wire.build(self._request, _Body(self._request.body, self._progress), self._trace)
        if wire.closed:
            raise WireReset("wire is closed")
        wire.live.add(self)
        try:
            response = await self._run(wire.transport.handle_async_request(request), in_body=False)
            self._response = response
            self._check_head(response)
        except BaseException:
            wire.live.discard(self)
            if self._response is not None:
                await self._response.aclose()
            raise
        self._pieces = response.aiter_raw()
        return self

    async def read(self) -> bytes:
        """See `WireResponse.read`; returns one piece of the library, up to 64 KiB."""
        if self._ended:
            return b""
        if self._pieces is None or self._cut:
            raise WireReset("exchange was left or closed before its response was read", headers_received=True)
        if self._coded:
            raise WireMalformed("response body has a content coding that nobody asked for")
        piece = b""
        while not piece:
            try:
                piece = await self._run(anext(self._pieces), in_body=True)
            except StopAsyncIteration:
                self._ended = True
                return b""
            self._progress.response_bytes += len(piece)
        self._body_bytes += len(piece)
        if self._body_bytes > self._wire.limits.max_body_bytes:
            raise WireTooLarge("response body is larger than max_body_bytes")
        return piece

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wire.live.discard(self)
        self._pieces = None
        if self._response is not None:
            await self._response.aclose()

    def cut(self) -> None:
        """Ends the exchange because its wire is closed."""
        self._cut = True
        if self._task is not None:
            self._task.cancel()

    async def _run(self, work: Any, *, in_body: bool) -> Any:
        """Awaits `work`, in the caller's task, with the library's errors translated."""
        self._task = asyncio.current_task()
        try:
            return await work
        except asyncio.CancelledError:
            if self._cut and self._task is not None and self._task.uncancel() == 0:
                raise WireReset("wire is closed", headers_received=in_body) from None
            raise
        except (self._wire.lib.TransportError, ssl.SSLError, OSError) as error:
            raise self._wire.translate(error, in_body=in_body, progress=self._progress) from error
        finally:
            self._task = None

    def _check_head(self, response: httpx.Response) -> None:
        raw = response.headers.raw
        size = sum(len(name) + len(value) + 4 for name, value in raw)
        self._progress.response_bytes += size
        limits = self._wire.limits
        if size > limits.max_header_bytes:
            raise WireTooLarge("response head is larger than max_header_bytes")
        headers: dict[str, str] = {}
        for name, value in raw:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        self.headers = headers
        self.status = response.status_code
        coding, length = self.headers.get("transfer-encoding"), self.headers.get("content-length")
        bodiless = self._request.method == "HEAD" or self.status in (204, 304)
        if coding is not None and (length is not None or coding.lower() != "chunked"):
            raise WireMalformed("response has contradicting or unknown framing")
        if not 200 <= self.status <= 599:
            raise WireMalformed("response has an impossible status")
        if length is not None and not bodiless and int(length) > limits.max_body_bytes:
            raise WireTooLarge("response body is announced larger than max_body_bytes")
        encoding = self.headers.get("content-encoding", "")
        self._coded = not bodiless and encoding.lower() not in ("", "identity")

    async def _trace(self, event: str, info: dict[str, Any]) -> None:
        """Follows the library's own account of the exchange; a proxy's CONNECT is not part of it."""
        if event == "http11.send_request_headers.started":
            request = info["request"]
            self._tunnelling = request.method == b"CONNECT"
            if not self._tunnelling:
                self._progress.request_bytes_sent += sum(len(n) + len(v) + 4 for n, v in request.headers)
        elif event == "http11.send_request_body.complete" and not self._tunnelling:
            self._progress.request_complete = True


class _Body:
    """Request body in pieces, each counted when the library takes it."""

    def __init__(self, body: bytes, progress: WireProgress) -> None:
        self._body = body
        self._progress = progress

    async def pieces(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), _PIECE_BYTES):
            piece = self._body[start : start + _PIECE_BYTES]
            self._progress.request_bytes_sent += len(piece)
            yield piece


def _as_stream(lib: Any, body: _Body) -> Any:
    class Stream(lib.AsyncByteStream):  # type: ignore[misc]
        def __aiter__(self) -> AsyncIterator[bytes]:
            return body.pieces()

    return Stream()


def _caused_by_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
