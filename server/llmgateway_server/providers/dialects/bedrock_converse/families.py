"""What differs between the families of models behind Converse: data, by the model's name.

An application's inference profile, an imported model and the like have names that tell nothing: whatever can be asked
of any family is passed on for those, and the service judges it.

Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html with the pages of each vendor,
/structured-output.html, /tool-use-inference-call.html, https://docs.aws.amazon.com/nova/latest/nova2-userguide/
extended-thinking.html, and refusals that users report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache

from llmgateway_server.core.requests import ToolChoiceMode
from llmgateway_server.core.targets import Profile, ReasoningStyle, Target
from llmgateway_server.providers.profiles import profile_of

MAX_KNOWN_NAMES = 1024
"""Names whose family is remembered; pinned ones come from callers, so there must be a bound."""


class ReasoningField(StrEnum):
    """How a family is told to reason, by the name of its field."""

    UNKNOWN = ""
    """Nobody knows, or there is no way."""
    THINKING = "thinking"
    """Anthropic's, with `outputConfig.effort` beside it."""
    REASONING_CONFIG = "reasoningConfig"
    """Nova 2: off, or up to a named effort."""
    REASONING_EFFORT = "reasoning_effort"
    """OpenAI's open models: a named effort."""
    QWEN_CONFIG = "reasoning_config"
    """Qwen: little or much."""


FORCED = frozenset({ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED})


@dataclass(slots=True, frozen=True)
class Family:
    """What the models of a vendor have in common."""

    reasoning: ReasoningField = ReasoningField.UNKNOWN
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Where an option that Converse itself does not have stands in `additionalModelRequestFields`, by its name in the
    contract."""
    choices: frozenset[ToolChoiceMode] = FORCED
    """How the model can be made to call a tool."""
    result_status: bool = True
    """Knows results of tools that failed."""
    results_as_json: bool = False
    """Wants the results of tools as objects, not as text."""
    own_schema: tuple[str, ...] = ()
    """Patterns of the models that follow a JSON schema by themselves; for the others a forced tool does it."""
    turns_sampling_off: bool = False
    """Takes next to no sampling options beside reasoning."""


ANY_ALONE = frozenset({ToolChoiceMode.REQUIRED})
NEITHER: frozenset[ToolChoiceMode] = frozenset()

UNKNOWN = Family()
ROWS: tuple[tuple[str, Family], ...] = (
    (
        "*anthropic.*",
        Family(
            reasoning=ReasoningField.THINKING,
            fields={"top_k": ("top_k",)},
            own_schema=("*claude-haiku-4-5*", "*claude-sonnet-4-[56]*", "*claude-opus-4-[56]*"),
            turns_sampling_off=True,
        ),
    ),
    (
        "*amazon.nova-2-*",
        Family(reasoning=ReasoningField.REASONING_CONFIG, fields={"top_k": ("inferenceConfig", "topK")}),
    ),
    ("*amazon.nova-*", Family(fields={"top_k": ("inferenceConfig", "topK")})),
    ("*amazon.titan-*", Family(choices=NEITHER, result_status=False)),
    (
        "*mistral.*",
        Family(
            fields={"top_k": ("top_k",)},
            choices=ANY_ALONE,
            result_status=False,
            results_as_json=True,
            own_schema=("*magistral-small*", "*ministral-3*", "*mistral-large-3*", "*voxtral*"),
        ),
    ),
    (
        "*cohere.*",
        Family(
            fields={
                "top_k": ("k",),
                "seed": ("seed",),
                "frequency_penalty": ("frequency_penalty",),
                "presence_penalty": ("presence_penalty",),
            },
            choices=NEITHER,
            result_status=False,
        ),
    ),
    (
        "*ai21.*",
        Family(
            fields={"frequency_penalty": ("frequency_penalty",), "presence_penalty": ("presence_penalty",)},
            choices=NEITHER,
            result_status=False,
        ),
    ),
    ("*meta.*", Family(choices=NEITHER, result_status=False)),
    (
        "*openai.gpt-oss-*",
        Family(reasoning=ReasoningField.REASONING_EFFORT, result_status=False, own_schema=("*gpt-oss*",)),
    ),
    ("*qwen.*", Family(reasoning=ReasoningField.QWEN_CONFIG, result_status=False, own_schema=("*qwen3*",))),
    ("*deepseek.*", Family(result_status=False, own_schema=("*deepseek.v3*",))),
    ("*google.gemma-*", Family(result_status=False, own_schema=("*gemma-3-12b*", "*gemma-3-27b*"))),
    ("*minimax.*", Family(result_status=False, own_schema=("*minimax-m2*",))),
    ("*moonshot*", Family(result_status=False, own_schema=("*kimi*",))),
)
"""Patterns of names in lower case and what they stand for; the first that matches counts. A name may have a region
before it and a version behind it, or be the end of an ARN."""


@lru_cache(maxsize=MAX_KNOWN_NAMES)
def family_of(model: str) -> Family:
    """Returns the family of a model, by its name or ARN."""
    name = model.lower().rpartition("/")[2]
    return next((family for pattern, family in ROWS if fnmatchcase(name, pattern)), UNKNOWN)


def follows_schema(target: Target) -> bool:
    """Tells whether the target's model answers in a schema by itself."""
    name = target.upstream_model.lower()
    patterns = family_of(target.upstream_model).own_schema
    return target.profile.native_json_schema and any(fnmatchcase(name, pattern) for pattern in patterns)


def claude_of(target: Target) -> Profile:
    """Returns what is known of a model of Anthropic's; what the target's own profile says of reasoning counts first."""
    if target.profile.reasoning is not ReasoningStyle.UNKNOWN:
        return target.profile
    return profile_of("anthropic", target.upstream_model.rpartition("anthropic.")[2])
