"""The report: Markdown tables of medians over the rounds, each with its ratio inside the same run."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

from tests.bench import payloads
from tests.bench.budget import BUDGET, Run
from tests.bench.growth import BASE, FACTOR
from tests.bench.loops import loop_name
from tests.bench.measure import DIRECT, Figures, Length

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
"""Between these lines a page holds the report of its last run."""

COSTS = (
    ("unary, 1 in flight: µs per call", "unary 1: µs per call"),
    ("unary, 32 in flight: µs per call", "unary 32: µs per call"),
    ("stream written at once, 8 in flight: µs per token", "once: µs per token"),
    (f"stream written in {payloads.PIECES.writes} pieces, 8 in flight: µs per token", "pieces: µs per token"),
    ("stream at 200 tokens/s: µs per token", "quick: µs per token"),
    ("stream at 20 tokens/s: µs per token", "paced: µs per token"),
)
MESSAGES = (
    ("written at once", "once: messages per stream"),
    (f"in {payloads.PIECES.writes} pieces", "pieces: messages per stream"),
    ("at 200 tokens/s", "quick: messages per stream"),
    ("at 20 tokens/s", "paced: messages per stream"),
)
LATENCIES = (
    ("calls per second", "rate: calls per second"),
    ("unary p50", "rate: p50 ms"),
    ("unary p99", "rate: p99 ms"),
    ("time to first token p50", "paced: first token p50 ms"),
    ("time to first token p99", "paced: first token p99 ms"),
)


def markdown(run: Run, length: Length, notes: Sequence[str]) -> str:
    """Returns the report.

    Args:
        notes: sentences on the machine, and on who did not take part.
    """
    servers = [name for name in run.figures if name != DIRECT]
    software = f"Python {platform.python_version()}, grpcio {version('grpcio')}, {loop_name()}"
    shared = f"{os.cpu_count()} cores shared by callers, contestants and provider"
    blocks = [
        [" ".join([f"{software}; {shared}; {length.rounds} × {length.seconds} s per figure.", *notes])],
        _budget(run),
        [f"CPU of the process, and in brackets the ratio to the {run.thin} gateway:"],
        _costs(run, servers),
        ["Messages per stream, which streamed costs depend on:"],
        _table("stream", servers, MESSAGES, lambda name, key: f"{run.figures[name].mid(key):.1f}"),
        ["Latency in milliseconds, and in brackets what is added to a direct call:"],
        _table("latency", [DIRECT, *servers], LATENCIES, lambda name, key: _latency(run, name, key)),
        ["The process:"],
        _processes(run, servers),
        *_growth(run),
        *_crowds(run),
        [_provider(run.figures[DIRECT])],
    ]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def pasted(page: str, report: str) -> str:
    """Returns a page with this report between its marks.

    Raises:
        ValueError: the page has no marks, or not in this order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs a line {BEGIN} and below it a line {END}")
    return f"{before}{BEGIN}\n{report.strip()}\n{END}{after}"


def paste(page: Path, report: str) -> None:
    """Puts a report into a page; see `pasted`."""
    page.write_text(pasted(page.read_text(encoding="utf-8"), report), encoding="utf-8")


def _budget(run: Run) -> list[str]:
    """Returns the budget, and how both transports stand to it."""
    judged = (run.everything, run.library)
    lines = _head("figure", ["budget", "stretch", *(each for name in judged for each in (name, "verdict")), run.plain])
    for line in BUDGET:
        cells = [line.bound(line.budget), line.bound(line.stretch)]
        for name in judged:
            measured = line.read(run, name)
            cells += [line.shown(measured), line.verdict(measured)]
        lines.append(_row(line.label, [*cells, line.shown(line.read(run, run.plain))]))
    return lines


def _costs(run: Run, servers: list[str]) -> list[str]:
    def cell(name: str, key: str) -> str:
        return f"{run.figures[name].mid(key):,.1f} ({run.figures[name].over(run.figures[run.thin], key):.2f}×)"

    return _table("cost", servers, COSTS, cell)


def _latency(run: Run, name: str, key: str) -> str:
    figures, direct = run.figures[name], run.figures[DIRECT]
    if key.endswith("per second"):
        return f"{figures.mid(key):.0f}"
    added = "" if name == DIRECT else f" ({figures.above(direct, key):+.2f})"
    return f"{figures.mid(key):.2f}{added}"


def _processes(run: Run, servers: list[str]) -> list[str]:
    rows: tuple[tuple[str, Callable[[str], str]], ...] = (
        ("start to ready, s", lambda name: f"{min(run.starts_s[name]):.2f}"),
        ("resident memory idle, MB", lambda name: f"{run.figures[name].rss_idle_mb:.0f}"),
        ("resident memory after, MB", lambda name: f"{run.figures[name].rss_after_mb:.0f}"),
    )
    return [*_head("process", servers), *(_row(label, [read(name) for name in servers]) for label, read in rows)]


def _growth(run: Run) -> list[list[str]]:
    growth = run.growth
    sizes = [
        _row(axis if axis == BASE else f"{FACTOR} × {axis}", [f"{median(costs):,.1f}", f"{growth.times(axis):.2f}×"])
        for axis, costs in growth.sizes.items()
    ]
    prompts = [_row(f"{kb} KB", [f"{median(costs):,.1f}"]) for kb, costs in growth.prompts.items()]
    return [
        ["Growth of the cost with what the gateway has to know, unary calls, 16 in flight:"],
        [*_head("size", ["µs per call", "ratio"]), *sizes],
        ["Growth with the length of the prompt:"],
        [*_head("prompt", ["µs per call"]), *prompts],
    ]


def _crowds(run: Run) -> list[list[str]]:
    if not run.crowds:
        return [["1,000 streams were left out: the system allows too few open files."]]
    rows = [
        _row(
            name,
            [
                f"{len(crowd.streams):,}",
                f"{crowd.cores:.2f}",
                f"{crowd.tokens_per_message:.1f}",
                f"{crowd.worst_stall_ms:.0f} ms",
                f"{crowd.stalled}",
                f"{crowd.first_token_ms:.0f} ms",
                f"{1e3 * crowd.caller_lag_s:.0f} ms",
                f"{crowd.peak_mb:.0f} MB",
            ],
        )
        for name, crowd in run.crowds.items()
    ]
    columns = [
        "complete",
        "cores",
        "tokens per message",
        "longest stall",
        "stalled streams",
        "first token p50",
        "longest stall of the caller itself",
        "peak memory",
    ]
    return [["1,000 open streams at 20 tokens/s each:"], [*_head("gateway", columns), *rows]]


def _provider(direct: Figures) -> str:
    unary, saturated = direct.mid("unary 32: µs per call"), direct.mid("pieces: µs per token")
    return (
        f"The mock provider, called directly, took {unary:.1f} µs of CPU per unary call, {saturated:.2f} per token of "
        f"a saturated stream, {direct.mid('paced: µs per token'):.0f} per token at 20 tokens/s, and "
        f"{direct.rss_after_mb:.0f} MB."
    )


def _table(first: str, names: list[str], rows: Sequence[tuple[str, str]], cell: Callable[[str, str], str]) -> list[str]:
    return [*_head(first, names), *(_row(label, [cell(name, key) for name in names]) for label, key in rows)]


def _head(first: str, names: Sequence[str]) -> list[str]:
    return [_row(first, names), _row("---", ["---:" for _ in names])]


def _row(label: str, cells: Sequence[str]) -> str:
    return f"| {' | '.join([label, *cells])} |"
