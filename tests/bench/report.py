"""The report: Markdown tables of medians over the rounds, each with its ratio inside the same run."""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from statistics import median

from tests.bench import payloads
from tests.bench.measure import DIRECT, Figures, Length

COSTS = (
    ("unary, 1 in flight: µs per call", "unary 1: µs per call"),
    ("unary, 32 in flight: µs per call", "unary 32: µs per call"),
    ("stream written at once, 8 in flight: µs per token", "once: µs per token"),
    (f"stream written in {payloads.WRITES} pieces, 8 in flight: µs per token", "pieces: µs per token"),
    ("stream at 20 tokens/s: µs per token", "paced: µs per token"),
)
MESSAGES = (
    ("written at once", "once: messages per stream"),
    (f"in {payloads.WRITES} pieces", "pieces: messages per stream"),
    ("at 20 tokens/s", "paced: messages per stream"),
)
LATENCIES = (
    ("unary p50", "rate: p50 ms"),
    ("unary p99", "rate: p99 ms"),
    ("time to first token p50", "paced: first token p50 ms"),
    ("time to first token p99", "paced: first token p99 ms"),
)


def markdown(figures: Mapping[str, Figures], length: Length, thin: str, provider_mb: float) -> str:
    """Returns the report."""
    servers = [name for name in figures if name != DIRECT]
    software = f"Python {platform.python_version()}, grpcio {version('grpcio')}, {_loop()}"
    lines = [
        f"{software}; {os.cpu_count()} cores for all; {length.rounds} × {length.seconds} s per figure.",
        "",
        "CPU of the process, and in brackets the ratio to the thinnest gateway:",
        "",
        *_head("cost", servers),
    ]
    for label, key in COSTS:
        cells = [f"{_mid(figures[name], key):,.1f} ({_ratio(figures, name, thin, key):.2f}×)" for name in servers]
        lines.append(_row(label, cells))
    lines += ["", "Messages per stream, which streamed costs depend on:", "", *_head("stream", servers)]
    lines += [_row(label, [f"{_mid(figures[name], key):.1f}" for name in servers]) for label, key in MESSAGES]
    rate = _mid(figures[DIRECT], "rate: calls per second")
    lines += [
        "",
        f"Latency in milliseconds ({rate:.0f} calls/s), and in brackets what is added to a direct call:",
        "",
        *_head("latency", [DIRECT, *servers]),
    ]
    for label, key in LATENCIES:
        direct = _mid(figures[DIRECT], key)
        cells = [f"{_mid(figures[name], key):.2f} (+{_mid(figures[name], key) - direct:.2f})" for name in servers]
        lines.append(_row(label, [f"{direct:.2f}", *cells]))
    lines += ["", "The process:", "", *_head("process", servers)]
    lines.append(_row("start to ready, s", [f"{figures[name].start_s:.2f}" for name in servers]))
    lines.append(_row("resident memory idle, MB", [f"{figures[name].rss_idle_mb:.0f}" for name in servers]))
    lines.append(_row("resident memory after, MB", [f"{figures[name].rss_after_mb:.0f}" for name in servers]))
    lines += ["", f"(The mock provider took {provider_mb:.0f} MB.)"]
    return "\n".join(lines) + "\n"


def _loop() -> str:
    return f"uvloop {version('uvloop')}" if importlib.util.find_spec("uvloop") else "asyncio's own loop"


def _mid(figures: Figures, key: str) -> float:
    return median(figures.values[key])


def _ratio(figures: Mapping[str, Figures], name: str, thin: str, key: str) -> float:
    """Returns the median of the ratios inside each round: drift between rounds cancels out."""
    pairs = zip(figures[name].values[key], figures[thin].values[key], strict=True)
    return median(mine / theirs for mine, theirs in pairs)


def _head(first: str, names: list[str]) -> list[str]:
    return [_row(first, names), _row("---", ["---:" for _ in names])]


def _row(label: str, cells: list[str]) -> str:
    return f"| {' | '.join([label, *cells])} |"
