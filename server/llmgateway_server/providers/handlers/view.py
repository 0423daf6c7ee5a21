"""Turns a completion into what its handler sees, and the handler's pieces into events."""

from __future__ import annotations

from types import MappingProxyType
from uuid import uuid4

from llmgateway_server.core import messages as core
from llmgateway_server.core.calls import Call, NoticeCode
from llmgateway_server.core.events import Event, Finished, FinishReason, PartKind, Started, UsageSnapshot
from llmgateway_server.core.requests import CompleteRequest
from llmgateway_server.core.usage import Usage as CoreUsage
from llmgateway_server.providers.dialects.dialect import Unsupported
from llmgateway_server.providers.dialects.parts import PartsBuilder
from llmgateway_server.providers.handlers.answer import Finish, Piece, Usage
from llmgateway_server.providers.handlers.content import (
    Media,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from llmgateway_server.providers.handlers.request import (
    Message,
    Metadata,
    Options,
    ResponseFormat,
    Tool,
    ToolChoice,
)

DIALECT = "handler"
"""As what refusals and notices know it."""


def refuse_inexpressible(call: Call, request: CompleteRequest) -> None:
    """Notes what no handler is told or can give.

    Raises:
        RequestError: UNSUPPORTED_OPTION, log probabilities are wanted and may not be left out.
    """
    unsupported = Unsupported(DIALECT, call, drop=request.drop_unsupported)
    if request.logprobs_top_count is not None:
        unsupported.option("logprobs")
    for i, tool in enumerate(request.tools):
        if tool.cache_breakpoint:
            unsupported.hint(f"tools[{i}].cache_breakpoint")
    for i, message in enumerate(request.messages):
        for j, part in enumerate(message.parts):
            if part.is_bare:
                continue
            path = f"messages[{i}].parts[{j}]"
            if part.provider_state is not None:
                unsupported.left_out(NoticeCode.PROVIDER_STATE_DROPPED, f"{path}.provider_state")
            if part.cache_lifetime is not None:
                unsupported.hint(f"{path}.cache_control")
    unsupported.settle()


def messages_of(request: CompleteRequest) -> tuple[Message, ...]:
    """Returns the conversation."""
    return tuple(
        Message(message.role, tuple(_part(part.content) for part in message.parts), message.name)
        for message in request.messages
    )


def tools_of(request: CompleteRequest) -> tuple[Tool, ...]:
    """Returns the tools that the model may call."""
    return tuple(Tool(tool.name, tool.description, tool.parameters_json_schema, tool.strict) for tool in request.tools)


def options_of(request: CompleteRequest) -> Options:
    """Returns what the caller set."""
    choice, form, reasoning = request.tool_choice, request.response_format, request.reasoning
    return Options(
        max_output_tokens=request.max_output_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        stop=request.stop,
        seed=request.seed,
        frequency_penalty=request.frequency_penalty,
        presence_penalty=request.presence_penalty,
        tool_choice=ToolChoice(choice.mode, choice.name) if choice else None,
        parallel_tool_calls=request.parallel_tool_calls,
        response_format=ResponseFormat(form.kind, form.name, form.description, form.schema_json, form.strict)
        if form
        else None,
        reasoning_effort=(reasoning.effort or "") if reasoning else "",
        reasoning_token_count=reasoning.budget_token_count if reasoning else None,
        reasoning_text=reasoning.include_text if reasoning else None,
        service_tier=request.service_tier,
        drop_unsupported=request.drop_unsupported,
    )


def metadata_of(request: CompleteRequest) -> Metadata:
    """Returns who and what the call is for."""
    said = request.metadata
    tags = MappingProxyType(dict(said.tags))
    return Metadata(said.user, said.project, said.feature, tags, request.end_user_id)


def _part(content: core.Content) -> Part:
    match content:
        case core.TextPart(text=text):
            return Text(text)
        case core.MediaPart():
            return _media(content)
        case core.ReasoningPart(text=text):
            return Reasoning(text)
        case core.RefusalPart(text=text):
            return Refusal(text)
        case core.ToolCallPart():
            return ToolCall(content.call_id, content.name, content.arguments_json)
        case core.ToolResultPart():
            pieces = tuple(
                Text(piece.text) if isinstance(piece, core.TextPart) else _media(piece) for piece in content.content
            )
            return ToolResult(content.call_id, content.name, pieces, content.is_error)


def _media(media: core.MediaPart) -> Media:
    return Media(media.mime_type, media.data or b"", media.filename, media.detail)


class Telling:
    """Makes the events of an answer from its pieces.

    Args:
        model: who answers.
    """

    def __init__(self, model: str) -> None:
        self._parts = PartsBuilder()
        self._parts.add(Started("", model))
        self._usage: Usage | None = None
        self._reason = FinishReason.STOP

    def add(self, piece: Piece) -> None:
        """Adds the next piece."""
        match piece:
            case str():
                self._parts.flow(PartKind.TEXT, piece)
            case Reasoning(text=text):
                self._parts.flow(PartKind.REASONING, text)
            case Refusal(text=text):
                self._parts.flow(PartKind.REFUSAL, text)
            case ToolCall():
                call_id = piece.id or f"call_{uuid4().hex}"
                self._parts.tool(call_id, call_id, piece.name, piece.arguments_json)
            case Usage():
                self._usage = piece
            case Finish(reason=reason):
                self._reason = FinishReason(reason)

    def take(self) -> list[Event]:
        """Returns the events that are ready."""
        return self._parts.take()

    def end(self) -> list[Event]:
        """Returns the last events."""
        parts, usage = self._parts, self._usage
        parts.close()
        if usage is not None:
            parts.add(
                UsageSnapshot(
                    CoreUsage(
                        input_token_count=usage.input_token_count,
                        output_token_count=usage.output_token_count,
                        cache_read_token_count=usage.cache_read_token_count,
                        reasoning_token_count=usage.reasoning_token_count,
                    )
                )
            )
        parts.add(Finished(parts.settled(self._reason)))
        return parts.take()
