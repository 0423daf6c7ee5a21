"""A fake provider on a real socket: it checks requests like a vendor and answers them as its script says."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self

from llmgateway_server.testing import upstream
from llmgateway_server.testing.fake_provider import cuts
from llmgateway_server.testing.fake_provider.checks import Asked, Memory, Refused
from llmgateway_server.testing.fake_provider.endpoints import (
    BASE_PATHS,
    LIST_CHECKS,
    MANNERS,
    MODELS,
    Count,
    Endpoint,
    endpoint_for,
    estimate,
    models,
    speaks,
)
from llmgateway_server.testing.fake_provider.frames import compact
from llmgateway_server.testing.fake_provider.reply import FakeError, FakeReply, Format
from llmgateway_server.testing.upstream import Exchange, Received, Script

Scripted = FakeReply | FakeError | Script
"""What a request is answered with: a reply, a failure, or steps of `testing.upstream` that write raw bytes."""


class FakeProvider(upstream.Upstream):
    """A provider on a port of loopback; use it as `async with FakeProvider() as fake`.

    It serves the paths of `endpoints`: replies, unary or streamed as the request or its path says, token counts, and
    `/v1/models`. A request that the vendor would refuse is refused in the vendor's shape and takes nothing from the
    script.

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
        return {"vendor": vendor, "base_url": self.root_url + BASE_PATHS.get(vendor, "/v1")}

    def then(self, *scripts: Scripted) -> None:
        """Appends what the next well-formed requests for a reply are answered with, one each."""
        self._scripted.extend(scripts)

    async def play(self, exchange: Exchange, scripted: Scripted) -> None:
        """Answers a request for a reply; for steps that do something before or after it."""
        endpoint, model = _served(exchange.received)
        if not isinstance(endpoint, Endpoint):  # pragma: no cover: counts have no script
            raise TypeError(endpoint)
        request = _request(exchange.received, model)
        streaming = endpoint.streams(request)
        match scripted:
            case FakeReply():
                number = next(self._numbers)
                reply = replace(scripted, response_id=scripted.response_id or f"{endpoint.id_prefix}fake{number}")
                self.memory.remember(reply)
                if streaming:
                    await self._stream(exchange, endpoint.frames(reply, request), endpoint.format)
                else:
                    body, headers = endpoint.body(reply, request), endpoint.headers(reply)
                    await self._send(exchange, body, endpoint.format, headers)
            case FakeError() if streaming and scripted.in_stream_after is not None:
                written = MANNERS[endpoint.format].error_frames(scripted, request, self._request_id)
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
            served = endpoint_for(path)
            if served is None or received.method != "POST":
                status = 404 if served is None else 405
                raise Refused(FakeError(status, "not_found_error" if caller == "anthropic_messages" else ""))
            known, model = served
            caller = known.format
            self._check(known.check, received, model)
        except Refused as refused:
            await self._fail(exchange, refused.error, caller)
            return
        if isinstance(known, Count):
            await self._count(exchange, known)
        else:
            await self.play(exchange, self._scripted.pop(0) if self._scripted else self.answer(received))

    def _check(self, check: Callable[[Asked], None], received: Received, model: str = "") -> None:
        body = _request(received, model)
        try:
            check(Asked(received.headers, body, self.memory, self.models, self.api_key, received.path))
        except (AttributeError, LookupError, TypeError) as error:  # a shape that no check has foreseen is wrong, too
            raise Refused(FakeError(400, message="The request has a wrong shape.")) from error

    async def _count(self, exchange: Exchange, count: Count) -> None:
        if isinstance(self.input_tokens, FakeError):
            await self._fail(exchange, self.input_tokens, count.format)
            return
        tokens = estimate(exchange.received.body) if self.input_tokens is None else self.input_tokens
        await self._send(exchange, count.body(tokens), count.format)

    # --- bytes ---------------------------------------------------------------------------------------------------

    async def _send(
        self, exchange: Exchange, payload: Mapping[str, Any], format: Format, headers: Mapping[str, str] | None = None
    ) -> None:
        await _answer_json(exchange, payload, 200, {**self._headers(format), **(headers or {})})

    async def _fail(self, exchange: Exchange, error: FakeError, format: Format) -> None:
        manners = MANNERS[format]
        headers = {**self._headers(format), **manners.error_headers(error), **error.headers}
        await _answer_json(exchange, manners.error_body(error, self._request_id), error.status, headers)

    async def _stream(self, exchange: Exchange, frames: list[bytes], format: Format) -> None:
        framing = {"content-type": MANNERS[format].stream_type, "transfer-encoding": "chunked"}
        await upstream.head(200, {**framing, **self._headers(format)})(exchange)
        pieces = frames if self.cut is cuts.per_frame else self.cut(b"".join(frames))
        for piece in filter(None, pieces):
            await upstream.chunk(piece)(exchange)
            await asyncio.sleep(0)  # lets the caller read piece by piece
        await upstream.END(exchange)

    def _headers(self, format: Format) -> dict[str, str]:
        return {MANNERS[format].request_id_header: self._request_id}

    @property
    def _request_id(self) -> str:
        return f"req_fake{len(self.requests)}"


async def _answer_json(exchange: Exchange, payload: Mapping[str, Any], status: int, headers: Mapping[str, str]) -> None:
    body = compact(payload).encode()
    framing = {"content-type": "application/json", "content-length": str(len(body))}
    await upstream.head(status, {**framing, **headers})(exchange)
    await upstream.raw(body)(exchange)


def _path(received: Received) -> str:
    return received.path.partition("?")[0]


def _served(received: Received) -> tuple[Endpoint | Count, str]:
    found = endpoint_for(_path(received))
    if found is None:  # pragma: no cover: only requests that something is served for are played
        raise LookupError(received.path)
    return found


def _request(received: Received, model: str) -> Any:
    """Returns the body of a request; a model that stands in its path is told there."""
    return {**received.body, "model": model} if model and isinstance(received.body, dict) else received.body
