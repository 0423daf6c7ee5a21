"""How OpenAI's models are told how much to reason, in chat completions and in responses."""

from __future__ import annotations

from llmgateway_server.core.requests import ReasoningOptions
from llmgateway_server.core.targets import Profile

TOP_EFFORT = "xhigh"
"""As much reasoning as there is, in the words of most models; others say theirs in their profile."""


def effort_of(reasoning: ReasoningOptions | None, profile: Profile) -> str | None:
    """Returns the effort in the vendor's words; None for the vendor's default."""
    if reasoning is None or reasoning.effort is None:
        return None
    return (profile.top_effort or TOP_EFFORT) if reasoning.effort == "max" else reasoning.effort
