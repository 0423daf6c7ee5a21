"""What chat completions are asked: the body of the request, and what it cannot say. See `openai_chat`."""

from __future__ import annotations

from typing import Any

import msgspec

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.requests import (
    CompleteRequest,
    FormatKind,
    ResponseFormat,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from llmgateway_server.providers.dialects.dialect import Quirks, Unsupported
from llmgateway_server.providers.dialects.openai_chat.conversation import Messages
from llmgateway_server.providers.dialects.openai_chat.reasoning import WAYS
from llmgateway_server.providers.dialects.structured import answer_choice, answer_tool

ESSENTIAL = frozenset({"tools"})
"""What is refused even where a request lets options be dropped."""


def answer_tool_of(attempt: Attempt, quirks: Quirks) -> Tool | None:
    """Returns the tool that stands for the wanted format, see `structured`; None where the format needs none."""
    return answer_tool(attempt, json_objects_too="response_format.json_object" in quirks.unknown_options)


def request_body(attempt: Attempt, quirks: Quirks, dialect: str) -> dict[str, Any]:
    """Returns the body without the stream's own fields; what the caller left out is left to the vendor.

    Raises:
        RequestError: UNSUPPORTED_OPTION with everything that the dialect cannot say.
    """
    request = attempt.call.request
    if not isinstance(request, CompleteRequest):  # pragma: no cover: `operations` keeps others away
        raise TypeError(request)
    unsupported = Unsupported(dialect, attempt.call, drop=request.drop_unsupported)
    answer = answer_tool_of(attempt, quirks)
    given = {
        name: value
        for path, name, value in _options(request, answer, quirks)
        if value is not None and _is_known(path, value, quirks, unsupported)
    }
    if request.reasoning is not None:
        given |= WAYS[quirks.reasoning](request.reasoning, attempt.target.profile, unsupported)
    for i, tool in enumerate(request.tools):
        if tool.cache_breakpoint:
            unsupported.hint(f"tools[{i}].cache_breakpoint")
    own = request.provider_options.get(dialect, {})
    for option in own.get("web_search") or ():
        unsupported.option(f"provider_options.{dialect}.web_search.{option}")
    given |= {
        name: value
        for path, name, value in _own_options(own)
        if value is not None and _is_known(path, value, quirks, unsupported, f"provider_options.{dialect}.")
    }
    messages = Messages(request, quirks, unsupported).written()
    unsupported.settle()
    return {"model": attempt.target.upstream_model, "messages": messages, **given}


Options = tuple[tuple[str, str, Any], ...]
"""Name in the contract, name in the body, value; None for what was not asked for."""


def _options(request: CompleteRequest, answer: Tool | None, quirks: Quirks) -> Options:
    tools = [*map(_tool, request.tools), *([_tool(answer)] if answer else ())]
    why_tools = "tools" if request.tools else "response_format"
    top_count = None if "logprobs" in quirks.unknown_options else request.logprobs_top_count or None
    choice = answer_choice(request, answer) if answer else request.tool_choice
    return (
        (why_tools, "tools", tools or None),
        ("tool_choice", "tool_choice", _tool_choice(choice)),
        ("parallel_tool_calls", "parallel_tool_calls", request.parallel_tool_calls if tools else None),
        ("response_format", "response_format", None if answer else _response_format(request.response_format)),
        ("temperature", "temperature", request.temperature),
        ("top_p", "top_p", request.top_p),
        ("top_k", "top_k", request.top_k),
        ("max_output_tokens", quirks.max_tokens_field, request.max_output_tokens),
        ("stop", "stop", list(request.stop) or None),
        ("seed", quirks.seed_field, request.seed),
        ("frequency_penalty", "frequency_penalty", request.frequency_penalty),
        ("presence_penalty", "presence_penalty", request.presence_penalty),
        ("logprobs", "logprobs", True if request.logprobs_top_count is not None else None),
        ("logprobs", "top_logprobs", top_count),
        ("service_tier", "service_tier", request.service_tier or None),
        ("end_user_id", quirks.end_user_field, request.end_user_id or None),
    )


def _own_options(own: dict[str, Any]) -> Options:
    """Returns the options that only this dialect has."""
    predicted, search = own.get("predicted_text"), own.get("web_search")
    return (
        ("store", "store", own.get("store")),
        ("prompt_cache_key", "prompt_cache_key", own.get("prompt_cache_key")),
        ("logit_bias", "logit_bias", own.get("logit_bias")),
        ("verbosity", "verbosity", own.get("verbosity")),
        ("predicted_text", "prediction", {"type": "content", "content": predicted} if predicted else None),
        ("web_search", "web_search_options", {} if search is not None else None),
    )


def _is_known(path: str, value: Any, quirks: Quirks, unsupported: Unsupported, prefix: str = "") -> bool:
    """Tells whether the vendor takes an option; notes it where not."""
    too_many = path == "stop" and 0 < quirks.most_stops < len(value)
    if path not in quirks.unknown_options and not too_many:
        return True
    if path in ESSENTIAL:
        unsupported.essential(path)
    else:
        unsupported.option(prefix + path)
    return False


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters_json_schema:
        function["parameters"] = msgspec.Raw(tool.parameters_json_schema.encode())
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice | None) -> Any:
    if choice is None:
        return None
    if choice.mode is ToolChoiceMode.NAMED:
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode.value


def _response_format(wanted: ResponseFormat | None) -> dict[str, Any] | None:
    if wanted is None:
        return None
    if wanted.kind is not FormatKind.JSON_SCHEMA:
        return {"type": wanted.kind.value}
    schema: dict[str, Any] = {"name": wanted.name, "schema": msgspec.Raw(wanted.schema_json.encode())}
    if wanted.description:
        schema["description"] = wanted.description
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": schema}
