"""Callers who do not read (C6), who vanish (C7), and who only hold connections (C11)."""

from __future__ import annotations

import asyncio
import resource
import time
from typing import Any

import grpc
import grpc.aio
import pytest

from llmgateway.v1.llm_gateway_service_pb2_grpc import LlmGatewayServiceStub
from llmgateway_server.testing.gateway import running_gateway
from llmgateway_server.testing.upstream import STREAM_HEAD, Upstream, delta, endless, event, hang
from tests.faults.kit import (
    BACKSTOP_S,
    Proxy,
    ask,
    child_gateway,
    failure_of,
    quiet,
    reason_of,
    records_of,
    settings,
    stalled,
)

SMALL_WINDOW = (("grpc.enable_retries", 0), ("grpc.http2.lookahead_bytes", 65536), ("grpc.http2.bdp_probe", 0))
"""A caller whose window does not grow, so that not reading is felt after 64 KiB."""
FLOOD = [STREAM_HEAD, endless(delta("x" * 16384))]
BUFFER_BYTES = 64 * 1024
"""What may wait in a stream (docs/reliability.md)."""
READ_BYTES = 64 * 1024
"""What one read of a socket may add to it."""


def buffered_bytes(gateway: Any, provider: str) -> int:
    """Returns the bytes that wait in the wire of a provider."""
    connections = gateway.app._providers[provider]._wire._pool._open
    return sum(each._response.ready_bytes for each in connections if each._response is not None)


async def read_to_the_end(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_c6_slow_reader_pauses_the_upstream() -> None:
    async with (
        Upstream(FLOOD) as upstream,
        running_gateway(settings(upstream), channel_options=SMALL_WINDOW) as gateway,
    ):
        calls = []
        for _ in range(4):  # one after the other, so that exchanges have the order of calls
            calls.append(gateway.stub.StreamComplete(ask()))
            await calls[-1].read()
        await asyncio.gather(*map(stalled, upstream.exchanges))
        assert buffered_bytes(gateway, "up") <= len(calls) * (BUFFER_BYTES + READ_BYTES)
        stopped_at = [exchange.sent_bytes for exchange in upstream.exchanges]
        for _ in range(20_000):  # who reads on gets on
            await calls[0].read()
            if upstream.exchanges[0].sent_bytes > stopped_at[0]:
                break
        assert upstream.exchanges[0].sent_bytes > stopped_at[0]
        assert [exchange.sent_bytes for exchange in upstream.exchanges[1:]] == stopped_at[1:]
        for call in calls:
            call.cancel()
        await quiet(gateway)


async def test_c6_slow_reader_is_given_up() -> None:
    stall_s = 0.3
    async with (
        Upstream(FLOOD) as upstream,
        running_gateway(
            settings(upstream, streams={"write_stall_s": stall_s}), channel_options=SMALL_WINDOW
        ) as gateway,
    ):
        call = gateway.stub.StreamComplete(ask())
        await call.read()
        received = await upstream.request()
        began_s = time.monotonic()
        async with asyncio.timeout(BACKSTOP_S):
            await received.gone.wait()
        assert stall_s / 2 <= received.gone_at_s - began_s <= stall_s + 1.0
        await quiet(gateway)  # the permit is back while the status still waits behind bytes that nobody reads
        assert not call.done()
        error = await failure_of(read_to_the_end(call))
        attempts, calls = records_of(gateway, "attempt"), records_of(gateway, "call")
    assert error.code() is grpc.StatusCode.ABORTED
    assert reason_of(error) == "SLOW_CONSUMER"
    assert [(each["outcome"], each["reason"], each["charge"]) for each in attempts] == [
        ("cancelled", "SLOW_CONSUMER", "CP")
    ]
    assert [(each["outcome"], each["reason"]) for each in calls] == [("cancelled", "SLOW_CONSUMER")]


async def test_c6_slow_reader_costs_bounded_memory() -> None:
    """The gateway has a process of its own here, so that only its memory is measured."""
    readers = 24
    most_bytes = 4 * 1024 * 1024 + readers * 512 * 1024
    async with Upstream(FLOOD) as upstream, child_gateway(settings(upstream), channel_options=SMALL_WINDOW) as child:
        warm = child.stub.StreamComplete(ask())
        await warm.read()
        await stalled(upstream.exchanges[0])
        before = child.rss_bytes()
        calls = [child.stub.StreamComplete(ask()) for _ in range(readers)]
        await asyncio.gather(*(call.read() for call in calls))
        await upstream.request(readers + 1)
        await asyncio.gather(*map(stalled, upstream.exchanges))
        grown = child.rss_bytes() - before
        for call in (warm, *calls):
            call.cancel()
    print(f"C6: {grown / readers / 1024:.0f} KiB for a stream that nobody reads")
    # Per stream 64 KiB of ours, one read more, and what the library holds for its window and the message being written;
    # beside it what the first of many streams at once costs a process: larger pools, fragments.
    assert grown <= most_bytes, grown / readers


@pytest.mark.slow
async def test_c7_half_open_connection_is_noticed() -> None:
    """The keepalive of 30 s + 10 s is fixed (docs/reliability.md)."""
    bound_s = 60.0
    script = [STREAM_HEAD, event(delta("word")), hang]
    async with (
        Upstream(script) as upstream,
        running_gateway(settings(upstream)) as gateway,
        Proxy(gateway.address) as proxy,
        grpc.aio.insecure_channel(proxy.address) as channel,
    ):
        stub: Any = LlmGatewayServiceStub(channel)
        call = stub.StreamComplete(ask())
        assert await call.read()
        received = await upstream.request()
        proxy.swallow()
        swallowed_at_s = time.monotonic()
        async with asyncio.timeout(bound_s):
            await received.gone.wait()
        await quiet(gateway)
        attempts = records_of(gateway, "attempt")
        call.cancel()
    assert received.gone_at_s - swallowed_at_s <= 45.0
    assert [(each["outcome"], each["charge"]) for each in attempts] == [("cancelled", "CP")]


# --- idle connections --------------------------------------------------------------------------------------------

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""What opens an HTTP/2 connection: the preface and empty settings."""
IDLE_BYTES = 25 * 1024
SETTINGS, GOAWAY = 4, 7


async def hold(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Opens a connection and leaves it at that."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(PREFACE)
    head = await reader.readexactly(9)
    assert head[3] == SETTINGS
    await reader.readexactly(int.from_bytes(head[:3], "big"))
    return reader, writer


async def hold_many(address: str, count: int) -> list[asyncio.StreamWriter]:
    writers: list[asyncio.StreamWriter] = []
    for start in range(0, count, 100):
        opened = await asyncio.gather(*(hold(address) for _ in range(min(100, count - start))))
        writers += [writer for _, writer in opened]
    return writers


@pytest.mark.parametrize("count", [1_000, pytest.param(9_500, marks=pytest.mark.slow)])
async def test_c11_idle_connections_are_cheap(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = 2 * (count + 200)  # a half of them is for callers
    if hard not in (-1, resource.RLIM_INFINITY) and hard < files:
        pytest.skip(f"needs {files} open files, the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, files), hard))  # the child inherits it
    writers: list[asyncio.StreamWriter] = []
    try:
        async with child_gateway(settings()) as child:
            await child.stub.Complete(ask(model=""))
            writers += await hold_many(child.address, 50)
            before = child.rss_bytes()
            writers += await hold_many(child.address, count)
            per_connection = (child.rss_bytes() - before) / count
            began_s = time.monotonic()
            await child.stub.Complete(ask(model=""))
            took_s = time.monotonic() - began_s
    finally:
        for writer in writers:
            writer.transport.abort()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    print(f"C11: {per_connection / 1024:.1f} KiB for an idle connection, a call then took {took_s * 1000:.1f} ms")
    assert per_connection <= IDLE_BYTES, per_connection
    assert took_s <= 1.0


async def test_c11_idle_connections_are_closed() -> None:
    async with running_gateway(settings(server={"max_connection_idle_s": 0.3})) as gateway:
        reader, writer = await hold(gateway.address)
        async with asyncio.timeout(BACKSTOP_S):
            rest = await reader.read()
        writer.close()
    assert frames(rest).count(GOAWAY) >= 1


def frames(data: bytes) -> list[int]:
    """Returns the types of the whole frames in `data`."""
    types = []
    while len(data) >= 9:
        types.append(data[3])
        data = data[9 + int.from_bytes(data[:3], "big") :]
    return types
