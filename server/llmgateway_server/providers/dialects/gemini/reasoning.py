"""How Google's models are told how much to think. See `generation`.

Those of one generation are told a number of tokens, those of the next a level; never both. What a level or a number
means to the one model that does not know it, the vendor judges.

Source: https://ai.google.dev/gemini-api/docs/thinking
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmgateway_server.core.requests import ReasoningOptions
from llmgateway_server.core.targets import ReasoningStyle
from llmgateway_server.providers.dialects.dialect import Unsupported

BUDGET = "reasoning.budget_token_count"
EFFORT = "reasoning.effort"
EFFORT_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "max": 24_576}
"""Tokens that a named effort stands for, as in https://ai.google.dev/gemini-api/docs/openai; the greatest number that
all models take is also the most."""
LEVELS = {"minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "max": "high"}
"""Named efforts as levels."""
LEAST_LEVELS = {ReasoningStyle.ADAPTIVE: "low"}
"""Where it is not `minimal`: the newer models and the larger ones."""

Config = dict[str, Any]


def thinking_config(options: ReasoningOptions | None, style: ReasoningStyle, unsupported: Unsupported) -> Config | None:
    """Returns the field `thinkingConfig`; None where nothing is asked.

    Args:
        options: the caller's.
        style: of the model.
        unsupported: gets what the model does not take.
    """
    return None if options is None else _BY_STYLE[style](options, unsupported) or None


def _of_none(options: ReasoningOptions, unsupported: Unsupported) -> Config:
    """For models that do not think."""
    if options.effort not in (None, "none"):
        unsupported.option(EFFORT)
    if options.budget_token_count:
        unsupported.option(BUDGET)
    if options.include_text:
        unsupported.hint("reasoning.include_text")
    return {}


def _by_budget(options: ReasoningOptions, unsupported: Unsupported) -> Config:
    """A number of tokens is more exact than a named effort: given both, it counts."""
    budget = options.budget_token_count
    if budget is not None and options.effort is not None:
        unsupported.changed(EFFORT, "gave way to the budget")
    elif options.effort is not None:
        budget = EFFORT_BUDGETS[options.effort]
    return _shown(options) | ({} if budget is None else {"thinkingBudget": budget})


def _by_level(
    options: ReasoningOptions, unsupported: Unsupported, style: ReasoningStyle = ReasoningStyle.EFFORT
) -> Config:
    """A level is what the model wants; it takes a number where there is no level."""
    effort, budget = options.effort, options.budget_token_count
    if effort is None:
        return _shown(options) | ({} if budget is None else {"thinkingBudget": budget})
    if budget is not None:
        unsupported.changed(BUDGET, "gave way to the effort")
    least = LEAST_LEVELS.get(style, "minimal")
    if effort in ("none", "minimal") and effort != least:
        unsupported.changed(EFFORT, f"was raised to {least}: the model thinks no less")
        effort = least
    return _shown(options) | {"thinkingLevel": LEVELS[effort]}


def _adaptive(options: ReasoningOptions, unsupported: Unsupported) -> Config:
    """The same, from another level up."""
    return _by_level(options, unsupported, ReasoningStyle.ADAPTIVE)


def _passed_on(options: ReasoningOptions, unsupported: Unsupported) -> Config:
    """The vendor judges whether the model takes a number or a level."""
    by_number = options.budget_token_count is not None or options.effort == "none"
    return (_by_budget if by_number else _by_level)(options, unsupported)


def _shown(options: ReasoningOptions) -> Config:
    return {} if options.include_text is None else {"includeThoughts": options.include_text}


_BY_STYLE: dict[ReasoningStyle, Callable[[ReasoningOptions, Unsupported], Config]] = {
    ReasoningStyle.NONE: _of_none,
    ReasoningStyle.BUDGET: _by_budget,
    ReasoningStyle.EFFORT: _by_level,
    ReasoningStyle.ADAPTIVE: _adaptive,
    ReasoningStyle.UNKNOWN: _passed_on,
}
