"""The circuit breaker of one target: a state machine without I/O (docs/breakers.md).

    CLOSED     every call is let in; results of the last `window_s` are counted
    OPEN       no call is let in for  min(max_open_s, open_s · openings in a row) · U(0.9, 1.1)  seconds
    HALF_OPEN  at most `half_open_calls` at once; `half_open_successes` close it, one failure opens it

    CLOSED → OPEN, judged whenever a failure or a slow call is counted:
        consecutive failures ≥ consecutive_failures
        or calls ≥ min_calls and (failures ÷ calls ≥ failure_rate or slow ÷ calls ≥ slow_rate)

Neutral results are not counted: they say nothing of the target. A result counts only in the generation in which its
call was let in: each transition begins a new one. There are no locks: nothing here awaits, and one event loop owns it.

Sources: windows and half-open as in Fowler, https://martinfowler.com/bliki/CircuitBreaker.html; five in a row, growing
times and their jitter as in Envoy's outlier detection,
https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, StrEnum
from random import Random

from pydantic import BaseModel, ConfigDict, Field

from llmgateway_server.core.clock import Clock
from llmgateway_server.core.reasons import Reason

BUCKETS = 10
"""Pieces of the window: it forgets a tenth at a time, so it covers between 90 and 100 % of its length."""
JITTER = 0.1
"""So that several gateways do not ask a target again at the same moment."""
BUSY_S = 1.0
"""When to come again while all places of a half-open breaker are taken: about as long as one takes to a first token."""


class BreakerSettings(BaseModel):
    """When a target that fails is left alone, and for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    """Whether there are breakers at all."""
    window_s: float = Field(default=30.0, ge=1, le=3600)
    """Results of this many seconds make the rates."""
    min_calls: int = Field(default=20, ge=1, le=100_000)
    """With fewer calls in the window rates are not judged."""
    failure_rate: float = Field(default=0.5, gt=0, le=1)
    """This share of failures opens it."""
    consecutive_failures: int = Field(default=5, ge=1, le=100_000)
    """As many failures in a row open it, however few calls there are."""
    slow_first_token_s: float = Field(default=30.0, gt=0, le=3600)
    """A stream whose first token comes later is slow.

    As long as it is not below `timeouts.first_token_s`, only streams that the timeout ends are.
    """
    slow_rate: float = Field(default=0.8, gt=0, le=1)
    """This share of slow calls opens it."""
    open_s: float = Field(default=30.0, gt=0, le=3600)
    """For how long the first time; twice as long after the second opening in a row, and so on."""
    max_open_s: float = Field(default=300.0, gt=0, le=86_400)
    """For how long at most, before the jitter of 10 %."""
    half_open_calls: int = Field(default=3, ge=1, le=1000)
    """Calls that may try it at once afterwards."""
    half_open_successes: int = Field(default=2, ge=1, le=1000)
    """As many successes close it; one failure opens it again."""


class State(StrEnum):
    """What a breaker does with calls."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Verdict(Enum):
    """What a result says of the target."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"
    """Nothing."""


class Cause(StrEnum):
    """Why a breaker changed its state."""

    CONSECUTIVE_FAILURES = "consecutive_failures"
    FAILURE_RATE = "failure_rate"
    SLOW_RATE = "slow_rate"
    PROBE_FAILED = "probe_failed"
    TIME_PASSED = "time_passed"
    PROBES_SUCCEEDED = "probes_succeeded"


class Permit:
    """A call that was let in. It is given back once; what comes after that is ignored."""

    __slots__ = ("counted", "generation", "probe", "returned")

    def __init__(self, generation: int, *, probe: bool) -> None:
        self.generation = generation
        self.probe = probe
        """Whether the breaker was half open and wants to know early how it goes."""
        self.counted = False
        """Whether its success has been counted."""
        self.returned = False


class Breaker:
    """See the module.

    Args:
        settings: thresholds and times.
        clock: monotonic time.
        rng: jitter of the open time.
        changed: told of each transition, after it.
    """

    __slots__ = (
        "_changed",
        "_clock",
        "_generation",
        "_probes",
        "_rng",
        "_settings",
        "_successes",
        "_until_s",
        "_window",
        "cause",
        "consecutive_failures",
        "in_flight",
        "last_reason",
        "opens",
        "since_s",
        "state",
    )

    def __init__(
        self,
        settings: BreakerSettings,
        clock: Clock,
        rng: Random,
        changed: Callable[[Breaker], None] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._changed = changed
        self._window = Window(settings.window_s)
        self._generation = 0
        self._probes = 0
        self._successes = 0
        self._until_s = 0.0
        self.state = State.CLOSED
        """OPEN until a call is let in again, also when its time has passed."""
        self.since_s = clock.monotonic_s()
        """When it got its state, on the monotonic clock."""
        self.cause: Cause | None = None
        """Why it has its state; None before its first transition."""
        self.opens = 0
        """Openings in a row, without a close between them."""
        self.consecutive_failures = 0
        self.last_reason: Reason | None = None
        """Of the last failure that was counted."""
        self.in_flight = 0
        """Permits that were not given back, of all generations."""

    @property
    def retry_at_s(self) -> float:
        """When to come again, on the monotonic clock; not after now if a call would be let in now."""
        if self.state is State.CLOSED:
            return self.since_s
        if self.state is State.OPEN:
            return self._until_s
        now_s = self._clock.monotonic_s()
        return now_s if self._probes < self._settings.half_open_calls else now_s + BUSY_S

    @property
    def in_use(self) -> bool:
        """Whether a permit was not given back."""
        return self.in_flight > 0

    @property
    def blank(self) -> bool:
        """Whether it is as good as a new one."""
        if self.state is not State.CLOSED or self.consecutive_failures:
            return False
        _, failures, slow = self.counts()
        return not failures and not slow

    def counts(self) -> tuple[int, int, int]:
        """Returns calls, failures and slow calls in the window; those of half-open times are not in it."""
        self._window.roll(self._clock.monotonic_s())
        return self._window.calls, self._window.failures, self._window.slow

    def try_enter(self) -> Permit | None:
        """Lets a call in, or not. `leave` must follow, however it ends."""
        probe = self.state is not State.CLOSED
        if probe and not self._may_probe():
            return None
        self._probes += probe
        self.in_flight += 1
        return Permit(self._generation, probe=probe)

    def answered(self, permit: Permit, *, slow: bool = False) -> None:
        """Counts the success of a probe before its end, so that a long stream does not keep the breaker half open.

        Its place stays taken until `leave`, which may still count a failure.
        """
        if permit.probe and not permit.counted and not permit.returned and permit.generation == self._generation:
            permit.counted = True
            self._count(failed=False, slow=slow, reason=None)

    def leave(self, permit: Permit, verdict: Verdict, *, slow: bool = False, reason: Reason | None = None) -> None:
        """Takes a permit back and counts the result of its call.

        Args:
            permit: of `try_enter`; a second time it changes nothing.
            verdict: what the result says of the target.
            slow: whether the target took too long to begin. A half-open breaker takes that for a failure.
            reason: of a failure, for people.
        """
        if permit.returned:
            return
        permit.returned = True
        self.in_flight -= 1
        if permit.generation != self._generation:
            return
        self._probes -= permit.probe
        failed = verdict is Verdict.FAILURE
        if verdict is Verdict.NEUTRAL or (permit.counted and not failed):
            return
        self._count(failed=failed, slow=slow, reason=reason)

    def _may_probe(self) -> bool:
        if self.state is State.OPEN:
            if self._clock.monotonic_s() < self._until_s:
                return False
            self._become(State.HALF_OPEN, Cause.TIME_PASSED)
        return self._probes < self._settings.half_open_calls

    def _count(self, *, failed: bool, slow: bool, reason: Reason | None) -> None:
        if failed:
            self.last_reason = reason
            self.consecutive_failures += 1
        else:
            self.consecutive_failures = 0
        if self.state is State.HALF_OPEN:
            self._count_probe(failed=failed or slow)
            return
        self._window.roll(self._clock.monotonic_s())
        self._window.add(failed=failed, slow=slow)
        if (failed or slow) and (cause := self._why_open()) is not None:
            self._open(cause)

    def _count_probe(self, *, failed: bool) -> None:
        if failed:
            self._open(Cause.PROBE_FAILED)
            return
        self._successes += 1
        if self._successes >= self._settings.half_open_successes:
            self.opens = 0
            self._become(State.CLOSED, Cause.PROBES_SUCCEEDED)

    def _why_open(self) -> Cause | None:
        settings, window = self._settings, self._window
        if self.consecutive_failures >= settings.consecutive_failures:
            return Cause.CONSECUTIVE_FAILURES
        if window.calls < settings.min_calls:
            return None
        if window.failures / window.calls >= settings.failure_rate:
            return Cause.FAILURE_RATE
        return Cause.SLOW_RATE if window.slow / window.calls >= settings.slow_rate else None

    def _open(self, cause: Cause) -> None:
        self.opens += 1
        open_s = min(self._settings.max_open_s, self._settings.open_s * self.opens)
        self._until_s = self._clock.monotonic_s() + open_s * self._rng.uniform(1 - JITTER, 1 + JITTER)
        self._become(State.OPEN, cause)

    def _become(self, state: State, cause: Cause) -> None:
        """Begins a new generation: what was let in before says nothing about the target any more."""
        self._generation += 1
        self._probes = 0
        self._successes = 0
        if state is not State.OPEN:  # an open one still shows what opened it
            self.consecutive_failures = 0
            self._window.clear()
        self.state, self.cause = state, cause
        self.since_s = self._clock.monotonic_s()
        if self._changed is not None:
            self._changed(self)


class Window:
    """Counts over the last seconds in buckets that are reused round and round.

    Args:
        length_s: of all buckets together.
    """

    __slots__ = ("_at", "_bucket_s", "_buckets", "calls", "failures", "slow")

    def __init__(self, length_s: float) -> None:
        self._bucket_s = length_s / BUCKETS
        self._at = 0
        self.clear()

    def clear(self) -> None:
        """Forgets everything."""
        self.calls = self.failures = self.slow = 0
        self._buckets = [[0, 0, 0] for _ in range(BUCKETS)]

    def roll(self, now_s: float) -> None:
        """Forgets what is too old. Time that stands still or goes back changes nothing."""
        at = int(now_s // self._bucket_s)
        if at <= self._at:
            return
        for number in range(max(self._at + 1, at - BUCKETS + 1), at + 1):
            bucket = self._buckets[number % BUCKETS]
            self.calls -= bucket[0]
            self.failures -= bucket[1]
            self.slow -= bucket[2]
            bucket[:] = (0, 0, 0)
        self._at = at

    def add(self, *, failed: bool, slow: bool) -> None:
        """Counts a result in the newest bucket."""
        self.calls += 1
        self.failures += failed
        self.slow += slow
        bucket = self._buckets[self._at % BUCKETS]
        bucket[0] += 1
        bucket[1] += failed
        bucket[2] += slow
