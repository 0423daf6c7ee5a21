"""Contract of `Wire`: framing, and the bounds of what is read."""

from __future__ import annotations

import asyncio
import itertools
import os
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.providers.wire.port import (
    Wire,
    WireError,
    WireMalformed,
    WireProgress,
    WireRequest,
    WireReset,
    WireTooLarge,
)
from tests.contract.raw_server import Peer, RawServer, answering, answering_once, until
from tests.contract.wire_kit import (
    CHUNKED,
    CHUNKED_BODY,
    GET,
    KINDS,
    OK,
    POST,
    every,
    except_httpx,
    fetch,
    on_its_loop,
    settled,
    wired,
)


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
                stalled = await settled(lambda: taken)
                assert stalled < 20 * 1024 * 1024  # the kernel's buffers of both ends
                while data := await response.read():
                    got += len(data)
            assert got == total
            assert tracemalloc.get_traced_memory()[1] < 2 * 1024 * 1024
        finally:
            tracemalloc.stop()
