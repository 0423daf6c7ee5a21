"""What Cohere's models can do.

Sources: the pages of the models and the list of deprecations at docs.cohere.com, as of November 2026. The vendor gives
models that it no longer recommends no day on which they end.
"""

from __future__ import annotations

from dataclasses import replace

from llmgateway_server.core.requests import Operation
from llmgateway_server.core.targets import Capability, ModelStatus, Profile, ReasoningStyle

_TEXT = frozenset({Operation.COMPLETE, Operation.COUNT_TOKENS})

_COMMAND = Profile(
    capabilities=frozenset({Capability.STREAMING}),
    context_token_count=4096,
    max_output_token_count=4096,
    reasoning=ReasoningStyle.NONE,
    native_json_schema=False,
    tier="BASIC",
    operations=_TEXT,
)
_COMMAND_R = replace(
    _COMMAND,
    capabilities=frozenset(
        {
            Capability.STREAMING,
            Capability.TOOLS,
            Capability.PARALLEL_TOOLS,
            Capability.JSON_OBJECT,
            Capability.JSON_SCHEMA,  # by a forced tool beside tools
            Capability.PROMPT_CACHE,
        }
    ),
    context_token_count=128_000,
    native_json_schema=True,
    tier="STANDARD",
)
_COMMAND_A = replace(
    _COMMAND_R,
    capabilities=_COMMAND_R.capabilities | {Capability.CODING},
    context_token_count=256_000,
    max_output_token_count=8192,
    tier="PREMIUM",
)
_REASONING = replace(
    _COMMAND_A,
    capabilities=_COMMAND_A.capabilities | {Capability.REASONING},
    max_output_token_count=32_000,
    reasoning=ReasoningStyle.BUDGET,
)
_PLUS = replace(
    _REASONING,
    capabilities=_REASONING.capabilities | {Capability.VISION},
    context_token_count=128_000,
    max_output_token_count=None,
)
_VISION = replace(
    _COMMAND_A,
    capabilities=frozenset({Capability.STREAMING, Capability.VISION, Capability.JSON_OBJECT, Capability.JSON_SCHEMA}),
    context_token_count=128_000,
)
_TRANSLATE = replace(_COMMAND_A, context_token_count=16_000, max_output_token_count=8000)


def _left(profile: Profile, successor: str) -> Profile:
    """Marks a model that Cohere keeps for those who used it before 15 September 2025, and ends some day."""
    return replace(
        profile,
        status=ModelStatus.DEPRECATED,
        status_reason=f"deprecated by Cohere on 2025-09-15; use {successor}",
    )


ROWS: tuple[tuple[tuple[str, ...], Profile], ...] = (
    (("command-a-plus*",), _PLUS),
    (("command-a-reasoning*",), _REASONING),
    (("command-a-vision*",), _VISION),
    (("command-a-translate*",), _TRANSLATE),
    (("command-a", "command-a-03-2025"), _COMMAND_A),
    (("command-r7b*",), replace(_COMMAND_R, tier="BASIC")),
    (("command-r-plus-08-2024",), replace(_COMMAND_R, tier="PREMIUM")),
    (("command-r-08-2024",), _COMMAND_R),
    (
        ("command-r-plus", "command-r-plus-04-2024"),
        _left(replace(_COMMAND_R, tier="PREMIUM", native_json_schema=False), "command-r-plus-08-2024"),
    ),
    (("command-r", "command-r-03-2024"), _left(replace(_COMMAND_R, native_json_schema=False), "command-r-08-2024")),
    (
        ("command", "command-nightly", "command-light*"),
        _left(_COMMAND, "command-r7b-12-2024"),
    ),
    # Newer than this table, most likely; how it reasons is left to Cohere to judge.
    (("command-*",), Profile(capabilities=_COMMAND_R.capabilities, operations=_TEXT)),
    (("*",), Profile(capabilities=frozenset({Capability.STREAMING}), operations=_TEXT)),
)
