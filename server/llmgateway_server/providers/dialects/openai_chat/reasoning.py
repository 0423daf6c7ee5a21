"""How vendors are told how much to reason: a way for each form of request. See `openai_chat`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llmgateway_server.core.requests import ReasoningOptions
from llmgateway_server.core.targets import Profile
from llmgateway_server.providers.dialects.dialect import Unsupported
from llmgateway_server.providers.dialects.openai_common.reasoning import effort_of

Way = Callable[[ReasoningOptions, Profile, Unsupported], dict[str, Any]]
"""Returns the fields of a request; notes what the vendor cannot be told."""


def _by_effort(wanted: ReasoningOptions, profile: Profile, unsupported: Unsupported) -> dict[str, Any]:
    """A word in `reasoning_effort`, as OpenAI has it."""
    _refuse(unsupported, budget=wanted.budget_token_count, include=wanted.include_text)
    effort = effort_of(wanted, profile)
    return {} if effort is None else {"reasoning_effort": effort}


def _by_object(wanted: ReasoningOptions, profile: Profile, unsupported: Unsupported) -> dict[str, Any]:
    """An object `reasoning` with a word or a number of tokens: https://openrouter.ai/docs/use-cases/reasoning-tokens."""
    if wanted.effort is not None and wanted.budget_token_count is not None:
        unsupported.option("reasoning.effort")  # it takes one of them
    said = {
        "effort": effort_of(wanted, profile) if wanted.budget_token_count is None else None,
        "max_tokens": wanted.budget_token_count,
        "exclude": None if wanted.include_text is None else not wanted.include_text,
    }
    given = {name: value for name, value in said.items() if value is not None}
    return {"reasoning": given} if given else {}


def _by_switch(wanted: ReasoningOptions, profile: Profile, unsupported: Unsupported) -> dict[str, Any]:
    """A switch `thinking` and a word beside it: https://api-docs.deepseek.com/guides/thinking_mode."""
    _refuse(unsupported, budget=wanted.budget_token_count, include=wanted.include_text)
    effort = effort_of(wanted, profile)
    if effort is None:
        return {}
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    return {"thinking": {"type": "enabled"}, "reasoning_effort": effort}


def _not_at_all(wanted: ReasoningOptions, _profile: Profile, unsupported: Unsupported) -> dict[str, Any]:
    if wanted.effort is not None:
        unsupported.option("reasoning.effort")
    _refuse(unsupported, budget=wanted.budget_token_count, include=wanted.include_text)
    return {}


def _refuse(unsupported: Unsupported, *, budget: int | None, include: bool | None) -> None:
    for path, value in (("reasoning.budget_token_count", budget), ("reasoning.include_text", include)):
        if value is not None:
            unsupported.option(path)


WAYS: Mapping[str, Way] = {
    "effort": _by_effort,
    "object": _by_object,
    "switch": _by_switch,
    "none": _not_at_all,
}
"""By the word of `Quirks.reasoning`."""
