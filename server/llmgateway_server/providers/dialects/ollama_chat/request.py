"""What Ollama is asked: the body of the request, and what it cannot say. See `ollama_chat`.

Nothing makes a model call a tool, or only one of them: such choices are refused by name. A model that may call none is
not told of any. Every model follows a JSON schema, because the server lets it say nothing else.

Source: https://docs.ollama.com/api/chat
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.requests import (
    CompleteRequest,
    FormatKind,
    ReasoningOptions,
    ResponseFormat,
    Tool,
    ToolChoiceMode,
)
from llmgateway_server.core.targets import Profile, ReasoningStyle
from llmgateway_server.providers.dialects.dialect import Unsupported
from llmgateway_server.providers.dialects.ollama_chat.conversation import Conversation

FORCED = (ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED)
TOP_EFFORT = "max"
"""As much thinking as there is."""
EFFORTS: dict[str, bool | str] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": TOP_EFFORT,
}
"""Named efforts as values of `think`. Models that know only whether to think do so at every level."""
SECONDS = re.compile("-?[0-9]+")
"""A `keep_alive` without a unit, which is a number: as text the server refuses it."""


def request_body(attempt: Attempt, dialect: str) -> dict[str, Any]:
    """Returns the body; what the caller left out is left to the server and to the model's own file.

    Raises:
        RequestError: UNSUPPORTED_OPTION with everything that the dialect cannot say.
    """
    request = attempt.call.request
    if not isinstance(request, CompleteRequest):  # pragma: no cover: `operations` keeps others away
        raise TypeError(request)
    unsupported = Unsupported(dialect, attempt.call, drop=request.drop_unsupported)
    own = request.provider_options.get(dialect, {})
    _refuse_options(request, unsupported)
    messages = Conversation(request.messages, unsupported).written()
    think = _think(request.reasoning, attempt.target.profile, unsupported)
    response_format = _format(request.response_format, unsupported)
    unsupported.settle()
    given = (
        ("tools", _tools(request)),
        ("format", response_format),
        ("options", _options(request, own.get("num_ctx"))),
        ("think", think),
        ("keep_alive", _keep_alive(own.get("keep_alive"))),
        ("logprobs", True if request.logprobs_top_count is not None else None),
        ("top_logprobs", request.logprobs_top_count or None),
    )
    body = {"model": attempt.target.upstream_model, "messages": messages, "stream": attempt.call.streaming}
    return body | {name: value for name, value in given if value is not None}


def _refuse_options(request: CompleteRequest, unsupported: Unsupported) -> None:
    """Notes the options that Ollama does not have."""
    choice = request.tool_choice
    for path, present in (
        ("tool_choice", choice is not None and choice.mode in FORCED),
        ("parallel_tool_calls", request.parallel_tool_calls is False and bool(request.tools)),
        ("service_tier", bool(request.service_tier)),
    ):
        if present:
            unsupported.option(path)
    if request.end_user_id:
        unsupported.hint("end_user_id")
    for i, tool in enumerate(request.tools):
        if tool.strict:
            unsupported.option(f"tools[{i}].strict")
        if tool.cache_breakpoint:
            unsupported.hint(f"tools[{i}].cache_breakpoint")


def _tools(request: CompleteRequest) -> list[dict[str, Any]] | None:
    if request.tool_choice is not None and request.tool_choice.mode is ToolChoiceMode.NONE:
        return None
    return [_tool(tool) for tool in request.tools] or None


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = (
        msgspec.Raw(tool.parameters_json_schema.encode())
        if tool.parameters_json_schema
        else {"type": "object", "properties": {}}  # demanded
    )
    return {"type": "function", "function": function}


def _options(request: CompleteRequest, num_ctx: int | None) -> dict[str, Any] | None:
    options = (
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        ("top_k", request.top_k),
        ("num_predict", request.max_output_tokens),
        ("stop", list(request.stop) or None),
        ("seed", request.seed),
        ("frequency_penalty", request.frequency_penalty),
        ("presence_penalty", request.presence_penalty),
        ("num_ctx", num_ctx),
    )
    return {name: value for name, value in options if value is not None} or None


def _keep_alive(wanted: str | None) -> int | str | None:
    return int(wanted) if wanted and SECONDS.fullmatch(wanted) else wanted or None


def _think(wanted: ReasoningOptions | None, profile: Profile, unsupported: Unsupported) -> bool | str | None:
    """Returns whether and how much the model is to think; None for its own way, and for one that cannot."""
    if wanted is None:
        return None
    if wanted.budget_token_count:
        unsupported.option("reasoning.budget_token_count")
    off = wanted.effort == "none" or (wanted.effort is None and wanted.budget_token_count == 0)
    if profile.reasoning is ReasoningStyle.NONE:
        if wanted.effort is not None and not off:
            unsupported.option("reasoning.effort")
        if wanted.include_text:
            unsupported.hint("reasoning.include_text")
        return None
    if wanted.include_text is False and not off:  # what is thought is shown
        unsupported.hint("reasoning.include_text")
    if off:
        return False
    if wanted.effort == "max" and profile.top_effort:
        return profile.top_effort
    return EFFORTS[wanted.effort] if wanted.effort is not None else wanted.include_text or None


def _format(wanted: ResponseFormat | None, unsupported: Unsupported) -> str | msgspec.Raw | None:
    if wanted is None or wanted.kind is FormatKind.TEXT:
        return None
    if wanted.kind is FormatKind.JSON_OBJECT:
        return "json"
    if wanted.description:
        unsupported.hint("response_format.json_schema.description")
    return msgspec.Raw(wanted.schema_json.encode())
