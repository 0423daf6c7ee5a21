"""What Responses are asked: the body of the request, and what it cannot say. See `openai_responses`."""

from __future__ import annotations

from typing import Any

import msgspec

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.requests import (
    CompleteRequest,
    FormatKind,
    ReasoningOptions,
    ResponseFormat,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from llmgateway_server.core.targets import Profile, ReasoningStyle
from llmgateway_server.providers.dialects.dialect import Quirks, Unsupported
from llmgateway_server.providers.dialects.openai_common.reasoning import effort_of
from llmgateway_server.providers.dialects.openai_responses.input import InputItems
from llmgateway_server.providers.dialects.structured import answer_choice, answer_tool

NO_PARAMETERS = b'{"type":"object","properties":{}}'


def request_body(attempt: Attempt, quirks: Quirks, dialect: str) -> dict[str, Any]:
    """Returns the body without the stream's own field; what the caller left out is left to the vendor.

    Two defaults of the vendor's are overruled: it would store responses, and take every tool for a strict one.

    Raises:
        RequestError: UNSUPPORTED_OPTION with everything that the dialect cannot say.
    """
    request = attempt.call.request
    if not isinstance(request, CompleteRequest):  # pragma: no cover: `operations` keeps others away
        raise TypeError(request)
    unsupported = Unsupported(dialect, attempt.call, drop=request.drop_unsupported)
    _refuse_options(request, unsupported)
    own = request.provider_options.get(dialect, {})
    store = own.get("store", False)
    own_tools = _own_tools(own, f"provider_options.{dialect}", unsupported)
    items = InputItems(quirks, unsupported, stored=store).written(request.messages)
    unsupported.settle()
    answer = answer_tool(attempt)
    style = attempt.target.profile.reasoning
    reasoned = request.reasoning is not None or any(
        isinstance(item, dict) and item.get("type") == "reasoning" for item in items
    )
    may_reason = style is ReasoningStyle.EFFORT or (style is not ReasoningStyle.NONE and reasoned)
    tools = [_tool(tool) for tool in ([*request.tools, answer] if answer else request.tools)] + own_tools
    options = (
        ("tools", tools or None),
        ("tool_choice", _tool_choice(answer_choice(request, answer) if answer else request.tool_choice)),
        ("parallel_tool_calls", request.parallel_tool_calls if tools else None),
        ("text", _text(None if answer else request.response_format, own.get("verbosity")) or None),
        ("reasoning", _reasoning(request.reasoning, attempt.target.profile) or None),
        ("max_output_tokens", request.max_output_tokens),
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        ("top_logprobs", request.logprobs_top_count or None),
        ("service_tier", request.service_tier or None),
        ("safety_identifier", request.end_user_id or None),
        ("prompt_cache_key", own.get("prompt_cache_key") or None),
        ("truncation", own.get("truncation") or None),
        ("previous_response_id", own.get("previous_response_id") or None),
        ("include", _included(request, sealed=may_reason and not store) or None),
    )
    given = {key: value for key, value in options if value is not None}
    return {"model": attempt.target.upstream_model, "input": items, "store": store, **given}


def _refuse_options(request: CompleteRequest, unsupported: Unsupported) -> None:
    """Notes the options that Responses do not have."""
    reasoning = request.reasoning
    for path, present in (
        ("top_k", request.top_k is not None),
        ("stop", bool(request.stop)),
        ("seed", request.seed is not None),
        ("frequency_penalty", request.frequency_penalty is not None),
        ("presence_penalty", request.presence_penalty is not None),
        ("reasoning.budget_token_count", reasoning is not None and reasoning.budget_token_count is not None),
    ):
        if present:
            unsupported.option(path)
    for i, tool in enumerate(request.tools):
        if tool.cache_breakpoint:
            unsupported.hint(f"tools[{i}].cache_breakpoint")


def _own_tools(own: dict[str, Any], path: str, unsupported: Unsupported) -> list[dict[str, Any]]:
    """Returns the tools that the vendor runs by itself."""
    tools: list[dict[str, Any]] = []
    search = own.get("web_search")
    if search is not None:
        for name in ("max_uses", "blocked_domains"):
            if search.get(name):
                unsupported.option(f"{path}.web_search.{name}")
        domains = search.get("allowed_domains")
        tools.append({"type": "web_search", **({"filters": {"allowed_domains": domains}} if domains else {})})
    if own.get("code_execution") is not None:
        tools.append({"type": "code_interpreter", "container": {"type": "auto"}})
    return tools


def _included(request: CompleteRequest, *, sealed: bool) -> list[str]:
    """Returns what a response holds only if it is asked for.

    Reasoning that the vendor does not store comes sealed, so that it can go back; models that do not reason refuse
    to seal any, so those of which nobody knows are asked only where there is reasoning.
    """
    included = []
    if sealed:
        included.append("reasoning.encrypted_content")
    if request.logprobs_top_count is not None:
        included.append("message.output_text.logprobs")
    return included


def _tool(tool: Tool) -> dict[str, Any]:
    """Writes a function. One that says nothing about strictness is not strict, as with every other vendor."""
    written: dict[str, Any] = {"type": "function", "name": tool.name}
    if tool.description:
        written["description"] = tool.description
    written["parameters"] = msgspec.Raw(tool.parameters_json_schema.encode() or NO_PARAMETERS)
    written["strict"] = bool(tool.strict)
    return written


def _tool_choice(choice: ToolChoice | None) -> Any:
    if choice is None:
        return None
    if choice.mode is ToolChoiceMode.NAMED:
        return {"type": "function", "name": choice.name}
    return choice.mode.value


def _reasoning(wanted: ReasoningOptions | None, profile: Profile) -> dict[str, Any]:
    written: dict[str, Any] = {}
    if (effort := effort_of(wanted, profile)) is not None:
        written["effort"] = effort
    if wanted is not None and wanted.include_text:
        written["summary"] = "auto"
    return written


def _text(wanted: ResponseFormat | None, verbosity: str | None) -> dict[str, Any]:
    written: dict[str, Any] = {"format": _format(wanted)} if wanted is not None else {}
    if verbosity:
        written["verbosity"] = verbosity
    return written


def _format(wanted: ResponseFormat) -> dict[str, Any]:
    written: dict[str, Any] = {"type": wanted.kind.value}
    if wanted.kind is FormatKind.JSON_SCHEMA:
        written |= {"name": wanted.name, "schema": msgspec.Raw(wanted.schema_json.encode())}
        if wanted.description:
            written["description"] = wanted.description
        if wanted.strict is not None:
            written["strict"] = wanted.strict
    return written
