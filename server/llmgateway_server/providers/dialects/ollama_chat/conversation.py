"""How a conversation is told to Ollama: messages with one text each, images beside it. See `ollama_chat`."""

from __future__ import annotations

from typing import Any

import msgspec

from llmgateway_server.core.calls import NoticeCode
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
from llmgateway_server.providers.dialects.dialect import Unsupported
from llmgateway_server.providers.dialects.media import MediaKind, base64_of, kind_of

ROLES = {Role.SYSTEM: "system", Role.DEVELOPER: "system", Role.USER: "user", Role.ASSISTANT: "assistant"}
SEPARATOR = "\n"
"""Between texts of one message or of one result, which become one; a model's own texts are joined as it said them."""


class Conversation:
    """Writes the messages of a request.

    Args:
        messages: in order.
        unsupported: gets what Ollama does not take.
    """

    def __init__(self, messages: list[Message], unsupported: Unsupported) -> None:
        self._messages = messages
        self._unsupported = unsupported
        self._tool_names: dict[str, str] = {}
        """By the ids of the calls so far."""

    def written(self) -> list[dict[str, Any]]:
        """Returns the messages; each tool result is one of its own."""
        written: list[dict[str, Any]] = []
        for m, message in enumerate(self._messages):
            path = f"messages[{m}]"
            if message.name:
                self._unsupported.hint(f"{path}.name")
            for p, part in enumerate(message.parts):
                self._judge(f"{path}.parts[{p}]", message.role, part)
            contents = [part.content for part in message.parts]
            if message.role is Role.TOOL:
                written += [self._tool_result(each) for each in contents if isinstance(each, ToolResultPart)]
            else:
                written.append(self._message(message.role, contents))
        return written

    def _message(self, role: Role, contents: list[Any]) -> dict[str, Any]:
        texts = [each.text for each in contents if isinstance(each, TextPart | RefusalPart)]
        message: dict[str, Any] = {
            "role": ROLES[role],
            "content": ("" if role is Role.ASSISTANT else SEPARATOR).join(texts),
        }
        if thoughts := [each.text for each in contents if isinstance(each, ReasoningPart) and not each.redacted]:
            message["thinking"] = "".join(thoughts)
        if images := [base64_of(each) for each in contents if isinstance(each, MediaPart)]:
            message["images"] = images
        if calls := [each for each in contents if isinstance(each, ToolCallPart)]:
            message["tool_calls"] = [self._tool_call(call) for call in calls]
        return message

    def _tool_call(self, call: ToolCallPart) -> dict[str, Any]:
        self._tool_names[call.call_id] = call.name
        arguments = msgspec.Raw((call.arguments_json or "{}").encode())
        return {"id": call.call_id, "function": {"name": call.name, "arguments": arguments}}

    def _tool_result(self, result: ToolResultPart) -> dict[str, Any]:
        return {
            "role": "tool",
            "content": SEPARATOR.join(piece.text for piece in result.content if isinstance(piece, TextPart)),
            "tool_name": result.name or self._tool_names.get(result.call_id, ""),
            "tool_call_id": result.call_id,
        }

    def _judge(self, path: str, role: Role, part: Part) -> None:
        """Notes what a part holds that Ollama does not take."""
        unsupported = self._unsupported
        match part.content:
            case MediaPart() as media:
                if role is not Role.USER or kind_of(media) is not MediaKind.IMAGE:
                    unsupported.essential(f"{path}.media")
                elif media.detail in ("low", "high"):
                    unsupported.hint(f"{path}.media.detail")
            case ToolResultPart(content=content, is_error=is_error):
                for i, piece in enumerate(content):
                    if isinstance(piece, MediaPart):
                        unsupported.essential(f"{path}.tool_result.content[{i}].media")
                if is_error:
                    unsupported.hint(f"{path}.tool_result.is_error")
            case ReasoningPart(redacted=True) if part.provider_state is None:
                unsupported.left_out(NoticeCode.PROVIDER_STATE_DROPPED, f"{path}.reasoning")
        if part.cache_lifetime is not None:
            unsupported.hint(f"{path}.cache_control")
        if part.provider_state is not None:  # Ollama has no such state
            unsupported.left_out(NoticeCode.PROVIDER_STATE_DROPPED, f"{path}.provider_state")
