"""What the contract suite of `Wire` shares: it runs against both implementations over real sockets.

`http1` runs on asyncio and on uvloop. Where `httpx` cannot keep a rule, the test names it in `HTTPX_CANNOT`, and
`httpx_wire` documents it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from llmgateway_server.providers.wire.http1 import Http1Wire
from llmgateway_server.providers.wire.httpx_wire import HttpxWire
from llmgateway_server.providers.wire.port import (
    Origin,
    Wire,
    WireLimits,
    WireProgress,
    WireRequest,
)
from tests.contract.raw_server import (
    BACKSTOP_S,
    until,
)

KINDS = ("http1", "http1-uvloop", "httpx")
HTTPX_CANNOT = {
    "keep": "connections are not kept alive, because leftover bytes would answer the next request",
    "count": "chunk framing and the exact head are not visible through the library",
    "duplex": "the response is read only after the request is sent",
    "bound": "the library drops endless framing without counting it, and caps heads at 100 KiB",
    "strict": "the library's parser accepts it",
}


def on_its_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a test on the loop of its `kind`: pytest-asyncio chooses loops per session, not per parameter."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        factory = None
        if kwargs["kind"] == "http1-uvloop":
            factory = pytest.importorskip("uvloop").new_event_loop
        complaints: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.get_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
            runner.run(test(*args, **kwargs))
            gc.collect()  # tasks and transports that nobody closed complain when they are collected
        assert not complaints, complaints

    return run


def every(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a test for every implementation."""
    mark = pytest.mark.parametrize("kind", KINDS)
    marked: Callable[..., None] = mark(on_its_loop(test))
    return marked


def except_httpx(reason: str) -> Callable[[Callable[..., Coroutine[Any, Any, None]]], Callable[..., None]]:
    """Runs a test for the implementations that keep the rule; `reason` is a key of `HTTPX_CANNOT`."""
    assert reason in HTTPX_CANNOT
    return lambda test: pytest.mark.parametrize("kind", KINDS[:2])(on_its_loop(test))


POST = WireRequest("POST", "/v1/chat?x=%2F", (("content-type", "application/json"),), b'{"a":1}')
GET = WireRequest("GET", "/", ())
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-a: 1\r\nX-A: 2\r\n\r\n"
    b'6\r\ndata: \r\n9;ext="v"\r\n{"a": 1}\n\r\n1\r\n\n\r\n0\r\nx-trailer: t\r\n\r\n'
)
CHUNKED_BODY = b'data: {"a": 1}\n\n'


def build(kind: str, origin: Origin, context: ssl.SSLContext | None = None, **limits: Any) -> Wire:
    """Returns the wire under test."""
    if kind == "httpx":
        return HttpxWire(origin, limits=WireLimits(**limits), ssl_context=context)
    return Http1Wire(origin, limits=WireLimits(**limits), ssl_context=context)


@contextlib.asynccontextmanager
async def wired(kind: str, origin: Origin, context: ssl.SSLContext | None = None, **limits: Any) -> AsyncIterator[Wire]:
    """Yields a wire, closed afterwards, inside the back-stop of time, and without a task or socket left over."""
    async with asyncio.timeout(BACKSTOP_S):
        wire = build(kind, origin, context, **limits)
        try:
            yield wire
        finally:
            await wire.aclose()
            tasks = {t for t in asyncio.all_tasks() if "llmgateway" in repr(t.get_coro())}
            assert not tasks, tasks
    await until(lambda: _open_client_sockets(origin.port) == 0)


def _open_client_sockets(port: int) -> int:
    """Counts this process's sockets whose remote port is `port`; 0 where the system cannot tell."""
    table, fds = Path("/proc/self/net/tcp"), Path("/proc/self/fd")
    if not table.exists():
        return 0
    links = set()
    for fd in fds.iterdir():
        with contextlib.suppress(OSError):  # the listing's own descriptor is gone already
            links.add(str(fd.readlink()))
    rows = [row.split() for row in table.read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and f"socket:[{row[9]}]" in links for row in rows)


async def fetch(
    wire: Wire, request: WireRequest = POST, progress: WireProgress | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Runs one exchange to its end."""
    async with wire.exchange(request, progress or WireProgress()) as response:
        parts = []
        while data := await response.read():
            parts.append(data)
        assert await response.read() == b""
        return response.status, dict(response.headers), b"".join(parts)


async def settled(value: Any) -> int:
    """Returns `value()` once it has not changed for a quarter of a second: the other side is blocked."""
    last, same = -1, 0
    async with asyncio.timeout(BACKSTOP_S):
        while same < 25:
            await asyncio.sleep(0.01)
            same = same + 1 if value() == last else 0
            last = value()
    return int(last)
