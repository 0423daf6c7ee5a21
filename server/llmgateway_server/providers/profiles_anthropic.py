"""What Anthropic's models can do.

Sources: the overview of each model and the list of deprecations at platform.claude.com/docs, as of November 2026;
context sizes also in the data of `genai-prices`.
"""

from __future__ import annotations

from dataclasses import replace

from llmgateway_server.core.requests import Operation
from llmgateway_server.core.targets import Capability, ModelStatus, Profile, ReasoningStyle

_BASE = frozenset(
    {
        Capability.STREAMING,
        Capability.TOOLS,
        Capability.PARALLEL_TOOLS,
        Capability.VISION,
        Capability.JSON_OBJECT,
        Capability.JSON_SCHEMA,  # by a forced tool where the model has no schema of its own
        Capability.PROMPT_CACHE,
    }
)
_TEXT = frozenset({Operation.COMPLETE, Operation.COUNT_TOKENS})

_CLAUDE_3 = Profile(
    capabilities=_BASE,
    context_token_count=200_000,
    max_output_token_count=4096,
    reasoning=ReasoningStyle.NONE,
    native_json_schema=False,
    tier="STANDARD",
    operations=_TEXT,
)
_CLAUDE_3_5 = replace(
    _CLAUDE_3,
    capabilities=_BASE | {Capability.DOCUMENT_INPUT, Capability.CODING},
    max_output_token_count=8192,
)
_CLAUDE_4 = replace(
    _CLAUDE_3_5,
    capabilities=_CLAUDE_3_5.capabilities | {Capability.REASONING},
    max_output_token_count=64_000,
    reasoning=ReasoningStyle.BUDGET,
)
_CLAUDE_4_5 = replace(_CLAUDE_4, native_json_schema=True)
_CLAUDE_4_6 = replace(
    _CLAUDE_4_5,
    context_token_count=1_000_000,
    max_output_token_count=128_000,
    reasoning=ReasoningStyle.UNKNOWN,  # takes budgets and efforts alike
)
_CLAUDE_4_7 = replace(_CLAUDE_4_6, reasoning=ReasoningStyle.ADAPTIVE)


def _basic(profile: Profile) -> Profile:
    return replace(profile, tier="BASIC")


def _premium(profile: Profile) -> Profile:
    return replace(profile, tier="PREMIUM")


def _ends(profile: Profile, day: str, successor: str) -> Profile:
    """Marks a model that Anthropic retires. The sentence holds before that day and after it."""
    return replace(
        profile, status=ModelStatus.DEPRECATED, status_reason=f"Anthropic's retirement date is {day}; use {successor}"
    )


ROWS: tuple[tuple[tuple[str, ...], Profile], ...] = (
    (("claude-3-haiku*",), _ends(_basic(_CLAUDE_3), "2026-04-20", "claude-haiku-5-5")),
    (("claude-3-sonnet*",), _ends(_CLAUDE_3, "2025-07-21", "claude-sonnet-5-5")),
    (("claude-3-opus*",), _ends(_premium(_CLAUDE_3), "2026-01-05", "claude-opus-5-5")),
    (("claude-3-5-haiku*",), _ends(_basic(_CLAUDE_3_5), "2026-02-19", "claude-haiku-5-5")),
    (("claude-3-5-sonnet*",), _ends(_CLAUDE_3_5, "2025-10-28", "claude-sonnet-5-5")),
    (("claude-3-7-sonnet*",), _ends(_CLAUDE_4, "2026-02-19", "claude-sonnet-5-5")),
    (
        ("claude-opus-4-1*",),
        _ends(_premium(replace(_CLAUDE_4_5, max_output_token_count=32_000)), "2026-08-05", "claude-opus-4-8"),
    ),
    (("claude-sonnet-4-5*",), _ends(_CLAUDE_4_5, "2026-11-30", "claude-sonnet-5-5")),
    (("claude-haiku-4-5*",), _basic(_CLAUDE_4_5)),
    (("claude-opus-4-5*",), _premium(_CLAUDE_4_5)),
    (
        ("claude-opus-4", "claude-opus-4-0*", "claude-opus-4-2025*"),
        _ends(_premium(replace(_CLAUDE_4, max_output_token_count=32_000)), "2026-06-15", "claude-opus-4-8"),
    ),
    (
        ("claude-sonnet-4", "claude-sonnet-4-0*", "claude-sonnet-4-2025*"),
        _ends(_CLAUDE_4, "2026-06-15", "claude-sonnet-4-6"),
    ),
    (("claude-sonnet-4-6*",), _CLAUDE_4_6),
    (("claude-opus-4-6*",), _premium(_CLAUDE_4_6)),
    (("claude-haiku-[4-9]*",), _basic(_CLAUDE_4_7)),
    (("claude-sonnet-[4-9]*",), _CLAUDE_4_7),
    (("claude-opus-[4-9]*", "claude-fable-*", "claude-mythos-*"), _premium(_CLAUDE_4_7)),
    (
        ("claude-instant*", "claude-1*", "claude-2*", "claude-v*"),
        _ends(replace(_CLAUDE_3, capabilities=frozenset({Capability.STREAMING})), "2025-07-21", "claude-sonnet-5-5"),
    ),
    # Newer than this table, most likely; how it reasons is left to Anthropic to judge.
    (("claude-*",), Profile(capabilities=_BASE, operations=_TEXT)),
    (("*",), Profile(capabilities=frozenset({Capability.STREAMING}), native_json_schema=False, operations=_TEXT)),
)
