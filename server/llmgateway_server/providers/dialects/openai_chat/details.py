"""Reasoning that goes back unchanged, as OpenRouter has it: `reasoning_details`, whichever maker the model is of.

Source: https://openrouter.ai/docs/use-cases/reasoning-tokens. Words come in pieces; those of one index and type are one
detail, whose signature comes with the last piece. Details go back in the order in which they came, on the message that
they belong to.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import msgspec

from llmgateway_server.core.messages import ProviderState

OPEN = {"reasoning.text": "text", "reasoning.summary": "summary"}
"""Types that show words, and where they stand. Only these come in pieces; what is encrypted comes whole."""


class ReasoningDetails:
    """Collects the details of one reply.

    Args:
        vendor: whose state they are; empty: nobody's, and they are not kept.
    """

    def __init__(self, vendor: str) -> None:
        self._vendor = vendor
        self._found: dict[Hashable, dict[str, Any]] = {}

    def add(self, details: object) -> None:
        """Takes details, whole or in pieces."""
        for detail in details if self._vendor and isinstance(details, list) else ():
            if isinstance(detail, dict):
                self._merge(str(detail.get("type")), detail)

    def state(self) -> ProviderState | None:
        """Returns what must come back; None where nothing must."""
        if not self._found:
            return None
        return ProviderState(self._vendor, msgspec.json.encode(list(self._found.values())))

    def _merge(self, kind: str, piece: dict[str, Any]) -> None:
        index, words = piece.get("index"), OPEN.get(kind)
        key: Hashable = (kind, index) if words and isinstance(index, int) else len(self._found)
        known = self._found.setdefault(key, piece)
        if known is piece:
            return
        for name, value in piece.items():
            before = known.get(name)
            if name == words and isinstance(before, str) and isinstance(value, str):
                known[name] = before + value
            elif value is not None:
                known[name] = value


def details_of(state: ProviderState) -> list[Any] | None:
    """Returns the details in a state that came back; None where they are none."""
    try:
        found = msgspec.json.decode(state.data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None
