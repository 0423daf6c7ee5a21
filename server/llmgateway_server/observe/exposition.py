"""Writes the metrics as Prometheus text. Text is made here, when somebody asks, and never on the path of a call.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from llmgateway_server.observe import metrics
from llmgateway_server.observe.counting import Counting
from llmgateway_server.observe.metrics import METRICS, Across, Metric
from llmgateway_server.observe.series import Labels

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATM = Path("/proc/self/statm")

Reading = Callable[[], float | None]
"""Returns a value as it is now; None where it cannot be known."""
Levels = Mapping[Metric, Callable[[], Mapping[Labels, int]]]
"""Labelled gauges that are read: each returns its values as they are now, by label values."""
BETWEEN = "\0"
"""Between a labelled gauge and its label values where they are one name, in what a worker tells."""


class Exposition:
    """The page of all metrics.

    Args:
        counting: what was counted.
        version: of the server.
        started_s: wall time at which the gateway was made, in seconds since the epoch.
        readings: values that others keep: IN_FLIGHT, LOOP_LAG and RECORDS_DROPPED, and what is to be read otherwise.
        levels: labelled gauges that others keep; one that is left out has no series.

    Raises:
        ValueError: a metric of the table would have no source, or two.
    """

    def __init__(
        self,
        counting: Counting,
        version: str,
        started_s: float,
        readings: Mapping[Metric, Reading],
        levels: Levels | None = None,
    ) -> None:
        self._counting = counting
        self._levels = levels or {}
        self._build = f'{metrics.BUILD_INFO.name}{{version="{version}"}} 1'
        self._readings: dict[Metric, Reading] = {
            metrics.OPEN_STREAMS: lambda: counting.open_streams,
            metrics.START_TIME: lambda: started_s,
            **OF_THE_PROCESS,
            **readings,
        }
        sources = [*counting.families, *self._readings, metrics.SERIES, metrics.BUILD_INFO]
        if sorted(source.name for source in sources) != sorted(metric.name for metric in METRICS):
            raise ValueError("each metric of the table needs one source")

    def text(self) -> bytes:
        """Returns the page: the metrics in the order of the table, each with its help and type."""
        for metric, read in self._levels.items():
            self._counting.became(metric, read())
        samples = {metric: list(self._samples(metric)) for metric in METRICS}
        samples[metrics.SERIES] = [f"{metrics.SERIES.name} {sum(map(len, samples.values())) + 1}"]
        lines: list[str] = []
        for metric, own in samples.items():
            lines += (f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}", *own)
        return ("\n".join(lines) + "\n").encode()

    def readings(self) -> dict[str, float]:
        """Returns what workers tell their parent besides what they count, by metric."""
        found = {metric.name: read() for metric, read in self._readings.items() if metric.across is not Across.PARENT}
        known = {name: value for name, value in found.items() if value is not None}
        for metric, read_all in self._levels.items():
            known |= {BETWEEN.join((metric.name, *labels)): value for labels, value in read_all().items()}
        return known

    def _samples(self, metric: Metric) -> Iterator[str]:
        if metric is metrics.BUILD_INFO:
            yield self._build
        elif (family := self._counting.families.get(metric)) is not None:
            yield from family.lines()
        elif (reading := self._readings.get(metric)) is not None and (value := reading()) is not None:
            yield f"{metric.name} {value!r}"


def resident_bytes() -> float | None:
    """Returns the resident memory of the process; None where the system does not tell (proc_pid_statm(5))."""
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


OF_THE_PROCESS: Mapping[Metric, Reading] = {
    metrics.CPU_SECONDS: time.process_time,
    metrics.RESIDENT_BYTES: resident_bytes,
}
