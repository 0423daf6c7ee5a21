"""How far a call has come with its targets, and what it may try next. Decides alone; `routing.failover` acts.

After a failure before the first content, in this order:

1. the same target at once, with another key of its account, where the key was refused; not as the last attempt of the
   call while there is a target that nobody has tried: an account may have more bad keys than a call has attempts;
2. the next target of the plan that nobody has tried, at once, where the reason lets another one serve the call;
3. a target that was tried, after a delay: full jitter, not before its Retry-After, out of its retry budget;
4. nothing: the failure is the caller's.

Nothing begins after the call's last attempt, or without `MIN_ATTEMPT_S` left of its deadline (RELIABILITY §3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from llmgateway_server.core.errors import GatewayError, UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.targets import Target
from llmgateway_server.routing.backoff import Backoff
from llmgateway_server.routing.retry_budget import RetryBudgets
from llmgateway_server.routing.tries import Again, Elsewhere, row_of

MIN_ATTEMPT_S = 1.0
"""Least time that must be left for another attempt, beyond its delay."""
MAX_TOKENS = "maxTokens"
"""The slot of an error with the context that a provider names for its model."""


@dataclass(slots=True, frozen=True)
class Step:
    """What is tried next."""

    target: Target
    delay_s: float = 0.0
    again: bool = False
    """Whether the target was asked by this call before: a retry, which its budget pays."""


@dataclass(slots=True)
class _Tried:
    count: int
    failure: GatewayError


class Progress:
    """The tries of one call.

    Args:
        targets: of the plan, in order.
        max_attempts: most attempts, the first included.
        budgets: retries that each target may still be asked for.
        backoff: delays.
        usable: whether a target may be asked now; operators may have switched it off since the plan was made.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        max_attempts: int,
        budgets: RetryBudgets,
        backoff: Backoff,
        usable: Callable[[Target], bool] = lambda _: True,
    ) -> None:
        self._usable = usable
        self._untried = list(targets)
        self._tried: dict[Target, _Tried] = {}
        self._max_attempts = max_attempts
        self._budgets = budgets
        self._backoff = backoff
        self._attempts = 0
        self._retries = 0

    @property
    def others(self) -> int:
        """How many untried targets could still be asked after the attempt that runs."""
        return min(len(self._untried), self._max_attempts - self._attempts)

    def first(self) -> Step:
        """Returns the first step; there is at least one target."""
        return self._begin(Step(self._untried.pop(0)))

    def after(self, target: Target, failure: GatewayError, remaining_s: float) -> Step | None:
        """Returns the next step after an attempt failed, None where there is none.

        Args:
            target: that failed.
            failure: why; a retry that only the budget forbids is noted in its slots.
            remaining_s: until the call's deadline.
        """
        self.fell(target, failure)
        if not self._may_begin(remaining_s):
            return None
        if isinstance(failure, UpstreamError) and failure.another_key and not self._is_last_for_others():
            return self._begin(Step(target))
        return self._begin_other(target, failure) or self._begin_again(target, failure, remaining_s)

    def fell(self, target: Target, failure: GatewayError) -> None:
        """Notes that an attempt failed, without a step of its own: of a race, for example."""
        if failure.reason is Reason.CIRCUIT_OPEN:  # nothing was begun
            self._attempts -= 1
        tried = self._tried.get(target)
        self._tried[target] = _Tried(tried.count + 1 if tried else 1, failure)

    def _may_begin(self, remaining_s: float) -> bool:
        """Tells whether there are attempts and time left; a call's first attempt needs no time that we know of."""
        return self._attempts < self._max_attempts and (not self._attempts or remaining_s >= MIN_ATTEMPT_S)

    def _is_last_for_others(self) -> bool:
        """Tells whether only one attempt is left and there is an untried target for it."""
        return self._attempts == self._max_attempts - 1 and next(self._others(), None) is not None

    def _others(self) -> Iterator[Target]:
        """Yields the untried targets that may still be asked."""
        return filter(self._usable, tuple(self._untried))

    def beside(self, remaining_s: float, allows: Callable[[Target], bool]) -> Step | None:
        """Returns the step of a second attempt beside the one that runs; None where there is none.

        Args:
            remaining_s: until the call's deadline.
            allows: whether a target may be that of such an attempt.
        """
        if not self._may_begin(remaining_s):
            return None
        other = next(filter(allows, self._others()), None)
        return self._begin_at(other) if other is not None else None

    def onward(self, target: Target, failure: GatewayError, remaining_s: float, *, spoke: bool) -> Step | None:
        """Returns the step after a stream broke that was delivered in part: an untried target, else the same one.

        Args:
            target: whose attempt failed.
            failure: why; as in `after`.
            remaining_s: until the call's deadline.
            spoke: whether this attempt brought content; one that did not is asked again only if its failure allows it.
        """
        self.fell(target, failure)
        if not self._may_begin(remaining_s):
            return None
        other = next(self._others(), None)
        if other is not None:
            return self._begin_at(other)
        if not self._usable(target) or not (spoke or row_of(failure).again is not Again.NEVER):
            return None
        if not self._budgets.take(target, timed_out=False):
            failure.slots["retrySuppressed"] = "true"
            return None
        return self._begin(Step(target, again=True))

    def _begin(self, step: Step) -> Step:
        self._attempts += 1
        self._retries += step.again
        return step

    def _begin_other(self, target: Target, failure: GatewayError) -> Step | None:
        elsewhere = row_of(failure).elsewhere
        for other in self._others():
            if elsewhere is Elsewhere.ANY or (elsewhere is Elsewhere.LARGER and _takes_more(other, target, failure)):
                return self._begin_at(other)
        return None

    def _begin_at(self, other: Target) -> Step:
        self._untried.remove(other)
        return self._begin(Step(other))

    def _begin_again(self, target: Target, failure: GatewayError, remaining_s: float) -> Step | None:
        """Returns a retry: of this target, or of another that failed before, whichever may be asked first."""
        alone = row_of(failure).elsewhere is not Elsewhere.ANY
        best: Step | None = None
        for known, tried in self._tried.items():
            if (
                (alone and known != target)
                or not self._usable(known)
                or tried.count > row_of(tried.failure).again.value
            ):
                continue
            delay_s = self._backoff.delay_s(self._retries, tried.failure.retry_after_s, remaining_s - MIN_ATTEMPT_S)
            if delay_s is None or (best is not None and best.delay_s <= delay_s):
                continue
            best = Step(known, delay_s, again=True)
        if best is None:
            return None
        timed_out = self._tried[best.target].failure.reason is Reason.UPSTREAM_TIMEOUT
        if not self._budgets.take(best.target, timed_out=timed_out):
            failure.slots["retrySuppressed"] = "true"
            return None
        return self._begin(best)


def _takes_more(other: Target, than: Target, failure: GatewayError) -> bool:
    """Tells whether a target is known to take more input; what the provider says of itself goes before profiles."""
    told = failure.slots.get(MAX_TOKENS, "")
    had = int(told) if told.isdecimal() else than.profile.context_token_count
    most = other.profile.context_token_count
    return most is not None and had is not None and most > had
