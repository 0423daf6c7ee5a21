"""How recordings of Cohere are played; see `played`."""

from __future__ import annotations

LAST = b'"type":"message-end"'
"""What only the last event of a stream has; the line `[DONE]` behind it says nothing more."""
EFFORTS = {"enabled": None, "disabled": "none"}
"""Reasoning that is asked for without a budget, as a named effort; None: the vendor's own way."""


def said(neutral: dict[str, object]) -> dict[str, object]:
    """Returns a request whose reasoning is in the words that `neutral` knows."""
    match neutral.get("reasoning"):
        case {"type": kind, "token_budget": int(budget)}:
            return {**neutral, "reasoning": {"type": kind, "budget_tokens": budget}}
        case {"type": str(kind)} if kind in EFFORTS:
            return {**neutral, "reasoning": EFFORTS[kind]}
    return neutral
