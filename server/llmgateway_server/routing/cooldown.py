"""Targets that said 429: for a while they are asked last. They stay in the plan: the others may be worse off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llmgateway_server.attempts.per_target import MAX_KEPT, TargetKey, key_of
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.targets import Target

DEFAULT_S = 5.0
"""For a 429 that names no time: as long as a call would wait for one that does (`routing.backoff`)."""
LONGEST_S = 300.0
"""A limit per minute is over long before; a longer time would only keep a target last that works again."""


class Cooldowns:
    """Which targets cool down, and until when. They belong to one process.

    Args:
        clock: monotonic time.
        max_kept: most cool-downs that are kept; where there are more, those that end first go.
    """

    def __init__(self, clock: Clock, max_kept: int = MAX_KEPT) -> None:
        self._clock = clock
        self._max_kept = max_kept
        self._until_s: dict[TargetKey, float] = {}
        self._last_until_s = 0.0

    def __len__(self) -> int:
        return len(self._until_s)

    @property
    def none(self) -> bool:
        """Whether no target cools down, as nearly always."""
        return self._clock.monotonic_s() >= self._last_until_s

    def limited(self, target: Target, retry_after_s: float | None) -> None:
        """Notes a 429. Of several limits the one that ends last counts.

        Args:
            retry_after_s: what the target asked for, clamped to `LONGEST_S`; None, NaN, zero and less: `DEFAULT_S`.
        """
        asked_s = retry_after_s if retry_after_s is not None and retry_after_s > 0 else DEFAULT_S
        until_s = self._clock.monotonic_s() + min(asked_s, LONGEST_S)
        key = key_of(target)
        self._until_s[key] = max(until_s, self._until_s.get(key, until_s))
        self._last_until_s = max(until_s, self._last_until_s)
        if len(self._until_s) > self._max_kept:
            self._forget()

    def left_s(self, target: Target) -> float:
        """Returns the seconds that a target still cools down, 0 if it does not."""
        until_s = self._until_s.get(key_of(target))
        return 0.0 if until_s is None else max(0.0, until_s - self._clock.monotonic_s())

    def ordered(self, targets: Sequence[Target]) -> tuple[Target, ...]:
        """Returns the targets with those that cool down last, the one that returns first before the others."""
        if self.none:
            self._until_s.clear()
            return tuple(targets)
        return tuple(sorted(targets, key=self.left_s))

    def soonest_s(self, targets: Iterable[Target]) -> float | None:
        """Returns the smallest cool-down among some targets, for RetryInfo; None where none of them cools down."""
        return min((left_s for target in targets if (left_s := self.left_s(target))), default=None)

    def _forget(self) -> None:
        """Drops what is over, and of the rest what ends first, down to three quarters: not again at the next 429."""
        now_s = self._clock.monotonic_s()
        alive = sorted((until_s, key) for key, until_s in self._until_s.items() if until_s > now_s)
        self._until_s = {key: until_s for until_s, key in alive[-max(1, self._max_kept * 3 // 4) :]}
