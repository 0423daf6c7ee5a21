"""What Anthropic checks of the turns of a conversation: blocks, answers to tools, thoughts that come back.

Source: Anthropic's API reference, "Messages", "Tool use" and "Extended thinking", and its recorded refusals.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmgateway_server.testing.fake_provider.checks import Asked, Refused, objects
from llmgateway_server.testing.fake_provider.reply import FakeError

ROLES = ("user", "assistant", "system")
"""A system turn stands inside a conversation, not at its beginning."""
SERVER_BLOCKS = {"server_tool_use", "web_search_tool_result", "web_fetch_tool_result"}
BLOCKS = {
    "user": {"text", "image", "document", "search_result", "tool_result", "container_upload"},
    "assistant": {"text", "tool_use", "thinking", "redacted_thinking", *SERVER_BLOCKS},
    "system": {"text"},
}
IMAGES = {"image/jpeg", "image/png", "image/gif", "image/webp"}
RESULT_BLOCKS = {"text", "image", "document", "search_result", "tool_reference"}


def refuse(message: str, status: int = 400, type: str = "invalid_request_error") -> Refused:
    """Returns a refusal in Anthropic's shape; a message begins with the place at fault."""
    return Refused(FakeError(status, type, message=message))


def check_turns(asked: Asked) -> None:
    """Refuses a conversation that the vendor would not continue.

    Raises:
        Refused: the first fault.
    """
    messages = asked.body["messages"]
    if not messages:
        raise refuse("messages: none")
    for index, message in enumerate(messages):
        _check_content(message, f"messages.{index}")
    if messages[0]["role"] != "user":
        raise refuse("messages: the first one is not the user's")
    _check_end(messages)
    _check_answers(messages)
    _check_thoughts(asked, messages)


def _check_content(message: Any, path: str) -> None:
    role = message.get("role") if isinstance(message, dict) else None
    if role not in ROLES:
        raise refuse(f"{path}.role: unknown")
    if unknown := set(message) - {"role", "content"}:
        raise refuse(f"{path}.{min(unknown)}: unknown field")
    content = message.get("content")
    if isinstance(content, str):
        if not content:
            raise refuse(f"{path}: empty content")
        return
    if not isinstance(content, list) or not content:
        raise refuse(f"{path}.content: neither text nor blocks")
    for index, block in enumerate(content):
        place = f"{path}.content.{index}"
        if not isinstance(block, dict) or block.get("type") not in BLOCKS[role]:
            raise refuse(f"{place}.type: unknown to the role")
        _check_block(block, place)


def _check_block(block: Mapping[str, Any], path: str) -> None:
    match block["type"]:
        case "text" if not str(block.get("text", "")).strip():
            raise refuse(f"{path}.text: without a visible character")
        case "image" | "document":
            _check_source(block, path)
        case "tool_use" if not (block.get("id") and block.get("name") and isinstance(block.get("input"), dict)):
            raise refuse(f"{path}.tool_use: lacks its id, name or input")
        case "tool_result":
            for inner in objects(block.get("content")):
                if inner.get("type") not in RESULT_BLOCKS:
                    raise refuse(f"{path}.tool_result.content: of no known type")
        case _:
            pass


def _check_source(block: Mapping[str, Any], path: str) -> None:
    source = block.get("source") or {}
    kinds = {"base64", "url", "file"} | ({"text", "content"} if block["type"] == "document" else set())
    if source.get("type") not in kinds:
        raise refuse(f"{path}.source: of no known type")
    if source["type"] == "base64" and block["type"] == "image" and source.get("media_type") not in IMAGES:
        raise refuse(f"{path}.source.media_type: not an image that the vendor reads")


def _check_end(messages: list[dict[str, Any]]) -> None:
    """What the assistant is to continue does not end in blanks."""
    last = messages[-1]
    blocks = [{"type": "text", "text": last["content"]}] if isinstance(last["content"], str) else last["content"]
    text = blocks[-1].get("text")
    if last["role"] == "assistant" and isinstance(text, str) and text != text.rstrip():
        raise refuse("messages: the last one ends in blanks")


def _ids(message: Mapping[str, Any], kind: str, key: str) -> list[str]:
    return [block.get(key, "") for block in objects(message["content"]) if block["type"] == kind]


def _check_answers(messages: list[dict[str, Any]]) -> None:
    """The message after tool_use begins with a tool_result for each, and no other result is anywhere."""
    called: list[str] = []
    for index, message in enumerate(messages):
        path = f"messages.{index}"
        answers = _ids(message, "tool_result", "tool_use_id")
        if strange := set(answers) - set(called):
            raise refuse(f"{path}: tool_result without a tool_use before it: {min(strange)}")
        if missing := set(called) - set(answers):
            raise refuse(f"{path}: tool_use without a tool_result after it: {min(missing)}")
        kinds = [block["type"] for block in objects(message["content"])][: len(answers)]
        if any(kind != "tool_result" for kind in kinds):
            raise refuse(f"{path}: a tool_result stands behind other blocks")
        called = _ids(message, "tool_use", "id")
    if called:
        raise refuse(f"messages.{len(messages) - 1}: tool_use without a tool_result after it: {min(called)}")


def _check_thoughts(asked: Asked, messages: list[dict[str, Any]]) -> None:
    """Thoughts come back as they were sent; with thinking on, a turn that used tools begins with them."""
    memory = asked.memory
    for index, message in enumerate(messages):
        for place, block in enumerate(objects(message["content"])):
            path = f"messages.{index}.content.{place}"
            match block["type"]:
                case "thinking" if (block.get("thinking"), block.get("signature")) not in memory.thoughts:
                    raise refuse(f"{path}: the signature of the thinking is not ours or the thinking was changed")
                case "redacted_thinking" if block.get("data") not in memory.sealed:
                    raise refuse(f"{path}: the data of the redacted thinking is not ours")
                case _:
                    pass
    thinking = (asked.body.get("thinking") or {}).get("type") == "enabled"
    spoken = [message for message in messages if message["role"] == "assistant"]
    if thinking and spoken and _ids(spoken[-1], "tool_use", "id"):
        first = objects(spoken[-1]["content"])[0]["type"]
        if first not in ("thinking", "redacted_thinking"):
            raise refuse(f"messages: the last turn of the assistant begins with {first}, not with its thinking")
