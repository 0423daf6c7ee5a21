"""What circuit breakers say of whole accounts, for the RPC `Health`."""

from __future__ import annotations

from collections import defaultdict

from llmgateway_server.attempts.breaker import State
from llmgateway_server.attempts.breakers import Breakers
from llmgateway_server.observe.figures import Circuits


def circuits(breakers: Breakers) -> Circuits:
    """Returns which accounts cannot be asked at all now, and which at some of their models only."""
    states: defaultdict[str, set[State]] = defaultdict(set)
    for view in breakers.views():
        states[view.key.provider].add(view.state)
    broken = frozenset(name for name, found in states.items() if found == {State.OPEN})
    troubled = frozenset(name for name, found in states.items() if found != {State.CLOSED})
    return Circuits(broken, troubled - broken)
