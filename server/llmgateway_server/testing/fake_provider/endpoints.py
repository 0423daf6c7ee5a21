"""What the fake provider serves: paths, and what each of them checks and writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from llmgateway_server.testing.fake_provider import (
    anthropic_messages,
    checks_anthropic,
    checks_openai,
    checks_responses,
    openai_chat,
    openai_responses,
)
from llmgateway_server.testing.fake_provider.checks import Asked
from llmgateway_server.testing.fake_provider.frames import compact
from llmgateway_server.testing.fake_provider.reply import CREATED_AT_S, FakeReply, Format

Json = dict[str, Any]
BYTES_PER_TOKEN = 4
MODELS = ("fake-1",)
"""What is listed where a provider was given no models."""


@dataclass(slots=True, frozen=True)
class Endpoint:
    """A path that answers with replies."""

    format: Format
    check: Callable[[Asked], None]
    body: Callable[[FakeReply, Mapping[str, Any]], Json]
    frames: Callable[[FakeReply, Mapping[str, Any]], list[bytes]]
    id_prefix: str


@dataclass(slots=True, frozen=True)
class Count:
    """A path that counts the tokens of a request."""

    format: Format
    check: Callable[[Asked], None]
    body: Callable[[int], Json]


ENDPOINTS: dict[str, Endpoint] = {
    "/v1/chat/completions": Endpoint(
        "openai_chat", checks_openai.check_chat, openai_chat.body, openai_chat.frames, "chatcmpl-"
    ),
    "/v1/responses": Endpoint(
        "openai_responses", checks_responses.check_response, openai_responses.body, openai_responses.frames, "resp_"
    ),
    "/v1/messages": Endpoint(
        "anthropic_messages",
        checks_anthropic.check_message,
        anthropic_messages.body,
        anthropic_messages.frames,
        "msg_",
    ),
}
COUNTS: dict[str, Count] = {
    "/v1/messages/count_tokens": Count(
        "anthropic_messages", checks_anthropic.check_count, lambda tokens: {"input_tokens": tokens}
    ),
    "/v1/responses/input_tokens": Count(
        "openai_responses",
        checks_responses.check_count,
        lambda tokens: {"object": "response.input_tokens", "input_tokens": tokens},
    ),
}
LIST_CHECKS: dict[Format, Callable[[Asked], None]] = {
    "openai_chat": checks_openai.check_key,
    "anthropic_messages": checks_anthropic.check_headers,
}
REQUEST_ID_HEADERS: dict[Format, str] = {
    "openai_chat": "x-request-id",
    "openai_responses": "x-request-id",
    "anthropic_messages": "request-id",
}


def speaks(headers: Mapping[str, str]) -> Format:
    """Returns whose caller it is where the path does not tell: only Anthropic's send a version."""
    return "anthropic_messages" if "anthropic-version" in headers else "openai_chat"


def estimate(request: Mapping[str, Any]) -> int:
    """Returns input tokens as ⌈bytes of the body ÷ 4⌉, which is at least 1."""
    return -(-len(compact(request).encode()) // BYTES_PER_TOKEN)


def models(names: Iterable[str], format: Format) -> Json:
    """Returns the list of models in the vendor's shape."""
    if format != "anthropic_messages":
        known = [{"id": name, "object": "model", "created": CREATED_AT_S, "owned_by": "fake"} for name in names]
        return {"object": "list", "data": known}
    created = datetime.fromtimestamp(CREATED_AT_S, UTC).isoformat().replace("+00:00", "Z")
    entries = [
        {"type": "model", "id": name, "display_name": name, "created_at": created, "lifecycle": "active"}
        for name in names
    ]
    ends = {"first_id": entries[0]["id"], "last_id": entries[-1]["id"]} if entries else {}
    return {"data": entries, "has_more": False, **ends}
