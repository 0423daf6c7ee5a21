"""What chat completions are asked: the body of the request, and what it cannot say. See `openai_chat`."""

from __future__ import annotations

from typing import Any

import msgspec

from llmgateway_server.core.calls import Attempt, NoticeCode
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
    ResponseFormat,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from llmgateway_server.providers.dialects.dialect import Quirks, Unsupported
from llmgateway_server.providers.dialects.media import (
    MediaKind,
    base64_of,
    data_url,
    filename_of,
    kind_of,
    mime_type_of,
)
from llmgateway_server.providers.dialects.openai_common.reasoning import effort_of
from llmgateway_server.providers.dialects.structured import answer_choice, answer_tool

TEXT_KINDS = {Role.SYSTEM: "system", Role.DEVELOPER: "developer", Role.USER: "user", Role.ASSISTANT: "assistant"}

AUDIO_FORMATS = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
}
"""The sounds that chat completions hear."""


def request_body(attempt: Attempt, quirks: Quirks, dialect: str) -> dict[str, Any]:
    """Returns the body without the stream's own fields; what the caller left out is left to the vendor.

    Raises:
        RequestError: UNSUPPORTED_OPTION with everything that the dialect cannot say.
    """
    request = attempt.call.request
    if not isinstance(request, CompleteRequest):  # pragma: no cover: `operations` keeps others away
        raise TypeError(request)
    unsupported = Unsupported(dialect, attempt.call, drop=request.drop_unsupported)
    _refuse_options(request, quirks, unsupported)
    own = _own_options(request.provider_options.get(dialect, {}), dialect, unsupported)
    messages = _Messages(request, quirks, unsupported).written()
    unsupported.settle()
    answer = answer_tool(attempt)
    tools = [*request.tools, answer] if answer else request.tools
    options = (
        ("tools", [_tool(tool) for tool in tools] or None),
        ("tool_choice", _tool_choice(answer_choice(request, answer) if answer else request.tool_choice)),
        ("parallel_tool_calls", request.parallel_tool_calls if tools else None),
        ("response_format", None if answer else _response_format(request.response_format)),
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        ("top_k", request.top_k if quirks.top_k else None),
        (quirks.max_tokens_field, request.max_output_tokens),
        ("stop", list(request.stop) or None),
        ("seed", request.seed),
        ("frequency_penalty", request.frequency_penalty),
        ("presence_penalty", request.presence_penalty),
        ("reasoning_effort", effort_of(request.reasoning, attempt.target.profile)),
        ("logprobs", True if request.logprobs_top_count is not None else None),
        ("top_logprobs", request.logprobs_top_count or None),
        ("service_tier", request.service_tier or None),
        (quirks.end_user_field, request.end_user_id or None),
        *own,
    )
    given = {key: value for key, value in options if value is not None}
    return {"model": attempt.target.upstream_model, "messages": messages, **given}


def _refuse_options(request: CompleteRequest, quirks: Quirks, unsupported: Unsupported) -> None:
    """Notes the options that chat completions do not have."""
    reasoning = request.reasoning
    for path, present in (
        ("top_k", request.top_k is not None and not quirks.top_k),
        ("reasoning.budget_token_count", reasoning is not None and reasoning.budget_token_count is not None),
        ("reasoning.include_text", reasoning is not None and reasoning.include_text is not None),
    ):
        if present:
            unsupported.option(path)
    for i, tool in enumerate(request.tools):
        if tool.cache_breakpoint:
            unsupported.hint(f"tools[{i}].cache_breakpoint")


def _own_options(own: dict[str, Any], dialect: str, unsupported: Unsupported) -> tuple[tuple[str, Any], ...]:
    """Returns the fields of the options that only this dialect has."""
    predicted, search = own.get("predicted_text"), own.get("web_search")
    if search:
        for name in search:
            unsupported.option(f"provider_options.{dialect}.web_search.{name}")
    return (
        ("store", own.get("store")),
        ("prompt_cache_key", own.get("prompt_cache_key")),
        ("logit_bias", own.get("logit_bias")),
        ("verbosity", own.get("verbosity")),
        ("prediction", {"type": "content", "content": predicted} if predicted else None),
        ("web_search_options", {} if search is not None else None),
    )


class _Messages:
    """Writes the conversation.

    Args:
        request: whose messages are written.
        quirks: of the vendor.
        unsupported: gets what the dialect cannot say.
    """

    def __init__(self, request: CompleteRequest, quirks: Quirks, unsupported: Unsupported) -> None:
        self._request = request
        self._quirks = quirks
        self._unsupported = unsupported

    def written(self) -> list[dict[str, Any]]:
        """Returns the messages; each tool result is one of its own."""
        written: list[dict[str, Any]] = []
        for m, message in enumerate(self._request.messages):
            path = f"messages[{m}]"
            for p, part in enumerate(message.parts):
                if not (isinstance(part.content, TextPart) and part.is_bare):
                    self._judge(f"{path}.parts[{p}]", message.role, part)
            if message.role is Role.TOOL:
                written.extend(
                    _tool_result(part.content) for part in message.parts if isinstance(part.content, ToolResultPart)
                )
            else:
                written.append(self._message(message))
        return written

    def _message(self, message: Message) -> dict[str, Any]:
        role = TEXT_KINDS[message.role]
        if message.role is Role.DEVELOPER and not self._quirks.developer_role:
            role = "system"
        said: dict[str, Any] = {"role": role}
        if message.name:
            said["name"] = message.name
        contents = [part.content for part in message.parts]
        pieces = [_piece(content) for content in contents if isinstance(content, TextPart | MediaPart)]
        texts = [content.text for content in contents if isinstance(content, TextPart)]
        said["content"] = texts[0] if len(pieces) == len(texts) == 1 else pieces
        if message.role is Role.ASSISTANT:
            _assistant(said, message, texts)
        return said

    def _judge(self, path: str, role: Role, part: Part) -> None:
        """Notes what a part holds that this dialect cannot say."""
        unsupported = self._unsupported
        match part.content:
            case MediaPart() as media:
                if role is not Role.USER or not _is_sayable(media):
                    unsupported.essential(f"{path}.media")
            case ToolResultPart(content=content, is_error=is_error):
                for i, piece in enumerate(content):
                    if not isinstance(piece, TextPart):
                        unsupported.essential(f"{path}.tool_result.content[{i}].media")
                if is_error:
                    unsupported.hint(f"{path}.tool_result.is_error")
            case ReasoningPart():  # vendors refuse or ignore their reasoning when it comes back
                unsupported.left_out(NoticeCode.OPTION_DROPPED, f"{path}.reasoning")
        if part.cache_lifetime is not None:
            unsupported.hint(f"{path}.cache_control")
        if part.provider_state is not None:  # this dialect has no such state
            unsupported.left_out(NoticeCode.PROVIDER_STATE_DROPPED, f"{path}.provider_state")


def _is_sayable(media: MediaPart) -> bool:
    kind = kind_of(media)
    if kind is MediaKind.AUDIO:
        return mime_type_of(media) in AUDIO_FORMATS
    return kind is not MediaKind.VIDEO


def _piece(content: TextPart | MediaPart) -> dict[str, Any]:
    """Writes a piece of a user's message."""
    if isinstance(content, TextPart):
        return {"type": "text", "text": content.text}
    match kind_of(content):
        case MediaKind.AUDIO:
            sound = {"data": base64_of(content), "format": AUDIO_FORMATS.get(mime_type_of(content), "")}
            return {"type": "input_audio", "input_audio": sound}
        case MediaKind.IMAGE:
            image = {"url": content.uri or data_url(content)}
            if content.detail:
                image["detail"] = content.detail
            return {"type": "image_url", "image_url": image}
        case _:
            return {"type": "file", "file": {"filename": filename_of(content), "file_data": data_url(content)}}


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
