"""What the HTTP door serves: `/metrics`, `/healthz`, `/readyz`.

Probes ask for no token, and are told no more than their answer.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from llmgateway_server.core.secret import Secret
from llmgateway_server.observe.exposition import CONTENT_TYPE
from llmgateway_server.observe.log import logger

MAX_HEAD_BYTES = 8 * 1024
"""Most bytes of a request line and its headers together."""
HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class Pages:
    """The answers.

    Args:
        metrics: makes the page of metrics.
        not_ready: returns why no calls are taken, as one word; empty when they are.
        token: what `/metrics` wants; empty: nothing.
    """

    def __init__(self, metrics: Callable[[], Awaitable[bytes]], not_ready: Callable[[], str], token: Secret) -> None:
        self._metrics = metrics
        self._not_ready = not_ready
        self._digest = _digest(token.reveal()) if token else b""

    def application(self) -> ASGIApp:
        """Returns the ASGI application."""
        routes = [
            Route("/metrics", self.metrics),
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
        ]
        return HeadLimit(Starlette(routes=routes, exception_handlers={Exception: _defect}))

    async def metrics(self, request: Request) -> Response:
        """Serves the metrics as Prometheus text."""
        if self._digest and not self._has_token(request):
            return PlainTextResponse("unauthorized\n", 401, {**HEADERS, "www-authenticate": "Bearer"})
        return Response(await self._metrics(), headers={**HEADERS, "content-type": CONTENT_TYPE})

    async def healthz(self, request: Request) -> Response:
        """Says that the process lives: its event loop answers. A draining gateway lives."""
        return PlainTextResponse("ok\n", headers=HEADERS)

    async def readyz(self, request: Request) -> Response:
        """Says whether calls are taken. A provider that does not work makes the gateway no less ready."""
        reason = self._not_ready()
        return PlainTextResponse(f"{reason or 'ready'}\n", 503 if reason else 200, HEADERS)

    def _has_token(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(_digest(token.strip()), self._digest)


class HeadLimit:
    """Refuses requests with too large a head: uvicorn bounds only what arrives in pieces.

    Args:
        following: the application behind it.
    """

    def __init__(self, following: ASGIApp) -> None:
        self._following = following

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._following
        if scope["type"] == "http" and _head_bytes(scope) > MAX_HEAD_BYTES:
            app = PlainTextResponse("request head too large\n", 431, {**HEADERS, "connection": "close"})
        await app(scope, receive, send)


async def _defect(_request: Request, error: Exception) -> Response:
    """Answers for a defect of ours; only its type and places are logged."""
    logger("http").error("page_failed_by_defect", exc_info=error)
    return PlainTextResponse("internal error\n", 500, HEADERS)


def _head_bytes(scope: Scope) -> int:
    headers = sum(len(name) + len(value) for name, value in scope["headers"])
    return len(scope["raw_path"]) + len(scope["query_string"]) + headers


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
