"""Contract of `Wire`: connections are kept, shared and replaced."""

from __future__ import annotations

import asyncio

import pytest

from llmgateway_server.providers.wire.port import Wire, WirePoolTimeout, WireProgress, WireRequest
from tests.contract.raw_server import Peer, RawServer, answering, answering_once, until
from tests.contract.wire_kit import CHUNKED, CHUNKED_BODY, GET, OK, POST, every, except_httpx, fetch, wired


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
