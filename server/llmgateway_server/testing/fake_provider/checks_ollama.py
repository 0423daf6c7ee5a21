"""What Ollama checks of a chat. It passes over fields that it does not know, and refuses those of the wrong type.

Source: the server's source (`api/types.go`, `ChatHandler`). The words of the messages are the fake's own.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from llmgateway_server.testing.fake_provider.checks import (
    ANY,
    FLAG,
    LIST,
    OBJECT,
    TEXT,
    Asked,
    Kind,
    Refused,
    number,
    whole,
)
from llmgateway_server.testing.fake_provider.reply import FakeError

FIELDS: dict[str, Kind] = {
    "model": TEXT,
    "messages": LIST,
    "stream": FLAG,
    "format": Kind((str, dict)),
    "keep_alive": Kind((str, int, float)),
    "tools": LIST,
    "options": OBJECT,
    "think": Kind((bool, str)),
    "logprobs": FLAG,
    "top_logprobs": whole(0, 20),
}
OPTIONS: dict[str, Kind] = {
    "temperature": number(0),
    "top_p": number(0),
    "top_k": Kind((int,)),
    "num_predict": Kind((int,)),
    "stop": LIST,
    "seed": Kind((int,)),
    "frequency_penalty": Kind((int, float)),
    "presence_penalty": Kind((int, float)),
    "num_ctx": Kind((int,)),
}
LEVELS = ("low", "medium", "high", "max")
ROLES = ("system", "user", "assistant", "tool")


def refuse(message: str, status: int = 400) -> Refused:
    """Returns a refusal in Ollama's words, which are all that it has."""
    return Refused(FakeError(status, message=message))


def check_chat(asked: Asked) -> None:
    """Refuses what the chat refuses.

    Raises:
        Refused: the first fault.
    """
    _check_key(asked)
    body = asked.body
    if not isinstance(body, dict):
        raise refuse("the body is no JSON object")
    _check_kinds(body, FIELDS, "")
    if not body.get("model"):
        raise refuse("model is required")
    if asked.models and body["model"] not in asked.models:
        raise refuse("the model was not found", 404)
    _check_kinds(body.get("options") or {}, OPTIONS, "options.")
    if isinstance(think := body.get("think"), str) and think not in LEVELS:
        raise refuse("invalid think value")
    if isinstance(wanted := body.get("format"), str) and wanted not in ("", "json"):
        raise refuse("invalid format")
    for message in body.get("messages") or ():
        _check_message(message)
    for tool in body.get("tools") or ():
        _check_tool(tool)


def _check_key(asked: Asked) -> None:
    """A server of one's own has no keys; with one the cloud's is played."""
    if asked.api_key and asked.headers.get("authorization") != f"Bearer {asked.api_key}":
        raise refuse("unauthorized", 401)


def _check_kinds(given: dict[str, Any], kinds: dict[str, Kind], path: str) -> None:
    for name, value in given.items():
        if fault := kinds.get(name, ANY).fault(value):
            raise refuse(f"{path}{name} {fault}")


def _check_message(message: Any) -> None:
    if message["role"] not in ROLES:
        raise refuse("unknown role")
    for name in ("content", "thinking", "tool_name", "tool_call_id"):
        if fault := TEXT.fault(message.get(name)):
            raise refuse(f"messages.{name} {fault}")
    for image in message.get("images") or ():
        try:
            base64.b64decode(image, validate=True)
        except (binascii.Error, TypeError):
            raise refuse("illegal base64 data") from None
    for call in message.get("tool_calls") or ():
        function = call["function"]
        if not function["name"] or not isinstance(function["arguments"], dict):
            raise refuse("a tool call has no name, or arguments that are no object")


def _check_tool(tool: Any) -> None:
    function = tool["function"]
    if not function["name"] or not isinstance(function["parameters"], dict):
        raise refuse("a tool has no name or no parameters")
