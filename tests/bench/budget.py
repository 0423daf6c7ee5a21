"""The budget: what each figure may be, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.crowd import Crowd
from tests.bench.growth import PROMPT_KB, Growth
from tests.bench.measure import DIRECT, Figures


@dataclass(slots=True, frozen=True)
class Run:
    """Everything that one run measured."""

    figures: Mapping[str, Figures]
    growth: Growth
    crowds: Mapping[str, Crowd]
    """By name of the contestant; empty where the system allows too few open files."""
    starts_s: Mapping[str, Sequence[float]]
    """Times from start to ready, of those that were started again and again."""
    thin: str
    plain: str
    """Our gateway as it is without settings."""
    library: str
    """Our gateway with every feature switched on, and the gRPC library as the door's transport."""
    everything: str
    """The same with HTTP/2 on the loop. The budget is for this one."""
    peer: str


Reading = Callable[[Run, str], float | None]
"""Returns a figure of one of our gateways, None when it was not measured."""


@dataclass(slots=True, frozen=True)
class Line:
    """One line of the budget. Smaller is better, except where a figure is `at_least`."""

    label: str
    read: Reading
    budget: float
    stretch: float | None
    form: str = "{:.2f}×"
    at_least: bool = False

    def verdict(self, value: float | None) -> str:
        """Returns how a value stands to the budget."""
        if value is None:
            return "not measured"
        if self.stretch is not None and self._good(value, self.stretch):
            return "within, stretch too"
        return "within" if self._good(value, self.budget) else "**missed**"

    def shown(self, value: float | None) -> str:
        """Returns a figure as it is printed."""
        return "–" if value is None else self.form.format(value)

    def bound(self, value: float | None) -> str:
        """Returns a bound as it is printed."""
        return "" if value is None else f"{'≥' if self.at_least else '≤'} {self.form.format(value)}"

    def _good(self, value: float, bound: float) -> bool:
        return value >= bound if self.at_least else value <= bound


def _ratio(key: str) -> Reading:
    return lambda run, name: run.figures[name].over(run.figures[run.thin], key)


def _added(key: str) -> Reading:
    return lambda run, name: run.figures[name].above(run.figures[DIRECT], key)


def _calls_per_core(run: Run, name: str) -> float | None:
    if run.peer not in run.figures:
        return None
    return run.figures[run.peer].over(run.figures[name], "unary 32: µs per call")


def _growth(axis: str) -> Reading:
    return lambda run, name: run.growth.times(axis) if name == run.everything and axis in run.growth.sizes else None


def _linear(run: Run, name: str) -> float | None:
    short, middle, long = PROMPT_KB
    return run.growth.per_kb(middle, long) / run.growth.per_kb(short, middle) if name == run.everything else None


def _start(run: Run, name: str) -> float | None:
    return min(run.starts_s[name], default=None)


def _crowd(read: Callable[[Crowd], float]) -> Reading:
    return lambda run, name: read(run.crowds[name]) if name in run.crowds else None


BUDGET = (
    Line("unary CPU ÷ thinnest, 1 in flight", _ratio("unary 1: µs per call"), 1.6, 1.3),
    Line("unary CPU ÷ thinnest, 32 in flight", _ratio("unary 32: µs per call"), 1.6, 1.3),
    Line("saturated stream, CPU per token ÷ thinnest, written at once", _ratio("once: µs per token"), 1.6, 1.3),
    Line("saturated stream, CPU per token ÷ thinnest, in 20 pieces", _ratio("pieces: µs per token"), 1.6, 1.3),
    Line("unary calls per core ÷ LiteLLM's", _calls_per_core, 15, 22, "{:.1f}×", at_least=True),
    Line("added latency at 30 % load, p50", _added("rate: p50 ms"), 1.0, 0.6, "{:.2f} ms"),
    Line("added latency at 30 % load, p99", _added("rate: p99 ms"), 4.0, 2.0, "{:.2f} ms"),
    Line("added time to first token, p50", _added("paced: first token p50 ms"), 1.5, 1.0, "{:.2f} ms"),
    Line("CPU per call at 10 × the keys", _growth("keys"), 1.1, None),
    Line("CPU per call at 10 × the models", _growth("models"), 1.1, None),
    Line("CPU per call at 10 × the targets of a model", _growth("targets"), 1.1, None),
    Line("CPU per call at 10 × the rules of the screen", _growth("rules"), 1.1, None),
    Line("CPU per call at 10 × all of these", _growth("all"), 1.1, None),
    Line("CPU per KB of prompt, 100 to 200 KB ÷ 1 to 100 KB", _linear, 1.25, None),
    Line("memory, idle", lambda run, name: run.figures[name].rss_idle_mb, 120, 80, "{:.0f} MB"),
    Line("memory, under load", lambda run, name: run.figures[name].rss_after_mb, 200, 130, "{:.0f} MB"),
    Line("memory, 1,000 open streams", _crowd(lambda crowd: crowd.peak_mb), 200, 130, "{:.0f} MB"),
    Line("start to ready", _start, 1.5, 0.7, "{:.2f} s"),
    Line("1,000 streams, cores", _crowd(lambda crowd: crowd.cores), 1.0, 0.67, "{:.2f}"),
    Line("1,000 streams, longest stall", _crowd(lambda crowd: crowd.worst_stall_ms), 500, None, "{:.0f} ms"),
)
