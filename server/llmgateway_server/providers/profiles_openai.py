"""What OpenAI's models can do.

Sources: the model pages and the list of deprecations at developers.openai.com/api/docs, as of November 2026; context
sizes also in the data of `genai-prices`.
"""

from __future__ import annotations

from dataclasses import replace

from llmgateway_server.core.requests import Operation
from llmgateway_server.core.targets import Capability, ModelStatus, Profile, ReasoningStyle

RESPONSES = "openai_responses"
"""Name of the dialect of the Responses API."""

_CHAT = frozenset({Capability.STREAMING, Capability.JSON_OBJECT})
_TOOLS = frozenset({Capability.TOOLS, Capability.PARALLEL_TOOLS})
_SIGHT = frozenset({Capability.VISION, Capability.DOCUMENT_INPUT})
_CACHE = frozenset({Capability.PROMPT_CACHE})
_SCHEMA = frozenset({Capability.JSON_SCHEMA})
_REASONING = frozenset({Capability.REASONING, Capability.CODING})

_TEXT = frozenset({Operation.COMPLETE, Operation.COUNT_TOKENS})

_GPT_3_5 = Profile(
    capabilities=_CHAT | _TOOLS | _SCHEMA,  # a schema by a forced tool
    context_token_count=16_385,
    max_output_token_count=4096,
    reasoning=ReasoningStyle.NONE,
    native_json_schema=False,
    tokenizer="cl100k_base",
    tier="BASIC",
    operations=_TEXT,
)
_GPT_4 = replace(
    _GPT_3_5,
    capabilities=frozenset({Capability.STREAMING, Capability.TOOLS, Capability.JSON_SCHEMA}),
    context_token_count=8192,
    max_output_token_count=8192,
    tier="STANDARD",
)
_GPT_4_TURBO = replace(_GPT_3_5, context_token_count=128_000, tier="STANDARD")
_GPT_4O = Profile(
    capabilities=_CHAT | _TOOLS | _SIGHT | _SCHEMA | _CACHE,
    context_token_count=128_000,
    max_output_token_count=16_384,
    reasoning=ReasoningStyle.NONE,
    tokenizer="o200k_base",
    tier="STANDARD",
    operations=_TEXT,
)
_GPT_AUDIO = replace(
    _GPT_4O,
    capabilities=frozenset({Capability.STREAMING, Capability.AUDIO_INPUT, Capability.JSON_SCHEMA}) | _TOOLS,
    native_json_schema=False,
)
_GPT_SEARCH = replace(_GPT_4O, capabilities=frozenset({Capability.STREAMING}) | _SCHEMA)
_GPT_4_1 = replace(_GPT_4O, context_token_count=1_047_576, max_output_token_count=32_768)
_O1 = Profile(
    capabilities=_CHAT | frozenset({Capability.TOOLS}) | _SIGHT | _SCHEMA | _CACHE | _REASONING,
    context_token_count=200_000,
    max_output_token_count=100_000,
    reasoning=ReasoningStyle.EFFORT,
    top_effort="high",
    tokenizer="o200k_base",
    tier="PREMIUM",
    operations=_TEXT,
)
_O1_EARLY = replace(
    _O1,
    capabilities=frozenset({Capability.STREAMING}) | _CACHE | _REASONING,
    context_token_count=128_000,
    native_json_schema=False,
)
_O_SMALL = replace(_O1, tier="STANDARD")
_GPT_5 = replace(
    _O1, capabilities=_O1.capabilities | _TOOLS, context_token_count=400_000, max_output_token_count=128_000
)
_GPT_5_SMALL = replace(_GPT_5, tier="BASIC")
_GPT_5_CHAT = replace(
    _GPT_4O,
    capabilities=_GPT_4O.capabilities | {Capability.CODING},
    reasoning=ReasoningStyle.UNKNOWN,  # some take one single effort, others none
)
_GPT_5_CODEX = replace(_GPT_5, dialect=RESPONSES)
_GPT_5_PRO = replace(_GPT_5, capabilities=_GPT_5.capabilities - _CACHE, dialect=RESPONSES)
_GPT_5_2 = replace(_GPT_5, top_effort="xhigh")
# Since 5.4 the chat completions of a model that reasons refuse tools; the Responses API serves both together.
_GPT_5_4 = replace(_GPT_5_2, context_token_count=1_050_000, tools_dialect=RESPONSES)
_GPT_5_4_STANDARD = replace(_GPT_5_4, tier="STANDARD")
_GPT_5_4_SMALL = replace(_GPT_5_4, tier="BASIC")
_EMBEDDING = Profile(
    capabilities=frozenset({Capability.EMBEDDING}),
    context_token_count=8192,
    reasoning=ReasoningStyle.NONE,
    native_json_schema=False,
    tokenizer="cl100k_base",
    tier="STANDARD",
    operations=frozenset({Operation.EMBED}),
)


def _pro(profile: Profile) -> Profile:
    """Thinks longest: answers whole, without a cache, over the Responses API alone."""
    return replace(
        profile, capabilities=profile.capabilities - {Capability.STREAMING, Capability.PROMPT_CACHE}, dialect=RESPONSES
    )


def _blind(profile: Profile) -> Profile:
    return replace(profile, capabilities=profile.capabilities - _SIGHT)


def _ends(profile: Profile, day: str, successor: str) -> Profile:
    """Marks a model that OpenAI switches off. The sentence holds before that day and after it."""
    return replace(
        profile, status=ModelStatus.DEPRECATED, status_reason=f"OpenAI's shutdown date is {day}; use {successor}"
    )


ROWS: tuple[tuple[tuple[str, ...], Profile], ...] = (
    (("gpt-3.5-*",), _ends(_GPT_3_5, "2026-10-23", "gpt-5.6-terra")),
    (("gpt-4-32k*",), _ends(replace(_GPT_4, context_token_count=32_768), "2025-06-06", "gpt-5.6-sol")),
    (("gpt-4-0314",), _ends(_GPT_4, "2026-03-26", "gpt-5.6-sol")),
    (
        ("gpt-4-0125-preview", "gpt-4-1106-preview", "gpt-4-turbo-preview*"),
        _ends(_GPT_4_TURBO, "2026-03-26", "gpt-5.6-sol"),
    ),
    (
        ("gpt-4-turbo*", "gpt-4-*vision-preview"),
        _ends(
            replace(_GPT_4_TURBO, capabilities=_GPT_4_TURBO.capabilities | {Capability.VISION}),
            "2026-10-23",
            "gpt-5.6-sol",
        ),
    ),
    (("gpt-4.5-*",), _ends(replace(_GPT_4O, tier="PREMIUM"), "2025-07-14", "gpt-5.6-sol")),
    (("gpt-4.1-nano*",), _ends(replace(_GPT_4_1, tier="BASIC"), "2026-10-23", "gpt-5.6-luna")),
    (("gpt-4.1-mini*",), _ends(replace(_GPT_4_1, tier="BASIC"), "2027-01-14", "gpt-6-luna")),
    (("gpt-4.1*",), _ends(_GPT_4_1, "2027-01-14", "gpt-6-luna")),
    (("gpt-4o-mini-audio-*",), _ends(replace(_GPT_AUDIO, tier="BASIC"), "2026-07-23", "gpt-audio-mini")),
    (("gpt-4o-audio-*",), _ends(_GPT_AUDIO, "2027-01-20", "gpt-audio-1.5")),
    (("gpt-4o-mini-search-*",), _ends(replace(_GPT_SEARCH, tier="BASIC"), "2026-07-23", "gpt-5.4-mini")),
    (("gpt-4o-search-*",), _ends(_GPT_SEARCH, "2026-07-23", "gpt-5.4-mini")),
    (
        ("gpt-4o-2024-05-13",),
        _ends(
            replace(_GPT_4O, capabilities=_GPT_4O.capabilities - _CACHE, native_json_schema=False),
            "2026-10-23",
            "gpt-5.6-sol",
        ),
    ),
    (("gpt-4o-mini*",), _ends(replace(_GPT_4O, tier="BASIC"), "2027-01-14", "gpt-6-luna")),
    (("gpt-4o*",), _ends(_GPT_4O, "2027-01-14", "gpt-6-luna")),
    (
        ("chatgpt-4o-*",),
        _ends(
            replace(_GPT_4O, capabilities=frozenset({Capability.STREAMING, Capability.VISION})),
            "2026-02-17",
            "gpt-5.6-terra",
        ),
    ),
    (("gpt-4", "gpt-4-*"), _ends(_GPT_4, "2026-10-23", "gpt-5.6-sol")),
    (("gpt-audio-mini*",), replace(_GPT_AUDIO, tier="BASIC")),
    (("gpt-audio-1.5*",), _GPT_AUDIO),
    (("gpt-audio*",), _ends(_GPT_AUDIO, "2027-01-20", "gpt-audio-1.5")),
    (
        ("o1-mini*",),
        _ends(replace(_O1_EARLY, tier="STANDARD", max_output_token_count=65_536), "2025-10-27", "gpt-5.6-terra"),
    ),
    (("o1-preview*",), _ends(replace(_O1_EARLY, max_output_token_count=32_768), "2025-07-28", "gpt-5.6-sol")),
    (("o1-pro*",), _ends(_pro(_O1), "2026-10-23", "gpt-5.6-sol")),
    (("o1", "o1-*"), _ends(_O1, "2026-10-23", "gpt-5.6-sol")),
    (("o3-mini*",), _ends(_blind(_O_SMALL), "2026-10-23", "gpt-5.6-sol")),
    (("o3-pro*",), _ends(_pro(_O1), "2026-12-11", "gpt-5.6-sol")),
    (("o3-deep-research*",), _ends(replace(_O1, dialect=RESPONSES), "2026-07-23", "gpt-5.5-pro")),
    (("o3", "o3-*"), _ends(_O1, "2026-12-11", "gpt-5.6-sol")),
    (("o4-mini-deep-research*",), _ends(replace(_O_SMALL, dialect=RESPONSES), "2026-07-23", "gpt-5.5-pro")),
    (("o4-mini*",), _ends(_O_SMALL, "2026-10-23", "gpt-5.6-terra")),
    (("codex-mini*",), _ends(replace(_O_SMALL, dialect=RESPONSES), "2026-01-16", "gpt-5.4-mini")),
    (("gpt-5-chat*", "gpt-5.1-chat*"), _ends(_GPT_5_CHAT, "2026-07-23", "gpt-5.5")),
    (("gpt-5.2-chat*", "gpt-5.3-chat*"), _ends(_GPT_5_CHAT, "2026-08-10", "gpt-5.5")),
    (("gpt-5.1-codex-mini*",), _ends(replace(_GPT_5_CODEX, tier="BASIC"), "2026-07-23", "gpt-5.4-mini")),
    (("gpt-5-codex*", "gpt-5.1-codex*", "gpt-5.2-codex*"), _ends(_GPT_5_CODEX, "2026-07-23", "gpt-5.5")),
    (("gpt-5.3-codex*",), _ends(_GPT_5_CODEX, "2027-04-01", "gpt-5.6-sol")),
    (("gpt-*-codex*",), _GPT_5_CODEX),
    (("gpt-5-pro*",), _ends(replace(_GPT_5_PRO, max_output_token_count=272_000), "2026-12-11", "gpt-5.6-sol")),
    (("gpt-5.2-pro*",), _GPT_5_PRO),
    (("gpt-5-search-*",), replace(_GPT_SEARCH, context_token_count=400_000, max_output_token_count=128_000)),
    (("gpt-5-mini*",), _ends(_GPT_5_SMALL, "2026-12-11", "gpt-5.6-terra")),
    (("gpt-5-nano*",), _ends(_GPT_5_SMALL, "2026-12-11", "gpt-5.6-luna")),
    (("gpt-5", "gpt-5-*"), _ends(_GPT_5, "2026-12-11", "gpt-5.6-sol")),
    (("gpt-5.1*",), _ends(_GPT_5, "2027-04-01", "gpt-5.6-sol")),
    (("gpt-5.2*", "gpt-5.3*"), _GPT_5_2),
    (("gpt-5.4-nano*",), _ends(replace(_GPT_5_4_SMALL, context_token_count=400_000), "2027-04-01", "gpt-5.6-luna")),
    (("gpt-5.4-mini*",), replace(_GPT_5_4_SMALL, context_token_count=400_000)),
    (("gpt-5.5-pro*",), replace(_GPT_5_PRO, context_token_count=1_000_000)),
    (("gpt-*-pro*",), replace(_GPT_5_PRO, context_token_count=1_050_000)),
    (("gpt-5.5*",), replace(_GPT_5_4, context_token_count=1_000_000)),
    (("gpt-*-luna*",), _GPT_5_4_SMALL),
    (("gpt-*-terra*",), _GPT_5_4_STANDARD),
    (("gpt-5.4*", "gpt-5.6*", "gpt-6*"), _GPT_5_4),
    (("text-embedding-*",), _EMBEDDING),
    # Newer than this table, most likely; how it reasons is left to OpenAI to judge.
    (("gpt-*", "o[1-9]*"), Profile(capabilities=_CHAT | _TOOLS | _SCHEMA, tokenizer="o200k_base", operations=_TEXT)),
    (("*",), Profile(capabilities=_CHAT)),
)
