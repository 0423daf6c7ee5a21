"""How a conversation is told to Converse: instructions, then turns of user and assistant. See `request`.

Results of tools are said by the user. Messages that follow one another with the same speaker become one turn, in which
results of tools come first. Text without a visible character is refused by the service: it is left out, and so is a
message of which nothing remains. A mark for the cache is a block of its own, behind the block that it is for.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference.html
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
from llmgateway_server.providers.dialects.bedrock_converse.families import Family
from llmgateway_server.providers.dialects.bedrock_converse.media import DocumentNames, medium, stem
from llmgateway_server.providers.dialects.bedrock_converse.state import (
    TextState,
    read_reasoning_state,
    read_text_state,
)
from llmgateway_server.providers.dialects.bedrock_converse.tools import CACHE_POINTS, UNNAMED
from llmgateway_server.providers.dialects.dialect import UNREADABLE, Unsupported

ContentBlock = dict[str, Any]
INSTRUCTIONS = (Role.SYSTEM, Role.DEVELOPER)
UNMARKABLE = "reasoningContent"
"""Kind of blocks that cannot end a cached prefix."""
IN_RESULTS = ("image", "document", "video")
"""Media that results of tools may hold."""
_ID_TAKEN = re.compile("[a-zA-Z0-9_-]{1,64}")
_NOT_IN_IDS = re.compile("[^a-zA-Z0-9_-]")


def service_id(call_id: str) -> str:
    """Returns an id of a tool call as the service and the models behind it take it.

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
        family: of the model.
        unsupported: gets what the service does not take.
    """

    def __init__(self, messages: list[Message], family: Family, unsupported: Unsupported) -> None:
        self._family = family
        self._unsupported = unsupported
        self._names = DocumentNames()
        self._system: list[ContentBlock] = []
        self._turns: list[tuple[str, list[list[ContentBlock]]]] = []
        """Speakers, and the blocks of each of their parts."""
        for m, message in enumerate(messages):
            self._add(f"messages[{m}]", message)

    def system(self) -> list[ContentBlock] | None:
        """Returns the instructions; None where there are none."""
        return self._system or None

    def messages(self) -> list[dict[str, Any]]:
        """Returns the turns, in each the results of tools first."""
        return [
            {
                "role": role,
                "content": [
                    block
                    for blocks in sorted(said, key=lambda blocks: "toolResult" not in blocks[0])
                    for block in blocks
                ],
            }
            for role, said in self._turns
        ]

    def _add(self, path: str, message: Message) -> None:
        if message.name:
            self._unsupported.hint(f"{path}.name")
        parts = [self._part(f"{path}.parts[{p}]", message.role, part) for p, part in enumerate(message.parts)]
        said = [blocks for blocks in parts if blocks]
        if not said:
            return
        if message.role in INSTRUCTIONS:
            if self._turns:
                self._unsupported.changed(path, "was moved before the conversation: the vendor has instructions there")
            self._system += [block for blocks in said for block in blocks]
            return
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        if self._turns and self._turns[-1][0] == role:
            self._turns[-1][1].extend(said)
        else:
            self._turns.append((role, said))

    def _part(self, path: str, role: Role, part: Part) -> list[ContentBlock]:
        """Returns the blocks for a part; none for a part that is left out."""
        if part.is_bare and isinstance(part.content, TextPart):
            return _text(part.content.text)
        blocks = self._blocks(path, role, part)
        if part.cache_lifetime is not None:
            if blocks and UNMARKABLE not in blocks[-1]:
                return [*blocks, CACHE_POINTS[part.cache_lifetime]]
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
        """Returns text with its sources, or the block that an empty text stands for."""
        if state is None:
            return _text(text)
        known = read_text_state(state) if role is Role.ASSISTANT else None
        if known is None or (known.block is not None and text):
            self._drop_state(path)
            known = TextState()
        if known.block is not None:
            return [known.block]
        blocks = _text(text)
        if blocks and known.citations:
            return [{"citationsContent": {"content": blocks, "citations": known.citations}}]
        return blocks

    def _reasoning(self, path: str, reasoning: ReasoningPart, state: ProviderState | None) -> list[ContentBlock]:
        """Returns reasoning with its signature; without one some models refuse it."""
        opaque = read_reasoning_state(state)
        if opaque is None:
            where = "reasoning" if state is None else "provider_state"
            self._unsupported.left_out(NoticeCode.PROVIDER_STATE_DROPPED, f"{path}.{where}")
            return []
        if reasoning.redacted:
            return [{"reasoningContent": {"redactedContent": opaque}}]
        return [{"reasoningContent": {"reasoningText": {"text": reasoning.text, "signature": opaque}}}]

    def _tool_result(self, path: str, result: ToolResultPart) -> ContentBlock:
        content: list[ContentBlock] = []
        for i, piece in enumerate(result.content):
            if isinstance(piece, TextPart):
                content += self._result_text(piece.text)
            else:
                content += self._medium(f"{path}.tool_result.content[{i}].media", piece, IN_RESULTS)
        block: dict[str, Any] = {"toolUseId": service_id(result.call_id), "content": content}
        if result.is_error:
            if self._family.result_status:
                block["status"] = "error"
            else:
                self._unsupported.hint(f"{path}.tool_result.is_error")
        return {"toolResult": block}

    def _result_text(self, text: str) -> list[ContentBlock]:
        """Returns what a tool said, as an object for the models that want one."""
        if not self._family.results_as_json or not text or text.isspace():
            return _text(text)
        return [{"json": msgspec.Raw(text.encode()) if _is_object(text) else {"result": text}}]

    def _medium(self, path: str, media: MediaPart, kinds: tuple[str, ...] = ()) -> list[ContentBlock]:
        if media.detail in ("low", "high"):
            self._unsupported.hint(f"{path}.detail")
        block = medium(media, self._names)
        if block is None or (kinds and block.keys().isdisjoint(kinds)):
            self._unsupported.essential(path)
            return []
        if "document" in block and media.filename and block["document"]["name"] != stem(media.filename):
            self._unsupported.changed(
                f"{path}.filename", "was changed: names have few letters here, and no two are one"
            )
        return [block]

    def _drop_state(self, path: str) -> None:
        self._unsupported.left_out(NoticeCode.PROVIDER_STATE_DROPPED, f"{path}.provider_state")


def _text(text: str) -> list[ContentBlock]:
    return [{"text": text}] if text and not text.isspace() else []


def _tool_use(call: ToolCallPart) -> ContentBlock:
    arguments = msgspec.Raw((call.arguments_json or "{}").encode())
    return {"toolUse": {"toolUseId": service_id(call.call_id), "name": call.name or UNNAMED, "input": arguments}}


def _is_object(text: str) -> bool:
    try:
        return isinstance(_decode_any(text), dict)
    except UNREADABLE:
        return False


_decode_any = msgspec.json.Decoder().decode
