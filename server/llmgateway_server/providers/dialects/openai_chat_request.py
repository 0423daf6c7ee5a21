"""What chat completions are asked: the body of the request, and what it cannot say. See `openai_chat`."""

from __future__ import annotations

from typing import Any

import msgspec

from llmgateway_server.core.calls import Call, NoticeCode
from llmgateway_server.core.messages import (
    MediaPart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from llmgateway_server.core.requests import (
    CompleteRequest,
    FormatKind,
    ReasoningOptions,
    ResponseFormat,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from llmgateway_server.providers.dialects.dialect import Quirks, Unsupported

TEXT_KINDS = {Role.SYSTEM: "system", Role.DEVELOPER: "developer", Role.USER: "user", Role.ASSISTANT: "assistant"}

EFFORTS = {"max": "xhigh"}
"""Efforts that chat completions call by another name."""


def request_body(request: CompleteRequest, upstream_model: str, quirks: Quirks) -> dict[str, Any]:
    """Returns the body without the stream's own fields; what the caller left out is left to the vendor."""
    options = (
        ("tools", [_tool(tool) for tool in request.tools] or None),
        ("tool_choice", _tool_choice(request.tool_choice)),
        ("parallel_tool_calls", request.parallel_tool_calls),
        ("response_format", _response_format(request.response_format)),
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        (quirks.max_tokens_field, request.max_output_tokens),
        ("stop", list(request.stop) or None),
        ("seed", request.seed),
        ("frequency_penalty", request.frequency_penalty),
        ("presence_penalty", request.presence_penalty),
        ("reasoning_effort", _effort(request.reasoning)),
        ("logprobs", True if request.logprobs_top_count is not None else None),
        ("top_logprobs", request.logprobs_top_count or None),
        ("service_tier", request.service_tier or None),
        ("user", request.end_user_id or None),
    )
    given = {key: value for key, value in options if value is not None}
    return {"model": upstream_model, "messages": _messages(request, quirks), **given}


def refuse_unsupported(dialect: str, call: Call, request: CompleteRequest) -> None:
    """Refuses what the dialect cannot say, all of it at once, or drops options with a notice where that is allowed."""
    unsupported = Unsupported(dialect, call, drop=request.drop_unsupported)
    reasoning = request.reasoning
    for path, present in (
        ("top_k", request.top_k is not None),
        ("reasoning.budget_token_count", reasoning is not None and reasoning.budget_token_count is not None),
        ("reasoning.include_text", reasoning is not None and reasoning.include_text is not None),
        *((f"tools[{i}].cache_breakpoint", tool.cache_breakpoint) for i, tool in enumerate(request.tools)),
    ):
        if present:
            unsupported.option(path)
    for name in request.provider_options:
        if name == dialect:  # options of other dialects are for other targets
            unsupported.essential(f"provider_options.{name}")
    for m, message in enumerate(request.messages):
        for p, part in enumerate(message.parts):
            if not (isinstance(part.content, TextPart) and part.is_bare):
                _judge(f"messages[{m}].parts[{p}]", part, unsupported)
    unsupported.settle()


def _judge(path: str, part: Part, unsupported: Unsupported) -> None:
    """Notes what a part holds that this dialect cannot say."""
    match part.content:
        case MediaPart():
            unsupported.essential(f"{path}.media")
        case ToolResultPart(content=content, is_error=is_error):
            for i, piece in enumerate(content):
                if not isinstance(piece, TextPart):
                    unsupported.essential(f"{path}.tool_result.content[{i}].media")
            if is_error:
                unsupported.option(f"{path}.tool_result.is_error")
        case ReasoningPart():  # vendors refuse or ignore their reasoning when it comes back
            unsupported.left_out(NoticeCode.OPTION_DROPPED, f"{path}.reasoning")
    if part.cache_lifetime is not None:
        unsupported.option(f"{path}.cache_control")
    if part.provider_state is not None:  # this dialect has no such state, so it is another vendor's
        unsupported.left_out(NoticeCode.PROVIDER_STATE_DROPPED, f"{path}.provider_state")


def _messages(request: CompleteRequest, quirks: Quirks) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = []
    for message in request.messages:
        if message.role is Role.TOOL:
            written.extend(
                _tool_result(part.content) for part in message.parts if isinstance(part.content, ToolResultPart)
            )
            continue
        role = TEXT_KINDS[message.role]
        if message.role is Role.DEVELOPER and not quirks.developer_role:
            role = "system"
        said: dict[str, Any] = {"role": role}
        if message.name:
            said["name"] = message.name
        texts = [part.content.text for part in message.parts if isinstance(part.content, TextPart)]
        said["content"] = texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts]
        if message.role is Role.ASSISTANT:
            _assistant(said, message, texts)
        written.append(said)
    return written


def _assistant(said: dict[str, Any], message: Message, texts: list[str]) -> None:
    calls = [part.content for part in message.parts if isinstance(part.content, ToolCallPart)]
    refusals = [part.content.text for part in message.parts if isinstance(part.content, RefusalPart)]
    if not texts:
        said["content"] = None if calls or refusals else ""
    if refusals:
        said["refusal"] = "".join(refusals)
    if calls:
        said["tool_calls"] = [
            {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments_json or "{}"},
            }
            for call in calls
        ]


def _tool_result(result: ToolResultPart) -> dict[str, Any]:
    texts = [piece.text for piece in result.content if isinstance(piece, TextPart)]
    content: Any = texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts] or ""
    return {"role": "tool", "tool_call_id": result.call_id, "content": content}


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


def _effort(reasoning: ReasoningOptions | None) -> str | None:
    if reasoning is None or reasoning.effort is None:
        return None
    return EFFORTS.get(reasoning.effort, reasoning.effort)


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
