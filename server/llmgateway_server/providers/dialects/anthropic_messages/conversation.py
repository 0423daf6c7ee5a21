"""How a conversation is told to Anthropic: instructions, then turns of user and assistant. See `request`.

Results of tools are said by the user. Messages that follow one another with the same speaker become one turn, in which
results of tools come first, as the vendor demands. Text without a visible character is refused by the vendor: it is
left out, and so is a message of which nothing remains.

Source: https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any

import msgspec

from llmgateway_server.core.calls import NoticeCode
from llmgateway_server.core.messages import (
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
from llmgateway_server.providers.dialects.anthropic_messages.media import medium
from llmgateway_server.providers.dialects.anthropic_messages.state import (
    TextState,
    read_reasoning_state,
    read_text_state,
)
from llmgateway_server.providers.dialects.dialect import Unsupported

ContentBlock = dict[str, Any]
INSTRUCTIONS = (Role.SYSTEM, Role.DEVELOPER)
CACHE_MARKS = {
    "default": {"type": "ephemeral"},
    "5m": {"type": "ephemeral", "ttl": "5m"},
    "1h": {"type": "ephemeral", "ttl": "1h"},
}
UNMARKABLE = ("thinking", "redacted_thinking")
"""Blocks that cannot end a cached prefix."""
_ID_TAKEN = re.compile("[a-zA-Z0-9_-]+")
_NOT_IN_IDS = re.compile("[^a-zA-Z0-9_-]")


def vendor_id(call_id: str) -> str:
    """Returns an id of a tool call as Anthropic takes it; those of other vendors may hold other characters.

    The same id always becomes the same, and two ids never become one.
    """
    if _ID_TAKEN.fullmatch(call_id):
        return call_id
    digest = blake2b(call_id.encode(), digest_size=8).hexdigest()
    return f"{_NOT_IN_IDS.sub('_', call_id)[:40]}_{digest}"


class Conversation:
    """Writes the messages of a request.

    Args:
        messages: in order.
        unsupported: gets what the vendor does not take.
    """

    def __init__(self, messages: list[Message], unsupported: Unsupported) -> None:
        self._unsupported = unsupported
        self._system: list[ContentBlock] = []
        self._turns: list[tuple[str, list[ContentBlock]]] = []
        for m, message in enumerate(messages):
            self._add(f"messages[{m}]", message)

    def system(self) -> str | list[ContentBlock] | None:
        """Returns the instructions; None where there are none."""
        return _content(self._system) if self._system else None

    def messages(self) -> list[dict[str, Any]]:
        """Returns the turns."""
        return [{"role": role, "content": _content(blocks)} for role, blocks in self._turns]

    def _add(self, path: str, message: Message) -> None:
        if message.name:
            self._unsupported.hint(f"{path}.name")
        blocks = [
            block
            for p, part in enumerate(message.parts)
            for block in self._part(f"{path}.parts[{p}]", message.role, part)
        ]
        if not blocks:
            return
        if message.role in INSTRUCTIONS:
            if self._turns:
                self._unsupported.changed(path, "was moved before the conversation: the vendor has instructions there")
            self._system += blocks
            return
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        if self._turns and self._turns[-1][0] == role:
            self._turns[-1][1].extend(blocks)
        else:
            self._turns.append((role, blocks))

    def _part(self, path: str, role: Role, part: Part) -> list[ContentBlock]:
        """Returns the block for a part; none for a part that is left out."""
        if part.is_bare and isinstance(part.content, TextPart):
            return _text(part.content.text)
        blocks = self._blocks(path, role, part)
        if part.cache_lifetime is not None:
            if blocks and blocks[-1]["type"] not in UNMARKABLE:
                blocks[-1]["cache_control"] = CACHE_MARKS[part.cache_lifetime]
            else:
                self._unsupported.hint(f"{path}.cache_control")
        return blocks

    def _blocks(self, path: str, role: Role, part: Part) -> list[ContentBlock]:
        state = part.provider_state
        match part.content:
            case ReasoningPart() as reasoning:
                return self._reasoning(path, reasoning, state)
            case TextPart(text=text):
                return self._text(path, role, text, state)
        if state is not None:
            self._drop_state(path)
        match part.content:
            case RefusalPart(text=text):
                return _text(text)
            case ToolCallPart() as call:
                return [_tool_use(call)]
            case ToolResultPart() as result:
                return [self._tool_result(path, result)]
            case MediaPart() as media if role is Role.USER:
                return self._medium(f"{path}.media", media)
            case _:
                self._unsupported.essential(f"{path}.media")
                return []

    def _text(self, path: str, role: Role, text: str, state: ProviderState | None) -> list[ContentBlock]:
        """Returns text with its citations, or the block that an empty text stands for."""
        if state is None:
            return _text(text)
        known = read_text_state(state) if role is Role.ASSISTANT else None
        if known is None or (known.block is not None and text):
            self._drop_state(path)
            known = TextState()
        if known.block is not None:
            return [dict(known.block) | {"type": msgspec.json.decode(known.block["type"])}]
        blocks = _text(text)
        if blocks and known.citations:
            blocks[0]["citations"] = known.citations
        return blocks

    def _reasoning(self, path: str, reasoning: ReasoningPart, state: ProviderState | None) -> list[ContentBlock]:
        """Returns reasoning with its signature; without one the vendor refuses it."""
        opaque = read_reasoning_state(state)
        if opaque is None:
            where = "reasoning" if state is None else "provider_state"
            self._unsupported.left_out(NoticeCode.PROVIDER_STATE_DROPPED, f"{path}.{where}")
            return []
        if reasoning.redacted:
            return [{"type": "redacted_thinking", "data": opaque}]
        return [{"type": "thinking", "thinking": reasoning.text, "signature": opaque}]

    def _tool_result(self, path: str, result: ToolResultPart) -> ContentBlock:
        content: list[ContentBlock] = []
        for i, piece in enumerate(result.content):
            if isinstance(piece, TextPart):
                content += _text(piece.text)
            else:
                content += self._medium(f"{path}.tool_result.content[{i}].media", piece)
        block: ContentBlock = {"type": "tool_result", "tool_use_id": vendor_id(result.call_id)}
        if content:
            block["content"] = _content(content)
        if result.is_error:
            block["is_error"] = True
        return block

    def _medium(self, path: str, media: MediaPart) -> list[ContentBlock]:
        if media.detail in ("low", "high"):
            self._unsupported.hint(f"{path}.detail")
        block = medium(media)
        if block is None:
            self._unsupported.essential(path)
            return []
        return [block]

    def _drop_state(self, path: str) -> None:
        self._unsupported.left_out(NoticeCode.PROVIDER_STATE_DROPPED, f"{path}.provider_state")


def _text(text: str) -> list[ContentBlock]:
    return [{"type": "text", "text": text}] if text and not text.isspace() else []


def _tool_use(call: ToolCallPart) -> ContentBlock:
    arguments = msgspec.Raw((call.arguments_json or "{}").encode())
    return {"type": "tool_use", "id": vendor_id(call.call_id), "name": call.name, "input": arguments}


def _content(blocks: list[ContentBlock]) -> str | list[ContentBlock]:
    """Returns the blocks with results of tools first; a bare text alone as a string."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        text: str = blocks[0]["text"]
        return text
    return sorted(blocks, key=lambda block: block["type"] != "tool_result")
