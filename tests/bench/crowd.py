"""A thousand open streams at a real pace: what they take of a core, and whether any of them stands still."""

from __future__ import annotations

import asyncio
import resource
import time
from dataclasses import dataclass, field

from tests.bench import payloads
from tests.bench.callers import FAILED, Stream
from tests.bench.frames import StreamCaller
from tests.bench.load import percentile, until
from tests.bench.processes import Child

STREAMS = 1000
OPENING_S = 4.0
STALL_PACES = 10
FILES = 2 * STREAMS + 200
"""Descriptors that provider and gateway each need at most."""
_LOOK_S = 0.02


@dataclass(slots=True)
class Crowd:
    """What a thousand streams met."""

    streams: list[Stream] = field(default_factory=list)
    """Those that came to their end."""
    failed: int = 0
    cpu_s: float = 0.0
    """Of the gateway, from the first stream's opening to the last one's end."""
    caller_lag_s: float = 0.0
    """Longest time for which the caller itself stood still: gaps up to this may be its own."""
    peak_mb: float = 0.0

    @property
    def cores(self) -> float:
        """Cores that all streams take at their pace: CPU time per token × tokens per second.

        A gateway that needs more than one falls behind; then this says by how much, which its load does not.
        """
        tokens = sum(stream.tokens for stream in self.streams)
        return self.cpu_s / tokens * STREAMS / payloads.LASTING.pace_s if tokens else 0.0

    @property
    def worst_stall_ms(self) -> float:
        """Longest time that any stream stood still."""
        return 1e3 * max(map(stall_s, self.streams), default=0.0)

    @property
    def stalled(self) -> int:
        """Streams that stood still for more than ten times the pace."""
        limit_s = STALL_PACES * payloads.LASTING.pace_s
        return sum(stall_s(stream) > limit_s for stream in self.streams)

    @property
    def tokens_per_message(self) -> float:
        """How many tokens travelled together."""
        messages = sum(stream.messages for stream in self.streams)
        return sum(stream.tokens for stream in self.streams) / messages if messages else 0.0

    @property
    def first_token_ms(self) -> float:
        """The median, streams being opened at 250 a second."""
        return 1e3 * percentile([stream.first_token_s for stream in self.streams], 0.5) if self.streams else 0.0


def stall_s(stream: Stream) -> float:
    """Returns the longest wait for a token, the first one included: the provider sends that at once."""
    return max(stream.first_token_s, stream.worst_gap_s)


def room_for_files() -> bool:
    """Raises the limit of open files as far as it goes, for children too; tells whether a thousand streams fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted >= FILES


async def measure(child: Child, caller: StreamCaller) -> Crowd:
    """Opens the streams evenly within a few seconds, and reads all to their ends."""
    crowd = Crowd()

    async def once() -> None:
        try:
            crowd.streams.append(await caller.stream(payloads.LASTING))
        except FAILED:
            crowd.failed += 1

    began, cpu_s = time.perf_counter(), child.cpu_s()
    watch = asyncio.create_task(_watch_lag(crowd))
    async with asyncio.TaskGroup() as group:
        for i in range(STREAMS):
            await until(began + i * OPENING_S / STREAMS)
            group.create_task(once())
    watch.cancel()
    crowd.cpu_s = child.cpu_s() - cpu_s
    crowd.peak_mb = child.peak_mb()
    return crowd


async def _watch_lag(crowd: Crowd) -> None:
    while True:
        due = time.perf_counter() + _LOOK_S
        await asyncio.sleep(_LOOK_S)
        crowd.caller_lag_s = max(crowd.caller_lag_s, time.perf_counter() - due)
