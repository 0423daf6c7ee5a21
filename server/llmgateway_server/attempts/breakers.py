"""The breakers of all targets, and what people may know of them. They belong to one process (docs/breakers.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from random import Random

from llmgateway_server.attempts.breaker import Breaker, BreakerSettings, Cause, State
from llmgateway_server.attempts.per_target import MAX_KEPT, PerTarget, TargetKey
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.targets import Target
from llmgateway_server.observe.log import logger


@dataclass(slots=True, frozen=True)
class BreakerView:
    """One breaker at one moment."""

    key: TargetKey
    state: State
    cause: Cause | None
    """Why it has this state; None if it never had another."""
    for_s: float
    """Seconds in this state."""
    retry_in_s: float
    """Seconds until a call may be let in, 0 where one may now."""
    calls: int
    """Successes and failures in the window; while it is open, those that opened it until they are too old."""
    failures: int
    slow: int
    consecutive_failures: int
    opens: int
    """Openings in a row."""
    in_flight: int
    last_reason: Reason | None
    """Of the last failure."""


OnChange = Callable[[TargetKey, Breaker], None]
"""Is told of each transition, after it."""


class Breakers:
    """A breaker for each target that was used lately.

    Args:
        settings: of all of them.
        clock: monotonic time.
        rng: jitter of open times.
        on_change: for counters; the log is written here.
        max_kept: most breakers that are kept; see `PerTarget`.
    """

    def __init__(
        self,
        settings: BreakerSettings,
        clock: Clock,
        rng: Random | None = None,
        on_change: OnChange | None = None,
        *,
        max_kept: int = MAX_KEPT,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self._rng = rng or Random()
        self._on_change = on_change
        self._kept: PerTarget[Breaker] = PerTarget(self._make, max_kept)
        self._log = logger("breakers")
        self._not_closed: set[TargetKey] = set()

    @property
    def all_closed(self) -> bool:
        """Whether no breaker keeps anybody from anything, as nearly always."""
        return not self._not_closed

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, target: Target) -> Breaker:
        """Returns the breaker of a target."""
        return self._kept.of(target)

    def retry_in_s(self, target: Target) -> float:
        """Returns the seconds until a call to a target may be let in, 0 where one may now. Asking changes nothing."""
        breaker = self._kept.known(target)
        return 0.0 if breaker is None else max(0.0, breaker.retry_at_s - self.clock.monotonic_s())

    def soonest_s(self, targets: Iterable[Target]) -> float | None:
        """Returns the least `retry_in_s` of some targets, None for none: what callers are told when all are open."""
        return min(map(self.retry_in_s, targets), default=None)

    def views(self) -> tuple[BreakerView, ...]:
        """Returns all that are kept, the longest unused first."""
        now_s = self.clock.monotonic_s()
        return tuple(_view(key, breaker, now_s) for key, breaker in self._kept)

    def _make(self, key: TargetKey) -> Breaker:
        return Breaker(self.settings, self.clock, self._rng, partial(self._changed, key))

    def _changed(self, key: TargetKey, breaker: Breaker) -> None:
        opened = breaker.state is State.OPEN
        if breaker.state is State.CLOSED:
            self._not_closed.discard(key)
        else:
            self._not_closed.add(key)
        (self._log.warning if opened else self._log.info)(
            "breaker changed",
            provider=key.provider,
            region=key.region,
            model=key.model,
            state=breaker.state.value,
            cause=breaker.cause.value if breaker.cause else None,
            reason=breaker.last_reason.value if opened and breaker.last_reason else None,
            opens=breaker.opens,
            retry_in_s=round(max(0.0, breaker.retry_at_s - self.clock.monotonic_s()), 3),
        )
        if self._on_change is not None:
            self._on_change(key, breaker)


def _view(key: TargetKey, breaker: Breaker, now_s: float) -> BreakerView:
    calls, failures, slow = breaker.counts()
    return BreakerView(
        key=key,
        state=breaker.state,
        cause=breaker.cause,
        for_s=now_s - breaker.since_s,
        retry_in_s=max(0.0, breaker.retry_at_s - now_s),
        calls=calls,
        failures=failures,
        slow=slow,
        consecutive_failures=breaker.consecutive_failures,
        opens=breaker.opens,
        in_flight=breaker.in_flight,
        last_reason=breaker.last_reason,
    )
