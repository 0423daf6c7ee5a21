"""The figures of all workers together, kept by the parent: what one has reported stays when it is gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from llmgateway_server import __version__
from llmgateway_server.core.clock import Clock
from llmgateway_server.observe import metrics
from llmgateway_server.observe.counting import Counting
from llmgateway_server.observe.exposition import BETWEEN, OF_THE_PROCESS, Exposition, Reading
from llmgateway_server.observe.figures import View
from llmgateway_server.observe.metrics import METRICS, Across, Kind, Metric
from llmgateway_server.observe.series import Labels, Level
from llmgateway_server.observe.statistics import Figures, Period, Statistics
from llmgateway_server.workers.messages import Report


class Totals:
    """See the module. Workers are told apart by numbers that are not used again.

    Args:
        clock: its wall time decides the minute of what is reported.
    """

    def __init__(self, clock: Clock) -> None:
        self.counting = Counting()
        self._statistics = Statistics(clock, self.counting)
        self._latest: dict[int, dict[str, int | float]] = {}
        self._gone: dict[str, float] = {}
        """Counters of workers that ended."""
        self._read = [
            metric for metric in METRICS if metric.across is not Across.PARENT and metric not in self.counting.families
        ]
        """What workers read instead of counting it."""
        readings = {metric: self._reading(metric) for metric in self._read}
        levels = {
            metric: partial(self._level, metric)
            for metric, family in self.counting.families.items()
            if isinstance(family, Level)
        }
        self._exposition = Exposition(self.counting, __version__, clock.wall_s(), readings, levels)

    def absorb(self, worker: int, report: Report) -> None:
        """Adds what a worker counted, and takes its readings as they are now."""
        self._statistics.absorb(report.taken)
        self._latest[worker] = report.readings

    def forget(self, worker: int) -> None:
        """Keeps what a worker that ended had counted, and nothing else of it."""
        readings = self._latest.pop(worker, {})
        for metric in self._read:
            if metric.kind is Kind.COUNTER:
                self._gone[metric.name] = self._gone.get(metric.name, 0) + readings.get(metric.name, 0)

    def page(self) -> bytes:
        """Returns the page of metrics."""
        return self._exposition.text()

    def over(self, period: Period) -> View:
        """Returns the figures of a period."""
        return self._view(self._statistics.over(period))

    def recent(self) -> View:
        """Returns the figures of the last five minutes."""
        return self._view(self._statistics.recent())

    def reset(self) -> None:
        """Forgets the figures; counters for Prometheus go on."""
        self._statistics.reset()

    def _view(self, figures: Figures) -> View:
        statistics = self._statistics
        in_flight = int(self._combined(metrics.IN_FLIGHT))
        return View(figures, statistics.all_consecutive_failures(), statistics.uptime_s, in_flight)

    def _reading(self, metric: Metric) -> Reading:
        own: Callable[[], float | None] = OF_THE_PROCESS.get(metric, lambda: 0)

        def read() -> float | None:
            mine = own()
            return None if mine is None else mine + self._combined(metric)

        return read

    def _level(self, metric: Metric) -> Mapping[Labels, int]:
        """Returns a labelled gauge: for each of its label values that of the worst worker."""
        found: dict[Labels, int] = {}
        for readings in self._latest.values():
            for key, value in readings.items():
                name, *labels = key.split(BETWEEN)
                if name == metric.name:
                    found[*labels,] = max(int(value), found.get((*labels,), 0))
        return found

    def _combined(self, metric: Metric) -> float:
        found = [readings[metric.name] for readings in self._latest.values() if metric.name in readings]
        if metric.across is Across.MAX:
            return max(found, default=0)
        return sum(found) + self._gone.get(metric.name, 0)
