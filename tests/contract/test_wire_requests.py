"""Contract of `Wire`: what is sent, what comes back, and what is known about it."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from llmgateway_server.providers.wire.port import WireProgress, WireRequest
from tests.contract.raw_server import Peer, RawServer, Seen, answering, until
from tests.contract.wire_kit import OK, POST, every, except_httpx, fetch, settled, wired


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
            await settled(lambda: progress.request_bytes_sent)
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
