"""Cancelled streams leave nothing behind: no memory, no task, no permit, no connection."""

from __future__ import annotations

import asyncio

from llmgateway_server.testing.gateway import running_gateway
from llmgateway_server.testing.upstream import STREAM_HEAD, Upstream, delta, event, hang
from tests.faults.kit import cancel_streams, child_gateway, idle, quiet, records_of, settings, until

STREAMS, WARM_UP = 2_000, 1_000
LEAK_BYTES = 1024
"""A stream that re-raises its cancel leaks about 11 bytes in the library, one that swallows it 124.

Two thousand streams are too few to see either over the allocator's noise of a megabyte; they show a leak of whole
objects. The soak suite looks closer.
"""
ENDLESS = "simulator/chat?tokens=100000&pace_ms=20"


async def test_cancelled_streams_leave_memory_flat() -> None:
    async with child_gateway(settings(records=False)) as child:
        await cancel_streams(child.stub, ENDLESS, count=WARM_UP)
        await idle(child)
        before = child.rss_bytes()
        done = await cancel_streams(child.stub, ENDLESS, count=STREAMS)
        await idle(child)
        grown = child.rss_bytes() - before
    print(f"{done} cancelled streams: {grown / 1024:.0f} KiB, {grown / done:.0f} bytes a stream")
    assert done >= STREAMS
    assert grown <= STREAMS * LEAK_BYTES


async def test_cancelled_streams_leave_no_task_and_no_permit() -> None:
    async with (
        Upstream([STREAM_HEAD, event(delta("word")), hang]) as upstream,
        running_gateway(settings(upstream)) as gateway,
    ):
        await cancel_streams(gateway.stub, "up/fake-1", count=20)
        await quiet(gateway)
        await until(lambda: all(received.gone.is_set() for received in upstream.requests))
        await until(lambda: not upstream._tasks)
        baseline = len(asyncio.all_tasks())
        done = await cancel_streams(gateway.stub, "up/fake-1", count=500)
        await quiet(gateway)
        await until(lambda: all(received.gone.is_set() for received in upstream.requests))
        await until(lambda: not upstream._tasks)
        await until(lambda: len(asyncio.all_tasks()) <= baseline)
        assert gateway.app.parts.gate.in_flight == 0
        pool = gateway.app._providers["up"]._wire._pool  # type: ignore[attr-defined]
        assert not pool._open
        attempts = records_of(gateway, "attempt")
    assert len(upstream.requests) == len(attempts) == done + 20
    assert {(each["outcome"], each["charge"]) for each in attempts} == {("cancelled", "CP")}
