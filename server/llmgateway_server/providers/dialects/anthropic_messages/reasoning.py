"""How Anthropic's models are told how much to think. See `request`.

Sources: https://platform.claude.com/docs/en/build-with-claude/extended-thinking, /adaptive-thinking and /effort
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmgateway_server.core.requests import ReasoningOptions
from llmgateway_server.core.targets import ReasoningStyle
from llmgateway_server.providers.dialects.dialect import Unsupported

BUDGET = "reasoning.budget_token_count"
EFFORT = "reasoning.effort"
LEAST_BUDGET = 1024
"""The vendor takes no smaller one."""
EFFORT_BUDGETS = {"minimal": 1024, "low": 4096, "medium": 8192, "high": 16_384, "max": 32_768}
"""Tokens that a named effort stands for where a model knows budgets only. From 32 K on the vendor advises batches."""
ANSWER_SHARE = 5
"""Of the tokens that may be put out, a budget by named effort leaves the answer at least one in so many."""
EFFORTS = {name: name for name in ("low", "medium", "high", "max")} | {"minimal": "low"}
"""Named efforts in the vendor's words."""
DISPLAYS = {True: "summarized", False: "omitted"}
OFF = {"type": "disabled"}


@dataclass(slots=True, frozen=True)
class Thinking:
    """What is sent of a call's reasoning."""

    config: dict[str, Any] | None = None
    """The field `thinking`."""
    effort: str | None = None
    """The field `output_config.effort`."""

    @property
    def is_on(self) -> bool:
        """Whether the model is asked to think; some options cannot be sent then."""
        return self.config is not None and self.config != OFF


NOT_ASKED = Thinking()


def thinking_of(
    options: ReasoningOptions | None, style: ReasoningStyle, max_tokens: int, unsupported: Unsupported
) -> Thinking:
    """Returns how the wanted reasoning is asked for.

    Args:
        options: the caller's.
        style: of the model.
        max_tokens: that may be put out, those of the reasoning among them.
        unsupported: gets what the model does not take.
    """
    return NOT_ASKED if options is None else _BY_STYLE[style](_Asked(options, max_tokens, unsupported))


class _Asked:
    """The wanted reasoning of one call, in the words of each style.

    Args:
        options: the caller's.
        max_tokens: that may be put out.
        unsupported: gets what the model does not take.
    """

    def __init__(self, options: ReasoningOptions, max_tokens: int, unsupported: Unsupported) -> None:
        self._effort = options.effort
        self._budget = options.budget_token_count
        self._include_text = options.include_text
        self._max_tokens = max_tokens
        self._unsupported = unsupported

    def of_none(self) -> Thinking:
        """For models that do not think."""
        if self._effort not in (None, "none"):
            self._unsupported.option(EFFORT)
        if self._budget:
            self._unsupported.option(BUDGET)
        if self._include_text:
            self._unsupported.hint("reasoning.include_text")
        return NOT_ASKED

    def by_budget(self) -> Thinking:
        """A number of tokens is more exact than a named effort: given both, it counts."""
        if self._budget is not None:
            if self._effort is not None:
                self._effort_gave_way()
            return self._enabled(BUDGET, self._budget, self._max_tokens - 1)
        if self._effort is None:
            return NOT_ASKED
        most = max(self._max_tokens - self._max_tokens // ANSWER_SHARE, LEAST_BUDGET)
        return self._enabled(EFFORT, EFFORT_BUDGETS.get(self._effort, 0), most)

    def adaptive(self) -> Thinking:
        """The model decides by itself; how far it goes is a named effort."""
        if self._budget:
            self._unsupported.option(BUDGET)
        if self._budget == 0 and self._effort not in (None, "none"):
            self._effort_gave_way()
        if self._budget == 0 or self._effort == "none":
            return Thinking(OFF)
        if self._effort is None and self._include_text is None:
            return NOT_ASKED
        config = {"type": "adaptive"}
        if self._include_text is not None:
            config["display"] = DISPLAYS[self._include_text]
        return Thinking(config, EFFORTS.get(self._effort or ""))

    def passed_on(self) -> Thinking:
        """The vendor judges whether the model takes a budget, an effort or both."""
        if not self._budget:
            return self.adaptive()
        if self._effort == "none":
            self._effort_gave_way()
        enabled = self._enabled(BUDGET, self._budget, self._max_tokens - 1)
        return Thinking(enabled.config, EFFORTS.get(self._effort or ""))

    def _enabled(self, path: str, budget: int, most: int) -> Thinking:
        """Asks for a budget that the vendor takes: at least 1,024 tokens and fewer than may be put out."""
        if budget == 0:
            return Thinking(OFF)
        if self._max_tokens <= LEAST_BUDGET:
            self._unsupported.option(path)
            return NOT_ASKED
        if budget < LEAST_BUDGET:
            self._unsupported.changed(path, f"was raised to {LEAST_BUDGET} tokens, the vendor's least")
        config: dict[str, Any] = {"type": "enabled", "budget_tokens": max(LEAST_BUDGET, min(budget, most))}
        if self._include_text is False:  # shown by default
            config["display"] = DISPLAYS[False]
        return Thinking(config)

    def _effort_gave_way(self) -> None:
        self._unsupported.changed(EFFORT, "gave way to the budget")


_BY_STYLE: dict[ReasoningStyle, Callable[[_Asked], Thinking]] = {
    ReasoningStyle.NONE: _Asked.of_none,
    ReasoningStyle.BUDGET: _Asked.by_budget,
    ReasoningStyle.EFFORT: _Asked.adaptive,
    ReasoningStyle.ADAPTIVE: _Asked.adaptive,
    ReasoningStyle.UNKNOWN: _Asked.passed_on,
}
