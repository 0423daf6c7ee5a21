"""What Cohere is asked: the body of the request, and what it cannot say. See `cohere_chat`.

The vendor can force a call of some tool, not of one by name: such a choice offers that tool alone. It follows a schema
where no tools are offered; beside tools an answer that must have a form is one more tool, see `structured`.

Source: https://docs.cohere.com/reference/chat
"""

from __future__ import annotations

from dataclasses import replace
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
from llmgateway_server.providers.dialects.cohere_chat.conversation import Conversation
from llmgateway_server.providers.dialects.cohere_chat.reasoning import thinking_of
from llmgateway_server.providers.dialects.dialect import Unsupported
from llmgateway_server.providers.dialects.structured import answer_choice, answer_tool

LEAST_P, MOST_P = 0.01, 0.99
MOST_K = 500
MOST_PENALTY = 1.0
MOST_STOPS = 5
CHOICES = {ToolChoiceMode.NONE: "NONE", ToolChoiceMode.REQUIRED: "REQUIRED", ToolChoiceMode.NAMED: "REQUIRED"}
"""Without a word the model is free."""


def answer_by_tool(attempt: Attempt) -> Tool | None:
    """Returns the tool that stands for the wanted format: beside other tools the vendor takes none."""
    request = attempt.call.request
    if not (isinstance(request, CompleteRequest) and request.tools):
        return answer_tool(attempt)
    profile = replace(attempt.target.profile, native_json_schema=False)
    beside_tools = replace(attempt, target=replace(attempt.target, profile=profile))
    return answer_tool(beside_tools, json_objects_too=True)


def request_body(attempt: Attempt, dialect: str) -> dict[str, Any]:
    """Returns the body without the stream's own field; what the caller left out is left to the vendor.

    Raises:
        RequestError: UNSUPPORTED_OPTION with everything that the dialect cannot say.
    """
    request = attempt.call.request
    if not isinstance(request, CompleteRequest):  # pragma: no cover: `operations` keeps others away
        raise TypeError(request)
    unsupported = Unsupported(dialect, attempt.call, drop=request.drop_unsupported)
    own = request.provider_options.get(dialect, {})
    answer = answer_by_tool(attempt)
    choice = answer_choice(request, answer) if answer else request.tool_choice
    tools = _offered([*request.tools, answer] if answer else request.tools, choice)
    messages = Conversation(request.messages, unsupported).written()
    _refuse_options(request, unsupported)
    options = (
        ("tools", [_tool(tool) for tool in tools] or None),
        ("strict_tools", _strict(request, tools, unsupported)),
        ("tool_choice", CHOICES.get(choice.mode) if choice and tools else None),
        ("documents", list(own.get("documents") or ()) or None),
        ("citation_options", {"mode": own["citation_mode"]} if own.get("citation_mode") else None),
        ("response_format", None if answer else _format(request.response_format, unsupported)),
        ("safety_mode", own.get("safety_mode") or None),
        ("max_tokens", request.max_output_tokens),
        *_sampling(request, unsupported),
        (
            "thinking",
            thinking_of(request.reasoning, attempt.target.profile.reasoning, request.max_output_tokens, unsupported),
        ),
        ("logprobs", True if request.logprobs_top_count is not None else None),
    )
    unsupported.settle()
    given = {name: value for name, value in options if value is not None}
    return {"model": attempt.target.upstream_model, "messages": messages, **given}


def _refuse_options(request: CompleteRequest, unsupported: Unsupported) -> None:
    """Notes the options that the vendor does not have."""
    for path, present in (
        ("parallel_tool_calls", request.parallel_tool_calls is False and bool(request.tools)),
        ("logprobs.top_count", bool(request.logprobs_top_count)),
        ("service_tier", bool(request.service_tier)),
    ):
        if present:
            unsupported.option(path)
    if request.end_user_id:
        unsupported.hint("end_user_id")
    for i, tool in enumerate(request.tools):
        if tool.cache_breakpoint:
            unsupported.hint(f"tools[{i}].cache_breakpoint")


def _sampling(request: CompleteRequest, unsupported: Unsupported) -> list[tuple[str, Any]]:
    """Returns what the vendor takes; its ranges are narrower than those of others."""
    seed, frequency, presence = request.seed, request.frequency_penalty, request.presence_penalty
    given = (
        ("temperature", "temperature", request.temperature, True),
        ("p", "top_p", _p(request.top_p, unsupported), True),
        ("k", "top_k", request.top_k, (request.top_k or 0) <= MOST_K),
        ("seed", "seed", seed, (seed or 0) >= 0),
        ("frequency_penalty", "frequency_penalty", frequency, 0 <= (frequency or 0) <= MOST_PENALTY),
        ("presence_penalty", "presence_penalty", presence, 0 <= (presence or 0) <= MOST_PENALTY),
    )
    taken: list[tuple[str, Any]] = [("stop_sequences", list(request.stop[:MOST_STOPS]) or None)]
    for i in range(MOST_STOPS, len(request.stop)):
        unsupported.option(f"stop[{i}]")
    for name, path, value, is_taken in given:
        if is_taken:
            taken.append((name, value))
        else:
            unsupported.option(path)
    return taken


def _p(top_p: float | None, unsupported: Unsupported) -> float | None:
    if top_p is None or LEAST_P <= top_p <= MOST_P:
        return top_p
    nearest = LEAST_P if top_p < LEAST_P else MOST_P
    unsupported.changed("top_p", f"was moved to {nearest}, the nearest that the vendor takes")
    return nearest


def _offered(tools: list[Tool], choice: ToolChoice | None) -> list[Tool]:
    """Returns the tools of which the model learns: of those among which one is chosen by name, that one."""
    if choice is None or choice.mode is not ToolChoiceMode.NAMED:
        return tools
    return [tool for tool in tools if tool.name == choice.name]


def _strict(request: CompleteRequest, tools: list[Tool], unsupported: Unsupported) -> bool | None:
    """Returns whether calls must follow the schemas: all of them or none."""
    if not any(tool.strict for tool in tools):
        return None
    for i, tool in enumerate(request.tools):
        if tool.strict is False:
            unsupported.changed(f"tools[{i}].strict", "became true as that of another tool: the vendor has one for all")
    return True


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


def _format(wanted: ResponseFormat | None, unsupported: Unsupported) -> dict[str, Any] | None:
    if wanted is None or wanted.kind is FormatKind.TEXT:
        return None
    said: dict[str, Any] = {"type": "json_object"}
    if wanted.kind is FormatKind.JSON_SCHEMA:
        said["json_schema"] = msgspec.Raw(wanted.schema_json.encode())
        if wanted.description:
            unsupported.hint("response_format.json_schema.description")
    return said
