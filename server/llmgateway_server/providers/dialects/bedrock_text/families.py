"""The families of text models behind InvokeModel: rows that say how each is asked and where its answer stands.

Sources: the pages of each vendor below
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmgateway_server.core.events import FinishReason
from llmgateway_server.providers.dialects.bedrock_text.places import COUNT, Place
from llmgateway_server.providers.dialects.bedrock_text.prompts import (
    DEEPSEEK,
    DIALOGUE,
    HUMAN,
    INSTRUCT,
    TITAN,
    CohereTurns,
    Writing,
)

DEFAULT_MAX_TOKENS = 2048
"""Cap on output tokens where a family demands one and neither the caller nor the model's profile has one."""


@dataclass(slots=True, frozen=True)
class Places:
    """Where an answer, or a chunk of one, says what."""

    text: Place
    stop: Place
    input_tokens: Place = ()
    output_tokens: Place = ()


@dataclass(slots=True, frozen=True)
class Family:
    """Models that are asked alike and answer alike."""

    models: re.Pattern[str]
    """Found in their ids."""
    writing: Writing
    options: Mapping[str, Place]
    """Where the options stand that the family knows, by their names in the contract."""
    answer: Places
    chunks: tuple[Places, ...]
    """The shapes of a stream's chunks; each chunk has one of them."""
    finishes: Mapping[str, FinishReason]
    """What the family's stop reasons mean, in capital letters."""
    stop_text: Place = ()
    """Where an answer says which text stopped it."""
    streamed: dict[str, Any] = field(default_factory=dict)
    """Fields that a body has only where a stream is wanted."""
    demands_max_tokens: bool = False
    noise: frozenset[str] = frozenset()
    """Texts of whole chunks that are no text."""


STOP, LENGTH, STOP_SEQUENCE = FinishReason.STOP, FinishReason.LENGTH, FinishReason.STOP_SEQUENCE
FILTERED = FinishReason.CONTENT_FILTER

CLAUDE_TEXT = Places(text=("completion",), stop=("stop_reason",))
COHERE_WHOLE = Places(text=("generations", 0, "text"), stop=("generations", 0, "finish_reason"))
COHERE_PIECE = Places(text=("text",), stop=("finish_reason",))
MISTRAL_TEXT = Places(text=("outputs", 0, "text"), stop=("outputs", 0, "stop_reason"))
DEEPSEEK_TEXT = Places(text=("choices", 0, "text"), stop=("choices", 0, "stop_reason"))

FAMILIES = (
    Family(
        models=re.compile(r"anthropic\.claude-(?:v\d|instant)"),
        writing=HUMAN,
        options={
            "max_output_tokens": ("max_tokens_to_sample",),
            "temperature": ("temperature",),
            "top_p": ("top_p",),
            "top_k": ("top_k",),
            "stop": ("stop_sequences",),
        },
        answer=CLAUDE_TEXT,
        chunks=(CLAUDE_TEXT,),
        finishes={"STOP_SEQUENCE": STOP_SEQUENCE, "MAX_TOKENS": LENGTH},
        stop_text=("stop",),
        demands_max_tokens=True,
    ),
    Family(
        models=re.compile(r"amazon\.titan-(?:text|tg1)"),
        writing=TITAN,
        options={
            "max_output_tokens": ("textGenerationConfig", "maxTokenCount"),
            "temperature": ("textGenerationConfig", "temperature"),
            "top_p": ("textGenerationConfig", "topP"),
            "stop": ("textGenerationConfig", "stopSequences"),
        },
        answer=Places(
            text=("results", 0, "outputText"),
            stop=("results", 0, "completionReason"),
            input_tokens=("inputTextTokenCount",),
            output_tokens=("results", 0, "tokenCount"),
        ),
        chunks=(
            Places(
                text=("outputText",),
                stop=("completionReason",),
                input_tokens=("inputTextTokenCount",),
                output_tokens=("totalOutputTextTokenCount",),
            ),
        ),
        finishes={
            "FINISH": STOP,
            "FINISHED": STOP,
            "LENGTH": LENGTH,
            "STOP_CRITERIA_MET": STOP_SEQUENCE,
            "CONTENT_FILTERED": FILTERED,
        },
    ),
    Family(
        models=re.compile(r"cohere\.command-(?:text|light)"),
        writing=DIALOGUE,
        options={
            "max_output_tokens": ("max_tokens",),
            "temperature": ("temperature",),
            "top_p": ("p",),
            "top_k": ("k",),
            "stop": ("stop_sequences",),
        },
        answer=COHERE_WHOLE,
        chunks=(COHERE_PIECE, COHERE_WHOLE),
        finishes={
            "COMPLETE": STOP,
            "STOP_SEQUENCE": STOP_SEQUENCE,
            "MAX_TOKENS": LENGTH,
            "ERROR_LIMIT": LENGTH,
            "ERROR_TOXIC": FILTERED,
            "ERROR": FinishReason.ERROR,
        },
        streamed={"stream": True},
        noise=frozenset({"<EOS_TOKEN>"}),
    ),
    Family(
        models=re.compile(r"cohere\.command-r"),
        writing=CohereTurns(),
        options={
            "max_output_tokens": ("max_tokens",),
            "temperature": ("temperature",),
            "top_p": ("p",),
            "top_k": ("k",),
            "stop": ("stop_sequences",),
            "seed": ("seed",),
            "frequency_penalty": ("frequency_penalty",),
            "presence_penalty": ("presence_penalty",),
        },
        answer=COHERE_PIECE,
        chunks=(COHERE_PIECE,),
        finishes={
            "COMPLETE": STOP,
            "STOP_SEQUENCE": STOP_SEQUENCE,
            "MAX_TOKENS": LENGTH,
            "ERROR_LIMIT": LENGTH,
            "ERROR_TOXIC": FILTERED,
            "ERROR": FinishReason.ERROR,
        },
    ),
    Family(
        models=re.compile(r"ai21\.j2"),
        writing=DIALOGUE,
        options={
            "max_output_tokens": ("maxTokens",),
            "temperature": ("temperature",),
            "top_p": ("topP",),
            "stop": ("stopSequences",),
        },
        answer=Places(
            text=("completions", 0, "data", "text"),
            stop=("completions", 0, "finishReason", "reason"),
            input_tokens=("prompt", "tokens", COUNT),
            output_tokens=("completions", 0, "data", "tokens", COUNT),
        ),
        chunks=(),
        finishes={"ENDOFTEXT": STOP, "STOP": STOP_SEQUENCE, "LENGTH": LENGTH},
    ),
    Family(
        models=re.compile(r"mistral\.(?:mistral-7b|mixtral|mistral-(?:small|large)-2402)"),
        writing=INSTRUCT,
        options={
            "max_output_tokens": ("max_tokens",),
            "temperature": ("temperature",),
            "top_p": ("top_p",),
            "top_k": ("top_k",),
            "stop": ("stop",),
        },
        answer=MISTRAL_TEXT,
        chunks=(MISTRAL_TEXT,),
        finishes={"STOP": STOP, "LENGTH": LENGTH},
    ),
    Family(
        models=re.compile(r"deepseek\.r1"),
        writing=DEEPSEEK,
        options={
            "max_output_tokens": ("max_tokens",),
            "temperature": ("temperature",),
            "top_p": ("top_p",),
            "stop": ("stop",),
        },
        answer=DEEPSEEK_TEXT,
        chunks=(DEEPSEEK_TEXT,),
        finishes={"STOP": STOP, "LENGTH": LENGTH},
    ),
)
"""A model belongs to the first family whose pattern is found in its id. Jurassic-2 answers whole only. DeepSeek-R1
writes its reasoning into the text, in `<think>` tags."""


def family_of(model: str) -> Family | None:
    """Returns the family of a model; None where no row is for it."""
    return next((family for family in FAMILIES if family.models.search(model)), None)
