"""Tells which functions of the gateway take the time, by own time and by room.

`make profile`, or `python -m tests.bench.hotspots [--load unary|stream|paced] [--transport http2|grpcio] [--plain]`. A
profiler makes calls of small functions look dearer than they are: use it to find what to look at, and `make bench` to
see what a change is worth.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench import gateways, load, payloads
from tests.bench.gateways import Gateway
from tests.bench.load import Contestant, Result
from tests.bench.loops import run_loop
from tests.bench.processes import Child, child

SECONDS = 3.0
WRITTEN_S = 30.0
SERVER = "llmgateway_server/"
PLACES = ("site-packages/", "dist-packages/", "clients/python/", "lib/python")
"""Where a path becomes worth reading."""

LOADS: dict[str, Callable[[Contestant], Awaitable[Result]]] = {
    "unary": lambda contestant: load.unary_closed(contestant, in_flight=32, seconds=SECONDS),
    "stream": lambda contestant: load.stream_closed(contestant, payloads.PIECES, in_flight=8, seconds=SECONDS),
    "paced": lambda contestant: load.paced_streams(contestant, payloads.PACED, streams=80),
}


@dataclass(slots=True, frozen=True)
class Row:
    """One function."""

    place: str
    room: str
    calls: float
    own_us: float
    total_us: float


def rows(found: Sequence[tuple[str, int, str, int, float, float]], calls: int) -> list[Row]:
    """Returns functions with figures per call of the gateway, the dearest by own time first."""
    made = [
        Row(f"{short(path)}:{line} {name}", room(path), count / calls, 1e6 * own_s / calls, 1e6 * total_s / calls)
        for path, line, name, count, own_s, total_s in found
    ]
    return sorted(made, key=lambda row: -row.own_us)


def short(path: str) -> str:
    """Returns a path from where it says something."""
    if SERVER in path:
        return path.rpartition(SERVER)[2]
    for place in PLACES:
        if place in path:
            return path.rpartition(place)[2]
    return path


def room(path: str) -> str:
    """Returns whose a file is: a room of the server, a library, or what is built in."""
    if path == "~":
        return "built in"
    if SERVER in path:
        return path.rpartition(SERVER)[2].partition("/")[0].removesuffix(".py")
    if any(place in path for place in PLACES[:2]):
        return f"({short(path).partition('/')[0]})"
    return "(standard library)" if "lib/python" in path else "(other)"


def table(found: list[Row], result: Result, count: int) -> str:
    """Returns the report."""
    own = defaultdict[str, float](float)
    for row in found:
        own[row.room] += row.own_us
    whole = sum(own.values())
    cost = 1e6 * result.cpu_s / result.calls
    lines = [
        f"{result.calls} calls; {cost:.0f} µs of CPU per call with the profiler, of which it accounts for {whole:.0f}.",
        "",
        "| room | own µs per call | share |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {us:.1f} | {us / whole:.0%} |" for name, us in sorted(own.items(), key=lambda item: -item[1])),
        "",
        "| own µs | with below µs | times per call | function | room |",
        "| ---: | ---: | ---: | --- | --- |",
        *(
            f"| {row.own_us:.1f} | {row.total_us:.1f} | {row.calls:.1f} | `{row.place}` | {row.room} |"
            for row in found[:count]
        ),
    ]
    return "\n".join(lines)


async def loaded(gateway: Child, plan: Gateway, kind: str, file: Path) -> Result:
    """Warms the gateway up, then loads it with the profiler on."""
    async with plan.caller(gateway.address) as caller:
        contestant = Contestant(gateway, caller)
        await load.warm_up(contestant)
        gateway.signal(signal.SIGUSR1)
        result = await LOADS[kind](contestant)
        gateway.signal(signal.SIGUSR2)
        deadline = time.perf_counter() + WRITTEN_S
        while not file.exists():
            if time.perf_counter() > deadline:
                raise RuntimeError("the profiler wrote nothing")
            await asyncio.sleep(0.05)
    return result


def main() -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.hotspots", description=__doc__)
    parser.add_argument("--load", choices=tuple(LOADS), default="unary")
    parser.add_argument("--plain", action="store_true", help="with default settings, the gRPC library included")
    parser.add_argument("--transport", choices=("http2", "grpcio"), default="http2", help="of the door")
    parser.add_argument("--rows", type=int, default=40, help="how many functions are listed")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        provider = stack.enter_context(child("provider", ["-m", "tests.bench.provider"]))
        plan = gateways.everything(provider.address, chosen.transport)
        if chosen.plain:
            plan = gateways.plain(provider.address)
        file = folder / "profile.json"
        command = ("-m", "tests.bench.profiled", str(file))
        gateway = stack.enter_context(plan.started("gateway under the profiler", folder, command))
        result = run_loop(loaded(gateway, plan, chosen.load, file))
        found = rows(json.loads(file.read_text(encoding="utf-8")), result.calls)
    print(table(found, result, chosen.rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
