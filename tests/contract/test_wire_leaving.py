"""Contract of `Wire`: leaving an exchange early, cancelling it, closing the wire."""

from __future__ import annotations

import asyncio

import pytest

from llmgateway_server.providers.wire.port import Origin, Wire, WireProgress, WireRequest, WireReset
from tests.contract.raw_server import Peer, RawServer, answering, black_hole, until
from tests.contract.wire_kit import (
    CHUNKED,
    CHUNKED_BODY,
    OK,
    POST,
    _open_client_sockets,
    every,
    except_httpx,
    fetch,
    wired,
)


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
