"""Long runs. `LLMGATEWAY_SOAK_S` says how long, in seconds; 60 if it is not set."""

from __future__ import annotations

import os

import pytest

from tests.faults.kit import cancel_streams, child_gateway, idle, settings

STREAMS = 10_000
LEAK_BYTES = 124
"""What a stream leaks that swallows its cancel (docs/reliability.md): no handler of ours may."""
NOISE_BYTES = 1024 * 1024
"""What the allocator takes and gives back without any leak."""
ENDLESS = "simulator/chat?tokens=100000&pace_ms=20"


@pytest.mark.soak
@pytest.mark.timeout(0)
async def test_cancelled_streams_leave_memory_flat() -> None:
    for_s = float(os.environ.get("LLMGATEWAY_SOAK_S", "60"))
    async with child_gateway(settings(records=False)) as child:
        await cancel_streams(child.stub, ENDLESS, count=STREAMS // 4)
        await idle(child)
        before = child.rss_bytes()
        done = await cancel_streams(child.stub, ENDLESS, count=STREAMS, for_s=for_s)
        await idle(child)
        grown = child.rss_bytes() - before
    print(f"{done} cancelled streams: {grown / 1024:.0f} KiB, {grown / done:.0f} bytes a stream")
    assert done >= STREAMS
    assert grown <= done * LEAK_BYTES + NOISE_BYTES
