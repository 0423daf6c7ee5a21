"""Measures what a call costs in the gateway, beside a bare echo, the thinnest gateway and LiteLLM's proxy, in one run.

`make bench`, or `python -m tests.bench --length short|full [--out report.md] [--paste docs/performance.md]`. It stays
on loopback, takes about a minute (short) or seven (full), and prints a Markdown report; `docs/performance.md` explains
the figures. It judges nothing: it fails only when a call fails. Ctrl-C and SIGTERM end it and all its processes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench import crowd, gateways, growth, measure, payloads, peers, report
from tests.bench.budget import Run
from tests.bench.callers import FAILED, Caller, GrpcCaller, HttpCaller, pinned
from tests.bench.crowd import Crowd
from tests.bench.frames import StreamCaller
from tests.bench.gateways import Gateway
from tests.bench.load import Contestant
from tests.bench.loops import run_loop
from tests.bench.measure import DIRECT, Figures, Length
from tests.bench.processes import Child, child

ECHO, THIN, PLAIN, LIBRARY, EVERYTHING = "echo", "thinnest", "gateway", "all on, grpcio", "all on, http2"
CROWDS = {"thin": THIN, "library": LIBRARY, "all": EVERYTHING}


def say(text: str) -> None:
    """Tells what is going on."""
    print(text, file=sys.stderr, flush=True)


@dataclass(slots=True, frozen=True)
class Entry:
    """One that takes part. Callers belong to the loop that they are made in."""

    process: Child
    caller: Callable[[], Caller]
    frames: Callable[[], StreamCaller] | None = None
    """Makes a caller of a thousand streams, for those that get them."""


def ours(provider: Child) -> dict[str, Gateway]:
    """Returns our gateways by name."""
    return {
        PLAIN: gateways.plain(provider.address),
        LIBRARY: gateways.everything(provider.address, "grpcio"),
        EVERYTHING: gateways.everything(provider.address, "http2"),
    }


def assemble(stack: ExitStack, folder: Path, provider: Child) -> dict[str, Entry]:
    """Starts everybody."""
    entries = {DIRECT: Entry(provider, partial(HttpCaller.direct, provider.address))}
    for name, kind in ((ECHO, "echo"), (THIN, "thin")):
        bare = stack.enter_context(child(name, ["-m", "tests.bench.contestants", kind, provider.address]))
        frames = partial(StreamCaller, bare.address, pinned(payloads.LASTING))
        entries[name] = Entry(bare, partial(GrpcCaller, bare.address), frames)
    for name, plan in ours(provider).items():
        gateway = stack.enter_context(plan.started(name, folder))
        frames = partial(plan.frames, gateway.address, payloads.LASTING)
        entries[name] = Entry(gateway, partial(plan.caller, gateway.address), frames)
    if (peer := stack.enter_context(peers.litellm(provider.address, folder))) is not None:
        entries[peers.LITELLM] = Entry(peer.child, peer.caller)
    return entries


def starts(entries: Mapping[str, Entry], folder: Path, provider: Child, times: int) -> dict[str, list[float]]:
    """Returns times from start to ready: one of each that runs, and of our gateways so many."""
    found = {name: [entry.process.ready_s] for name, entry in entries.items()}
    for _ in range(times - 1):
        for name, plan in ours(provider).items():
            with plan.started(f"{name} again", folder) as again:
                found[name].append(again.ready_s)
    return found


async def compared(entries: Mapping[str, Entry], length: Length) -> tuple[dict[str, Figures], Mapping[str, Crowd]]:
    """Compares everybody, then opens the thousand streams."""
    async with AsyncExitStack() as stack, asyncio.timeout(length.limit_s):
        contestants = {
            name: Contestant(entry.process, await stack.enter_async_context(entry.caller()))
            for name, entry in entries.items()
        }
        figures = await measure.compare(length, contestants, EVERYTHING, say)
        crowds: dict[str, Crowd] = {}
        if crowd.room_for_files():
            for name in (CROWDS[key] for key in length.crowds):
                say(f"{crowd.STREAMS} streams: {name}")
                crowds[name] = await crowded(entries[name])
    return figures, crowds


async def crowded(entry: Entry) -> Crowd:
    """Opens a thousand streams to one that takes part."""
    if entry.frames is None:
        raise RuntimeError(f"{entry.process.name} cannot be given a thousand streams")
    async with entry.frames() as caller:
        return await crowd.measure(entry.process, caller)


def bench(length: Length) -> str:
    """Returns the report of one run.

    Raises:
        RuntimeError: a process did not start; see also `callers.FAILED`.
    """
    others = os.getloadavg()[0]
    crowd.room_for_files()  # before anybody inherits the limit
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        provider = stack.enter_context(child("provider", ["-m", "tests.bench.provider"]))
        with ExitStack() as running:
            chosen = assemble(running, folder, provider)
            found = starts(chosen, folder, provider, length.starts)
            figures, crowds = run_loop(compared(chosen, length))
        grown = growth.measure(
            provider, folder, length.axes, rounds=max(3, length.rounds), seconds=length.seconds, say=say
        )
    run = Run(
        figures=figures,
        growth=grown,
        crowds=crowds,
        starts_s=found,
        thin=THIN,
        plain=PLAIN,
        library=LIBRARY,
        everything=EVERYTHING,
        peer=peers.LITELLM,
    )
    busy = f"Load of the machine before the run, by others: {others:.1f} (a figure near 0 makes a good measurement)."
    return report.markdown(run, length, (busy, *peers.absent()))


def main() -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--length", choices=tuple(measure.LENGTHS), default="full")
    parser.add_argument("--out", type=Path, help="also write the report to this file")
    parser.add_argument("--paste", type=Path, help="also put the report between the marks of this page")
    chosen = parser.parse_args()
    # As Ctrl-C: everything unwinds, and no child is left behind.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    began = time.perf_counter()
    text, status = "", 0
    try:
        text = bench(measure.LENGTHS[chosen.length])
    except* FAILED as errors:
        say(f"a call failed: {_first(errors)!r}")
        status = 1
    except* KeyboardInterrupt:
        say("stopped")
        status = 130
    if status:
        return status
    print(text, flush=True)
    say(f"took {time.perf_counter() - began:.0f} s")
    if chosen.out is not None:
        chosen.out.write_text(text, encoding="utf-8")
    if chosen.paste is not None:
        report.paste(chosen.paste, text)
    return 0


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


if __name__ == "__main__":
    sys.exit(main())
