"""The conversation as chat completions want it. See `openai_chat`."""

from __future__ import annotations

import hashlib
import re
from typing import Any

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
from llmgateway_server.core.requests import CompleteRequest
from llmgateway_server.providers.dialects.dialect import Quirks, Unsupported
from llmgateway_server.providers.dialects.media import (
    MediaKind,
    base64_of,
    data_url,
    filename_of,
    kind_of,
    mime_type_of,
)
from llmgateway_server.providers.dialects.openai_chat.details import details_of

TEXT_KINDS = {Role.SYSTEM: "system", Role.DEVELOPER: "developer", Role.USER: "user", Role.ASSISTANT: "assistant"}

AUDIO_FORMATS = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
}
"""The sounds that chat completions hear."""
ID_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
MADE_ID_LENGTH = 9
"""What Mistral takes, and everybody else too: https://docs.mistral.ai/capabilities/function_calling."""


class Messages:
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
        self._id_pattern = re.compile(quirks.tool_call_id)

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
                    self._tool_result(part.content)
                    for part in message.parts
                    if isinstance(part.content, ToolResultPart)
                )
            else:
                written.append(self._message(message, path))
        return written

    def _message(self, message: Message, path: str) -> dict[str, Any]:
        role = TEXT_KINDS[message.role]
        if message.role is Role.DEVELOPER and not self._quirks.developer_role:
            role = "system"
        said: dict[str, Any] = {"role": role}
        if message.name:
            if "messages.name" in self._quirks.unknown_options:
                self._unsupported.option(f"{path}.name")
            else:
                said["name"] = message.name
        contents = [part.content for part in message.parts]
        pieces = [self._piece(content) for content in contents if isinstance(content, TextPart | MediaPart)]
        texts = [content.text for content in contents if isinstance(content, TextPart)]
        said["content"] = self._text_alone(texts) if len(pieces) == len(texts) else pieces
        if message.role is Role.ASSISTANT:
            self._assistant(said, message, texts)
        return said

    def _text_alone(self, texts: list[str]) -> Any:
        """One text is written as such; several are a list, for vendors that know lists."""
        if len(texts) == 1:
            return texts[0]
        return [_text(text) for text in texts] if self._quirks.media else "\n".join(texts)

    def _judge(self, path: str, role: Role, part: Part) -> None:
        """Notes what a part holds that this dialect cannot say."""
        unsupported, quirks = self._unsupported, self._quirks
        match part.content:
            case MediaPart() as media:
                if role is not Role.USER or not self._is_sayable(media):
                    unsupported.essential(f"{path}.media")
            case ToolCallPart() if "tools" in quirks.unknown_options:
                unsupported.essential(f"{path}.tool_call")
            case ToolResultPart(content=content, is_error=is_error):
                if "tools" in quirks.unknown_options:
                    unsupported.essential(f"{path}.tool_result")
                for i, piece in enumerate(content):
                    if not isinstance(piece, TextPart):
                        unsupported.essential(f"{path}.tool_result.content[{i}].media")
                if is_error:
                    unsupported.hint(f"{path}.tool_result.is_error")
            case ReasoningPart() if not quirks.reasoning_history:  # most vendors refuse or ignore it
                unsupported.left_out(NoticeCode.OPTION_DROPPED, f"{path}.reasoning")
            case RefusalPart() if "messages.refusal" in quirks.unknown_options:
                unsupported.changed(f"{path}.refusal", "was sent as text")
        if part.cache_lifetime is not None:
            unsupported.hint(f"{path}.cache_control")
        if part.provider_state is not None and not self._is_own(part):
            unsupported.left_out(NoticeCode.PROVIDER_STATE_DROPPED, f"{path}.provider_state")

    def _is_own(self, part: Part) -> bool:
        """Tells whether the state beside a part is this vendor's; most have none."""
        state = part.provider_state
        return state is not None and state.vendor == self._quirks.state_vendor and details_of(state) is not None

    def _is_sayable(self, media: MediaPart) -> bool:
        kind = kind_of(media)
        if kind is MediaKind.AUDIO and mime_type_of(media) not in AUDIO_FORMATS:
            return False
        return kind in self._quirks.media

    def _piece(self, content: TextPart | MediaPart) -> dict[str, Any]:
        """Writes a piece of a user's message."""
        if isinstance(content, TextPart):
            return _text(content.text)
        match kind_of(content):
            case MediaKind.AUDIO:
                sound = {"data": base64_of(content), "format": AUDIO_FORMATS.get(mime_type_of(content), "")}
                return {"type": "input_audio", "input_audio": sound}
            case MediaKind.IMAGE:
                image = {"url": content.uri or data_url(content)}
                if content.detail:
                    image["detail"] = content.detail
                return {"type": "image_url", "image_url": image}
            case _ if self._quirks.document_part == "document_url":
                name = {"document_name": content.filename} if content.filename else {}
                return {"type": "document_url", "document_url": data_url(content), **name}
            case _:
                return {"type": "file", "file": {"filename": filename_of(content), "file_data": data_url(content)}}

    def _assistant(self, said: dict[str, Any], message: Message, texts: list[str]) -> None:
        contents = [part.content for part in message.parts]
        calls = [content for content in contents if isinstance(content, ToolCallPart)]
        refusals = [content.text for content in contents if isinstance(content, RefusalPart)]
        if refusals and "messages.refusal" in self._quirks.unknown_options:
            texts, refusals = [*texts, *refusals], []
            said["content"] = self._text_alone(texts)
        if not texts:
            said["content"] = None if calls or refusals else ""
        if refusals:
            said["refusal"] = "".join(refusals)
        if self._quirks.reasoning_history:
            self._reasoning(said, message, has_calls=bool(calls))
        if calls:
            said["tool_calls"] = [
                {
                    "id": self._id(call.call_id),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments_json or "{}"},
                }
                for call in calls
            ]

    def _reasoning(self, said: dict[str, Any], message: Message, *, has_calls: bool) -> None:
        """Adds what was thought: as the vendor's own state where there is one, otherwise as text."""
        states = [part.provider_state for part in message.parts if self._is_own(part)]
        if details := [detail for state in states if state is not None for detail in details_of(state) or ()]:
            said["reasoning_details"] = details
            return
        thoughts = "\n".join(part.content.text for part in message.parts if isinstance(part.content, ReasoningPart))
        if self._quirks.reasoning_history == "content":
            if thoughts:
                spoken = said["content"]
                rest = spoken if isinstance(spoken, list) else [_text(spoken)] if spoken else []
                said["content"] = [{"type": "thinking", "thinking": [_text(thoughts)]}, *rest]
        elif thoughts or has_calls:  # DeepSeek wants the field beside calls, also where nothing was thought
            said[self._quirks.reasoning_history] = thoughts

    def _tool_result(self, result: ToolResultPart) -> dict[str, Any]:
        texts = [piece.text for piece in result.content if isinstance(piece, TextPart)]
        content = self._text_alone(texts) if texts else ""
        return {"role": "tool", "tool_call_id": self._id(result.call_id), "content": content}

    def _id(self, call_id: str) -> str:
        """Returns the id under which a tool call is told to the vendor: the same one for a call and its result."""
        return call_id if self._id_pattern.fullmatch(call_id) else _made_id(call_id)


def _made_id(call_id: str) -> str:
    number = int.from_bytes(hashlib.sha256(call_id.encode()).digest()[:8])
    digits = ""
    for _ in range(MADE_ID_LENGTH):
        number, digit = divmod(number, len(ID_CHARS))
        digits += ID_CHARS[digit]
    return digits


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
