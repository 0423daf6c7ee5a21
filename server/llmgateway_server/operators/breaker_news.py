"""What circuit breakers do, for the counters, for those who watch, and for the page of metrics."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from llmgateway_server.attempts.breaker import Breaker, State
from llmgateway_server.attempts.breakers import Breakers
from llmgateway_server.attempts.per_target import TargetKey
from llmgateway_server.core.clock import Clock
from llmgateway_server.observe.counting import Counting
from llmgateway_server.observe.events import BreakerChanged, Events

SEVERITY = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}
"""States as `llm_gateway_circuit_breaker_state` shows them, the worst one highest."""


class BreakerNews:
    """Is told of each transition, as `Breakers` wants it.

    Args:
        counting: counts it.
        events: tells it.
        clock: of the breakers.
    """

    def __init__(self, counting: Counting, events: Events, clock: Clock) -> None:
        self._counting = counting
        self._events = events
        self._clock = clock

    def __call__(self, key: TargetKey, breaker: Breaker) -> None:
        """Passes a transition on."""
        self._counting.breaker_changed(key.provider, breaker.state.value)
        self._events.tell(
            BreakerChanged(
                provider=key.provider,
                region=key.region,
                upstream_model=key.model,
                state=breaker.state.value,
                cause=breaker.cause.value if breaker.cause is not None else "",
                reason=breaker.last_reason,
                retry_in_s=max(0.0, breaker.retry_at_s - self._clock.monotonic_s()),
            )
        )


def worst_states(breakers: Breakers, providers: Collection[str]) -> Mapping[tuple[str, ...], int]:
    """Returns the state of each account's worst breaker by `SEVERITY`, 0 for an account without any."""
    worst: dict[tuple[str, ...], int] = {(provider,): 0 for provider in providers}
    for view in breakers.views():
        label = (view.key.provider,)
        worst[label] = max(SEVERITY[view.state], worst.get(label, 0))
    return worst
