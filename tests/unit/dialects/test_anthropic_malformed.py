"""Answers and streams of Anthropic that cannot be read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from tests.unit.dialects.anthropic_replies import (
    END,
    READER,
    begin,
    delta,
    read_stream,
    reason,
    sse,
    start,
    stop,
    streamed,
    whole,
)
from tests.unit.dialects.kit import SAID


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"content":[]}',
        b'{"content":[],"stop_reason":5}',
        b'{"content":null,"stop_reason":"end_turn"}',
        b'{"content":[5],"stop_reason":"end_turn"}',
        b'{"content":[{}],"stop_reason":"end_turn"}',
        b'{"content":[{"type":5}],"stop_reason":"end_turn"}',
        b'{"content":[{"type":"text","text":["a"]}],"stop_reason":"end_turn"}',
        b'{"content":[{"type":"text","text":"\xff"}],"stop_reason":"end_turn"}',
        b'{"content":[{"type":"text","text":"","citations":{}}],"stop_reason":"end_turn"}',
        b'{"content":[{"type":"text","text":"","citations":[5]}],"stop_reason":"end_turn"}',
        b'{"content":[{"type":"text","text":"","citations":[{"title":"\xff"}]}],"stop_reason":"end_turn"}',
        b'{"content":[{"type":"tool_use","name":"n","input":{"a":"\xff"}}],"stop_reason":"tool_use"}',
        b'{"content":[{"type":"novelty","a":"\xff"}],"stop_reason":"end_turn"}',
        b'{"content":[{"type":"tool_use","input":' + b"[" * 100_000,
        b'{"x":' + b"[" * 100_000,
        b"<html></html>",
    ],
)
def test_what_cannot_be_read_is_malformed(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        whole(body)
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


TEXT = begin(0, {"type": "text", "text": ""})


@pytest.mark.parametrize(
    "events",
    [
        [reason("end_turn")],
        [TEXT],
        [END],
        [start(), END],
        [start(), start()],
        [start(), delta(0, "text_delta", text="a")],
        [start(), TEXT, delta(1, "text_delta", text="a")],
        [start(), TEXT, delta(0, "text_delta", text=5)],
        [start(), TEXT, stop(0), delta(0, "text_delta", text="a")],
        [start(), TEXT, delta(0, "citations_delta", citation="x")],
        [start(), {"type": "content_block_start", "index": 0}],
        [start(), {"type": "content_block_delta", "index": 0}],
        [start(), {"type": "content_block_delta", "index": 0, "delta": 5}],
        [start(), {"type": "message_delta", "usage": []}],
        [
            start(),
            begin(0, {"type": "novelty"}),
            {"type": "content_block_delta", "index": 0, "delta": {"type": [1]}},
            END,
        ],
    ],
)
def test_events_out_of_place_or_shape_are_malformed(events: list[dict[str, Any]]) -> None:
    with pytest.raises(UpstreamError) as caught:
        streamed(sse(*events))
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


KEYS = ["type", "index", "message", "content_block", "delta", "usage", "error", "content", "text", "input", "citations"]
KINDS = ["message_start", "message_delta", "message_stop", "content_block_start", "content_block_delta", "error"]
KINDS += ["content_block_stop", "text", "thinking", "tool_use", "novelty", "text_delta", "input_json_delta", "end_turn"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | SAID | st.sampled_from(KINDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)


def survive(body: bytes) -> None:
    """Reads a stream to its end, which may be good or bad, but nothing else than an UpstreamError may come of it."""
    decoder = READER.decoder()
    try:
        decoder.feed(body)
        decoder.end()
    except UpstreamError:
        pass


@settings(deadline=None)
@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4).map(sorted))
def test_noise_is_an_error_with_a_reason(noise: bytes, bounds: list[int]) -> None:
    with pytest.raises(UpstreamError):
        whole(noise)
    with pytest.raises(UpstreamError):
        read_stream(noise, bounds)
    with pytest.raises(UpstreamError):
        read_stream(b"event: content_block_delta\ndata: " + noise + b"\n\n", bounds)


@settings(deadline=None, max_examples=300)
@given(st.lists(VALUES, max_size=6), st.booleans())
def test_odd_events_are_read_or_refused(odd: list[Any], begun: bool) -> None:
    head = sse(start(), TEXT) if begun else b""
    survive(head + b"".join(f"data: {json.dumps(each)}\n\n".encode() for each in odd))
    for each in odd:
        try:
            whole(json.dumps({"content": each, "stop_reason": "end_turn"}).encode())
            whole(json.dumps({"content": [each], "usage": each}).encode())
        except UpstreamError:
            pass
