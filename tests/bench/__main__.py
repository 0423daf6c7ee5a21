"""Measures what a call costs in the gateway, beside a bare echo and the thinnest gateway, all in one run.

`make bench`, or `python -m tests.bench --length short|full [--out report.md]`. It stays on loopback, takes less than
45 seconds (short) or 4 minutes (full), and prints a Markdown report; `docs/performance.md` explains the figures. It
judges nothing: it fails only when a call fails.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc.aio

from llmgateway_server.cli.serve import run_loop
from llmgateway_server.providers.wire.port import WireError
from tests.bench import measure, payloads, report
from tests.bench.load import Caller, CallFailedError, DirectCaller, GrpcCaller
from tests.bench.processes import Child, child

ECHO, THIN, OURS, RECORDING = "echo", "thinnest", "gateway", "gateway, records on"


def gateway_settings(provider: str, *, records: bool) -> dict[str, Any]:
    """Returns the gateway's settings: one account per way in which the provider answers."""
    return {
        "providers": {
            kind: {
                "vendor": "openai-compatible",
                "base_url": f"http://{provider}/{kind}/v1",
                "api_key": "benchmark",
            }
            for kind in payloads.KINDS
        },
        "records": records,
        # The machine is shared with callers and provider, and others: refusing under load is not what is measured.
        "gate": {"max_loop_lag_s": 30.0},
        # One caller here is as fast as thousands elsewhere.
        "throttle": {"calls_per_minute": 1_000_000_000, "calls_burst": 1_000_000},
    }


async def bench(length: measure.Length, out: Path | None) -> int:
    began = time.perf_counter()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        provider = stack.enter_context(child("provider", ["-m", "tests.bench.provider"]))
        children: dict[str, Child] = {}
        for name, kind in ((ECHO, "echo"), (THIN, "thin")):
            arguments = ["-m", "tests.bench.contestants", kind, provider.address]
            children[name] = stack.enter_context(child(name, arguments))
        for name, records in ((OURS, False), (RECORDING, True)):
            config = folder / f"records-{records}.yaml"
            config.write_text(json.dumps(gateway_settings(provider.address, records=records)))  # JSON is YAML
            arguments = ["-m", "llmgateway_server", "serve", "--config", str(config), "--listen", "127.0.0.1:0"]
            children[name] = stack.enter_context(child(name, arguments, ready_on="stderr"))
        callers: dict[str, tuple[Child, Caller]] = {
            name: (server, await stack.enter_async_context(GrpcCaller(server))) for name, server in children.items()
        }
        callers[measure.DIRECT] = (provider, await stack.enter_async_context(DirectCaller(provider)))
        figures = await measure.run(length, callers, OURS, lambda text: print(text, file=sys.stderr))
        text = report.markdown(figures, length, THIN, provider.rss_mb())
    print(text)
    print(f"took {time.perf_counter() - began:.0f} s", file=sys.stderr)
    if out is not None:
        out.write_text(text, encoding="utf-8")
    return 0


async def reported(main: Coroutine[Any, Any, int]) -> int:
    """Turns a failed call into an exit code and a line."""
    try:
        return await main
    except* (CallFailedError, WireError, grpc.aio.AioRpcError, OSError) as errors:
        print(f"a call failed: {errors.exceptions[0]!r}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--length", choices=("short", "full"), default="full")
    parser.add_argument("--out", type=Path, help="also write the report to this file")
    chosen = parser.parse_args()
    lengths = {"short": measure.SHORT, "full": measure.FULL}
    sys.exit(run_loop(reported(bench(lengths[chosen.length], chosen.out))))
