"""A provider that speaks a dialect over HTTP: encode, exchange, decode. One attempt, no retry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reply import Batch, Reply
from llmgateway_server.core.secret import Secret
from llmgateway_server.core.targets import Model
from llmgateway_server.providers.dialects.dialect import Dialect, Quirks, StreamDecoder
from llmgateway_server.providers.faults import malformed, wire_error
from llmgateway_server.providers.wire.port import Wire, WireError, WireProgress, WireResponse

MAX_ERROR_BODY_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Largest unary answer (docs/reliability.md)."""
DRAIN_S = 0.1
"""How long the end of a body may take after the dialect's last event, so that its connection can be used again."""

Headers = tuple[tuple[str, str], ...]


@dataclass(slots=True, frozen=True)
class Account:
    """What an HTTP provider is made of."""

    name: str
    vendor: str
    path_prefix: str
    """Path of the base URL without a trailing slash, for example `/v1`."""
    quirks: Quirks
    credentials: Callable[[Secret], Headers]
    """Turns the key into headers."""
    models: tuple[Model, ...] = ()


class HttpProvider:
    """An upstream account behind a dialect.

    Args:
        account: names and quirks.
        dialect: the wire format.
        wire: connections to the account's origin; closed with the provider.
        key: the credential; an empty one sends none.
        clock: wall time for `retry-after` dates.
    """

    def __init__(self, account: Account, dialect: Dialect, wire: Wire, key: Secret, clock: Clock) -> None:
        self.name = account.name
        self.vendor = account.vendor
        self.operations = dialect.operations
        self._account = account
        self._dialect = dialect
        self._wire = wire
        self._key = key
        self._clock = clock

    def models(self) -> tuple[Model, ...]:
        """Returns the models of the vendor's row."""
        return self._account.models

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._wire.aclose()

    @asynccontextmanager
    async def open(self, attempt: Attempt) -> AsyncIterator[Reply]:
        """See `Provider.open`."""
        account, record = self._account, attempt.record
        request = self._dialect.encode_request(attempt.call, attempt.target, account.quirks)
        request.path = account.path_prefix + request.path
        if self._key:
            request.headers += account.credentials(self._key)
        progress = WireProgress()
        try:
            async with self._wire.exchange(request, progress) as response:
                record.http_status = response.status
                if response.status != 200:
                    raise await self._refusal(response)
                if attempt.call.streaming:
                    yield self._stream(attempt, response)
                else:
                    yield _WholeReply(attempt, response, self._dialect)
        except WireError as error:
            raise wire_error(error) from error
        finally:
            attempt.request_sent = progress.request_bytes_sent > 0
            record.request_bytes = progress.request_bytes_sent
            record.response_bytes = progress.response_bytes

    def _stream(self, attempt: Attempt, response: WireResponse) -> Reply:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("text/event-stream", "application/octet-stream", ""):
            raise malformed("stream with the wrong content type")
        return _StreamReply(response, self._dialect.stream_decoder(attempt.call, self._account.quirks))

    async def _refusal(self, response: WireResponse) -> UpstreamError:
        body = b""
        try:
            while len(body) < MAX_ERROR_BODY_BYTES and (data := await response.read()):
                body += data
        except WireError:
            pass  # the status says enough
        return self._dialect.decode_error(
            response.status, response.headers, body[:MAX_ERROR_BODY_BYTES], now_s=self._clock.wall_s()
        )


class _WholeReply:
    """A unary answer: one batch."""

    def __init__(self, attempt: Attempt, response: WireResponse, dialect: Dialect) -> None:
        self._attempt = attempt
        self._response = response
        self._dialect = dialect
        self._done = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        if self._done:
            raise StopAsyncIteration
        pieces: list[bytes] = []
        size = 0
        try:
            while data := await self._response.read():
                pieces.append(data)
                size += len(data)
                if size > MAX_ANSWER_BYTES:
                    raise malformed("answer over its cap")
        except WireError as error:
            raise wire_error(error) from error
        self._done = True
        return self._dialect.decode_reply(self._attempt.call, b"".join(pieces))


class _StreamReply:
    """A streamed answer: one batch per read, empty ones where bytes brought no event."""

    def __init__(self, response: WireResponse, decoder: StreamDecoder) -> None:
        self._response = response
        self._decoder = decoder

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        decoder = self._decoder
        if decoder.failure is not None:
            raise decoder.failure
        if decoder.finished:
            await self._drain()
            raise StopAsyncIteration
        try:
            data = await self._response.read()
        except WireError as error:
            raise wire_error(error) from error
        return decoder.feed(data) if data else decoder.end()

    async def _drain(self) -> None:
        """Waits shortly for the end of the body; data behind the last event spoils the connection (P28)."""
        try:
            async with asyncio.timeout(DRAIN_S):
                while await self._response.read():
                    pass
        except (TimeoutError, WireError):
            pass  # leaving the exchange early closes the connection
