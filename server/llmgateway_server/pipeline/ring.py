"""Joins stages into one opener and makes the gateway that the doors call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from llmgateway_server.core.calls import Call
from llmgateway_server.core.reply import AttemptStage, CallStage, OpenAttempt, OpenCall, Opened


def call_ring(stages: Sequence[CallStage], innermost: OpenCall) -> OpenCall:
    """Returns the opener that runs `stages`, outermost first, around `innermost`."""
    opener = innermost
    for stage in reversed(stages):
        opener = partial(stage.open, following=opener)
    return opener


def attempt_ring(stages: Sequence[AttemptStage], innermost: OpenAttempt) -> OpenAttempt:
    """Returns the opener that runs `stages`, outermost first, around `innermost`."""
    opener = innermost
    for stage in reversed(stages):
        opener = partial(stage.open, following=opener)
    return opener


class RingGateway:
    """The `Gateway` port over a ring.

    Args:
        opener: of the outermost stage.
    """

    def __init__(self, opener: OpenCall) -> None:
        self._opener = opener

    def open(self, call: Call) -> Opened:
        """See `Gateway.open`."""
        return self._opener(call)
