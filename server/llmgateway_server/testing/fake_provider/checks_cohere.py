"""What Cohere checks of a chat.

Source: the API reference of Cohere, "Chat" and "Errors". The words of the messages are the fake's own.
"""

from __future__ import annotations

from typing import Any

from llmgateway_server.testing.fake_provider.checks import (
    FLAG,
    LIST,
    OBJECT,
    TEXT,
    Asked,
    Kind,
    Refused,
    number,
    objects,
    whole,
    word,
)
from llmgateway_server.testing.fake_provider.reply import FakeError

FIELDS: dict[str, Kind] = {
    "model": TEXT,
    "messages": LIST,
    "stream": FLAG,
    "tools": LIST,
    "strict_tools": FLAG,
    "tool_choice": word("REQUIRED", "NONE"),
    "documents": LIST,
    "citation_options": OBJECT,
    "response_format": OBJECT,
    "safety_mode": word("CONTEXTUAL", "STRICT", "OFF"),
    "max_tokens": whole(1),
    "stop_sequences": LIST,
    "temperature": number(0),
    "seed": whole(0),
    "frequency_penalty": number(0, 1),
    "presence_penalty": number(0, 1),
    "k": whole(0, 500),
    "p": number(0.01, 0.99),
    "logprobs": FLAG,
    "thinking": OBJECT,
    "priority": whole(0, 999),
}
CITATION_MODE = word("ENABLED", "DISABLED", "FAST", "ACCURATE", "OFF")
THINKING_TYPE = word("enabled", "disabled", nullable=False)
FORMAT_TYPE = word("text", "json_object", nullable=False)
MOST_STOPS = 5
CONTENT_TYPES = {
    "system": {"text"},
    "user": {"text", "image_url"},
    "assistant": {"text", "thinking"},
    "tool": {"text", "document"},
}


def refuse(message: str, status: int = 400) -> Refused:
    """Returns a refusal in Cohere's words, which are all that it has."""
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
    for name, value in body.items():
        if name not in FIELDS:
            raise refuse(f"unknown field {name}", 422)
        if fault := FIELDS[name].fault(value):
            raise refuse(f"{name} {fault}")
    if not body.get("model"):
        raise refuse("model is required")
    if asked.models and body["model"] not in asked.models:
        raise refuse("the model was not found", 404)
    if not body.get("messages"):
        raise refuse("messages must not be empty")
    _check_options(body)
    _check_tools(body)
    known: set[str] = set()
    for message in body["messages"]:
        _check_message(message, known)


def _check_key(asked: Asked) -> None:
    scheme, _, key = asked.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key or (asked.api_key and key != asked.api_key):
        raise refuse("invalid api token", 401)


def _check_options(body: dict[str, Any]) -> None:
    if len(body.get("stop_sequences") or ()) > MOST_STOPS:
        raise refuse("too many stop sequences")
    for name, key, kind in (
        ("citation_options", "mode", CITATION_MODE),
        ("thinking", "type", THINKING_TYPE),
        ("thinking", "token_budget", whole(1)),
        ("response_format", "type", FORMAT_TYPE),
        ("response_format", "json_schema", OBJECT),
    ):
        value = body.get(name)
        if value is not None and (key in value or not kind.nullable) and (fault := kind.fault(value.get(key))):
            raise refuse(f"{name}.{key} {fault}")
    forms = (body.get("response_format") or {}).get("type") == "json_object"
    if forms and (body.get("tools") or body.get("documents")):
        raise refuse("response_format is not supported with tools and documents")


def _check_tools(body: dict[str, Any]) -> None:
    tools = body.get("tools") or []
    if body.get("tool_choice") == "REQUIRED" and not tools:
        raise refuse("tool_choice REQUIRED is for requests with tools")
    for tool in tools:
        function = tool["function"]
        if tool["type"] != "function" or not function["name"] or not isinstance(function["parameters"], dict):
            raise refuse("a tool has no name or no parameters")


def _check_message(message: Any, known: set[str]) -> None:
    """Refuses empty messages, blocks that the role does not have, and results of calls that nobody made."""
    role, content = message["role"], message.get("content")
    if role not in CONTENT_TYPES:
        raise refuse("unknown role")
    if not content and role != "tool" and not message.get("tool_calls"):
        raise refuse("message must not be empty in a turn")
    if content is not None and not isinstance(content, str | list):
        raise refuse("the content is neither text nor blocks")
    for block in objects(content):
        kind = block.get("type")
        if kind not in CONTENT_TYPES[role]:
            raise refuse("the block is unknown to the role")
        if kind in ("text", "thinking") and not block.get(kind):
            raise refuse("a block must not be empty")
        if kind == "image_url" and not block["image_url"]["url"]:
            raise refuse("an image has no address")
    for call in message.get("tool_calls") or ():
        if not (call["id"] and call["function"]["name"] and isinstance(call["function"]["arguments"], str)):
            raise refuse("a tool call lacks its id, name or arguments")
        known.add(call["id"])
    if role == "tool" and message["tool_call_id"] not in known:
        raise refuse("the result of a call that nobody made")
