"""Contract of `Wire`, run against both implementations over real sockets.

`http1` runs on asyncio and on uvloop. Where `httpx` cannot keep a rule, the test names it in `HTTPX_CANNOT`, and
`httpx_wire` documents it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
import os
import socket
import ssl
import subprocess
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.providers.wire import connect as connect_module
from llmgateway_server.providers.wire.http1 import Http1Wire
from llmgateway_server.providers.wire.httpx_wire import HttpxWire
from llmgateway_server.providers.wire.port import (
    Origin,
    Wire,
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
from tests.contract.raw_server import (
    BACKSTOP_S,
    Peer,
    RawServer,
    Seen,
    answering,
    answering_once,
    black_hole,
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


# --- requests and progress --------------------------------------------------------------------------------------


@every
async def test_request_arrives_as_it_was_given(kind: str) -> None:
    seen: list[Seen] = []

    async def behave(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.send(OK)

    async with RawServer(behave) as server, wired(kind, server.origin) as wire:
        progress = WireProgress()
        assert await fetch(wire, POST, progress) == (200, {"content-length": "5"}, b"hello")
        assert seen[0].lines[0] == "POST /v1/chat?x=%2F HTTP/1.1"
        fields = {line.lower() for line in seen[0].lines[1:]} - {"connection: close"}
        assert fields == {
            f"host: 127.0.0.1:{server.port}",
            "accept-encoding: identity",
            "content-length: 7",
            "content-type: application/json",
        }
        assert seen[0].body == POST.body
        assert progress.request_complete
        assert not progress.reused_connection
        if kind != "httpx":  # count
            assert progress.request_bytes_sent == len(seen[0].head) + len(seen[0].body)
            assert progress.response_bytes == len(OK)
        else:
            assert progress.request_bytes_sent >= len(POST.body)
            assert progress.response_bytes >= 5


@pytest.mark.parametrize(("method", "announced"), [("GET", False), ("POST", True)])
@every
async def test_empty_body_is_announced_where_one_is_expected(kind: str, method: str, announced: bool) -> None:
    seen: list[Seen] = []

    async def behave(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.send(OK)

    async with RawServer(behave) as server, wired(kind, server.origin) as wire:
        await fetch(wire, WireRequest(method, "/", ()))
        assert (b"content-length: 0" in seen[0].head.lower()) is announced


@pytest.mark.parametrize(
    "request_",
    [
        WireRequest("GET", "/a\r\nx: y", ()),
        WireRequest("GET", "/a b", ()),
        WireRequest("GET", "/a\x00", ()),
        WireRequest("GET", "/\u00e9", ()),
        WireRequest("GET", "http://else/", ()),
        WireRequest("GET /", "/", ()),
        WireRequest("GET", "/", (("x-a", "b\r\nx: y"),)),
        WireRequest("GET", "/", (("x-a", "b\nx: y"),)),
        WireRequest("GET", "/", (("x-a", "b\x00"),)),
        WireRequest("GET", "/", (("x-a", "\u20ac"),)),
        WireRequest("GET", "/", (("x-a\r\nb", "c"),)),
        WireRequest("GET", "/", (("x a", "c"),)),
        WireRequest("GET", "/", (("", "c"),)),
        WireRequest("GET", "/", (("x-\u00e9", "c"),)),
        WireRequest("POST", "/", (("content-length", "3"),), b"abcdef"),
        WireRequest("POST", "/", (("Transfer-Encoding", "chunked"),), b"abcdef"),
        WireRequest("GET", "/", (("host", "else"),)),
    ],
)
@every
async def test_injection_is_refused_before_anything_is_sent(kind: str, request_: WireRequest) -> None:
    async with RawServer(answering(OK)) as server, wired(kind, server.origin) as wire:
        progress = WireProgress()
        with pytest.raises(ValueError):
            await fetch(wire, request_, progress)
        assert (server.accepted, progress) == (0, WireProgress())


@every
async def test_values_may_hold_tabs_and_latin1(kind: str) -> None:
    seen: list[Seen] = []

    async def behave(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.send(OK)

    async with RawServer(behave) as server, wired(kind, server.origin) as wire:
        await fetch(wire, WireRequest("GET", "/", (("x-a", "a\tb\xa0\xe9"),)))
        assert "x-a: a\tb\xa0\xe9" in seen[0].lines


@every
async def test_large_request_is_sent_piece_by_piece(kind: str) -> None:
    body = bytes(16 * 1024 * 1024)
    seen: list[int] = []

    async def behave(peer: Peer) -> None:
        seen.append(len((await peer.request()).body))
        await peer.send(OK)

    async with RawServer(behave) as server, wired(kind, server.origin) as wire:
        progress = WireProgress()
        assert (await fetch(wire, WireRequest("POST", "/", (), body), progress))[2] == b"hello"
        assert seen == [len(body)]
        assert progress.request_complete
        assert progress.request_bytes_sent > len(body)


@every
async def test_large_request_is_not_copied(kind: str) -> None:
    body = bytes(16 * 1024 * 1024)
    go = asyncio.Event()
    received = 0

    async def behave(peer: Peer) -> None:
        nonlocal received
        await go.wait()
        while data := await peer.reader.read(1 << 20):
            received += len(data)

    async with RawServer(behave) as server, wired(kind, server.origin) as wire:
        progress = WireProgress()
        tracemalloc.start()
        try:
            task = asyncio.create_task(fetch(wire, WireRequest("POST", "/", (), body), progress))
            await until(lambda: progress.request_bytes_sent > 0)
            await _settled(lambda: progress.request_bytes_sent)
            assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
        finally:
            tracemalloc.stop()
        assert not progress.request_complete
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not progress.request_complete
        assert 0 < progress.request_bytes_sent < len(body)
        go.set()
        await until(lambda: server.live == 0)
        assert kind == "httpx" or progress.request_bytes_sent == received  # count


async def _settled(value: Any) -> int:
    """Returns `value()` once it has not changed for a quarter of a second: the other side is blocked."""
    last, same = -1, 0
    async with asyncio.timeout(BACKSTOP_S):
        while same < 25:
            await asyncio.sleep(0.01)
            same = same + 1 if value() == last else 0
            last = value()
    return int(last)


@pytest.mark.parametrize("status", [b"200 OK", b"413 Too Large"])
@except_httpx("duplex")
async def test_early_response_is_delivered_while_sending(kind: str, status: bytes) -> None:
    read_on = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 " + status + b"\r\ncontent-length: 5\r\n\r\nhello")
        await read_on.wait()
        await peer.gone()

    async with RawServer(behave) as server, wired(kind, server.origin) as wire:
        progress = WireProgress()
        request = WireRequest("POST", "/", (), bytes(32 * 1024 * 1024))
        async with wire.exchange(request, progress) as response:
            assert response.status == int(status[:3])
            assert await response.read() == b"hello"
            assert await response.read() == b""
            assert not progress.request_complete
        read_on.set()
        await until(lambda: server.live == 0)  # half a request was sent: never used again
        assert not progress.request_complete


@except_httpx("duplex")
async def test_sending_goes_on_beside_an_early_response(kind: str) -> None:
    body = bytes(8 * 1024 * 1024)

    async def behave(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        await peer.reader.readexactly(len(body))
        await peer.send(b"4\r\ndone\r\n0\r\n\r\n")

    async with RawServer(behave) as server, wired(kind, server.origin) as wire:
        progress = WireProgress()
        assert (await fetch(wire, WireRequest("POST", "/", (), body), progress))[2] == b"done"
        assert progress.request_complete


# --- framing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "request_", "status", "body"),
    [
        (CHUNKED, POST, 200, CHUNKED_BODY),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", POST, 200, b"to the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", POST, 200, b"to the end"),
        (b"HTTP/1.0 200 OK\r\n\r\n", POST, 200, b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", POST, 200, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", POST, 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", GET, 304, b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", WireRequest("HEAD", "/", ()), 200, b""),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", WireRequest("HEAD", "/", ()), 200, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, POST, 200, b"hello"),
        (b"HTTP/1.1 103 Early Hints\r\nx-a: 9\r\n\r\nHTTP/1.1 100 C\r\n\r\n" + CHUNKED, POST, 200, CHUNKED_BODY),
        (b"HTTP/1.1 302 Found\r\nlocation: /else\r\ncontent-length: 0\r\n\r\n", POST, 302, b""),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\ncontent-length: 1\r\n\r\nx", POST, 200, b"x"),
    ],
)
@every
async def test_framings(kind: str, raw: bytes, request_: WireRequest, status: int, body: bytes) -> None:
    async with RawServer(answering_once(raw)) as server, wired(kind, server.origin) as wire:
        got = await fetch(wire, request_)
        assert (got[0], got[2]) == (status, body)
        assert got[1].get("x-a") in (None, "1, 2")
        assert server.accepted == 1


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, len(CHUNKED)), max_size=12))
@on_its_loop
async def test_any_rechunking_gives_the_same_response(kind: str, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(CHUNKED)]
    pieces = [CHUNKED[a:b] for a, b in itertools.pairwise(edges)]
    async with RawServer(answering_once(*pieces)) as server, wired(kind, server.origin) as wire:
        progress = WireProgress()
        assert await fetch(wire, POST, progress) == (
            200,
            {"transfer-encoding": "chunked", "x-a": "1, 2"},
            CHUNKED_BODY,
        )
        assert kind == "httpx" or progress.response_bytes == len(CHUNKED)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=20))
@on_its_loop
async def test_any_division_into_chunks_gives_the_same_body(kind: str, sizes: list[int]) -> None:
    body = os.urandom(sum(sizes))
    raw, at = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 0
    for size in sizes:
        raw += b"%x\r\n%s\r\n" % (size, body[at : at + size])
        at += size
    async with RawServer(answering_once(raw + b"0\r\n\r\n")) as server, wired(kind, server.origin) as wire:
        assert (await fetch(wire))[2] == body


@every
async def test_single_bytes(kind: str) -> None:
    pieces = [CHUNKED[i : i + 1] for i in range(len(CHUNKED))]
    async with RawServer(answering_once(*pieces)) as server, wired(kind, server.origin) as wire:
        assert (await fetch(wire))[2] == CHUNKED_BODY


async def _collect(wire: Wire, parts: list[bytes]) -> None:
    """Reads one response into `parts`, which stay readable after an error."""
    async with wire.exchange(POST, WireProgress()) as response:
        while part := await response.read():
            parts.append(part)


@pytest.mark.parametrize("how", ["fin", "rst"])
@every
async def test_cut_at_every_byte_is_a_reset_and_never_an_end(kind: str, how: str) -> None:
    offsets = iter(range(len(CHUNKED)))

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED[: next(offsets)])
        if how == "rst":
            peer.reset()

    async with RawServer(behave) as server, wired(kind, server.origin) as wire:
        head_end = CHUNKED.index(b"\r\n\r\n") + 4
        for offset in range(len(CHUNKED)):
            parts: list[bytes] = []
            with pytest.raises(WireReset) as caught:
                await _collect(wire, parts)
            assert CHUNKED_BODY.startswith(b"".join(parts)), offset
            if how == "fin":
                assert caught.value.headers_received is (offset >= head_end)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n",
        b"HTTP/1.1 200",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"",
    ],
)
@every
async def test_short_responses_are_resets(kind: str, raw: bytes) -> None:
    async with RawServer(answering_once(raw)) as server, wired(kind, server.origin) as wire:
        progress = WireProgress()
        with pytest.raises(WireReset):
            await fetch(wire, POST, progress)
        assert progress.request_complete
        assert kind == "httpx" or progress.response_bytes == len(raw)


@every
async def test_reset_is_no_end_of_a_body_without_length(kind: str) -> None:
    got = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nsome")
        await got.wait()
        peer.reset()

    async with (
        RawServer(behave) as server,
        wired(kind, server.origin) as wire,
        wire.exchange(POST, WireProgress()) as response,
    ):
        assert await response.read() == b"some"
        got.set()
        with pytest.raises(WireReset):
            await response.read()


MALFORMED = [
    b"garbage\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"HTTP/1.1 abc OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\nhello\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\nhello\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ncontent-encoding: br, gzip\r\n\r\nhello",
]
MALFORMED_STRICT = [
    b"HTTP/2.0 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\ncontent-length: 5\n\nhello",
    b"HTTP/1.1 999 No\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nx: a\r\n folded\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello",
    b"HTTP/1.1 103 Hints\r\ncontent-length: 5\r\n\r\nhello" + OK,
]


@pytest.mark.parametrize("raw", MALFORMED)
@every
async def test_malformed(kind: str, raw: bytes) -> None:
    await _expect(kind, raw, WireMalformed)


@pytest.mark.parametrize("raw", MALFORMED_STRICT)
@except_httpx("strict")
async def test_malformed_strictly(kind: str, raw: bytes) -> None:
    await _expect(kind, raw, WireMalformed)


async def _expect(kind: str, raw: bytes, error: type[WireError], **limits: Any) -> None:
    """The response fails although the server stays, and the server's socket is closed by it."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(raw)
        await peer.gone()

    async with RawServer(behave) as server, wired(kind, server.origin, **limits) as wire:
        with pytest.raises(error):
            await fetch(wire)
        await until(lambda: server.live == 0)


@every
async def test_status_of_a_coded_error_is_readable(kind: str) -> None:
    raw = b"HTTP/1.1 502 Bad\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello"
    async with (
        RawServer(answering(raw)) as server,
        wired(kind, server.origin) as wire,
        wire.exchange(POST, WireProgress()) as response,
    ):
        assert response.status == 502
        with pytest.raises(WireMalformed):
            await response.read()


# --- bounds -----------------------------------------------------------------------------------------------------


def endless(start: bytes, again: bytes) -> Any:
    """Returns the behaviour of a server that never stops sending `again`."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(start)
        while True:
            peer.writer.write(again)
            await peer.writer.drain()

    return behave


@pytest.mark.parametrize(
    ("start", "again"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\nx-a: ", b"b" * 1000),
        (b"HTTP/1.1 200 OK\r\nx", b"b" * 1000),
        (b"HTTP/1.1 200 ", b"O" * 1000),
    ],
)
@every
async def test_endless_heads_end(kind: str, start: bytes, again: bytes) -> None:
    async with RawServer(endless(start, again)) as server, wired(kind, server.origin) as wire:
        with pytest.raises(WireTooLarge):
            await fetch(wire)
        await until(lambda: server.live == 0)


@pytest.mark.parametrize(
    ("start", "again"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 20),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", b"x-a: b\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-a: ", b"b" * 1000),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;a=", b"b" * 1000),
    ],
)
@except_httpx("bound")
async def test_endless_framing_ends(kind: str, start: bytes, again: bytes) -> None:
    async with RawServer(endless(start, again)) as server, wired(kind, server.origin) as wire:
        with pytest.raises(WireTooLarge):
            await fetch(wire)
        await until(lambda: server.live == 0)


@pytest.mark.parametrize("split", [1, 700])
@except_httpx("bound")
async def test_head_cap_is_exact(kind: str, split: int) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: " + b"b" * 940 + b"\r\n\r\n"
    behave = answering_once((head + b"hello")[:split], (head + b"hello")[split:])
    async with RawServer(behave) as server:
        async with wired(kind, server.origin, max_header_bytes=len(head)) as wire:
            assert (await fetch(wire))[2] == b"hello"
        async with wired(kind, server.origin, max_header_bytes=len(head) - 1) as wire:
            with pytest.raises(WireTooLarge):
                await fetch(wire)


@every
async def test_head_cap(kind: str) -> None:
    raw = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-a: " + b"b" * 3000 + b"\r\n\r\n"
    await _expect(kind, raw, WireTooLarge, max_header_bytes=2000)


@pytest.mark.parametrize(
    "head", [b"content-length: 5000\r\n\r\n", b"\r\n", b"transfer-encoding: chunked\r\n\r\n1388\r\n"]
)
@every
async def test_body_cap(kind: str, head: bytes) -> None:
    await _expect(kind, b"HTTP/1.1 200 OK\r\n" + head + bytes(5000), WireTooLarge, max_body_bytes=4999)


@pytest.mark.parametrize(
    "head", [b"content-length: 67108864\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n4000000\r\n"]
)
@every
async def test_slow_reader_pauses_the_server(kind: str, head: bytes) -> None:
    total, piece = 64 * 1024 * 1024, bytes(64 * 1024)
    taken = 0

    async def behave(peer: Peer) -> None:
        nonlocal taken
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n" + head)
        while taken < total:
            peer.writer.write(piece)
            await peer.writer.drain()
            taken += len(piece)
        await peer.send(b"\r\n0\r\n\r\n" if b"chunked" in head else b"")
        await peer.gone()

    async with RawServer(behave) as server, wired(kind, server.origin) as wire:
        tracemalloc.start()
        try:
            async with wire.exchange(POST, WireProgress()) as response:
                got = len(await response.read())
                stalled = await _settled(lambda: taken)
                assert stalled < 20 * 1024 * 1024  # the kernel's buffers of both ends
                while data := await response.read():
                    got += len(data)
            assert got == total
            assert tracemalloc.get_traced_memory()[1] < 2 * 1024 * 1024
        finally:
            tracemalloc.stop()


# --- leaving and cancelling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["leave", "raise", "cancel"])
@every
async def test_leaving_early_closes_the_socket(kind: str, how: str) -> None:
    started = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await peer.gone()

    async def use(wire: Wire) -> None:
        async with wire.exchange(POST, WireProgress()) as response:
            assert await response.read() == b"hello"
            started.set()
            if how == "raise":
                raise KeyError
            if how == "cancel":
                await response.read()

    async with RawServer(behave) as server, wired(kind, server.origin) as wire:
        task = asyncio.create_task(use(wire))
        await started.wait()
        if how == "cancel":
            task.cancel()
        await until(lambda: server.live == 0, within_s=0.1 if kind != "httpx" else 0.5)
        await asyncio.wait([task])
        assert task.cancelled() if how == "cancel" else (task.exception() is None) is (how == "leave")


@every
async def test_read_after_leaving(kind: str) -> None:
    async with RawServer(answering(OK)) as server, wired(kind, server.origin) as wire:
        async with wire.exchange(POST, WireProgress()) as response:
            pass
        with pytest.raises(WireReset):
            await response.read()


@pytest.mark.parametrize("phase", ["head", "sending", "body"])
@every
async def test_cancel_leaks_no_connection(kind: str, phase: str) -> None:
    reached = asyncio.Event()

    async def behave(peer: Peer) -> None:
        if peer.number > 0:
            await answering(OK)(peer)
        await peer.reader.readuntil(b"\r\n\r\n")
        reached.set()
        if phase == "body":
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
        if phase == "sending":
            await asyncio.Event().wait()
        await peer.gone()

    async with RawServer(behave) as server, wired(kind, server.origin, max_connections=1) as wire:
        size = 16 * 1024 * 1024 if phase == "sending" else 9
        task = asyncio.create_task(fetch(wire, WireRequest("POST", "/", (), bytes(size))))
        await reached.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await fetch(wire))[2] == b"hello"


@every
async def test_cancel_while_connecting_leaves_no_socket(kind: str) -> None:
    held, port = await black_hole()
    try:
        async with wired(kind, Origin("http", "127.0.0.1", port)) as wire:
            ours = len(held) - 1
            progress = WireProgress()
            task = asyncio.create_task(fetch(wire, POST, progress))
            await until(lambda: _open_client_sockets(port) > ours)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: _open_client_sockets(port) == ours)
            assert progress == WireProgress()
            for sock in held:
                sock.close()
    finally:
        for sock in held:
            sock.close()


@except_httpx("keep")
async def test_cancel_at_every_turn_of_the_loop(kind: str) -> None:
    """Whatever instant the cancel hits, the only slot of the pool comes back."""
    async with RawServer(answering(CHUNKED)) as server, wired(kind, server.origin, max_connections=1) as wire:
        for turns in range(30):
            tasks = [asyncio.create_task(fetch(wire)) for _ in range(3)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks[:2]:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert done[2] == (200, {"transfer-encoding": "chunked", "x-a": "1, 2"}, CHUNKED_BODY)
            assert all(isinstance(one, asyncio.CancelledError | tuple) for one in done)


# --- the pool ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [OK, CHUNKED, b"HTTP/1.1 204 No Content\r\n\r\n"])
@except_httpx("keep")
async def test_connection_is_reused(kind: str, raw: bytes) -> None:
    async with RawServer(answering(raw)) as server, wired(kind, server.origin) as wire:
        for turn in range(3):
            progress = WireProgress()
            await fetch(wire, POST, progress)
            assert progress.reused_connection is (turn > 0)
        assert server.accepted == 1


@except_httpx("keep")
async def test_connection_is_reused_after_responses_without_body(kind: str) -> None:
    answers = iter(
        [
            b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n",
            OK,
        ]
    )

    async def behave(peer: Peer) -> None:
        for answer in answers:
            await peer.request()
            await peer.send(answer)
        await peer.gone()

    async with RawServer(behave) as server, wired(kind, server.origin) as wire:
        assert await fetch(wire, WireRequest("HEAD", "/", ())) == (200, {"content-length": "99"}, b"")
        assert (await fetch(wire, GET))[0] == 304
        assert (await fetch(wire, GET))[2] == b"hello"
        assert server.accepted == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        OK + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
        OK + b"tail",
        CHUNKED.replace(CHUNKED_BODY, b"hello") + b"\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
        b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
    ],
)
@every
async def test_spoiled_connection_is_not_reused(kind: str, raw: bytes) -> None:
    async with RawServer(answering(raw)) as server, wired(kind, server.origin) as wire:
        for number in range(3):
            progress = WireProgress()
            assert (await fetch(wire, POST, progress))[2] in (b"hello", CHUNKED_BODY, b"")
            assert not progress.reused_connection
            assert server.accepted == number + 1
        await until(lambda: server.live == 0)


@except_httpx("keep")
async def test_bytes_on_an_idle_connection_close_it(kind: str) -> None:
    idle = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        if peer.number == 0:
            await idle.wait()
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")
        await peer.gone()

    async with RawServer(behave) as server, wired(kind, server.origin) as wire:
        assert (await fetch(wire))[2] == b"hello"
        idle.set()
        await until(lambda: server.live == 0)
        progress = WireProgress()
        assert (await fetch(wire, POST, progress))[2] == b"hello"
        assert not progress.reused_connection


@every
async def test_idle_connection_that_ended_is_replaced(kind: str) -> None:
    async with RawServer(answering_once(OK)) as server, wired(kind, server.origin, max_connections=1) as wire:
        for number in range(3):
            assert (await fetch(wire))[2] == b"hello"
            await until(lambda: server.live == 0)
            assert server.accepted == number + 1


@every
async def test_old_idle_connection_is_replaced(kind: str) -> None:
    async with (
        RawServer(answering(OK)) as server,
        wired(kind, server.origin, keepalive_s=-1.0, max_connections=1) as wire,
    ):
        for _ in range(2):
            progress = WireProgress()
            assert (await fetch(wire, POST, progress))[2] == b"hello"
            assert not progress.reused_connection
        assert server.accepted == 2


@except_httpx("keep")
async def test_youngest_connection_is_taken_first(kind: str) -> None:
    async with RawServer(answering(OK)) as server, wired(kind, server.origin) as wire:
        await asyncio.gather(*(fetch(wire) for _ in range(4)))
        accepted = server.accepted
        for _ in range(8):
            await fetch(wire)
        assert server.accepted == accepted


@every
async def test_pool_wait_is_bounded_and_first_come_first_served(kind: str) -> None:
    go = asyncio.Event()

    async def behave(peer: Peer) -> None:
        while True:
            await peer.request()
            await go.wait()
            await peer.send(OK)
            if kind == "httpx":
                return

    order: list[int] = []

    async def use(wire: Wire, number: int) -> None:
        await fetch(wire)
        order.append(number)

    async with RawServer(behave) as server, wired(kind, server.origin, max_connections=1, pool_timeout_s=5.0) as wire:
        tasks = []
        for number in range(6):
            tasks.append(asyncio.create_task(use(wire, number)))
            await asyncio.sleep(0)
        await until(lambda: server.accepted == 1)
        tasks[2].cancel()
        await asyncio.wait([tasks[2]])
        go.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [0, 1, 3, 4, 5]


@every
async def test_pool_timeout(kind: str) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with RawServer(behave) as server, wired(kind, server.origin, max_connections=1, pool_timeout_s=0.05) as wire:
        first = asyncio.create_task(fetch(wire))
        await until(lambda: server.accepted == 1)
        progress = WireProgress()
        with pytest.raises(WirePoolTimeout):
            await fetch(wire, POST, progress)
        assert progress == WireProgress()
        first.cancel()
        await asyncio.wait([first])


@every
async def test_never_more_than_max_connections(kind: str) -> None:
    most = 0

    async def behave(peer: Peer) -> None:
        nonlocal most
        most = max(most, server.live)
        await answering(OK)(peer)

    async with RawServer(behave) as server, wired(kind, server.origin, max_connections=3, pool_timeout_s=5.0) as wire:
        await asyncio.gather(*(fetch(wire) for _ in range(30)))
        assert kind == "httpx" or most <= 3


# --- connecting -------------------------------------------------------------------------------------------------


@every
async def test_refused(kind: str) -> None:
    async with RawServer(answering(OK)) as server:
        origin = server.origin
    async with wired(kind, origin, max_connections=1) as wire:
        for _ in range(2):
            progress = WireProgress()
            with pytest.raises(WireUnreachable):
                await fetch(wire, POST, progress)
            assert progress == WireProgress()


@pytest.mark.parametrize("kind", ["http1", "httpx"])
@on_its_loop
async def test_name_that_does_not_resolve(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise OSError("no such name")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
    async with wired(kind, Origin("http", "nowhere.invalid", 80)) as wire:
        with pytest.raises(WireUnreachable):
            await fetch(wire)


@every
async def test_connect_timeout(kind: str) -> None:
    held, port = await black_hole()
    try:
        async with wired(kind, Origin("http", "127.0.0.1", port), connect_timeout_s=0.1) as wire:
            with pytest.raises(WireUnreachable):
                await fetch(wire)
            for sock in held:
                sock.close()
    finally:
        for sock in held:
            sock.close()


@pytest.mark.parametrize("first", ["hangs", "refuses"])
@except_httpx("keep")
async def test_second_address_is_tried_beside_the_first(kind: str, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held, port = await black_hole()
    async with RawServer(answering(OK)) as refusing:
        closed_port = refusing.port
    try:
        async with RawServer(answering(OK)) as server:
            bad = port if first == "hangs" else closed_port

            async def resolve(*_: Any) -> list[tuple[int, Any]]:
                return [(2, ("127.0.0.1", bad)), (2, ("127.0.0.1", server.port))]

            monkeypatch.setattr(connect_module, "_resolve", resolve)
            async with wired(kind, server.origin) as wire:
                assert (await fetch(wire))[2] == b"hello"
                await until(lambda: _open_client_sockets(port) == len(held) - 1)
    finally:
        for sock in held:
            sock.close()


# --- closing ----------------------------------------------------------------------------------------------------


@every
async def test_aclose_ends_what_is_in_flight(kind: str) -> None:
    started = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello")
        await peer.gone()

    async def use(wire: Wire) -> None:
        async with wire.exchange(POST, WireProgress()) as response:
            await response.read()
            started.set()
            await response.read()

    async with RawServer(behave) as server, wired(kind, server.origin, max_connections=1) as wire:
        reading = asyncio.create_task(use(wire))
        await started.wait()
        await asyncio.sleep(0)
        await wire.aclose()
        with pytest.raises(WireReset):
            await reading
        with pytest.raises(WireReset):
            await fetch(wire)
        await until(lambda: server.live == 0)


@except_httpx("keep")
async def test_aclose_ends_waits(kind: str) -> None:
    async def behave(peer: Peer) -> None:
        await peer.gone()

    async with RawServer(behave) as server, wired(kind, server.origin, max_connections=1) as wire:
        tasks = [asyncio.create_task(fetch(wire)) for _ in range(3)]
        await until(lambda: server.accepted == 1)
        await wire.aclose()
        for task in tasks:
            with pytest.raises(WireReset):
                await task


@except_httpx("keep")
async def test_aclose_ends_connecting(kind: str) -> None:
    held, port = await black_hole()
    try:
        async with wired(kind, Origin("http", "127.0.0.1", port)) as wire:
            task = asyncio.create_task(fetch(wire))
            await until(lambda: _open_client_sockets(port) == len(held))
            await wire.aclose()
            with pytest.raises(WireReset):
                await task
            for sock in held:
                sock.close()
    finally:
        for sock in held:
            sock.close()


# --- TLS --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes a private authority and certificates: good, for another name, expired, and of another authority."""
    home = tmp_path_factory.mktemp("ca")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=home, check=True, capture_output=True)

    for ca in ("ca", "stranger"):
        openssl("req", "-x509", *new_key, "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-subj", f"/CN={ca}")
    for name, host, ca, days in (
        ("good", "localhost", "ca", "2"),
        ("wrong_name", "elsewhere.test", "ca", "2"),
        ("expired", "localhost", "ca", "-1"),
        ("unknown_ca", "localhost", "stranger", "2"),
    ):
        (home / f"{name}.ext").write_text(f"subjectAltName=DNS:{host}\n")
        openssl("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={host}")
        signing = ["-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial", "-extfile", f"{name}.ext"]
        openssl("x509", "-req", "-in", f"{name}.csr", *signing, "-days", days, "-out", f"{name}.pem")
    return home


def _contexts(home: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(home / f"{name}.pem", home / f"{name}.key")
    return server, ssl.create_default_context(cafile=str(home / "ca.pem"))


@every
async def test_tls(kind: str, certificates: Path) -> None:
    at_server, at_client = _contexts(certificates, "good")
    async with (
        RawServer(answering(CHUNKED), context=at_server) as server,
        wired(kind, server.origin, at_client) as wire,
    ):
        for _ in range(3):
            assert (await fetch(wire))[2] == CHUNKED_BODY
        assert kind == "httpx" or server.accepted == 1


@every
async def test_tls_cut_and_early_leaving(kind: str, certificates: Path) -> None:
    at_server, at_client = _contexts(certificates, "good")

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED[:-20])
        if peer.number == 0:
            peer.writer.transport.abort()
        else:
            await peer.gone()

    async with RawServer(behave, context=at_server) as server, wired(kind, server.origin, at_client) as wire:
        with pytest.raises(WireReset):
            await fetch(wire)
        async with wire.exchange(POST, WireProgress()) as response:
            await response.read()
        await until(lambda: server.live == 0)


@every
async def test_tls_slow_reader_and_large_request(kind: str, certificates: Path) -> None:
    at_server, at_client = _contexts(certificates, "good")
    size = 8 * 1024 * 1024
    taken = 0

    async def behave(peer: Peer) -> None:
        nonlocal taken
        assert len((await peer.request()).body) == size
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (8 * size))
        while taken < 8 * size:
            await peer.send(bytes(65536))
            taken += 65536
        await peer.gone()

    async with RawServer(behave, context=at_server) as server, wired(kind, server.origin, at_client) as wire:
        async with wire.exchange(WireRequest("POST", "/", (), bytes(size)), WireProgress()) as response:
            got = len(await response.read())
            assert await _settled(lambda: taken) < 20 * 1024 * 1024
            while data := await response.read():
                got += len(data)
        assert got == 8 * size


@pytest.mark.parametrize("fault", ["wrong_name", "expired", "unknown_ca"])
@every
async def test_tls_faults(kind: str, fault: str, certificates: Path) -> None:
    at_server, at_client = _contexts(certificates, fault)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the server's view of the failed handshake
    async with RawServer(answering(OK), context=at_server) as server, wired(kind, server.origin, at_client) as wire:
        progress = WireProgress()
        with pytest.raises(WireTlsError):
            await fetch(wire, POST, progress)
        assert progress == WireProgress()


@every
async def test_tls_version(kind: str, certificates: Path) -> None:
    at_server, at_client = _contexts(certificates, "good")
    at_server.maximum_version = ssl.TLSVersion.TLSv1_2
    at_client.minimum_version = ssl.TLSVersion.TLSv1_3

    def serve(listener: socket.socket) -> None:  # in a thread: asyncio's server drops its alert
        with listener.accept()[0] as accepted, contextlib.suppress(OSError):
            at_server.wrap_socket(accepted, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(asyncio.to_thread(serve, listener))
        async with wired(kind, Origin("https", "localhost", listener.getsockname()[1]), at_client) as wire:
            with pytest.raises(WireTlsError):
                await fetch(wire)
        await serving


@every
async def test_plain_server_behind_https(kind: str) -> None:
    async def behave(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(b"HTTP/1.1 400 Bad\r\n\r\n")

    async with RawServer(behave) as server, wired(kind, Origin("https", "127.0.0.1", server.port)) as wire:
        with pytest.raises(WireTlsError):
            await fetch(wire)


@every
async def test_context_that_does_not_verify_is_refused(kind: str) -> None:
    for spoil in ("name", "verify", "version"):
        context = ssl.create_default_context()
        if spoil == "name":
            context.check_hostname = False
        elif spoil == "verify":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.raises(ValueError):
            build(kind, Origin("https", "localhost", 1), context)


@pytest.mark.parametrize(
    "origin", [Origin("ftp", "a", 1), Origin("http", "a b", 1), Origin("http", "a\r\nb", 1), Origin("http", "a", 0)]
)
@every
async def test_impossible_origin_is_refused(kind: str, origin: Origin) -> None:
    with pytest.raises(ValueError):
        build(kind, origin)


# --- proxy ------------------------------------------------------------------------------------------------------


async def test_httpx_wire_uses_the_proxy() -> None:
    seen: list[Seen] = []

    async def behave(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.send(OK)

    async with RawServer(behave) as proxy, asyncio.timeout(BACKSTOP_S):
        wire = HttpxWire(Origin("http", "provider.test", 80), proxy=f"http://u:p@127.0.0.1:{proxy.port}")
        assert (await fetch(wire))[2] == b"hello"
        await wire.aclose()
        assert seen[0].lines[0] == "POST http://provider.test/v1/chat?x=%2F HTTP/1.1"
        assert any(line.lower().startswith("proxy-authorization: ") for line in seen[0].lines)


async def test_httpx_wire_names_a_refusing_proxy() -> None:
    async with RawServer(answering_once(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n")) as proxy:
        wire = HttpxWire(Origin("https", "provider.test", 443), proxy=f"http://127.0.0.1:{proxy.port}")
        progress = WireProgress()
        with pytest.raises(WireUnreachable):
            await fetch(wire, POST, progress)
        await wire.aclose()
        assert progress == WireProgress()
