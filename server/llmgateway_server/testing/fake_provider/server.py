"""A fake provider on a real socket: it checks requests like a vendor and answers them as its script says."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self

from llmgateway_server.testing import upstream
from llmgateway_server.testing.fake_provider import cuts, errors
from llmgateway_server.testing.fake_provider.checks import Asked, Memory, Refused
from llmgateway_server.testing.fake_provider.endpoints import (
    COUNTS,
    ENDPOINTS,
    LIST_CHECKS,
    MODELS,
    REQUEST_ID_HEADERS,
    Count,
    Endpoint,
    estimate,
    models,
    speaks,
)
from llmgateway_server.testing.fake_provider.frames import compact
from llmgateway_server.testing.fake_provider.reply import FakeError, FakeReply, Format
from llmgateway_server.testing.upstream import Exchange, Received, Script

Scripted = FakeReply | FakeError | Script
"""What a request is answered with: a reply, a failure, or steps of `testing.upstream` that write raw bytes."""

STREAM = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}
RETRIED_STATUSES = {408, 409, 429}
"""Statuses below 500 that Anthropic tells its callers to retry."""


class FakeProvider(upstream.Upstream):
    """A provider on a port of loopback; use it as `async with FakeProvider() as fake`.

    It serves `/v1/chat/completions`, `/v1/responses` and `/v1/messages`, unary or streamed as the request says, token
    counts at `/v1/responses/input_tokens` and `/v1/messages/count_tokens`, and `/v1/models`. A request that the vendor
    would refuse is refused in the vendor's shape and takes nothing from the script.

    Args:
        answer: answers requests that have no script of their own, see `then`; the default says hello.
        models: those that exist; empty: every name does.
        api_key: the one that is right; empty: every key is.
        cut: how the bytes of streams are cut on their way, see `cuts`; may be set at any time.
        host: the address to listen on.
        port: 0 for a free one.
    """

    def __init__(
        self,
        answer: Callable[[Received], Scripted] | None = None,
        *,
        models: tuple[str, ...] = (),
        api_key: str = "",
        cut: cuts.Cut = cuts.per_frame,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        super().__init__(self._answer_request)
        self.answer: Callable[[Received], Scripted] = answer or (lambda _received: FakeReply())
        self.models = models
        self.api_key = api_key
        self.cut = cut
        self.input_tokens: int | FakeError | None = None
        """What token counts answer; None: an estimate from the size of the request."""
        self.memory = Memory()
        """What it signed, which it knows when it comes back."""
        self._host, self._port = host, port
        self._scripted: list[Scripted] = []
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, self._port)
        return self

    @property
    def root_url(self) -> str:
        """The address without `/v1`, which Anthropic's own client wants; `base_url` is the one with it."""
        host, port, *_ = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    @property
    def base_url(self) -> str:
        return f"{self.root_url}/v1"

    def provider(self, vendor: str = "openai-compatible") -> dict[str, str]:
        """Returns the settings of this provider, for a gateway's `providers`."""
        return {"vendor": vendor, "base_url": self.base_url}

    def then(self, *scripts: Scripted) -> None:
        """Appends what the next well-formed requests for a reply are answered with, one each."""
        self._scripted.extend(scripts)

    async def play(self, exchange: Exchange, scripted: Scripted) -> None:
        """Answers a request for a reply; for steps that do something before or after it."""
        endpoint = ENDPOINTS[_path(exchange.received)]
        request = exchange.received.body
        match scripted:
            case FakeReply():
                number = next(self._numbers)
                reply = replace(scripted, response_id=scripted.response_id or f"{endpoint.id_prefix}fake{number}")
                self.memory.remember(reply)
                if request.get("stream") is True:
                    await self._stream(exchange, endpoint.frames(reply, request), endpoint.format)
                else:
                    await self._send(exchange, endpoint.body(reply, request), endpoint.format)
            case FakeError() if request.get("stream") is True and scripted.in_stream_after is not None:
                request_id = f"req_fake{len(self.requests)}"
                written = errors.frames(scripted, endpoint.format, request, request_id)
                await self._stream(exchange, written, endpoint.format)
            case FakeError():
                await self._fail(exchange, scripted, endpoint.format)
            case _:
                for step in [scripted] if callable(scripted) else scripted:
                    await step(exchange)

    # --- one request ---------------------------------------------------------------------------------------------

    async def _answer_request(self, exchange: Exchange) -> None:
        received = exchange.received
        path = _path(received)
        caller = speaks(received.headers)
        try:
            if path == "/v1/models" and received.method == "GET":
                self._check(LIST_CHECKS[caller], received)
                await self._send(exchange, models(self.models or MODELS, caller), caller)
                return
            known: Endpoint | Count | None = ENDPOINTS.get(path) or COUNTS.get(path)
            if known is None or received.method != "POST":
                status = 404 if known is None else 405
                raise Refused(FakeError(status, "not_found_error" if caller == "anthropic_messages" else ""))
            caller = known.format
            self._check(known.check, received)
        except Refused as refused:
            await self._fail(exchange, refused.error, caller)
            return
        if isinstance(known, Count):
            await self._count(exchange, known)
        else:
            await self.play(exchange, self._scripted.pop(0) if self._scripted else self.answer(received))

    def _check(self, check: Callable[[Asked], None], received: Received) -> None:
        try:
            check(Asked(received.headers, received.body, self.memory, self.models, self.api_key))
        except (AttributeError, LookupError, TypeError) as error:  # a shape that no check has foreseen is wrong, too
            raise Refused(FakeError(400, message="The request has a wrong shape.")) from error

    async def _count(self, exchange: Exchange, count: Count) -> None:
        if isinstance(self.input_tokens, FakeError):
            await self._fail(exchange, self.input_tokens, count.format)
            return
        tokens = estimate(exchange.received.body) if self.input_tokens is None else self.input_tokens
        await self._send(exchange, count.body(tokens), count.format)

    # --- bytes ---------------------------------------------------------------------------------------------------

    async def _send(self, exchange: Exchange, payload: Mapping[str, Any], format: Format) -> None:
        await _answer_json(exchange, payload, 200, self._headers(format))

    async def _fail(self, exchange: Exchange, error: FakeError, format: Format) -> None:
        headers = self._headers(format)
        if format == "anthropic_messages":
            retried = error.status >= 500 or error.status in RETRIED_STATUSES
            headers["x-should-retry"] = str(retried).lower()
        payload = errors.body(error, format, headers[REQUEST_ID_HEADERS[format]])
        await _answer_json(exchange, payload, error.status, {**headers, **error.headers})

    async def _stream(self, exchange: Exchange, frames: list[bytes], format: Format) -> None:
        await upstream.head(200, {**STREAM, **self._headers(format)})(exchange)
        for piece in self.cut(b"".join(frames)):
            await upstream.chunk(piece)(exchange)
            await asyncio.sleep(0)  # lets the caller read piece by piece
        await upstream.END(exchange)

    def _headers(self, format: Format) -> dict[str, str]:
        return {REQUEST_ID_HEADERS[format]: f"req_fake{len(self.requests)}"}


async def _answer_json(exchange: Exchange, payload: Mapping[str, Any], status: int, headers: Mapping[str, str]) -> None:
    body = compact(payload).encode()
    framing = {"content-type": "application/json", "content-length": str(len(body))}
    await upstream.head(status, {**framing, **headers})(exchange)
    await upstream.raw(body)(exchange)


def _path(received: Received) -> str:
    return received.path.partition("?")[0]
