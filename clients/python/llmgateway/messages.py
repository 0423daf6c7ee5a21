"""Makes messages of what programs have at hand: texts, pairs, mappings, replies, protos."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from llmgateway.reply import Reply
from llmgateway.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_DEVELOPER,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    Media,
    Message,
    Part,
    Role,
    ToolCall,
    ToolResult,
    ToolResultContent,
)

ContentLike = str | Part | Iterable[str | Part]
"""Content of a message: text, or parts in order."""
MessageLike = str | Message | Reply | tuple[str, ContentLike] | Mapping[str, Any]
"""A text is the user's; a pair is role and content; a mapping has `role`, `content`, and for tools the keys below."""
MessagesLike = MessageLike | Iterable[MessageLike]

ROLES: Mapping[str, Role.ValueType] = MappingProxyType(
    {
        "system": ROLE_SYSTEM,
        "developer": ROLE_DEVELOPER,
        "user": ROLE_USER,
        "assistant": ROLE_ASSISTANT,
        "tool": ROLE_TOOL,
    }
)
_PLAIN_KEYS = frozenset({"role", "content", "name"})
_KEYS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "assistant": _PLAIN_KEYS | {"tool_calls"},
        "tool": _PLAIN_KEYS | {"tool_call_id", "is_error"},
    }
)


def messages(given: MessagesLike) -> list[Message]:
    """Makes messages of one thing or many.

    Mappings: `{"role": "user", "content": "Hi"}`; an assistant's may have `tool_calls`, a list of mappings with `id`,
    `name` and `arguments` (a mapping or JSON text); a tool's has `tool_call_id` and may have `name` and `is_error`.

    Raises:
        TypeError: something cannot be a message.
        ValueError: a role or a key does not exist, or one is missing.
    """
    if isinstance(given, (str, Message, Reply, Mapping)) or _is_pair(given):
        return [message(given)]  # type: ignore[arg-type]  # a pair is one of them
    return [message(each) for each in given]  # type: ignore[arg-type]  # what is left is an iterable


def message(given: MessageLike) -> Message:
    """Makes one message; as `messages`."""
    match given:
        case Message():
            return given
        case Reply():
            return given.message
        case str():
            return Message(role=ROLE_USER, parts=[Part(text=given)])
        case Mapping():
            return _from_mapping(given)
        case (str(role), content):
            return Message(role=_role(role), parts=_parts(content))
    raise TypeError(f"{type(given).__name__} cannot be a message")


def media(*, data: bytes | None = None, uri: str | None = None, mime_type: str = "", filename: str = "") -> Part:
    """Makes a part of an image, a sound or a document.

    Args:
        data: the content itself, at most 16 MiB over all parts of a request; needs `mime_type`.
        uri: or its address, `https:` or `data:`.
        mime_type: for example `image/png`.
        filename: shown to the model.

    Raises:
        ValueError: not exactly one of `data` and `uri` is given, or the type of `data` is missing.
    """
    if (data is None) == (uri is None):
        raise ValueError("give data or uri")
    if data is not None and not mime_type:
        raise ValueError("data needs a mime_type")
    found = Media(mime_type=mime_type, filename=filename)
    if data is not None:
        found.data = data
    if uri is not None:
        found.uri = uri
    return Part(media=found)


def _is_pair(given: object) -> bool:
    """A tuple that begins with a text is a pair: a misspelt role must not become the user's words."""
    return isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str)


def _role(name: str) -> Role.ValueType:
    try:
        return ROLES[name]
    except KeyError:
        raise ValueError(f"there is no such role; roles are {', '.join(ROLES)}") from None


def _parts(content: ContentLike | None) -> list[Part]:
    match content:
        case None:
            return []
        case str():
            return [Part(text=content)]
        case Part():
            return [content]
    return [_part(each) for each in content]


def _part(given: object) -> Part:
    match given:
        case Part():
            return given
        case str():
            return Part(text=given)
    raise TypeError(f"{type(given).__name__} cannot be a part of a message; use text, Part or media()")


def _from_mapping(given: Mapping[str, Any]) -> Message:
    role = given.get("role")
    if not isinstance(role, str):
        raise ValueError("a message needs a role")
    number = _role(role)
    unknown = sorted(str(key) for key in given.keys() - _KEYS.get(role, _PLAIN_KEYS))
    if unknown:
        raise ValueError(f"a message of role {role} has no {', '.join(unknown)}")
    parts = _PARTS.get(role, _content_parts)(given)
    # the name of a tool's message is the tool's, and stands in its result
    return Message(role=number, parts=parts, name="" if role == "tool" else given.get("name") or "")


def _content_parts(given: Mapping[str, Any]) -> list[Part]:
    return _parts(given.get("content"))


def _assistant_parts(given: Mapping[str, Any]) -> list[Part]:
    return [*_content_parts(given), *(Part(tool_call=_tool_call(call)) for call in given.get("tool_calls") or ())]


def _tool_parts(given: Mapping[str, Any]) -> list[Part]:
    if not given.get("tool_call_id"):
        raise ValueError("a message of role tool needs a tool_call_id")
    result = ToolResult(
        tool_call_id=given["tool_call_id"],
        name=given.get("name") or "",
        content=[_result_content(part) for part in _content_parts(given)],
        is_error=bool(given.get("is_error")),
    )
    return [Part(tool_result=result)]


_PARTS: Mapping[str, Callable[[Mapping[str, Any]], list[Part]]] = MappingProxyType(
    {"assistant": _assistant_parts, "tool": _tool_parts}
)


def _tool_call(given: ToolCall | Mapping[str, Any]) -> ToolCall:
    if isinstance(given, ToolCall):
        return given
    arguments = given.get("arguments", "")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(id=given.get("id", ""), name=given.get("name", ""), arguments_json=text)


def _result_content(part: Part) -> ToolResultContent:
    if part.HasField("media"):
        return ToolResultContent(media=part.media)
    return ToolResultContent(text=part.text)
