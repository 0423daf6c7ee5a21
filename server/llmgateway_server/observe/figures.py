"""Where the RPCs `Metrics` and `Health` get their figures: of this process, or of all workers of a gateway."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from llmgateway_server.observe.statistics import Figures, Period, Statistics


class Circuits(NamedTuple):
    """Accounts by what their circuit breakers do with calls now."""

    open: frozenset[str] = frozenset()
    """All circuits of these that are known let no call in."""
    troubled: frozenset[str] = frozenset()
    """Some circuits of these are not closed, and not all are open."""


NONE_TROUBLED = Circuits()


@dataclass(slots=True, frozen=True)
class View:
    """The figures of one stretch of time, and how things are now."""

    figures: Figures
    consecutive_failures: dict[str, int]
    """Failed attempts since the last success, by provider; who is not there has none."""
    uptime_s: float
    """Seconds since the gateway was made."""
    in_flight: int
    """Calls inside the gateway now."""
    circuits: Circuits = NONE_TROUBLED
    """Of one process; several have their own, and nobody adds them up."""


class FiguresSource(Protocol):
    """Answers for the gateway as its callers see it: one, however many processes it has."""

    async def over(self, period: Period) -> View:
        """Returns the figures of a period.

        Raises:
            ShedError: OVERLOADED, they cannot be had in time.
        """
        ...

    async def recent(self) -> View:
        """Returns the figures of the last five minutes.

        Raises:
            ShedError: OVERLOADED, they cannot be had in time.
        """
        ...

    async def reset(self) -> None:
        """Forgets all figures but the time of the start; counters for Prometheus go on.

        Raises:
            ShedError: OVERLOADED, nobody said in time that it is done.
        """
        ...


class OwnFigures:
    """Implements `FiguresSource` for one process.

    Args:
        statistics: its figures.
        in_flight: returns the calls inside it.
        circuits: returns what its circuit breakers do.
    """

    def __init__(
        self, statistics: Statistics, in_flight: Callable[[], int], circuits: Callable[[], Circuits] = Circuits
    ) -> None:
        self._statistics = statistics
        self._in_flight = in_flight
        self._circuits = circuits

    async def over(self, period: Period) -> View:
        return self._view(self._statistics.over(period))

    async def recent(self) -> View:
        return self._view(self._statistics.recent())

    async def reset(self) -> None:
        self._statistics.reset()

    def _view(self, figures: Figures) -> View:
        statistics = self._statistics
        failures, in_flight = statistics.all_consecutive_failures(), self._in_flight()
        return View(figures, failures, statistics.uptime_s, in_flight, self._circuits())
