"""Figures of this process, kept in memory: totals, the last hour by minutes, the last month by hours and by days.

Only the current minute is written to on the path of a call; it is merged into the longer stretches when it is over.
Names come from callers: one that is not known to stand for a model is counted under `unknown`, and what exceeds the
bound on names under `other`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Self, TypeVar

from llmgateway_server.core.calls import AttemptRecord, Call, Outcome
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import GatewayError
from llmgateway_server.core.events import Timings
from llmgateway_server.observe import metrics
from llmgateway_server.observe.counting import Changes, Counting

MAX_NAMES = 200
"""Most distinct models or providers per stretch of time, and most pinned names that are known to stand for a model."""
OTHER = metrics.OTHER
UNKNOWN = "unknown"
"""Calls at names that are not known to stand for a model: callers invent them, so they are not kept."""
KEPT_MODELS = 50
"""Most distinct models per hour, the most used ones, once the minute is over: a month has 720 hours."""
BUCKET_RATIO = 1.1
"""Neighbouring latency buckets differ by this factor, so a percentile is at most 10 % off."""
LOG_RATIO = math.log(BUCKET_RATIO)
LEAST_S = 1e-5


class Period(Enum):
    """A stretch of time up to now, in seconds; ALL is since the start or the last reset."""

    ALL = 0
    HOUR = 3600
    DAY = 24 * 3600
    WEEK = 7 * 24 * 3600
    MONTH = 30 * 24 * 3600


@dataclass(slots=True)
class Sums:
    """Sums over calls or attempts. Latencies are those of successes, in seconds."""

    succeeded: int = 0
    failed: int = 0
    shed: int = 0
    cancelled: int = 0
    latency_sum_s: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int = 0

    @property
    def count(self) -> int:
        """All that ended."""
        return self.succeeded + self.failed + self.shed + self.cancelled

    def add(
        self,
        outcome: Outcome,
        latency_s: float,
        first_token_s: float | None,
        tokens: tuple[int, int],
        cost_nano_usd: int,
    ) -> None:
        """Counts one that ended; `tokens` are (input, output)."""
        match outcome:
            case Outcome.SUCCEEDED:
                self.succeeded += 1
                self.latency_sum_s += latency_s
            case Outcome.FAILED:
                self.failed += 1
            case Outcome.SHED:
                self.shed += 1
            case Outcome.CANCELLED:
                self.cancelled += 1
        self.input_tokens += tokens[0]
        self.output_tokens += tokens[1]
        self.cost_nano_usd += cost_nano_usd

    def merge(self, other: Self) -> None:
        """Adds the sums of `other`."""
        self.succeeded += other.succeeded
        self.failed += other.failed
        self.shed += other.shed
        self.cancelled += other.cancelled
        self.latency_sum_s += other.latency_sum_s
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cost_nano_usd += other.cost_nano_usd

    def success_rate(self) -> float | None:
        """Returns succeeded ÷ (succeeded + failed), None without either."""
        judged = self.succeeded + self.failed
        return self.succeeded / judged if judged else None

    def average_latency_s(self) -> float | None:
        """Returns the mean latency of successes."""
        return self.latency_sum_s / self.succeeded if self.succeeded else None


@dataclass(slots=True)
class Tally(Sums):
    """Sums with the spread of the latencies and the time to first token."""

    latency_buckets: dict[int, int] = field(default_factory=dict)
    first_token_sum_s: float = 0.0
    first_token_count: int = 0

    def add(
        self,
        outcome: Outcome,
        latency_s: float,
        first_token_s: float | None,
        tokens: tuple[int, int],
        cost_nano_usd: int,
    ) -> None:
        """See `Sums.add`."""
        Sums.add(self, outcome, latency_s, first_token_s, tokens, cost_nano_usd)
        if outcome is Outcome.SUCCEEDED:
            bucket = math.floor(math.log(max(latency_s, LEAST_S) / LEAST_S) / LOG_RATIO)
            self.latency_buckets[bucket] = self.latency_buckets.get(bucket, 0) + 1
        if first_token_s is not None:
            self.first_token_sum_s += first_token_s
            self.first_token_count += 1

    def merge(self, other: Self) -> None:
        """Adds the sums of `other`."""
        Sums.merge(self, other)
        for bucket, count in other.latency_buckets.items():
            self.latency_buckets[bucket] = self.latency_buckets.get(bucket, 0) + count
        self.first_token_sum_s += other.first_token_sum_s
        self.first_token_count += other.first_token_count

    def average_first_token_s(self) -> float | None:
        """Returns the mean time to first token."""
        return self.first_token_sum_s / self.first_token_count if self.first_token_count else None

    def latency_percentile_s(self, share: float) -> float | None:
        """Returns the latency that `share` (0–1) of the successes did not exceed: the middle of its bucket."""
        rank = math.ceil(self.succeeded * share)
        for bucket in sorted(self.latency_buckets):
            rank -= self.latency_buckets[bucket]
            if rank <= 0:
                return LEAST_S * math.pow(BUCKET_RATIO, bucket + 0.5)
        return None


@dataclass(slots=True)
class Figures:
    """Tallies of one stretch of time."""

    start_s: float
    """Wall time of its start."""
    calls: Tally = field(default_factory=Tally)
    providers: dict[str, Tally] = field(default_factory=dict)
    models: dict[str, Sums] = field(default_factory=dict)
    cache_hits: int = 0
    cache_misses: int = 0

    def merge(self, other: Figures) -> None:
        """Adds the figures of `other`."""
        self.calls.merge(other.calls)
        for name, tally in other.providers.items():
            named(self.providers, name, Tally).merge(tally)
        for name, sums in other.models.items():
            named(self.models, name, Sums).merge(sums)
        self.cache_hits += other.cache_hits
        self.cache_misses += other.cache_misses

    def shorten(self) -> None:
        """Keeps the most used models, once there are too many to be kept for a month."""
        if len(self.models) <= KEPT_MODELS:
            return
        others = self.models.pop(OTHER, Sums())
        ranked = sorted(self.models.items(), key=lambda item: -item[1].count)
        for _, sums in ranked[KEPT_MODELS - 1 :]:
            others.merge(sums)
        self.models = dict(ranked[: KEPT_MODELS - 1]) | {OTHER: others}


S = TypeVar("S", bound=Sums)


def named(tallies: dict[str, S], name: str, new: Callable[[], S]) -> S:
    """Returns the tally of `name`, or of `other` once there are too many names."""
    tally = tallies.get(name)
    if tally is None:
        if len(tallies) >= MAX_NAMES:
            name = OTHER
        tally = tallies.get(name)
        if tally is None:
            tally = tallies[name] = new()
    return tally


@dataclass(slots=True)
class Taken:
    """What a process counted since it was asked last; whoever took it keeps the sums."""

    figures: Figures
    consecutive_failures: dict[str, int]
    """By provider: since the last success in `figures` if there is one, otherwise all."""
    changes: Changes
    """Of the counters for Prometheus."""


class Statistics:
    """Collects what ended and answers for a period.

    Args:
        clock: its wall time decides the minute.
        counting: the counters for Prometheus, which are told of the same calls.
    """

    def __init__(self, clock: Clock, counting: Counting | None = None) -> None:
        self._clock = clock
        self._counting = counting or Counting()
        self._started_s = clock.monotonic_s()
        self._answered: dict[str, None] = {}
        """Pinned names at which a provider answered, the oldest first. Not a figure, so a reset leaves it."""
        self.reset()

    def reset(self) -> None:
        """Forgets everything but the time of the start. Counters for Prometheus go on: those must never fall."""
        now = self._clock.wall_s()
        self._minute = Figures(start_s=now)
        self._minutes: deque[Figures] = deque(maxlen=60)
        self._hours: deque[Figures] = deque(maxlen=30 * 24)
        self._days: deque[Figures] = deque(maxlen=30)
        """The same hours added up, so that nobody waits until 720 of them are."""
        self._all = Figures(start_s=now)
        self._consecutive_failures: dict[str, int] = {}

    @property
    def uptime_s(self) -> float:
        """Seconds since the start."""
        return self._clock.monotonic_s() - self._started_s

    def call_began(self, call: Call) -> None:
        """Notes a call that entered the request ring; `call_ended` must follow."""
        self._counting.call_began(call)

    def call_ended(self, call: Call, outcome: Outcome, timings: Timings, error: GatewayError | None = None) -> None:
        """Counts a call and its attempts; `error` is what it ended with."""
        self._counting.call_ended(call, outcome, timings, error)
        figures = self._current()
        input_tokens = output_tokens = cost = 0
        for record in call.attempts:
            if record.usage is not None:
                input_tokens += record.usage.input_token_count or 0
                output_tokens += record.usage.output_token_count or 0
            cost += record.cost.total_nano_usd if record.cost else 0
            self._attempt_ended(figures, record)
        tokens = (input_tokens, output_tokens)
        for sums in (figures.calls, named(figures.models, self._model_name(call, outcome), Sums)):
            sums.add(outcome, timings.total_s, timings.time_to_first_token_s, tokens, cost)

    def refused(self, outcome: Outcome, latency_s: float, error: GatewayError | None) -> None:
        """Counts a call that ended before it reached the request ring."""
        self._counting.refused(outcome, latency_s, error)
        self._current().calls.add(outcome, latency_s, None, (0, 0), 0)

    def cache_looked_up(self, *, hit: bool) -> None:
        """Counts a look-up of the response cache."""
        self._counting.cache_looked_up(hit=hit)
        figures = self._current()
        figures.cache_hits += hit
        figures.cache_misses += not hit

    def over(self, period: Period) -> Figures:
        """Returns the figures of the last `period`, rounded to whole minutes (HOUR) or hours (longer)."""
        live = self._current()
        if period is Period.ALL:
            parts, start = [self._all], self._all.start_s
        else:
            start = self._clock.wall_s() - period.value
            if period is Period.HOUR:
                parts = [minute for minute in self._minutes if minute.start_s + 60 > start]
            else:
                parts = self._hours_and_days(start)
            start = min((figures.start_s for figures in (*parts, live)), default=start)
        total = Figures(start_s=start)
        for figures in (*parts, live):
            total.merge(figures)
        return total

    def _hours_and_days(self, start_s: float) -> list[Figures]:
        """Returns the whole days since `start_s`, and the hours between it and the first of them."""
        days = [day for day in self._days if day.start_s >= start_s]
        until_s = days[0].start_s if days else math.inf
        return [hour for hour in self._hours if start_s - 3600 < hour.start_s < until_s] + days

    def recent(self) -> Figures:
        """Returns the figures of the last five minutes."""
        live = self._current()
        start = self._clock.wall_s() - 300
        total = Figures(start_s=start)
        for figures in (*(minute for minute in self._minutes if minute.start_s >= start), live):
            total.merge(figures)
        return total

    def consecutive_failures(self, provider: str) -> int:
        """Returns failed attempts at `provider` since its last success."""
        return self._consecutive_failures.get(provider, 0)

    def all_consecutive_failures(self) -> dict[str, int]:
        """Returns failed attempts since the last success, by provider."""
        return dict(self._consecutive_failures)

    def take(self) -> Taken:
        """Returns everything since the last time and forgets it."""
        taken = Taken(self.over(Period.ALL), self.all_consecutive_failures(), self._counting.take())
        self.reset()
        return taken

    def absorb(self, taken: Taken) -> None:
        """Adds what another process took, as of now."""
        self._counting.absorb(taken.changes)
        self._current().merge(taken.figures)
        for provider, count in taken.consecutive_failures.items():
            tally = taken.figures.providers.get(provider)
            before = 0 if tally is not None and tally.succeeded else self.consecutive_failures(provider)
            self._consecutive_failures[provider] = before + count

    def _attempt_ended(self, figures: Figures, record: AttemptRecord) -> None:
        outcome = record.outcome or Outcome.CANCELLED
        provider = record.target.provider
        usage = record.usage
        named(figures.providers, provider, Tally).add(
            outcome,
            record.latency_s,
            record.time_to_first_token_s,
            ((usage.input_token_count or 0), (usage.output_token_count or 0)) if usage else (0, 0),
            record.cost.total_nano_usd if record.cost else 0,
        )
        if outcome is Outcome.FAILED:
            self._consecutive_failures[provider] = self._consecutive_failures.get(provider, 0) + 1
        elif outcome is Outcome.SUCCEEDED:
            self._consecutive_failures[provider] = 0

    def _model_name(self, call: Call, outcome: Outcome) -> str:
        """Returns the name that a call is counted under.

        A public name is one of the catalogue. A name in the form `provider/model` can be anything: it is known to stand
        for a model where the catalogue has that target, or once its provider has answered with content. A provider
        that fails, or refuses in whatever words, says nothing of it.
        """
        model = call.resolved
        if model is None:
            return UNKNOWN
        name = model.name
        if not name.startswith(f"{model.targets[0].provider}/") or self._counting.has_model(name):
            return name
        if outcome is Outcome.SUCCEEDED or any(each.time_to_first_token_s is not None for each in call.attempts):
            self._answered[name] = None
            if len(self._answered) > MAX_NAMES:
                del self._answered[next(iter(self._answered))]
        return name if name in self._answered else UNKNOWN

    def _current(self) -> Figures:
        """Returns the current minute, closing the one before when it is over."""
        now = self._clock.wall_s()
        minute = self._minute
        if 0 <= now - minute.start_s < 60:
            return minute
        self._minutes.append(minute)
        if not self._hours or minute.start_s - self._hours[-1].start_s >= 3600:
            self._hours.append(Figures(start_s=minute.start_s))
            if not self._days or minute.start_s - self._days[-1].start_s >= 24 * 3600:
                self._days.append(Figures(start_s=minute.start_s))  # a day begins with an hour, never inside of one
        for sums in (self._hours[-1], self._days[-1], self._all):
            sums.merge(minute)
            sums.shorten()
        self._minute = Figures(start_s=now)
        return self._minute
