"""Answers of Google that cannot be read, and state that goes back."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from llmgateway_server.core.calls import NoticeCode
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import PartFinished, PartKind
from llmgateway_server.core.messages import (
    MediaPart,
    Message,
    Part,
    ProviderState,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
)
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest
from llmgateway_server.providers.dialects.dialect import Quirks
from tests.unit.dialects.gemini_replies import (
    DIALECT,
    READER,
    SIG,
    call,
    read_stream,
    said,
    sse,
    whole,
)
from tests.unit.dialects.kit import (
    FoldedPart,
    asked,
    assert_told_first,
    attempt_of,
)

REASONING, TOOL_CALL = PartKind.REASONING, PartKind.TOOL_CALL


# ---------------------------------------------------------------------------------------------------------------------
# What breaks
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part",
    [
        {"text": 1},
        {"text": "a", "thoughtSignature": 1},
        {"functionCall": "now"},
        {"inlineData": {"mimeType": "image/png", "data": "?"}},
        "text",
    ],
)
def test_parts_that_cannot_be_read_are_malformed(part: Any) -> None:
    body = json.dumps({"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]}).encode()
    with pytest.raises(UpstreamError) as caught:
        whole(body)
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED
    with pytest.raises(UpstreamError) as caught:
        read_stream(b"data: " + body + b"\r\n\r\n")
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[1]", b'{"candidates": 1}', b'{"candidates":[{"content":{"parts":1}}]}']
)
def test_answers_that_cannot_be_read_are_malformed(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        whole(body)
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


@pytest.mark.parametrize(
    "part",
    [
        b'{"functionCall":{"name":"f","args":{"a":"\xff"}}}',
        b'{"executableCode":{"code":"\xff"}}',
        b'{"functionCall":{"name":"f","args":' + b"[" * 5000 + b"]" * 5000 + b',"partialArgs":[]}}',
    ],
)
def test_bytes_that_are_not_text_are_malformed(part: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        whole(b'{"candidates":[{"content":{"parts":[' + part + b']},"finishReason":"STOP"}]}')
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


def test_what_stands_beside_the_content_costs_nothing() -> None:
    beside = b'"groundingMetadata":{"a":"\xff"},"logprobsResult":{"a":"\xff"}'
    body = b'{"candidates":[{"content":{"parts":[{"text":"Yes."}]},"finishReason":"STOP",' + beside + b"}]}"
    assert whole(body).texts == ["Yes."]


def test_half_a_character_is_mended() -> None:
    body = b'{"candidates":[{"content":{"parts":[{"text":"a\\ud83d"}]},"finishReason":"STOP"}]}'
    assert whole(body).texts == ["a\ufffd"]


def test_what_came_before_an_error_is_told_first() -> None:
    error = {"error": {"code": 503, "status": "UNAVAILABLE", "message": "Later."}}
    assert_told_first(READER.decoder(), sse(said({"text": "One"}), error), Reason.UPSTREAM_OVERLOADED)


# ---------------------------------------------------------------------------------------------------------------------
# There and back
# ---------------------------------------------------------------------------------------------------------------------


def part_of(folded: FoldedPart) -> Part:
    content: Any = TextPart(folded.said)
    if folded.kind is REASONING:
        content = ReasoningPart(folded.said, folded.redacted)
    elif folded.kind is TOOL_CALL:
        content = ToolCallPart(folded.tool_call_id, folded.tool_name, json.dumps(folded.said))
    return Part(content, folded.state)


def test_a_reply_goes_back_as_it_came() -> None:
    parts: list[dict[str, Any]] = [
        {"text": "Hm.", "thought": True, "thoughtSignature": "dA=="},
        {"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "eA=="},
        {"text": "Yes."},
        {"text": "", "thoughtSignature": SIG},
        call("weather", {"city": "Köln"}) | {"thoughtSignature": "Yw=="},
        call("now", {}, id="own"),
    ]
    folded = whole(said(*parts, end="STOP"))
    history = [
        Message(Role.USER, [Part(TextPart("Hi"))]),
        Message(Role.ASSISTANT, [part_of(each) for each in folded.parts]),
    ]
    body, notices = asked(DIALECT, attempt_of(CompleteRequest("m", history)))
    assert body["contents"][1] == {"role": "model", "parts": parts}
    assert notices == []


def test_a_picture_goes_back_with_its_signature() -> None:
    image = {
        "inlineData": {"mimeType": "image/png", "data": base64.b64encode(b"png").decode()},
        "thoughtSignature": SIG,
    }
    events = DIALECT.decode_reply(attempt_of(), Quirks(), json.dumps(said(image, end="STOP")).encode())
    [state] = [event.provider_state for event in events if isinstance(event, PartFinished)]
    history = [Message(Role.ASSISTANT, [Part(MediaPart("image/png", b"png"), state)])]
    body, _ = asked(DIALECT, attempt_of(CompleteRequest("m", history)))
    assert body["contents"] == [{"role": "model", "parts": [image]}]


@pytest.mark.parametrize(
    ("role", "content", "data"),
    [
        (Role.ASSISTANT, TextPart("a"), b'{"part":{"executableCode":{}}}'),
        (Role.ASSISTANT, TextPart(""), b'{"part":{"text":"hidden"}}'),
        (Role.ASSISTANT, TextPart("a"), b'{"signature":1}'),
        (Role.ASSISTANT, TextPart("a"), b"\xff"),
        (Role.ASSISTANT, TextPart("a"), b"[]"),
        (Role.USER, TextPart("a"), b'{"signature":"c2ln"}'),
    ],
)
def test_state_that_cannot_stand_there_is_dropped(role: Role, content: TextPart, data: bytes) -> None:
    history = [Message(role, [Part(content, ProviderState("google", data)), Part(TextPart("b"))])]
    body, notices = asked(DIALECT, attempt_of(CompleteRequest("m", history)))
    assert body["contents"][0]["parts"] == [{"text": each} for each in (content.text, "b") if each]
    assert notices == [(NoticeCode.PROVIDER_STATE_DROPPED, "messages[0].parts[0].provider_state")]
