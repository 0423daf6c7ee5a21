"""How Cohere's models are told how much to think. See `request`.

A model that thinks does so unless it is told not to, and always shows it. How far it goes is a number of tokens.

Source: https://docs.cohere.com/docs/reasoning
"""

from __future__ import annotations

from typing import Any

from llmgateway_server.core.requests import ReasoningOptions
from llmgateway_server.core.targets import ReasoningStyle
from llmgateway_server.providers.dialects.dialect import Unsupported

EFFORT = "reasoning.effort"
BUDGET = "reasoning.budget_token_count"
INCLUDE_TEXT = "reasoning.include_text"
EFFORT_BUDGETS = {"minimal": 512, "low": 2048, "medium": 8192}
"""Tokens that a named effort stands for; at the efforts above the vendor sets no limit, and neither do we."""
ANSWER_SHARE = 5
"""Of the tokens that may be put out, a budget by named effort leaves the answer at least one in so many."""
OFF = {"type": "disabled"}


def thinking_of(
    wanted: ReasoningOptions | None, style: ReasoningStyle, max_tokens: int | None, unsupported: Unsupported
) -> dict[str, Any] | None:
    """Returns the field `thinking`; None for the vendor's default.

    Args:
        wanted: the caller's.
        style: of the model; one that does not think is not told whether to.
        max_tokens: that may be put out, thoughts among them; None for the model's own limit.
        unsupported: gets what the model does not take.
    """
    if wanted is None:
        return None
    effort, budget = wanted.effort, wanted.budget_token_count
    if style is ReasoningStyle.NONE:
        _refuse_all(wanted, unsupported)
        return None
    if wanted.include_text is False and not (effort == "none" or budget == 0):
        unsupported.hint(INCLUDE_TEXT)
    if budget is not None:
        if effort is not None and (effort, budget) != ("none", 0):
            unsupported.changed(EFFORT, "gave way to the budget")
        return {"type": "enabled", "token_budget": budget} if budget else OFF
    if effort is None:
        return None
    if effort == "none":
        return OFF
    known = EFFORT_BUDGETS.get(effort)
    if known is None:
        return {"type": "enabled"}
    most = known if max_tokens is None else max(1, max_tokens - max_tokens // ANSWER_SHARE)
    return {"type": "enabled", "token_budget": min(known, most)}


def _refuse_all(wanted: ReasoningOptions, unsupported: Unsupported) -> None:
    if wanted.effort not in (None, "none"):
        unsupported.option(EFFORT)
    if wanted.budget_token_count:
        unsupported.option(BUDGET)
    if wanted.include_text:
        unsupported.hint(INCLUDE_TEXT)
