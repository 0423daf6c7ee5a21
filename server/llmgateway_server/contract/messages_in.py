"""Messages from the wire into the core's words: which role may say what, and which tool result answers which call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmgateway.v1 import message_pb2
from llmgateway_server.contract.data_uri import is_data_uri, read_data_uri
from llmgateway_server.contract.json_text import check_json_object
from llmgateway_server.core.errors import Violation
from llmgateway_server.core.messages import (
    Citation,
    Content,
    MediaPart,
    Message,
    Part,
    ProviderState,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

_ROLES = {
    message_pb2.ROLE_SYSTEM: Role.SYSTEM,
    message_pb2.ROLE_DEVELOPER: Role.DEVELOPER,
    message_pb2.ROLE_USER: Role.USER,
    message_pb2.ROLE_ASSISTANT: Role.ASSISTANT,
    message_pb2.ROLE_TOOL: Role.TOOL,
}
ALLOWED_PARTS: dict[Role, frozenset[str]] = {
    Role.SYSTEM: frozenset({"text"}),
    Role.DEVELOPER: frozenset({"text"}),
    Role.USER: frozenset({"text", "media"}),
    Role.ASSISTANT: frozenset({"text", "media", "tool_call", "reasoning", "refusal"}),
    Role.TOOL: frozenset({"tool_result"}),
}
"""Which parts a role may say."""
_DETAILS = {
    message_pb2.IMAGE_DETAIL_LOW: "low",
    message_pb2.IMAGE_DETAIL_HIGH: "high",
    message_pb2.IMAGE_DETAIL_AUTO: "auto",
}
_LIFETIMES = {message_pb2.CACHE_LIFETIME_5_MINUTES: "5m", message_pb2.CACHE_LIFETIME_1_HOUR: "1h"}


class Conversation:
    """Reads the messages of one request; `violations` and `text_byte_count` are complete afterwards.

    Args:
        prefix: path before `messages`.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._call_ids: set[str] = set()
        self.violations: list[Violation] = []
        self.text_byte_count = 0

    def read(self, messages: Iterable[Any]) -> list[Message]:
        """Translates the messages in order."""
        return [self._message(f"{self._prefix}messages[{i}]", message) for i, message in enumerate(messages)]

    def _message(self, path: str, message: Any) -> Message:
        role = _ROLES[message.role]
        allowed = ALLOWED_PARTS[role]
        parts = []
        for i, part in enumerate(message.parts):
            part_path = f"{path}.parts[{i}]"
            kind = part.WhichOneof("content")
            if kind not in allowed:
                self._bad(part_path, f"a {role} message cannot have a part of the kind {kind}", "message.role_parts")
            else:
                parts.append(self._part(part_path, kind, part))
        if not message.parts and role is not Role.ASSISTANT:
            self._bad(f"{path}.parts", "must have at least one part", "message.parts")
        return Message(role, parts, message.name)

    def _part(self, path: str, kind: str, part: Any) -> Part:
        content = self._content(path, kind, part)
        if not (part.HasField("provider_state") or part.HasField("cache_control") or part.citations):
            return Part(content)
        state = part.provider_state
        return Part(
            content,
            provider_state=ProviderState(state.vendor, state.data) if part.HasField("provider_state") else None,
            cache_lifetime=_LIFETIMES.get(part.cache_control.lifetime, "default")
            if part.HasField("cache_control")
            else None,
            citations=tuple(
                Citation(
                    each.title,
                    each.uri,
                    each.cited_text,
                    each.start_index if each.HasField("start_index") else None,
                    each.end_index if each.HasField("end_index") else None,
                )
                for each in part.citations
            ),
        )

    def _content(self, path: str, kind: str, part: Any) -> Content:
        match kind:
            case "text":
                return self._text(part.text)
            case "media":
                return self._media(f"{path}.media", part.media)
            case "tool_call":
                return self._tool_call(f"{path}.tool_call", part.tool_call)
            case "tool_result":
                return self._tool_result(f"{path}.tool_result", part.tool_result)
            case "reasoning":
                return ReasoningPart(self._text(part.reasoning.text).text, part.reasoning.redacted)
            case _:
                return RefusalPart(self._text(part.refusal.text).text)

    def _text(self, text: str) -> TextPart:
        self.text_byte_count += len(text) if text.isascii() else len(text.encode())
        return TextPart(text)

    def _media(self, path: str, media: Any) -> MediaPart:
        inline = media.WhichOneof("source") == "data"
        mime_type, data, uri = media.mime_type, media.data if inline else None, None if inline else media.uri
        if uri is not None and is_data_uri(uri):
            named, data = read_data_uri(uri) or ("", None)
            mime_type, uri = mime_type or named, None
            if not data:
                self._bad(f"{path}.uri", "must be a data address with content", "media.data_uri")
        elif inline and not mime_type:
            self._bad(f"{path}.mime_type", "is required with data", "media.mime_type")
        return MediaPart(mime_type, data, uri, media.filename, _DETAILS.get(media.detail, ""))

    def _tool_call(self, path: str, call: Any) -> ToolCallPart:
        if call.id in self._call_ids:
            self._bad(f"{path}.id", "must be unique in the conversation", "tool_call.unique")
        self._call_ids.add(call.id)
        if call.arguments_json:
            self.violations += check_json_object(f"{path}.arguments_json", call.arguments_json)
        self._text(call.arguments_json)
        return ToolCallPart(call.id, call.name, call.arguments_json)

    def _tool_result(self, path: str, result: Any) -> ToolResultPart:
        if result.tool_call_id not in self._call_ids:
            self._bad(f"{path}.tool_call_id", "must be the id of an earlier tool call", "tool_result.known")
        content: list[TextPart | MediaPart] = []
        for i, piece in enumerate(result.content):
            if piece.WhichOneof("content") == "text":
                content.append(self._text(piece.text))
            else:
                content.append(self._media(f"{path}.content[{i}].media", piece.media))
        return ToolResultPart(result.tool_call_id, result.name, content, result.is_error)

    def _bad(self, path: str, description: str, rule: str) -> None:
        self.violations.append(Violation(path, description, rule))
