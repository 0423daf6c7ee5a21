"""What Converse of AWS Bedrock checks of the turns of a conversation: blocks, answers to tools, thoughts.

Source: the API reference of Amazon Bedrock, "Message" and "ContentBlock", and recorded refusals.
"""

from __future__ import annotations

import itertools
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any

from llmgateway_server.testing.fake_provider.checks import Asked, Refused
from llmgateway_server.testing.fake_provider.reply import FakeError

BLOCKS = {
    "user": {"text", "image", "document", "video", "audio", "toolResult", "guardContent", "cachePoint"},
    "assistant": {"text", "toolUse", "reasoningContent", "citationsContent", "cachePoint"},
}
MEDIA = {
    "image": {"png", "jpeg", "gif", "webp"},
    "document": {"pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"},
    "video": {"mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"},
    "audio": {"mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "webm"},
}
RESULTS = {"text", "json", "image", "document", "video"}
CALL_ID = re.compile("[a-zA-Z0-9_.:-]{1,64}")
DOCUMENT_NAME = re.compile(r"(?!.*\s\s)[A-Za-z0-9\s()\[\]-]{1,200}", re.ASCII)


def refuse(message: str, status: int = 400, type: str = "ValidationException") -> Refused:
    """Returns a refusal in the service's shape."""
    return Refused(FakeError(status, type, message=message))


def only_key(block: Any, path: str) -> str:
    """Returns the kind of a block, which is its only key.

    Raises:
        Refused: it is of no kind, or of several.
    """
    if not isinstance(block, dict) or len(block) != 1:
        raise refuse(f"{path}: not a block of one kind")
    return str(next(iter(block)))


def tool_blocks(messages: list[Any]) -> list[Mapping[str, Any]]:
    """Returns the calls and results of a conversation."""
    return [block for message in messages for block in message["content"] if block.keys() & {"toolUse", "toolResult"}]


def check_turns(asked: Asked) -> None:
    """Refuses a conversation that the service would not continue.

    Raises:
        Refused: the first fault.
    """
    messages = asked.body.get("messages") or []
    if not messages:
        raise refuse("messages: none")
    for index, message in enumerate(messages):
        _check_message(message, f"messages.{index}")
    roles = [message["role"] for message in messages]
    if roles[0] != "user":
        raise refuse("A conversation must start with a user message.")
    if any(one == other for one, other in itertools.pairwise(roles)):
        raise refuse("A conversation must alternate between user and assistant roles.")
    _check_documents(messages)
    _check_answers(messages)
    _check_thoughts(asked, messages)


def _check_message(message: Any, path: str) -> None:
    if not isinstance(message, dict) or set(message) != {"role", "content"} or message["role"] not in BLOCKS:
        raise refuse(f"{path}: not a message")
    if not isinstance(message["content"], list) or not message["content"]:
        raise refuse(f"{path}.content: empty")
    for index, block in enumerate(message["content"]):
        place = f"{path}.content.{index}"
        kind = only_key(block, place)
        if kind not in BLOCKS[message["role"]]:
            raise refuse(f"{place}: extraneous key [{kind}] is not permitted")
        _check_block(kind, block[kind], place)


def _check_block(kind: str, said: Any, path: str) -> None:
    match kind:
        case "text" if not isinstance(said, str) or not said.strip():
            raise refuse(f"The text field in the ContentBlock object at {path} is blank.")
        case "image" | "document" | "video" | "audio":
            _check_medium(kind, said, path)
        case "toolUse" if not CALL_ID.fullmatch(said["toolUseId"]) or not isinstance(said["input"], dict):
            raise refuse(f"{path}.toolUse: not a call")
        case "cachePoint" if said.get("type") != "default" or said.get("ttl", "5m") not in ("5m", "1h"):
            raise refuse(f"{path}.cachePoint: unknown type")
        case "toolResult":
            _check_result(said, path)


def _check_medium(kind: str, said: Mapping[str, Any], path: str) -> None:
    if said.get("format") not in MEDIA[kind]:
        raise refuse(f"{path}.{kind}.format: unknown")
    source = said.get("source") or {}
    place = only_key(source, f"{path}.{kind}.source")
    if place == "bytes":
        b64decode(source["bytes"], validate=True)
    elif place != "s3Location" or not source[place]["uri"].startswith("s3://"):
        raise refuse(f"{path}.{kind}.source: unknown")
    if kind == "document" and not DOCUMENT_NAME.fullmatch(said.get("name", "")):
        raise refuse(f"{path}.document.name: letters that may not be there")


def _check_result(said: Mapping[str, Any], path: str) -> None:
    if set(said) - {"toolUseId", "content", "status"} or said.get("status", "success") not in ("success", "error"):
        raise refuse(f"{path}.toolResult: not a result")
    for index, block in enumerate(said["content"]):
        place = f"{path}.toolResult.content.{index}"
        kind = only_key(block, place)
        if kind not in RESULTS or (kind == "json" and not isinstance(block[kind], dict)):
            raise refuse(f"{place}: extraneous key [{kind}] is not permitted")
        _check_block(kind, block[kind], place)


def _check_documents(messages: list[Any]) -> None:
    """A document has a text beside it, and a name of its own."""
    names: list[str] = []
    for index, message in enumerate(messages):
        found = [block["document"]["name"] for block in message["content"] if "document" in block]
        if found and not any("text" in block for block in message["content"]):
            raise refuse(f"messages.{index}: a document without a text")
        names += found
    if len(set(names)) < len(names):
        raise refuse("messages: two documents of the same name")


def _check_answers(messages: list[Any]) -> None:
    """All calls of a turn are answered in the next one, and nothing else is."""
    asked: set[str] = set()
    for index, message in enumerate(messages):
        answered = {block["toolResult"]["toolUseId"] for block in message["content"] if "toolResult" in block}
        if answered != asked:
            raise refuse(f"messages.{index}: toolResult blocks that are not those of the toolUse blocks before")
        asked = {block["toolUse"]["toolUseId"] for block in message["content"] if "toolUse" in block}
    if asked and messages[-1]["role"] == "assistant":
        raise refuse("messages: toolUse blocks at the end")


def _check_thoughts(asked: Asked, messages: list[Any]) -> None:
    """Thoughts come back as they were said."""
    for place, thought in _thoughts(messages):
        kind = only_key(thought, place)
        if kind == "redactedContent":
            known = b64decode(thought[kind], validate=True).decode() in asked.memory.sealed
        else:
            known = (thought[kind]["text"], thought[kind].get("signature", "")) in asked.memory.thoughts
        if not known:
            raise refuse(f"{place}: Invalid `signature` in `thinking` block")


def _thoughts(messages: list[Any]) -> Iterator[tuple[str, Any]]:
    for m, message in enumerate(messages):
        for b, block in enumerate(message["content"]):
            if "reasoningContent" in block:
                yield f"messages.{m}.content.{b}", block["reasoningContent"]
