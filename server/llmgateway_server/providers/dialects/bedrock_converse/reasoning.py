"""How the models behind Converse are told how much to think, in the words of each family. See `families`.

Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/inference-reasoning.html and the pages of the vendors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.requests import CompleteRequest, ReasoningOptions
from llmgateway_server.providers.dialects.anthropic_messages.reasoning import BUDGET, EFFORT, OFF, thinking_of
from llmgateway_server.providers.dialects.bedrock_converse.families import ReasoningField, claude_of, family_of
from llmgateway_server.providers.dialects.dialect import Unsupported

USUAL_MAX_TOKENS = 64_000
"""Tokens that may be put out where neither the caller nor anybody else says so: the service takes the model's most."""
INCLUDE_TEXT = "reasoning.include_text"
MOST = "high"
EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "max": MOST}
"""Named efforts in the words of the families that know three."""
QWEN_EFFORTS = {"minimal": "low", "low": "low", "medium": "high", "high": "high", "max": "high"}


@dataclass(slots=True, frozen=True)
class Reasoned:
    """What is sent of a call's reasoning."""

    fields: dict[str, Any] = field(default_factory=dict)
    """In `additionalModelRequestFields`."""
    effort: str | None = None
    """The field `outputConfig.effort`."""
    is_on: bool = False
    """Whether the model is asked to think; some options cannot be sent then."""
    alone: bool = False
    """Whether the service takes neither a cap on tokens nor sampling options beside it."""


NOT_ASKED = Reasoned()


def reasoned(attempt: Attempt, request: CompleteRequest, unsupported: Unsupported) -> Reasoned:
    """Returns how the wanted reasoning is asked for.

    Args:
        attempt: tells the model.
        request: its completion.
        unsupported: gets what the model does not take.
    """
    options = request.reasoning
    if options is None:
        return NOT_ASKED
    kind = family_of(attempt.target.upstream_model).reasoning
    if kind is ReasoningField.THINKING:
        return _thinking(options, attempt, request, unsupported)
    if options.include_text is not None:  # shown where there is any
        unsupported.hint(INCLUDE_TEXT)
    return _BY_FIELD[kind](options, unsupported)


def silenced(attempt: Attempt) -> Reasoned:
    """Returns what keeps a model from thinking unasked where it is to call a tool; nothing where it does not."""
    if family_of(attempt.target.upstream_model).reasoning is not ReasoningField.THINKING:
        return NOT_ASKED
    if claude_of(attempt.target).reasoning != "ADAPTIVE":
        return NOT_ASKED
    return Reasoned({"thinking": OFF})


def _thinking(
    options: ReasoningOptions, attempt: Attempt, request: CompleteRequest, unsupported: Unsupported
) -> Reasoned:
    profile = claude_of(attempt.target)
    most = request.max_output_tokens or profile.max_output_token_count or USUAL_MAX_TOKENS
    thinking = thinking_of(options, profile.reasoning, most, unsupported)
    fields = {} if thinking.config is None else {"thinking": thinking.config}
    return Reasoned(fields, thinking.effort, thinking.is_on)


def _reasoning_config(options: ReasoningOptions, unsupported: Unsupported) -> Reasoned:
    if options.budget_token_count:
        unsupported.option(BUDGET)
    if options.effort == "none" or (options.effort is None and options.budget_token_count == 0):
        return Reasoned({"reasoningConfig": {"type": "disabled"}})
    if options.effort is None:
        return NOT_ASKED
    effort = EFFORTS[options.effort]
    config = {"type": "enabled", "maxReasoningEffort": effort}
    return Reasoned({"reasoningConfig": config}, is_on=True, alone=effort == MOST)


def _reasoning_effort(options: ReasoningOptions, unsupported: Unsupported) -> Reasoned:
    return _always(options, unsupported, "reasoning_effort", EFFORTS)


def _qwen_config(options: ReasoningOptions, unsupported: Unsupported) -> Reasoned:
    return _always(options, unsupported, "reasoning_config", QWEN_EFFORTS)


def _always(options: ReasoningOptions, unsupported: Unsupported, name: str, efforts: dict[str, str]) -> Reasoned:
    """For models that cannot be told not to reason."""
    if options.budget_token_count is not None:
        unsupported.option(BUDGET)
    if options.effort is None:
        return NOT_ASKED
    if options.effort == "none":
        unsupported.option(EFFORT)
        return NOT_ASKED
    return Reasoned({name: efforts[options.effort]}, is_on=True)


def _unknown(options: ReasoningOptions, unsupported: Unsupported) -> Reasoned:
    if options.effort not in (None, "none"):
        unsupported.option(EFFORT)
    if options.budget_token_count:
        unsupported.option(BUDGET)
    return NOT_ASKED


_BY_FIELD: dict[ReasoningField, Callable[[ReasoningOptions, Unsupported], Reasoned]] = {
    ReasoningField.UNKNOWN: _unknown,
    ReasoningField.REASONING_CONFIG: _reasoning_config,
    ReasoningField.REASONING_EFFORT: _reasoning_effort,
    ReasoningField.QWEN_CONFIG: _qwen_config,
}
