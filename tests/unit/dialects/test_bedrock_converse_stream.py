"""Streams of Converse as they are met: lenient where nothing is lost, an error where something is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from tests.unit.dialects.bedrock_converse_replies import (
    READER,
    START,
    answer,
    begin,
    delta,
    ended,
    read_stream,
    stop,
    stream,
    streamed,
    text,
    whole,
)
from tests.unit.dialects.kit import (
    assert_never_whole,
    assert_told_first,
)

# ---------------------------------------------------------------------------------------------------------------------
# What is lenient
# ---------------------------------------------------------------------------------------------------------------------


def test_unknown_events_and_fields_say_nothing() -> None:
    events = [
        ("initial-response", {}),
        START,
        ("novelty", b"not even JSON"),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x", "new": 1}, "more": {}}),
        ("messageStop", {"stopReason": "end_turn", "additionalModelResponseFields": {"stop_sequence": "x"}}),
        ("metadata", {"trace": {"guardrail": {"modelOutput": ["x"]}}, "usage": {"inputTokens": 1}, "p": 5}),
    ]
    assert streamed(stream(*events)).text() == "x"


def test_metadata_may_come_before_the_stop() -> None:
    stopped, measured = ended()
    found = streamed(stream(START, *text(0, "x"), measured, stopped))
    assert found.usage is not None
    assert found.usage.input_token_count == 3


def test_a_stream_may_begin_without_its_beginning() -> None:
    assert streamed(stream(*text(0, "x"), *ended())).text() == "x"


def test_what_follows_the_metadata_is_not_looked_at() -> None:
    body = stream(START, *text(0, "x"), *ended(), ("!internalServerException", {"message": "late"}))
    assert streamed(body).text() == "x"


def test_halves_of_characters_are_mended() -> None:
    body = b'{"output":{"message":{"content":[{"text":"a\\ud83d"}]}},"stopReason":"end_turn"}'
    assert whole(body).text() == "a\ufffd"
    piece = b'{"contentBlockIndex":0,"delta":{"text":"a\\ud83d"}}'
    assert streamed(stream(START, ("contentBlockDelta", piece), *ended())).text() == "a\ufffd"


# ---------------------------------------------------------------------------------------------------------------------
# What is no reply
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"{}",
        b'{"message":"x"}',
        b'{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}',
        b'{"output":{}}',
        b'{"output":{"message":{"content":[{"text":"x"}]}}}',
        b'{"output":{"message":{"content":[{"text":"x"}]}},"stopReason":null}',
        b'{"output":{"message":{"content":[{"text":5}]}},"stopReason":"end_turn"}',
        b'{"output":{"message":{"content":["x"]}},"stopReason":"end_turn"}',
        b'{"output":{"message":{"content":{"text":"x"}}},"stopReason":"end_turn"}',
        b'{"output":{"message":{"content":[{"text":"x"}]}},"stopReason":"end_turn"',
    ],
)
def test_what_cannot_be_a_reply_is_malformed(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        whole(body)
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


@pytest.mark.parametrize(
    "events",
    [
        [START],
        [START, delta(0, text="x")],
        [START, *text(0, "x")],
        [START, *text(0, "x"), ended()[0]],
        [START, *text(0, "x"), ended()[1]],
        [START, *text(0, "x"), ("messageStop", {}), ended()[1]],
    ],
)
def test_a_stream_without_its_stop_or_its_metadata_was_cut(events: list[Any]) -> None:
    with pytest.raises(UpstreamError) as caught:
        read_stream(stream(*events))
    assert caught.value.reason is Reason.UPSTREAM_STREAM_INTERRUPTED


@pytest.mark.parametrize(
    "broken",
    [
        ("contentBlockDelta", b"{"),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": ["x"]}}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": "x"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": {}}}}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"citation": []}}),
        ("contentBlockStart", b""),
        ("metadata", {"usage": []}),
        ("messageStop", b"\xff"),
    ],
)
def test_an_event_that_cannot_be_read_is_malformed(broken: Any) -> None:
    with pytest.raises(UpstreamError) as caught:
        read_stream(stream(START, broken, stop(0), *ended()))
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


def test_redacted_pieces_have_to_be_base64() -> None:
    pieces = [delta(0, reasoningContent={"redactedContent": piece}) for piece in ("!", "?")]
    with pytest.raises(UpstreamError) as caught:
        read_stream(stream(START, *pieces, stop(0), *ended()))
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


def test_what_came_before_a_failure_is_told_first() -> None:
    body = stream(START, delta(0, text="x"), ("!throttlingException", {"message": "slow"}))
    assert_told_first(READER.decoder(), body, Reason.UPSTREAM_RATE_LIMITED)


@given(st.data())
def test_no_beginning_is_a_whole_reply(data: st.DataObject) -> None:
    body = stream(START, *text(0, "Hé"), begin(1, "t", "now"), stop(1), *ended("tool_use"))
    whole_body = json.dumps(answer({"text": "Hé"})).encode()
    at, end = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, len(whole_body) - 1))
    assert_never_whole(READER, whole_body[:end], body[:at])
