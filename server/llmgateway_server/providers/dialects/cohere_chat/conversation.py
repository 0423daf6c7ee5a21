"""How a conversation is told to Cohere: messages of content blocks, tool results of their own. See `request`.

Text without a single character is refused by the vendor: it is left out, and so is a message of which nothing remains.

Source: https://docs.cohere.com/reference/chat
"""

from __future__ import annotations

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
from llmgateway_server.providers.dialects.cohere_chat.state import Place, read_reasoning_state
from llmgateway_server.providers.dialects.dialect import Unsupported
from llmgateway_server.providers.dialects.media import MediaKind, data_url, kind_of

ROLES = {Role.SYSTEM: "system", Role.DEVELOPER: "system", Role.USER: "user", Role.ASSISTANT: "assistant"}
Block = dict[str, Any]


class Conversation:
    """Writes the messages of a request.

    Args:
        messages: in order.
        unsupported: gets what the vendor does not take.
    """

    def __init__(self, messages: list[Message], unsupported: Unsupported) -> None:
        self._messages = messages
        self._unsupported = unsupported

    def written(self) -> list[dict[str, Any]]:
        """Returns the messages; each tool result is one of its own."""
        written: list[dict[str, Any]] = []
        for m, message in enumerate(self._messages):
            path = f"messages[{m}]"
            if message.name:
                self._unsupported.hint(f"{path}.name")
            parts = [(f"{path}.parts[{p}]", part) for p, part in enumerate(message.parts)]
            for part_path, part in parts:
                self._judge(part_path, message.role, part)
            if message.role is Role.TOOL:
                written += [_tool_result(part.content) for part in message.parts if _is_result(part)]
            else:
                written += self._message(path, message.role, parts)
        return written

    def _message(self, path: str, role: Role, parts: list[tuple[str, Part]]) -> list[dict[str, Any]]:
        """Returns the message; none for one of which nothing remains."""
        blocks, calls, plan = list[Block](), list[dict[str, Any]](), list[str]()
        for part_path, part in parts:
            match part.content:
                case TextPart(text=text) | RefusalPart(text=text) if text:
                    blocks.append({"type": "text", "text": text})
                case MediaPart() as media:
                    blocks.append(_image(media))
                case ToolCallPart() as call:
                    calls.append(_tool_call(call))
                case ReasoningPart(text=text):
                    match self._place(part_path, part):
                        case Place.THINKING if text:
                            blocks.append({"type": "thinking", "thinking": text})
                        case Place.PLAN:
                            plan.append(text)
        message: dict[str, Any] = {"role": ROLES[role]}
        if blocks:
            message["content"] = _content(blocks)
        if calls:
            message["tool_calls"] = calls
        if plan and calls:
            message["tool_plan"] = "".join(plan)
        elif plan:  # broken off before the calls that it was for
            self._unsupported.left_out(NoticeCode.OPTION_DROPPED, f"{path}.reasoning")
        return [message] if blocks or calls else []

    def _place(self, path: str, part: Part) -> Place | None:
        """Returns where reasoning stood; None, with a notice, where it was not Cohere that said it."""
        place = read_reasoning_state(part.provider_state)
        if place is None:
            where = "reasoning" if part.provider_state is None else "provider_state"
            self._unsupported.left_out(NoticeCode.PROVIDER_STATE_DROPPED, f"{path}.{where}")
        return place

    def _judge(self, path: str, role: Role, part: Part) -> None:
        """Notes what a part holds that the vendor does not take."""
        unsupported = self._unsupported
        match part.content:
            case MediaPart() as media:
                if role is not Role.USER or kind_of(media) is not MediaKind.IMAGE:
                    unsupported.essential(f"{path}.media")
            case ToolResultPart(content=content, is_error=is_error):
                for i, piece in enumerate(content):
                    if isinstance(piece, MediaPart):
                        unsupported.essential(f"{path}.tool_result.content[{i}].media")
                if is_error:
                    unsupported.hint(f"{path}.tool_result.is_error")
        if part.cache_lifetime is not None:
            unsupported.hint(f"{path}.cache_control")
        if part.provider_state is not None and not isinstance(part.content, ReasoningPart):
            unsupported.left_out(NoticeCode.PROVIDER_STATE_DROPPED, f"{path}.provider_state")


def _is_result(part: Part) -> bool:
    return isinstance(part.content, ToolResultPart)


def _image(media: MediaPart) -> Block:
    image = {"url": media.uri or data_url(media)}
    if media.detail:
        image["detail"] = media.detail
    return {"type": "image_url", "image_url": image}


def _tool_call(call: ToolCallPart) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments_json or "{}"}
    return {"id": call.call_id, "type": "function", "function": function}


def _tool_result(result: Any) -> dict[str, Any]:
    texts = [{"type": "text", "text": each.text} for each in result.content if isinstance(each, TextPart) and each.text]
    return {"role": "tool", "tool_call_id": result.call_id, "content": _content(texts) if texts else ""}


def _content(blocks: list[Block]) -> str | list[Block]:
    """Returns the blocks; a text alone as a string."""
    if len(blocks) == 1 and blocks[0]["type"] == "text":
        text: str = blocks[0]["text"]
        return text
    return blocks
