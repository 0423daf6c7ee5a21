"""What models with open weights can do wherever they run: little, as the rest is up to their host.

Sources: the makers' model cards, as of November 2026. A context size stands here only where all hosts have the same.
"""

from __future__ import annotations

from dataclasses import replace

from llmgateway_server.core.requests import Operation
from llmgateway_server.core.targets import Capability, Profile, ReasoningStyle

_TEXT = frozenset({Operation.COMPLETE, Operation.COUNT_TOKENS})
_PLAIN = Profile(
    capabilities=frozenset({Capability.STREAMING}),
    reasoning=ReasoningStyle.NONE,
    top_effort="high",
    tier="BASIC",
    operations=_TEXT,
)
_CALLING = replace(
    _PLAIN,
    capabilities=_PLAIN.capabilities
    | {Capability.TOOLS, Capability.PARALLEL_TOOLS, Capability.JSON_OBJECT, Capability.JSON_SCHEMA},
    tier="STANDARD",
)
_SEEING = replace(_CALLING, capabilities=_CALLING.capabilities | {Capability.VISION})
_THINKING = replace(
    _CALLING, capabilities=_CALLING.capabilities | {Capability.REASONING}, reasoning=ReasoningStyle.UNKNOWN
)
_GPT_OSS = replace(_THINKING, reasoning=ReasoningStyle.EFFORT, context_token_count=131_072)

ROWS: tuple[tuple[tuple[str, ...], Profile], ...] = (
    (("gpt-oss-20b*",), replace(_GPT_OSS, tier="BASIC")),
    (("gpt-oss-*",), _GPT_OSS),
    (("llama-guard*", "llama-prompt-guard*", "llama2*", "llama-2*", "meta-llama-2*"), _PLAIN),
    (("llama-4*", "llama4*"), _SEEING),
    (("llama*vision*",), _SEEING),
    (("llama-3.3-70b*", "meta-llama-3.3-70b*", "llama3-3-70b*"), replace(_CALLING, context_token_count=131_072)),
    (("llama*", "meta-llama*"), _CALLING),
    (("deepseek-r1*", "deepseek-v4*", "deepseek-flash*"), _THINKING),
    (("deepseek-*",), _CALLING),
    (("qwen*-vl-*thinking*",), replace(_THINKING, capabilities=_THINKING.capabilities | {Capability.VISION})),
    (("qwen*vl*",), _SEEING),
    (("qwen3*instruct*", "qwen3*coder*", "qwen-3*coder*"), _CALLING),
    (("qwen3*", "qwen-3*", "qwq*"), _THINKING),
    (("qwen*",), _CALLING),
    (("kimi-k2-instruct*", "kimi-k2", "kimi-k2-0*"), _CALLING),
    (("kimi-*", "glm-[45]*", "zai-glm-*", "minimax-*"), _THINKING),
    (("mixtral-*", "open-mi*", "mistral-7b*", "mistral-nemo*"), _CALLING),
    (("mistral-*", "ministral-*", "codestral*", "devstral*", "pixtral*"), _CALLING),
    (("gemma-*", "gemma2-*", "phi-*"), _PLAIN),
    (("nova-pro*", "nova-lite*", "nova-premier*"), replace(_SEEING, native_json_schema=False)),
    (("nova-micro*",), replace(_CALLING, native_json_schema=False, tier="BASIC")),
)
"""Patterns and profile, as in `profiles`; there is no last row, as names may be anything."""
