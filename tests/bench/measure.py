"""The comparison: every scenario for every contestant in turn, in rounds, so that a drift of the machine meets all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

from tests.bench import load, payloads
from tests.bench.load import Contestant, Result, percentile
from tests.bench.payloads import Kind

DIRECT = "direct"
"""The contestant whose process is the provider: its costs are those of the mock."""
LOAD_SHARE = 0.3
"""Share of a core that a contestant uses while latencies are measured."""
MIN_CALLS = 40
"""Of a latency: fewer have no percentiles."""
MIN_STREAMS = 4


@dataclass(slots=True, frozen=True)
class Length:
    """How long things take."""

    rounds: int
    seconds: float
    """Of one measurement."""
    paced_streams: int
    quick_streams: int
    starts: int
    """How often the time to ready is measured."""
    axes: tuple[str, ...]
    """What is made ten times larger to see how costs grow."""
    crowds: tuple[str, ...]
    """Who gets a thousand streams: `thin`, `library`, `all`."""
    limit_s: float
    """The run gives up after this."""


SHORT = Length(
    rounds=2,
    seconds=0.2,
    paced_streams=40,
    quick_streams=6,
    starts=1,
    axes=("all",),
    crowds=("all",),
    limit_s=240.0,
)
FULL = Length(
    rounds=6,
    seconds=0.8,
    paced_streams=80,
    quick_streams=8,
    starts=3,
    axes=("keys", "models", "targets", "rules", "all"),
    crowds=("thin", "library", "all"),
    limit_s=1200.0,
)
LENGTHS = {"short": SHORT, "full": FULL}


@dataclass(slots=True)
class Figures:
    """What was measured of one contestant, one value per round."""

    start_s: float = 0.0
    rss_idle_mb: float = 0.0
    rss_after_mb: float = 0.0
    values: dict[str, list[float]] = field(default_factory=dict)

    def note(self, name: str, value: float) -> None:
        """Takes in one value."""
        self.values.setdefault(name, []).append(value)

    def mid(self, name: str) -> float:
        """Returns the median over the rounds."""
        return median(self.values[name])

    def over(self, other: Figures, name: str) -> float:
        """Returns the median of the ratios inside each round: drift between rounds cancels out."""
        pairs = zip(self.values[name], other.values[name], strict=True)
        return median(mine / theirs for mine, theirs in pairs)

    def above(self, other: Figures, name: str) -> float:
        """Returns the median of the differences inside each round."""
        pairs = zip(self.values[name], other.values[name], strict=True)
        return median(mine - theirs for mine, theirs in pairs)


async def compare(
    length: Length, contestants: Mapping[str, Contestant], ours: str, say: Callable[[str], None]
) -> dict[str, Figures]:
    """Measures.

    Args:
        contestants: by name; one of them is DIRECT.
        ours: name of the contestant whose cost decides the rate of calls and the number of paced streams at which
            latencies are measured. One that costs more gets fewer in proportion.
        say: told what is being measured.
    """
    figures = {
        name: Figures(start_s=each.child.ready_s, rss_idle_mb=each.child.rss_mb()) for name, each in contestants.items()
    }
    for contestant in contestants.values():
        await load.warm_up(contestant)
    for number in range(1, length.rounds + 1):
        say(f"round {number} of {length.rounds}")
        for label, scenario in _saturated(length):
            for name, contestant in contestants.items():
                _note_cost(figures[name], label, await scenario(contestant))
        costs = {name: each.values["unary 32: µs per call"][-1] for name, each in figures.items()}
        shares = {name: min(1.0, costs[ours] / cost) for name, cost in costs.items()}
        for name, contestant in contestants.items():
            rate = shares[name] * LOAD_SHARE * 1e6 / costs[ours]
            await _note_latency(figures[name], contestant, rate, 1.5 * length.seconds)
        for label, kind, streams in (
            ("quick", payloads.QUICK, length.quick_streams),
            ("paced", payloads.PACED, length.paced_streams),
        ):
            for name, contestant in contestants.items():
                count = max(MIN_STREAMS, round(shares[name] * streams))
                _note_cost(figures[name], label, await load.paced_streams(contestant, kind, streams=count))
    for name, contestant in contestants.items():
        figures[name].rss_after_mb = contestant.child.rss_mb()
    return figures


Scenario = Callable[[Contestant], Awaitable[Result]]


def _saturated(length: Length) -> tuple[tuple[str, Scenario], ...]:
    def unary(in_flight: int) -> Scenario:
        return lambda contestant: load.unary_closed(contestant, in_flight=in_flight, seconds=length.seconds)

    def streams(kind: Kind) -> Scenario:
        return lambda contestant: load.stream_closed(contestant, kind, in_flight=8, seconds=length.seconds)

    return (
        ("unary 1", unary(1)),
        ("unary 32", unary(32)),
        ("once", streams(payloads.ONCE)),
        ("pieces", streams(payloads.PIECES)),
    )


def _note_cost(figures: Figures, label: str, result: Result) -> None:
    figures.note(f"{label}: µs per call", 1e6 * result.cpu_s / result.calls)
    if result.tokens:
        figures.note(f"{label}: µs per token", 1e6 * result.cpu_s / result.tokens)
        figures.note(f"{label}: messages per stream", result.messages / result.calls)
        figures.note(f"{label}: first token p50 ms", 1e3 * percentile(result.first_token_s, 0.5))
        figures.note(f"{label}: first token p99 ms", 1e3 * percentile(result.first_token_s, 0.99))


async def _note_latency(figures: Figures, contestant: Contestant, rate: float, seconds: float) -> None:
    result = await load.unary_open(contestant, rate=rate, seconds=max(seconds, MIN_CALLS / rate))
    figures.note("rate: calls per second", rate)
    figures.note("rate: p50 ms", 1e3 * percentile(result.latencies_s, 0.5))
    figures.note("rate: p99 ms", 1e3 * percentile(result.latencies_s, 0.99))
