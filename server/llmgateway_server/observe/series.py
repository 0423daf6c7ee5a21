"""Counts by label values, with a bound on how many there are. Written to by the event loop alone, so without locks.

A new set of label values gets series of its own while there is room. After that the configured names in it become
`other`, and when there is no room for that either, all values do: those last series are set aside from the start, so
that nothing is ever lost and the bound always holds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import add

from llmgateway_server.core.money import usd_text
from llmgateway_server.observe.metrics import COST, MAX_SERIES, OPEN_LABELS, OTHER, Across, Kind, Metric

OWN_SHARE = 0.75
"""Share of the bound that sets with their own names may take; the rest is for sets with `other` in them."""

Labels = tuple[str, ...]
"""Values in the order of the metric's labels."""
Change = tuple[Labels, list[int | float]]
"""What one set of label values grew by: one amount, or for a histogram its buckets and the sum of what was observed."""


class Budget:
    """How many series there may be.

    Args:
        metrics: all of them; what each needs at least is taken from the start.
        limit: most series.

    Raises:
        ValueError: the limit leaves next to no room for label values.
    """

    def __init__(self, metrics: tuple[Metric, ...], limit: int = MAX_SERIES) -> None:
        self._limit = limit
        self._taken = sum(metric.width for metric in metrics)
        if self._taken > limit * OWN_SHARE / 2:
            raise ValueError(f"{limit} series are too few for {len(metrics)} metrics")

    def take(self, width: int, share: float) -> bool:
        """Takes room for `width` series, unless that would make more than `share` (0–1) of the bound."""
        if self._taken + width > self._limit * share:
            return False
        self._taken += width
        return True


class Family:
    """The series of one counter or labelled gauge.

    Args:
        metric: its row.
        budget: shared by all families.
        folded: called once for each observation that lost a name for want of room.
    """

    def __init__(self, metric: Metric, budget: Budget, folded: Callable[[], None]) -> None:
        self.metric = metric
        self._budget = budget
        self._folded = folded
        self._heads: dict[Labels, str] = {}
        self._values: dict[Labels, int] = {}
        self._write: Callable[[int], str] = usd_text if metric is COST else str
        if not metric.labels:
            self._make(())

    def add(self, labels: Labels, amount: int = 1) -> None:
        """Adds `amount`; money in nano-USD."""
        if labels not in self._values:
            labels = self._place(labels)
        self._values[labels] += amount

    def take(self) -> list[Change]:
        """Returns what was counted since the last time and begins at 0 again: somebody else keeps the sums."""
        taken: list[Change] = [(labels, [value]) for labels, value in self._values.items() if value]
        self._values = dict.fromkeys(self._values, 0)
        return taken

    def absorb(self, changes: Iterable[Change]) -> None:
        """Adds what another process took."""
        for labels, amounts in changes:
            self.add(labels, int(amounts[0]))

    def __len__(self) -> int:
        return len(self._heads) * self.metric.width

    def lines(self) -> Iterator[str]:
        """Yields the samples."""
        for labels, value in self._values.items():
            yield self._heads[labels] + self._write(value)

    def _place(self, labels: Labels) -> Labels:
        """Returns the label values under which something new is counted, and makes their series."""
        names = self.metric.labels
        without = tuple(OTHER if name in OPEN_LABELS else value for name, value in zip(names, labels, strict=True))
        for wanted, share in ((labels, OWN_SHARE), (without, 1.0)):
            if wanted in self._heads or self._budget.take(self.metric.width, share):
                break
        else:
            wanted = (OTHER,) * len(names)
        if wanted != labels:
            self._folded()
        if wanted not in self._heads:
            self._make(wanted)
        return wanted

    def _make(self, labels: Labels) -> None:
        self._heads[labels] = f"{self.metric.name}{_braces(self.metric.labels, labels)} "
        self._values[labels] = 0


class Level(Family):
    """The series of one labelled gauge that is read instead of counted: each reading replaces the one before."""

    def become(self, values: Mapping[Labels, int]) -> None:
        """Takes a reading; of values that share a series the largest counts, and who is no longer there is 0."""
        self._values = dict.fromkeys(self._values, 0)
        for labels, value in values.items():
            place = labels if labels in self._values else self._place(labels)
            self._values[place] = max(value, self._values[place])


class Histogram(Family):
    """The series of one histogram."""

    def __init__(self, metric: Metric, budget: Budget, folded: Callable[[], None]) -> None:
        self._bounds = metric.buckets
        self._cells: dict[Labels, list[float]] = {}
        """Observations by bucket, +Inf included, and last their sum."""
        self._bucket_heads: dict[Labels, tuple[str, ...]] = {}
        super().__init__(metric, budget, folded)

    def observe(self, labels: Labels, value: float) -> None:
        """Counts one observation."""
        cells = self._cells.get(labels)
        if cells is None:
            cells = self._cells[self._place(labels)]
        cells[bisect_left(self._bounds, value)] += 1
        cells[-1] += value

    def take(self) -> list[Change]:
        """See `Family.take`."""
        taken: list[Change] = [(labels, [*cells]) for labels, cells in self._cells.items() if any(cells)]
        for labels, _ in taken:
            self._cells[labels] = self._empty()
        return taken

    def absorb(self, changes: Iterable[Change]) -> None:
        """See `Family.absorb`."""
        for labels, amounts in changes:
            cells = self._cells.get(labels)
            if cells is None:
                cells = self._cells[self._place(labels)]
            cells[:] = map(add, cells, amounts)

    def lines(self) -> Iterator[str]:
        """Yields the samples; buckets are cumulative."""
        for labels, cells in self._cells.items():
            count = 0
            for head, observed in zip(self._bucket_heads[labels], cells[:-1], strict=True):
                count += int(observed)
                yield f"{head}{count}"
            tail = self._heads[labels]
            yield f"{self.metric.name}_sum{tail}{cells[-1]!r}"
            yield f"{self.metric.name}_count{tail}{count}"

    def _make(self, labels: Labels) -> None:
        names = self.metric.labels
        self._heads[labels] = f"{_braces(names, labels)} "
        self._bucket_heads[labels] = tuple(
            f"{self.metric.name}_bucket{_braces((*names, 'le'), (*labels, bound))} "
            for bound in (*(f"{bound:.1f}" for bound in self._bounds), "+Inf")
        )
        self._cells[labels] = self._empty()

    def _empty(self) -> list[float]:
        return [0] * (len(self._bounds) + 1) + [0.0]


def family_of(metric: Metric, budget: Budget, folded: Callable[[], None]) -> Family:
    """Returns the empty family of a row."""
    kind = Histogram if metric.kind is Kind.HISTOGRAM else Level if metric.across is Across.MAX else Family
    return kind(metric, budget, folded)


def _braces(names: tuple[str, ...], values: Labels) -> str:
    if not names:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
