"""The place of a reasoning part in a message of Cohere's: what stands beside it as state. See `cohere_chat`."""

from __future__ import annotations

from enum import StrEnum

from llmgateway_server.core.messages import ProviderState

VENDOR = "cohere"


class Place(StrEnum):
    """Where a message holds words."""

    TEXT = "text"
    THINKING = "thinking"
    PLAN = "tool_plan"


def reasoning_state(place: Place) -> ProviderState:
    """Returns the state for reasoning that stood in a place."""
    return ProviderState(VENDOR, place.encode())


def read_reasoning_state(state: ProviderState | None) -> Place | None:
    """Returns the place; None where the state is absent, another vendor's or unknown."""
    if state is None or state.vendor != VENDOR:
        return None
    return {b"thinking": Place.THINKING, b"tool_plan": Place.PLAN}.get(state.data)
