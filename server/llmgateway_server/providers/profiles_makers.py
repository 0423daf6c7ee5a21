"""What the models of Mistral, DeepSeek, xAI and Perplexity can do at their makers'.

Sources: the model pages of docs.mistral.ai, api-docs.deepseek.com, docs.x.ai and docs.perplexity.ai, as of November
2026; context sizes are those of the data of `genai-prices`, and are left out where it has none.
"""

from __future__ import annotations

from dataclasses import replace

from llmgateway_server.core.requests import Operation
from llmgateway_server.core.targets import Capability, Profile, ReasoningStyle

_TEXT = frozenset({Operation.COMPLETE, Operation.COUNT_TOKENS})
_TOOLS = frozenset({Capability.TOOLS, Capability.PARALLEL_TOOLS})
_JSON = frozenset({Capability.JSON_OBJECT, Capability.JSON_SCHEMA})
_BASE = frozenset({Capability.STREAMING}) | _JSON
_VISION = frozenset({Capability.VISION})
_SIGHT = frozenset({Capability.VISION, Capability.DOCUMENT_INPUT})
_REASONING = frozenset({Capability.REASONING})
_CODING = frozenset({Capability.CODING})
_CACHE = frozenset({Capability.PROMPT_CACHE})

_MISTRAL = Profile(
    capabilities=_BASE | _TOOLS, reasoning=ReasoningStyle.NONE, top_effort="high", tier="STANDARD", operations=_TEXT
)
_SEEING = replace(_MISTRAL, capabilities=_MISTRAL.capabilities | _SIGHT)
_THINKING = replace(_MISTRAL, capabilities=_MISTRAL.capabilities | _SIGHT | _REASONING, reasoning=ReasoningStyle.EFFORT)
_MINISTRAL = replace(_SEEING, tier="BASIC")
_CODER = replace(_MISTRAL, capabilities=_MISTRAL.capabilities | _CODING)
MISTRAL: tuple[tuple[tuple[str, ...], Profile], ...] = (
    (("mistral-large-4*",), replace(_THINKING, context_token_count=1_048_576, tier="PREMIUM")),
    (("mistral-large-2512*",), replace(_SEEING, context_token_count=262_144, tier="PREMIUM")),
    (("mistral-large*",), replace(_SEEING, tier="PREMIUM")),
    (("mistral-medium-3-5*", "mistral-medium-3.5*"), replace(_THINKING, context_token_count=262_144)),
    (("mistral-medium*",), _SEEING),
    (("mistral-small-2603*",), replace(_THINKING, context_token_count=262_144, tier="BASIC")),
    (("mistral-small*",), replace(_SEEING, tier="BASIC")),
    (("ministral-14b-2512*", "ministral-8b-2512*"), replace(_MINISTRAL, context_token_count=262_144)),
    (("ministral-3b-2512*",), replace(_MINISTRAL, context_token_count=131_072)),
    (("ministral-*",), replace(_MISTRAL, tier="BASIC")),
    (("codestral-embed*", "mistral-embed*"), Profile(operations=frozenset({Operation.EMBED}))),
    (("codestral*",), replace(_CODER, context_token_count=256_000)),
    (("devstral-2512*",), replace(_CODER, context_token_count=262_144)),
    (("devstral*",), _CODER),
    (("magistral*",), replace(_THINKING, reasoning=ReasoningStyle.UNKNOWN)),
    (("pixtral*",), _SEEING),
    (
        ("voxtral-small*",),
        replace(_MISTRAL, capabilities=_MISTRAL.capabilities | {Capability.AUDIO_INPUT}, context_token_count=32_768),
    ),
    (("*",), Profile(capabilities=frozenset({Capability.STREAMING}), top_effort="high", operations=_TEXT)),
)

_DEEPSEEK = Profile(
    capabilities=_BASE | _TOOLS | _CACHE | _CODING,
    reasoning=ReasoningStyle.EFFORT,
    top_effort="max",
    native_json_schema=False,  # any JSON object is all that it promises
    tier="STANDARD",
    operations=_TEXT,
)
_DEEPSEEK_4 = replace(_DEEPSEEK, capabilities=_DEEPSEEK.capabilities | _REASONING, context_token_count=1_000_000)
DEEPSEEK: tuple[tuple[tuple[str, ...], Profile], ...] = (
    (("deepseek-v4-pro*",), replace(_DEEPSEEK_4, tier="PREMIUM")),
    (("deepseek-v4*", "deepseek-flash*"), _DEEPSEEK_4),
    (("deepseek-reasoner*",), replace(_DEEPSEEK, capabilities=_DEEPSEEK.capabilities | _REASONING)),
    (("*",), _DEEPSEEK),
)

_GROK = Profile(
    capabilities=_BASE | _TOOLS | _CACHE,
    context_token_count=131_072,
    reasoning=ReasoningStyle.NONE,
    top_effort="high",
    tier="STANDARD",
    operations=_TEXT,
)
_GROK_MINI = replace(_GROK, capabilities=_GROK.capabilities | _REASONING, reasoning=ReasoningStyle.EFFORT, tier="BASIC")
_GROK_4 = replace(
    _GROK,
    capabilities=_GROK.capabilities | _REASONING | _VISION,
    context_token_count=256_000,
    reasoning=ReasoningStyle.UNKNOWN,  # some take an effort, others reason as they like
    tier="PREMIUM",
)
_GROK_FAST = replace(_GROK_4, context_token_count=2_000_000, tier="BASIC")
XAI: tuple[tuple[tuple[str, ...], Profile], ...] = (
    (("grok-2-vision*",), replace(_GROK, capabilities=_GROK.capabilities | _VISION, context_token_count=32_768)),
    (("grok-2*",), replace(_GROK, context_token_count=32_768)),
    (("grok-3-mini*",), _GROK_MINI),
    (("grok-3*",), _GROK),
    (
        ("grok-4-fast-non-reasoning*", "grok-4-1-fast-non-reasoning*"),
        replace(_GROK, capabilities=_GROK.capabilities | _VISION, context_token_count=2_000_000, tier="BASIC"),
    ),
    (("grok-4-fast*", "grok-4-1-fast*"), _GROK_FAST),
    (("grok-4", "grok-4-0709*", "grok-4-latest"), _GROK_4),
    (("grok-4.20*", "grok-4.3*"), replace(_GROK_4, context_token_count=1_000_000)),
    (("grok-4.[5-9]*",), replace(_GROK_4, context_token_count=500_000)),
    (
        ("grok-code*", "grok-build*"),
        replace(_GROK, capabilities=_GROK.capabilities | _REASONING | _CODING, context_token_count=256_000),
    ),
    (("grok-*",), replace(_GROK, context_token_count=None, reasoning=ReasoningStyle.UNKNOWN)),
    (("*",), Profile(capabilities=frozenset({Capability.STREAMING}), top_effort="high", operations=_TEXT)),
)

_SONAR = Profile(
    capabilities=frozenset({Capability.STREAMING, Capability.JSON_SCHEMA, Capability.VISION}),
    context_token_count=128_000,
    reasoning=ReasoningStyle.NONE,
    top_effort="high",
    tier="STANDARD",
    operations=_TEXT,
)
PERPLEXITY: tuple[tuple[tuple[str, ...], Profile], ...] = (
    (
        ("sonar-reasoning*", "sonar-deep-research*"),
        replace(
            _SONAR, capabilities=_SONAR.capabilities | _REASONING, reasoning=ReasoningStyle.UNKNOWN, tier="PREMIUM"
        ),
    ),
    (("sonar-pro*",), replace(_SONAR, context_token_count=200_000, tier="PREMIUM")),
    (("sonar*",), _SONAR),
    (("*",), Profile(capabilities=frozenset({Capability.STREAMING}), top_effort="high", operations=_TEXT)),
)
