"""What Google's models can do, those of AI Studio and of Vertex AI alike.

Sources: the pages of the models, of thinking and of deprecations at ai.google.dev/gemini-api/docs, as of November 2026;
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
        Capability.AUDIO_INPUT,
        Capability.DOCUMENT_INPUT,
        Capability.JSON_OBJECT,
        Capability.JSON_SCHEMA,
        Capability.PROMPT_CACHE,
    }
)
_TEXT = frozenset({Operation.COMPLETE, Operation.COUNT_TOKENS})

_GEMINI_2 = Profile(
    capabilities=_BASE,
    context_token_count=1_048_576,
    max_output_token_count=8192,
    reasoning=ReasoningStyle.NONE,
    tier="STANDARD",
    operations=_TEXT,
)
_GEMINI_2_5 = replace(
    _GEMINI_2,
    capabilities=_BASE | {Capability.REASONING, Capability.CODING},
    max_output_token_count=65_536,
    reasoning=ReasoningStyle.BUDGET,
)
_GEMINI_3 = replace(_GEMINI_2_5, reasoning=ReasoningStyle.EFFORT)
"""Takes the level `minimal`."""
_GEMINI_3_ADAPTIVE = replace(_GEMINI_2_5, reasoning=ReasoningStyle.ADAPTIVE)
"""Takes levels from `low` up."""
_PAINTER = Profile(
    capabilities=frozenset({Capability.STREAMING, Capability.VISION, Capability.IMAGE_GENERATION}), operations=_TEXT
)


def _named(*patterns: str) -> tuple[str, ...]:
    """Returns patterns for names that stand alone and for those behind a path."""
    return (*patterns, *(f"*/{pattern}" for pattern in patterns))


def _basic(profile: Profile) -> Profile:
    return replace(profile, tier="BASIC")


def _premium(profile: Profile) -> Profile:
    return replace(profile, tier="PREMIUM")


def _ends(profile: Profile, day: str, successor: str) -> Profile:
    """Marks a model that Google shuts down. The sentence holds before that day and after it."""
    return replace(
        profile, status=ModelStatus.DEPRECATED, status_reason=f"Google's shutdown date is {day}; use {successor}"
    )


ROWS: tuple[tuple[tuple[str, ...], Profile], ...] = (
    (_named("gemini-*-image*", "gemini-*banana*"), _PAINTER),
    (_named("gemini-*-tts*", "gemini-*live*", "gemini-omni*", "gemini-robotics*"), Profile(operations=_TEXT)),
    (
        _named("gemini-embedding*", "text-embedding*"),
        Profile(frozenset({Capability.EMBEDDING}), operations=frozenset()),
    ),
    (_named("gemini-1*", "gemini-pro", "gemini-pro-vision*"), _ends(_GEMINI_2, "2025-09-29", "gemini-3.5-flash-lite")),
    (_named("gemini-2.0-flash-lite*"), _ends(_basic(_GEMINI_2), "2026-06-01", "gemini-2.5-flash-lite")),
    (
        _named("gemini-2.0-flash-thinking*"),
        _ends(replace(_GEMINI_2_5, reasoning=ReasoningStyle.UNKNOWN), "2025-12-02", "gemini-3.5-flash-lite"),
    ),
    (_named("gemini-2.0*"), _ends(_GEMINI_2, "2026-06-01", "gemini-2.5-flash-lite")),
    (_named("gemini-2.5-flash-lite*"), _basic(_GEMINI_2_5)),
    (_named("gemini-2.5-flash*"), _ends(_GEMINI_2_5, "2026-12-01", "gemini-3.5-flash-lite")),
    (_named("gemini-2.5-pro*"), _ends(_premium(_GEMINI_2_5), "2026-12-01", "gemini-3.8-flash")),
    (_named("gemini-3-pro-preview*"), _ends(_premium(_GEMINI_3_ADAPTIVE), "2026-03-09", "gemini-3.1-pro-preview")),
    (_named("gemini-3*-flash-lite*"), _basic(_GEMINI_3)),
    (_named("gemini-3-flash*", "gemini-3.[56]-flash*"), _GEMINI_3),
    (_named("gemini-3*-flash*"), _GEMINI_3_ADAPTIVE),
    (_named("gemini-[34]*"), _premium(_GEMINI_3_ADAPTIVE)),
    # Newer than this table, most likely; how they think is left to Google to judge.
    (_named("gemini-*"), Profile(capabilities=_BASE, operations=_TEXT)),
    (("*",), Profile(capabilities=frozenset({Capability.STREAMING}), native_json_schema=False, operations=_TEXT)),
)
