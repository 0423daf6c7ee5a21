"""The settings of a generation. See `request`.

Source: https://ai.google.dev/api/generate-content#generationconfig
"""

from __future__ import annotations

from typing import Any

from llmgateway_server.core.requests import CompleteRequest, FormatKind, ResponseFormat
from llmgateway_server.core.targets import ReasoningStyle
from llmgateway_server.providers.dialects.dialect import Unsupported
from llmgateway_server.providers.dialects.gemini.reasoning import thinking_config
from llmgateway_server.providers.dialects.gemini.tools import schema_field

MAX_STOPS = 5
SEED_BITS = 31
"""A seed is a signed number of 32 bits."""
JSON = "application/json"


def generation_config(
    request: CompleteRequest,
    style: ReasoningStyle,
    unsupported: Unsupported,
    *,
    by_tool: bool,
    modalities: list[str] | None,
) -> dict[str, Any]:
    """Returns the field `generationConfig`; what the caller left out is left to the vendor.

    Args:
        request: the caller's.
        style: how the model is told how much to think.
        unsupported: gets what the vendor does not take.
        by_tool: whether the form of the answer is asked for by a tool.
        modalities: kinds of output.
    """
    options: dict[str, Any] = {
        "temperature": request.temperature,
        "topP": request.top_p,
        "topK": request.top_k,
        "maxOutputTokens": request.max_output_tokens,
        "stopSequences": _stops(request, unsupported) or None,
        "seed": _seed(request, unsupported),
        "presencePenalty": request.presence_penalty,
        "frequencyPenalty": request.frequency_penalty,
        **({} if by_tool or request.response_format is None else _format(request.response_format, unsupported)),
        "responseLogprobs": None if request.logprobs_top_count is None else True,
        "logprobs": request.logprobs_top_count or None,
        "responseModalities": modalities or None,
        "thinkingConfig": thinking_config(request.reasoning, style, unsupported),
    }
    return {name: value for name, value in options.items() if value is not None}


def _format(wanted: ResponseFormat, unsupported: Unsupported) -> dict[str, Any]:
    """Returns the form of the answer; the name of a schema is for vendors that want one."""
    if wanted.kind is FormatKind.TEXT:
        return {}
    if wanted.description:
        unsupported.hint("response_format.json_schema.description")
    if wanted.kind is FormatKind.JSON_OBJECT or not wanted.schema_json:
        return {"responseMimeType": JSON}
    return {"responseMimeType": JSON, **schema_field(wanted.schema_json, "responseSchema", "responseJsonSchema")}


def _stops(request: CompleteRequest, unsupported: Unsupported) -> list[str]:
    if len(request.stop) > MAX_STOPS:
        unsupported.option("stop")
    return list(request.stop[:MAX_STOPS])


def _seed(request: CompleteRequest, unsupported: Unsupported) -> int | None:
    if request.seed is None or -(2**SEED_BITS) <= request.seed < 2**SEED_BITS:
        return request.seed
    unsupported.option("seed")
    return None
