"""How often a target may be asked again: retries must not become the load that keeps it down.

    tokens = 100 at first and at most
    a retry takes 5, after a timeout 10; without enough tokens there is none
    an attempt that succeeds gives 1 back, unless it is a retry
    retries in flight ≤ max(3, 20 % of the attempts in flight)

So over any time  5 · retries ≤ 100 + clean successes: in the long run at most one retry for five successes, after
timeouts one for ten. Asking another target is no retry: the plan's length, the most attempts of a call and the breakers
bound that.

Sources: the shape is that of AWS' clients (botocore, `retries/quota.py`), the share in flight Envoy's retry budget,
https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/circuit_breaker.proto.
"""

from __future__ import annotations

from llmgateway_server.attempts.per_target import MAX_KEPT, PerTarget, TargetKey
from llmgateway_server.core.targets import Target

CAPACITY = 100
RETRY_COST = 5
TIMEOUT_COST = 10
"""A timeout has already held a place at the target for long."""
CLEAN_SUCCESS = 1
LEAST_RETRIES = 3
RETRY_SHARE_PERCENT = 20


class RetryBudget:
    """The budget of one target."""

    __slots__ = ("in_flight", "retries", "tokens")

    def __init__(self) -> None:
        self.tokens = CAPACITY
        self.in_flight = 0
        """Attempts that run, retries included, also those that still wait for their delay."""
        self.retries = 0
        """Retries among them."""

    @property
    def in_use(self) -> bool:
        """Whether an attempt runs."""
        return self.in_flight > 0

    @property
    def blank(self) -> bool:
        """Whether it is as good as a new one."""
        return self.tokens == CAPACITY and not self.in_flight

    def began(self) -> None:
        """Notes an attempt that is no retry; `ended` must follow."""
        self.in_flight += 1

    def take(self, *, timed_out: bool) -> bool:
        """Takes what a retry costs and notes it as running, if there may be one; only then `ended` must follow."""
        cost = TIMEOUT_COST if timed_out else RETRY_COST
        # retries + 1 ≤ max(3, in_flight · 20 %)
        if self.tokens < cost or self.retries >= max(LEAST_RETRIES, self.in_flight * RETRY_SHARE_PERCENT // 100):
            return False
        self.tokens -= cost
        self.in_flight += 1
        self.retries += 1
        return True

    def ended(self, *, again: bool, succeeded: bool) -> None:
        """Notes the end of an attempt.

        Args:
            again: whether it was a retry.
            succeeded: whether the target answered.
        """
        self.in_flight = max(0, self.in_flight - 1)
        if again:
            self.retries = max(0, self.retries - 1)
        elif succeeded:
            self.tokens = min(CAPACITY, self.tokens + CLEAN_SUCCESS)


class RetryBudgets:
    """A budget for each target that was used lately. They belong to one process.

    Args:
        max_kept: most budgets that are kept; see `PerTarget`.
    """

    def __init__(self, max_kept: int = MAX_KEPT) -> None:
        self._kept: PerTarget[RetryBudget] = PerTarget(_new, max_kept)

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, target: Target) -> RetryBudget:
        """Returns the budget of a target."""
        return self._kept.of(target)

    def began(self, target: Target) -> None:
        """See `RetryBudget.began`."""
        self._kept.of(target).began()

    def take(self, target: Target, *, timed_out: bool) -> bool:
        """See `RetryBudget.take`."""
        return self._kept.of(target).take(timed_out=timed_out)

    def ended(self, target: Target, *, again: bool, succeeded: bool) -> None:
        """See `RetryBudget.ended`. A budget that there was no room for is not missed."""
        budget = self._kept.known(target)
        if budget is not None:
            budget.ended(again=again, succeeded=succeeded)


def _new(_key: TargetKey) -> RetryBudget:
    return RetryBudget()
