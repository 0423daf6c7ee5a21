"""A conversation as input items of Responses. See `openai_responses`."""

from __future__ import annotations

from collections.abc import Sequence
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
from llmgateway_server.providers.dialects.dialect import Quirks, Unsupported
from llmgateway_server.providers.dialects.media import MediaKind, data_url, filename_of, kind_of
from llmgateway_server.providers.dialects.openai_responses.state import State, read_state

ROLES = {Role.SYSTEM: "system", Role.DEVELOPER: "developer", Role.USER: "user"}
SAYABLE = frozenset({MediaKind.IMAGE, MediaKind.DOCUMENT})


class InputItems:
    """Writes the conversation. Instructions are items in their place, so that their order stays.

    Args:
        quirks: of the vendor.
        unsupported: gets what the dialect cannot say.
        stored: whether the vendor stores its responses, so that reasoning is found there by its id.
    """

    def __init__(self, quirks: Quirks, unsupported: Unsupported, *, stored: bool) -> None:
        self._quirks = quirks
        self._unsupported = unsupported
        self._stored = stored

    def written(self, messages: list[Message]) -> list[Any]:
        """Returns the items; each tool call, tool result and piece of reasoning is one of its own."""
        items: list[Any] = []
        for m, message in enumerate(messages):
            path = f"messages[{m}]"
            if message.name:
                self._unsupported.hint(f"{path}.name")
            match message.role:
                case Role.ASSISTANT:
                    items += self._assistant(path, message)
                case Role.TOOL:
                    items += self._tool_results(path, message)
                case _:
                    items.append(self._message(path, message))
        return items

    def _message(self, path: str, message: Message) -> dict[str, Any]:
        """Writes what a user or an operator says."""
        for p, part in enumerate(message.parts):
            self._marks(f"{path}.parts[{p}]", part)
            if isinstance(part.content, MediaPart):
                self._media(f"{path}.parts[{p}].media", part.content, sayable=message.role is Role.USER)
        contents = [part.content for part in message.parts if isinstance(part.content, TextPart | MediaPart)]
        role = ROLES[message.role]
        if message.role is Role.DEVELOPER and not self._quirks.developer_role:
            role = "system"
        return {"role": role, "content": _text_or_pieces(contents)}

    def _tool_results(self, path: str, message: Message) -> list[dict[str, Any]]:
        items = []
        for p, part in enumerate(message.parts):
            self._marks(f"{path}.parts[{p}]", part)
            if not isinstance(part.content, ToolResultPart):
                continue
            result, where = part.content, f"{path}.parts[{p}].tool_result"
            for i, piece in enumerate(result.content):
                if isinstance(piece, MediaPart):
                    self._media(f"{where}.content[{i}].media", piece)
            if result.is_error:
                self._unsupported.hint(f"{where}.is_error")
            output = _text_or_pieces(result.content) if result.content else ""
            items.append({"type": "function_call_output", "call_id": result.call_id, "output": output})
        return items

    def _assistant(self, path: str, message: Message) -> list[Any]:
        """Writes what the model said as the items that it came in.

        Ids of items stand for what the vendor bound to its reasoning. They are sent beside that alone: without it the
        vendor would refuse them.
        """
        states = [self._state(f"{path}.parts[{p}]", part) for p, part in enumerate(message.parts)]
        thoughts = {
            p: thought
            for p, (part, state) in enumerate(zip(message.parts, states, strict=True))
            if isinstance(part.content, ReasoningPart) and (thought := self._thought(state))
        }
        items = _AssistantItems(bound=bool(thoughts))
        for p, (part, state) in enumerate(zip(message.parts, states, strict=True)):
            match part.content:
                case ReasoningPart():
                    if p in thoughts:
                        items.add(thoughts[p])
                    else:
                        self._unsupported.left_out(NoticeCode.OPTION_DROPPED, f"{path}.parts[{p}].reasoning")
                case MediaPart() as media:
                    self._media(f"{path}.parts[{p}].media", media, sayable=False)
                case ToolCallPart() as call:
                    items.call(call, state)
                case TextPart(text=text):
                    if isinstance(state.item, msgspec.Raw):
                        items.add(state.item)
                    if text or not isinstance(state.item, msgspec.Raw):
                        items.say({"type": "output_text", "text": text, "annotations": []}, state)
                case RefusalPart(text=text):
                    items.say({"type": "refusal", "refusal": text}, state)
        return items.written()

    def _thought(self, state: State) -> dict[str, Any] | None:
        """Returns reasoning that the vendor can read again: sealed, in the open, or stored by itself."""
        if state.encrypted_content or state.content or (self._stored and state.id):
            return state.reasoning_item()
        return None

    def _state(self, path: str, part: Part) -> State:
        """Returns the state beside a part of the model's; empty where there is none for this dialect."""
        self._cache_mark(path, part)
        if part.provider_state is None:
            return State()
        state = read_state(part.provider_state)
        if state is None:
            self._unsupported.left_out(NoticeCode.PROVIDER_STATE_DROPPED, f"{path}.provider_state")
        return state or State()

    def _marks(self, path: str, part: Part) -> None:
        """Notes what stands beside a part that is not the model's."""
        self._cache_mark(path, part)
        if part.provider_state is not None:
            self._unsupported.left_out(NoticeCode.PROVIDER_STATE_DROPPED, f"{path}.provider_state")

    def _cache_mark(self, path: str, part: Part) -> None:
        """Few models take marks, and all others refuse them; the vendor caches by itself."""
        if part.cache_lifetime is not None:
            self._unsupported.hint(f"{path}.cache_control")

    def _media(self, path: str, media: MediaPart, *, sayable: bool = True) -> None:
        if not sayable or kind_of(media) not in SAYABLE:
            self._unsupported.essential(path)


class _AssistantItems:
    """Collects the items of one message of the model: neighbouring texts and refusals are one item.

    Args:
        bound: whether reasoning is among them, so that ids are sent.
    """

    def __init__(self, *, bound: bool) -> None:
        self._bound = bound
        self._items: list[dict[str, Any] | msgspec.Raw] = []
        self._message: tuple[str, str] | None = None
        self._contents: list[dict[str, Any]] = []

    def add(self, item: dict[str, Any] | msgspec.Raw) -> None:
        """Adds an item; what is said next is another message."""
        self._items.append(item)
        self._message = None

    def call(self, call: ToolCallPart, state: State) -> None:
        """Adds a tool call."""
        item = {"type": "function_call"}
        if self._bound and state.id:
            item["id"] = state.id
        self.add({**item, "call_id": call.call_id, "name": call.name, "arguments": call.arguments_json or "{}"})

    def say(self, content: dict[str, Any], state: State) -> None:
        """Adds a text or a refusal, to the message before it where that is the same."""
        item_id = state.id if self._bound else ""
        if self._message != (item_id, state.phase):
            self._contents = []
            item: dict[str, Any] = {"type": "message", "role": "assistant", "content": self._contents}
            if item_id:
                item |= {"id": item_id, "status": "completed"}
            if state.phase:
                item["phase"] = state.phase
            self.add(item)
            self._message = (item_id, state.phase)
        self._contents.append(content)

    def written(self) -> list[Any]:
        """Returns the items; a message that is one text only has the short form."""
        return [_short(item) if isinstance(item, dict) else item for item in self._items]


def _short(item: dict[str, Any]) -> dict[str, Any]:
    match item:
        case {"id": _}:
            return item
        case {"type": "message", "content": [{"type": "output_text", "text": text}]}:
            return {key: value for key, value in item.items() if key != "type"} | {"content": text}
        case _:
            return item


def _text_or_pieces(contents: Sequence[TextPart | MediaPart]) -> str | list[dict[str, Any]]:
    """Writes one text as it is, and anything else as a list."""
    match contents:
        case [TextPart(text=text)]:
            return text
        case _:
            return [_piece(content) for content in contents]


def _piece(content: TextPart | MediaPart) -> dict[str, Any]:
    if isinstance(content, TextPart):
        return {"type": "input_text", "text": content.text}
    if kind_of(content) is MediaKind.IMAGE:
        return {
            "type": "input_image",
            "image_url": data_url(content) if content.data is not None else content.uri,
            "detail": content.detail or "auto",
        }
    if content.data is None:
        return {"type": "input_file", "file_url": content.uri}
    return {"type": "input_file", "filename": filename_of(content), "file_data": data_url(content)}
