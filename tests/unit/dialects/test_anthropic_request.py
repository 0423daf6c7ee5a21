"""What Anthropic is asked: bodies against golden files, the cap on output, and replies that go back as they came."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, get_type_hints

import pytest
from anthropic.types import (
    message_count_tokens_params,
    message_create_params,
    message_param,
    thinking_config_param,
    tool_choice_param,
    tool_union_param,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ConfigDict, TypeAdapter

from llmgateway_server.core.events import PartKind
from llmgateway_server.core.messages import (
    Content,
    MediaPart,
    Message,
    Part,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
)
from llmgateway_server.core.requests import CompleteRequest, CountTokensRequest, Tool
from llmgateway_server.core.targets import Profile
from llmgateway_server.providers.dialects.anthropic_messages.conversation import vendor_id
from llmgateway_server.providers.dialects.dialect import Quirks
from tests.unit.dialects.anthropic_replies import DIALECT, whole
from tests.unit.dialects.anthropic_requests import HI, body_of
from tests.unit.dialects.kit import TARGET, FoldedPart, attempt_of, golden_attempt, golden_names, golden_of

NAMES = golden_names("anthropic_messages")
SAMPLING = {"temperature", "top_p", "top_k"}
"""What the vendor's client no longer names, because its newest models do not take it; those before them do."""

# ---------------------------------------------------------------------------------------------------------------------
# Bodies that are written down
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_bodies_are_as_written_down(name: str) -> None:
    golden = golden_of("anthropic_messages", name)
    attempt = golden_attempt(golden, counting=golden.get("counting", False))
    request = DIALECT.encode_request(attempt, Quirks())
    assert json.loads(request.body) == golden["body"]
    assert (request.method, request.path) == ("POST", golden.get("path", "/messages"))
    accept = "text/event-stream" if golden.get("streaming") else "application/json"
    usual = {"content-type": "application/json", "accept": accept, "anthropic-version": "2023-06-01"}
    assert dict(request.headers) == usual | golden.get("headers", {})
    assert [notice.subject for notice in attempt.call.notices] == golden.get("notices", [])


def test_golden_files_were_found() -> None:
    assert len(NAMES) >= 20


@pytest.mark.parametrize("name", NAMES)
def test_bodies_are_what_the_vendors_own_client_would_send(name: str) -> None:
    golden = golden_of("anthropic_messages", name)
    kind: Any = message_create_params.MessageCreateParamsBase
    if golden.get("counting"):
        kind = message_count_tokens_params.MessageCountTokensParams
    body = {field: value for field, value in golden["body"].items() if field != "stream"}
    assert body.keys() - SAMPLING <= get_type_hints(kind).keys()
    judges: dict[str, Any] = {
        "messages": list[message_param.MessageParam],
        "tools": list[tool_union_param.ToolUnionParam],
        "tool_choice": tool_choice_param.ToolChoiceParam,
        "thinking": thinking_config_param.ThinkingConfigParam,
    }
    for field in judges.keys() & body.keys():
        TypeAdapter(judges[field], config=ConfigDict(arbitrary_types_allowed=True)).validate_python(body[field])


# ---------------------------------------------------------------------------------------------------------------------
# Cap on output tokens
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "most", "sent", "recorded"),
    [(100, 8192, 100, None), (None, 8192, 8192, 8192), (None, None, 4096, 4096), (0, None, 0, None)],
)
def test_a_cap_is_always_sent_and_recorded_where_it_is_ours(
    asked: int | None, most: int | None, sent: int, recorded: int | None
) -> None:
    target = dataclasses.replace(TARGET, profile=Profile(max_output_token_count=most))
    attempt = attempt_of(CompleteRequest("m", [HI], max_output_tokens=asked), target)
    assert json.loads(DIALECT.encode_request(attempt, Quirks()).body)["max_tokens"] == sent
    assert attempt.record.max_output_tokens == recorded


def test_a_count_puts_nothing_out() -> None:
    attempt = attempt_of(CountTokensRequest(CompleteRequest("m", [HI])))
    assert json.loads(DIALECT.encode_request(attempt, Quirks()).body) == {
        "model": "upstream-1",
        "messages": [{"role": "user", "content": "Hi"}],
    }
    assert attempt.record.max_output_tokens is None


# ---------------------------------------------------------------------------------------------------------------------
# Smaller things
# ---------------------------------------------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_ids_are_made_fit_and_stay_apart(one: str, other: str) -> None:
    assert set(vendor_id(one)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert vendor_id(one) == vendor_id(one)
    assert (vendor_id(one) == vendor_id(other)) == (one == other)


def test_schemas_and_arguments_are_passed_on_to_the_letter() -> None:
    schema = '{"type": "object", "properties": {"b": {"const": 1.0}, "a": {}}}'
    call = Message(Role.ASSISTANT, [Part(ToolCallPart("c", "t", '{"b": 1.50}'))])
    request = CompleteRequest("m", [HI, call], tools=[Tool("t", "", schema)])
    body = DIALECT.encode_request(attempt_of(request), Quirks()).body
    assert schema.encode() in body
    assert b'{"b": 1.50}' in body


@pytest.mark.parametrize(
    ("media", "by_vendor"),
    [
        (MediaPart("image/png", uri="https://a/b"), True),
        (MediaPart("", uri="https://a/b"), True),
        (MediaPart("", uri="https://a/b.pdf"), True),
        (MediaPart("application/pdf", uri="https://a/b"), True),
        (MediaPart("text/plain", uri="https://a/b"), False),
        (MediaPart("", uri="https://a/b.txt"), False),
        (MediaPart("image/png", uri="http://a/b"), False),
        (MediaPart("image/png", uri="gs://a/b"), False),
        (MediaPart("image/bmp", uri="https://a/b"), False),
        (MediaPart("image/png", data=b"x"), False),
    ],
)
def test_what_the_vendor_fetches(media: MediaPart, by_vendor: bool) -> None:
    assert DIALECT.fetches(media) is by_vendor


def sent_back(part: FoldedPart) -> Content:
    match part.kind:
        case PartKind.REASONING:
            return ReasoningPart(part.said, part.redacted)
        case PartKind.TOOL_CALL:
            return ToolCallPart(part.tool_call_id, part.tool_name, '{"a":[1,{}]}')
        case _:
            return TextPart(part.said)


def test_a_reply_goes_back_as_it_came() -> None:
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x", "n": 1.0}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"encrypted_content": "é"}]}
    cited = {"type": "web_search_result_location", "url": "u", "title": None, "cited_text": "c", "encrypted_index": "e"}
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "data"},
        search,
        found,
        {"type": "text", "text": "It is"},
        {"type": "text", "text": " so", "citations": [cited]},
        {"type": "tool_use", "id": "t", "name": "n", "input": {"a": [1, {}]}},
    ]
    reply = whole({"content": content, "stop_reason": "pause_turn", "container": {"id": "c"}})
    parts = [Part(sent_back(part), part.state) for part in reply.parts]
    body, notices = body_of(CompleteRequest("m", [HI, Message(Role.ASSISTANT, parts)]))
    assert body["messages"][1]["content"] == content
    assert notices == []
