"""Loads: how many calls at once, or how many a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench import payloads
from tests.bench.callers import Caller, Stream
from tests.bench.payloads import Kind
from tests.bench.processes import Child


@dataclass(slots=True, frozen=True)
class Contestant:
    """A process, and how it is called."""

    child: Child
    caller: Caller


@dataclass(slots=True)
class Result:
    """What a load cost and brought."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    calls: int = 0
    tokens: int = 0
    messages: int = 0
    latencies_s: list[float] = field(default_factory=list)
    first_token_s: list[float] = field(default_factory=list)

    def add(self, stream: Stream) -> None:
        """Takes in a stream that is complete."""
        self.calls += 1
        self.tokens += stream.tokens
        self.messages += stream.messages
        self.first_token_s.append(stream.first_token_s)


async def unary_closed(contestant: Contestant, *, in_flight: int, seconds: float) -> Result:
    """Calls again and again, `in_flight` at a time."""
    result = Result()

    async def once() -> None:
        await contestant.caller.unary()
        result.calls += 1

    await _closed(contestant.child, result, once, in_flight, seconds)
    return result


async def stream_closed(contestant: Contestant, kind: Kind, *, in_flight: int, seconds: float) -> Result:
    """Streams again and again, `in_flight` at a time."""
    result = Result()

    async def once() -> None:
        result.add(await contestant.caller.stream(kind))

    await _closed(contestant.child, result, once, in_flight, seconds)
    return result


async def _closed(
    child: Child, result: Result, once: Callable[[], Awaitable[None]], in_flight: int, seconds: float
) -> None:
    began, cpu_s = time.perf_counter(), child.cpu_s()

    async def work() -> None:
        while time.perf_counter() - began < seconds:
            await once()

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work())
    result.cpu_s = child.cpu_s() - cpu_s
    result.seconds = time.perf_counter() - began


async def unary_open(contestant: Contestant, *, rate: float, seconds: float) -> Result:
    """Calls at a rate, whether or not earlier calls are back: the latencies are those that a caller would see."""
    result = Result()

    async def once() -> None:
        began = time.perf_counter()
        await contestant.caller.unary()
        result.latencies_s.append(time.perf_counter() - began)
        result.calls += 1

    await _open(contestant.child, result, once, max(1, round(rate * seconds)), 1 / rate)
    return result


async def paced_streams(contestant: Contestant, kind: Kind, *, streams: int) -> Result:
    """Opens streams evenly within half the time that one lasts, and reads all to their ends."""
    result = Result()

    async def once() -> None:
        result.add(await contestant.caller.stream(kind))

    await _open(contestant.child, result, once, streams, kind.duration_s / 2 / streams)
    return result


async def _open(
    child: Child, result: Result, once: Callable[[], Coroutine[Any, Any, None]], count: int, interval_s: float
) -> None:
    began, cpu_s = time.perf_counter(), child.cpu_s()
    async with asyncio.TaskGroup() as group:
        for i in range(count):
            await until(began + i * interval_s)
            group.create_task(once())
    result.cpu_s = child.cpu_s() - cpu_s
    result.seconds = time.perf_counter() - began


async def until(moment: float) -> None:
    """Waits until `time.perf_counter()` shows a moment."""
    pause_s = moment - time.perf_counter()
    if pause_s > 0:
        await asyncio.sleep(pause_s)


async def warm_up(contestant: Contestant) -> None:
    """Makes enough calls that connections are open and code has run."""
    await unary_closed(contestant, in_flight=8, seconds=0.3)
    for kind in (payloads.ONCE, payloads.PIECES):
        await stream_closed(contestant, kind, in_flight=4, seconds=0.15)


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the value that `share` of all do not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]
