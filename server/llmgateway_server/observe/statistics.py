"""Figures of this process, kept in memory: totals, the last hour by minutes, the last month by hours.

Only the current minute is written to on the path of a call; it is merged into the longer stretches when it is over.
Names come from callers, so their number per minute is bounded: what exceeds it is counted under `other`.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from llmgateway_server.core.calls import AttemptRecord, Call, Outcome
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.events import Timings

MAX_NAMES = 200
"""Most distinct models or providers per stretch of time."""
OTHER = "other"
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
class Tally:
    """Sums over calls or attempts. Latencies are those of successes, in seconds."""

    succeeded: int = 0
    failed: int = 0
    shed: int = 0
    cancelled: int = 0
    latency_sum_s: float = 0.0
    latency_buckets: dict[int, int] = field(default_factory=dict)
    first_token_sum_s: float = 0.0
    first_token_count: int = 0
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
                bucket = math.floor(math.log(max(latency_s, LEAST_S) / LEAST_S) / LOG_RATIO)
                self.latency_buckets[bucket] = self.latency_buckets.get(bucket, 0) + 1
            case Outcome.FAILED:
                self.failed += 1
            case Outcome.SHED:
                self.shed += 1
            case Outcome.CANCELLED:
                self.cancelled += 1
        if first_token_s is not None:
            self.first_token_sum_s += first_token_s
            self.first_token_count += 1
        self.input_tokens += tokens[0]
        self.output_tokens += tokens[1]
        self.cost_nano_usd += cost_nano_usd

    def merge(self, other: Tally) -> None:
        """Adds the sums of `other`."""
        self.succeeded += other.succeeded
        self.failed += other.failed
        self.shed += other.shed
        self.cancelled += other.cancelled
        self.latency_sum_s += other.latency_sum_s
        for bucket, count in other.latency_buckets.items():
            self.latency_buckets[bucket] = self.latency_buckets.get(bucket, 0) + count
        self.first_token_sum_s += other.first_token_sum_s
        self.first_token_count += other.first_token_count
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
    models: dict[str, Tally] = field(default_factory=dict)

    def merge(self, other: Figures) -> None:
        """Adds the figures of `other`."""
        self.calls.merge(other.calls)
        for mine, theirs in ((self.providers, other.providers), (self.models, other.models)):
            for name, tally in theirs.items():
                named(mine, name).merge(tally)


def named(tallies: dict[str, Tally], name: str) -> Tally:
    """Returns the tally of `name`, or of `other` once there are too many names."""
    tally = tallies.get(name)
    if tally is None:
        if len(tallies) >= MAX_NAMES:
            name = OTHER
        tally = tallies.setdefault(name, Tally())
    return tally


class Statistics:
    """Collects what ended and answers for a period.

    Args:
        clock: its wall time decides the minute.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started_s = clock.monotonic_s()
        self.reset()

    def reset(self) -> None:
        """Forgets everything but the time of the start and what is in flight."""
        now = self._clock.wall_s()
        self._minute = Figures(start_s=now)
        self._minutes: deque[Figures] = deque(maxlen=60)
        self._hours: deque[Figures] = deque(maxlen=30 * 24)
        self._all = Figures(start_s=now)
        self._consecutive_failures: dict[str, int] = {}

    @property
    def uptime_s(self) -> float:
        """Seconds since the start."""
        return self._clock.monotonic_s() - self._started_s

    def call_ended(self, call: Call, outcome: Outcome, timings: Timings) -> None:
        """Counts a call and its attempts."""
        figures = self._current()
        input_tokens = output_tokens = cost = 0
        for record in call.attempts:
            if record.usage is not None:
                input_tokens += record.usage.input_token_count or 0
                output_tokens += record.usage.output_token_count or 0
            cost += record.cost.total_nano_usd if record.cost else 0
            self._attempt_ended(figures, record)
        tokens = (input_tokens, output_tokens)
        for tally in (figures.calls, named(figures.models, call.model or OTHER)):
            tally.add(outcome, timings.total_s, timings.time_to_first_token_s, tokens, cost)

    def refused(self, outcome: Outcome, latency_s: float) -> None:
        """Counts a call that ended before it reached the request ring."""
        self._current().calls.add(outcome, latency_s, None, (0, 0), 0)

    def over(self, period: Period) -> Figures:
        """Returns the figures of the last `period`, rounded to whole minutes (HOUR) or hours (longer)."""
        live = self._current()
        if period is Period.ALL:
            parts, start = [self._all], self._all.start_s
        else:
            start = self._clock.wall_s() - period.value
            kept = self._minutes if period is Period.HOUR else self._hours
            length_s = 60 if period is Period.HOUR else 3600
            parts = [figures for figures in kept if figures.start_s + length_s > start]
            start = min((figures.start_s for figures in (*parts, live)), default=start)
        total = Figures(start_s=start)
        for figures in (*parts, live):
            total.merge(figures)
        return total

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

    def _attempt_ended(self, figures: Figures, record: AttemptRecord) -> None:
        outcome = record.outcome or Outcome.CANCELLED
        provider = record.target.provider
        usage = record.usage
        named(figures.providers, provider).add(
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

    def _current(self) -> Figures:
        """Returns the current minute, closing the one before when it is over."""
        now = self._clock.wall_s()
        minute = self._minute
        if 0 <= now - minute.start_s < 60:
            return minute
        self._minutes.append(minute)
        self._all.merge(minute)
        if not self._hours or minute.start_s - self._hours[-1].start_s >= 3600:
            self._hours.append(Figures(start_s=minute.start_s))
        self._hours[-1].merge(minute)
        self._minute = Figures(start_s=now)
        return self._minute
