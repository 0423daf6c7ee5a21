"""How a conversation is told to Google: instructions, then contents of user and model. See `request`.

Results of tools are said by the user, in the order of the calls that they answer: the vendor tells them by their names
and places where it gave the calls no ids. What a model says, and the results of one turn's calls, become one content
however many messages they stand in; other messages stay apart.

Source: https://ai.google.dev/gemini-api/docs/function-calling and /thought-signatures
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
from llmgateway_server.providers.dialects.dialect import UNREADABLE, Unsupported
from llmgateway_server.providers.dialects.gemini.media import medium
from llmgateway_server.providers.dialects.gemini.state import State, read_state

ContentPart = dict[str, Any]
INSTRUCTIONS = (Role.SYSTEM, Role.DEVELOPER)
FOREIGN_CALL = "skip_thought_signature_validator"
"""What a call carries that the model did not make itself, where the model wants a signature; documented by the vendor
for conversations that began elsewhere."""
NO_STATE = State()
EMPTY = {"text": ""}
"""Left out, as one service refuses it, unless it is all that the user says."""

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(slots=True, frozen=True)
class Habits:
    """What a generation of models wants of a conversation."""

    signed_calls: bool = False
    """Refuses a turn's first call without a signature."""
    media_in_results: bool = True
    """Takes images and documents inside the result of a tool."""


@dataclass(slots=True)
class _Content:
    role: str
    parts: list[ContentPart]
    only_results: bool = False
    behind: list[ContentPart] = field(default_factory=list)
    """Media of results that have no place inside them."""


@dataclass(slots=True, frozen=True)
class _Call:
    name: str
    place: int
    """Among all calls."""
    vendor_id: str | None
    """None: the vendor gave it none."""


class Conversation:
    """Writes the messages of a request.

    Args:
        messages: in order.
        habits: of the model.
        unsupported: gets what the vendor does not take.
    """

    def __init__(self, messages: list[Message], habits: Habits, unsupported: Unsupported) -> None:
        self._habits = habits
        self._unsupported = unsupported
        self._system: list[ContentPart] = []
        self._contents: list[_Content] = []
        self._calls: dict[str, _Call] = {}
        self._behind: list[ContentPart] = []
        self._places: dict[int, int] = {}
        """Of the calls that results answer, by the identity of the result's part."""
        for m, message in enumerate(messages):
            self._add(f"messages[{m}]", message)

    def system(self) -> dict[str, Any] | None:
        """Returns the instructions; None where there are none."""
        return {"parts": self._system} if self._system else None

    def contents(self) -> list[dict[str, Any]]:
        """Returns the turns."""
        written: list[dict[str, Any]] = []
        for content in self._contents:
            if content.role == "model" and self._habits.signed_calls:
                _sign(content.parts)
            written.append({"role": content.role, "parts": content.parts})
            if content.behind:
                written.append({"role": content.role, "parts": content.behind})
        return written

    def _add(self, path: str, message: Message) -> None:
        if message.name:
            self._unsupported.hint(f"{path}.name")
        role = message.role
        said = [each for p, part in enumerate(message.parts) for each in self._part(f"{path}.parts[{p}]", role, part)]
        behind, self._behind = self._behind, []
        parts = [part for part in said if part != EMPTY] or (said[:1] if role is Role.USER else [])
        if not parts:
            return
        if role in INSTRUCTIONS:
            if self._contents:
                self._unsupported.changed(path, "was moved before the conversation: the vendor has instructions there")
            self._system += parts
            return
        self._join("model" if role is Role.ASSISTANT else "user", parts, behind)

    def _join(self, role: str, parts: list[ContentPart], behind: list[ContentPart]) -> None:
        """Adds a message to the turn that it belongs to."""
        only_results = all("functionResponse" in part for part in parts)
        turn = self._contents[-1] if self._contents else None
        if turn is None or turn.role != role or not (role == "model" or (only_results and turn.only_results)):
            turn = _Content(role, [], only_results)
            self._contents.append(turn)
        turn.parts += parts
        turn.behind += behind
        if only_results:
            turn.parts.sort(key=lambda part: self._places[id(part)])

    def _part(self, path: str, role: Role, part: Part) -> list[ContentPart]:
        """Returns what is said for a part; nothing for a part that is left out."""
        if part.is_bare and isinstance(part.content, TextPart):
            return [{"text": part.content.text}]
        if part.cache_lifetime is not None:
            self._unsupported.hint(f"{path}.cache_control")
        state = read_state(part.provider_state) if role is Role.ASSISTANT else None
        if state is not None and state.part is not None and part.content != TextPart(""):
            state = None
        if state is None and part.provider_state is not None:
            self._unsupported.left_out(NoticeCode.PROVIDER_STATE_DROPPED, f"{path}.provider_state")
        if state is not None and state.part is not None:
            return [state.part]
        said = self._said(path, role, part, state)
        if said is not None and state is not None and state.signature:
            said["thoughtSignature"] = state.signature
        return [] if said is None else [said]

    def _said(self, path: str, role: Role, part: Part, state: State | None) -> ContentPart | None:
        match part.content:
            case TextPart(text=text) | RefusalPart(text=text):
                return {"text": text}
            case ReasoningPart(text=text):
                return self._reasoning(path, text, part, state)
            case ToolCallPart() as call:
                return self._call(call, state or NO_STATE)
            case ToolResultPart() as result:
                return self._result(f"{path}.tool_result", result)
            case MediaPart() as media if role in (Role.USER, Role.ASSISTANT):
                return self._medium(f"{path}.media", media)
            case _:
                self._unsupported.essential(f"{path}.media")
                return None

    def _reasoning(self, path: str, text: str, part: Part, state: State | None) -> ContentPart | None:
        """Returns reasoning of this vendor; that of others is not the model's."""
        if state is not None:
            return {"text": text, "thought": True}
        if part.provider_state is None:
            self._unsupported.left_out(NoticeCode.PROVIDER_STATE_DROPPED, f"{path}.reasoning")
        return None

    def _call(self, call: ToolCallPart, state: State) -> ContentPart:
        self._calls[call.call_id] = _Call(call.name, len(self._calls), state.id)
        arguments = msgspec.Raw((call.arguments_json or "{}").encode())
        said = {"name": call.name, "args": arguments}
        return {"functionCall": ({"id": state.id} if state.id else {}) | said}

    def _result(self, path: str, result: ToolResultPart) -> ContentPart:
        call = self._calls.get(result.call_id, _Call(result.name, len(self._calls), None))
        said: dict[str, Any] = {"id": call.vendor_id} if call.vendor_id else {}
        texts, media = self._pieces(path, result)
        said |= {"name": call.name, "response": _response(texts, is_error=result.is_error)}
        if media and self._habits.media_in_results:
            said["parts"] = media
        elif media:
            self._behind += media
        part = {"functionResponse": said}
        self._places[id(part)] = call.place
        return part

    def _pieces(self, path: str, result: ToolResultPart) -> tuple[list[str], list[ContentPart]]:
        texts: list[str] = []
        media: list[ContentPart] = []
        for i, piece in enumerate(result.content):
            if isinstance(piece, TextPart):
                texts.append(piece.text)
                continue
            place = f"{path}.content[{i}].media"
            if (said := self._medium(place, piece)) is not None:
                media.append(said)
                if not self._habits.media_in_results:
                    self._unsupported.changed(place, "was moved behind the results: the model takes no media in them")
        return texts, media

    def _medium(self, path: str, media: MediaPart) -> ContentPart | None:
        if media.detail in ("low", "high"):
            self._unsupported.hint(f"{path}.detail")
        if media.filename:
            self._unsupported.hint(f"{path}.filename")
        said = medium(media)
        if said is None:
            self._unsupported.essential(path)
        return said


def _response(texts: list[str], *, is_error: bool) -> Any:
    """Returns the result of a tool, which must be an object: one is sent as it is, a text inside one."""
    if len(texts) == 1 and not is_error:
        try:
            _decode_object(texts[0])
        except UNREADABLE:
            pass
        else:
            return msgspec.Raw(texts[0].encode())
    return {"error" if is_error else "output": texts[0] if len(texts) == 1 else texts}


def _sign(parts: list[ContentPart]) -> None:
    """Marks the first call of a turn as made by another model where it has no signature."""
    first = next((part for part in parts if "functionCall" in part), None)
    if first is not None:
        first.setdefault("thoughtSignature", FOREIGN_CALL)
