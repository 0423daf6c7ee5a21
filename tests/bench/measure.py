"""One run: every scenario for every contestant in turn, in rounds, so that drift of the machine meets all alike."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench import load
from tests.bench.load import Caller, Result
from tests.bench.processes import Child

DIRECT = "direct"
LOAD_SHARE = 0.3
"""Share of a core that the gateway uses while latencies are measured."""


@dataclass(slots=True, frozen=True)
class Length:
    """How long things take."""

    rounds: int
    seconds: float
    """Of one measurement."""
    paced_streams: int


SHORT = Length(rounds=2, seconds=0.2, paced_streams=40)
FULL = Length(rounds=6, seconds=0.8, paced_streams=80)


@dataclass(slots=True)
class Figures:
    """What was measured of one contestant, one value per round."""

    start_s: float = 0.0
    rss_idle_mb: float = 0.0
    rss_after_mb: float = 0.0
    values: dict[str, list[float]] = field(default_factory=dict)

    def note(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)


async def run(
    length: Length, callers: Mapping[str, tuple[Child, Caller]], ours: str, say: Callable[[str], None]
) -> dict[str, Figures]:
    """Measures.

    Args:
        callers: contestants by name, and DIRECT, whose process is the provider.
        ours: name of the contestant whose cost decides the rate of the latency scenario.
        say: told what is being measured.
    """
    figures = {name: Figures() for name in callers}
    servers = [name for name in callers if name != DIRECT]
    for name in servers:
        child, caller = callers[name]
        figures[name].start_s, figures[name].rss_idle_mb = child.ready_s, child.rss_mb()
    for name in callers:
        await _warm_up(*callers[name])
    for number in range(1, length.rounds + 1):
        say(f"round {number} of {length.rounds}")
        for label, scenario in _closed_scenarios(length):
            for name in servers:
                result = await scenario(*callers[name])
                _note_cost(figures[name], label, result)
        rate = LOAD_SHARE * 1e6 / figures[ours].values["unary 32: µs per call"][-1]
        for name, (child, caller) in callers.items():
            result = await load.unary_open(child, caller, rate=rate, seconds=1.5 * length.seconds)
            figures[name].note("rate: calls per second", rate)
            figures[name].note("rate: p50 ms", 1e3 * percentile(result.latencies_s, 0.5))
            figures[name].note("rate: p99 ms", 1e3 * percentile(result.latencies_s, 0.99))
        for name, (child, caller) in callers.items():
            result = await load.paced_streams(child, caller, streams=length.paced_streams)
            figures[name].note("paced: first token p50 ms", 1e3 * percentile(result.first_token_s, 0.5))
            figures[name].note("paced: first token p99 ms", 1e3 * percentile(result.first_token_s, 0.99))
            _note_cost(figures[name], "paced", result)
    for name in servers:
        figures[name].rss_after_mb = callers[name][0].rss_mb()
    return figures


Scenario = Callable[[Child, Caller], Coroutine[Any, Any, Result]]


def _closed_scenarios(length: Length) -> Sequence[tuple[str, Scenario]]:
    def unary(in_flight: int) -> Scenario:
        return lambda child, caller: load.unary_closed(child, caller, in_flight=in_flight, seconds=length.seconds)

    def stream(kind: str) -> Scenario:
        return lambda child, caller: load.stream_closed(child, caller, kind, in_flight=8, seconds=length.seconds)

    return (("unary 1", unary(1)), ("unary 32", unary(32)), ("once", stream("once")), ("pieces", stream("pieces")))


def _note_cost(figures: Figures, label: str, result: Result) -> None:
    figures.note(f"{label}: µs per call", 1e6 * result.cpu_s / result.calls)
    if result.tokens:
        figures.note(f"{label}: µs per token", 1e6 * result.cpu_s / result.tokens)
        figures.note(f"{label}: messages per stream", result.messages / result.calls)


async def _warm_up(child: Child, caller: Caller) -> None:
    await load.unary_closed(child, caller, in_flight=8, seconds=0.3)
    for kind in ("once", "pieces"):
        await load.stream_closed(child, caller, kind, in_flight=4, seconds=0.15)


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the value that `share` of all do not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]
