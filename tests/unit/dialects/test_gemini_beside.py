"""What stands beside the content of answers of Google: the array of a stream, tokens, sources, probabilities."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Event, PartKind
from llmgateway_server.core.messages import (
    Citation,
)
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, CountTokensRequest
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.dialect import Quirks
from llmgateway_server.providers.dialects.framing import framing_for
from llmgateway_server.providers.dialects.stream import EventStream
from tests.unit.dialects.gemini_replies import (
    DIALECT,
    SIG,
    both,
    call,
    said,
    sse,
    streamed,
)
from tests.unit.dialects.kit import (
    FoldedPart,
    attempt_of,
    flat,
    fold,
)

TEXT, TOOL_CALL = PartKind.TEXT, PartKind.TOOL_CALL


# ---------------------------------------------------------------------------------------------------------------------
# The array of chunks
# ---------------------------------------------------------------------------------------------------------------------


def from_array(body: bytes, *, step: int) -> list[Event]:
    stream = EventStream(
        framing_for(DIALECT.framings, "application/json; charset=UTF-8"), DIALECT.stream_reader(attempt_of(), Quirks())
    )
    batches = [stream.feed(body[at : at + step]) for at in range(0, len(body), step)]
    if stream.failure is not None:
        raise stream.failure
    return flat([*batches, stream.end()])


def test_chunks_may_come_as_an_array() -> None:
    chunks = [said({"text": 'On]e, "'}), said({"text": "two"}), said({"text": ""}, end="STOP")]
    body = json.dumps(chunks, indent=2).encode()
    for step in (1, 7, len(body)):
        assert fold(from_array(body, step=step)) == streamed(sse(*chunks))


def test_an_array_that_is_cut_is_an_error() -> None:
    body = json.dumps([said({"text": "One"}, end="STOP")], indent=2).encode()
    for at in range(1, len(body)):
        with pytest.raises(UpstreamError):
            from_array(body[:at], step=len(body))


def test_an_error_in_an_array_is_an_error() -> None:
    error = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "x"}}
    with pytest.raises(UpstreamError) as caught:
        from_array(json.dumps([error]).encode(), step=5)
    assert caught.value.reason is Reason.UPSTREAM_RATE_LIMITED


# ---------------------------------------------------------------------------------------------------------------------
# Tokens
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        (
            {
                "promptTokenCount": 100,
                "candidatesTokenCount": 10,
                "thoughtsTokenCount": 5,
                "toolUsePromptTokenCount": 7,
                "cachedContentTokenCount": 40,
                "totalTokenCount": 122,
            },
            Usage(107, 15, cache_read_token_count=40, reasoning_token_count=5, tool_use_token_count=7),
        ),
        ({"promptTokenCount": 9, "thoughtsTokenCount": 3}, Usage(9, 3, reasoning_token_count=3)),
        ({"promptTokenCount": 9, "totalTokenCount": 9}, Usage(9)),
        (
            {"promptTokenCount": 9, "toolUsePromptTokenCount": 1, "totalTokenCount": 14},
            Usage(10, 4, tool_use_token_count=1),
        ),
        (
            {"promptTokenCount": 9, "thoughtsTokenCount": 2, "totalTokenCount": 14},
            Usage(9, 5, reasoning_token_count=2),
        ),
        ({"candidatesTokenCount": 2, "toolUsePromptTokenCount": 7}, Usage(None, 2, tool_use_token_count=7)),
        (
            {
                "promptTokenCount": 9,
                "candidatesTokenCount": 4,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 2},
                    {"modality": "AUDIO", "tokenCount": 4},
                    {"modality": 2, "tokenCount": 3},
                    {"modality": "VIDEO"},
                    None,
                ],
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 3}, {"modality": 4, "tokenCount": 1}],
            },
            Usage(
                9,
                4,
                input_audio_token_count=4,
                input_image_token_count=3,
                output_image_token_count=3,
                output_audio_token_count=1,
            ),
        ),
        ({"trafficType": "ON_DEMAND", "serviceTier": "standard"}, None),
        ({"promptTokenCount": "9", "candidatesTokenCount": -1, "promptTokensDetails": {}}, None),
        ({}, None),
    ],
)
def test_tokens_are_inclusive(reported: dict[str, Any], usage: Usage | None) -> None:
    assert both(said({"text": "Yes."}, end="STOP") | {"usageMetadata": reported}).usage == usage


def test_running_usage_is_replaced_field_by_field() -> None:
    folded = both(
        said({"text": "One"}) | {"usageMetadata": {"promptTokenCount": 165, "thoughtsTokenCount": 3}},
        said({"text": " two"}) | {"usageMetadata": {"promptTokenCount": 165, "candidatesTokenCount": 1}},
        said(end="STOP")
        | {"usageMetadata": {"promptTokenCount": 163, "candidatesTokenCount": 8, "thoughtsTokenCount": None}},
    )
    assert folded.usage == Usage(163, 11, reasoning_token_count=3)


def test_tokens_are_counted() -> None:
    attempt = attempt_of(CountTokensRequest(CompleteRequest("m", [])))
    [_, counted, _] = DIALECT.decode_reply(attempt, Quirks(), b'{"totalTokens": 31, "promptTokensDetails": []}')
    assert (counted.input_token_count, counted.method) == (31, "VENDOR")  # type: ignore[union-attr]
    for body in (b"{}", b"[]", b'{"totalTokens": "31"}', b"<html>"):
        with pytest.raises(UpstreamError) as caught:
            DIALECT.decode_reply(attempt, Quirks(), body)
        assert caught.value.reason is Reason.UPSTREAM_MALFORMED
    with pytest.raises(UpstreamError) as refused:
        DIALECT.decode_reply(attempt, Quirks(), b'{"error": {"code": 404}}')
    assert refused.value.reason is Reason.MODEL_NOT_FOUND


# ---------------------------------------------------------------------------------------------------------------------
# Sources and probabilities
# ---------------------------------------------------------------------------------------------------------------------


def test_sources_stand_beside_the_text_that_rests_on_them() -> None:
    text = "Köln: 21 °C. Nice."
    start, end = len("Köln: ".encode()), len("Köln: 21 °C.".encode())
    grounding = {
        "groundingChunks": [
            {"web": {"uri": "https://a.example", "title": "a"}},
            {"retrievedContext": {"uri": "gs://b", "title": "b", "text": "Warm."}},
            {"novelty": {}},
        ],
        "groundingSupports": [
            {"segment": {"startIndex": start, "endIndex": end, "text": "21 °C."}, "groundingChunkIndices": [0, 7]},
            {"segment": {"endIndex": 3, "text": "not there"}, "groundingChunkIndices": [0]},
            {"segment": {"endIndex": 5, "text": "Köln"}, "groundingChunkIndices": [0]},
            {"segment": None, "groundingChunkIndices": [0]},
            {"segment": {"startIndex": "0", "endIndex": 5, "text": "Köln"}, "groundingChunkIndices": [0]},
        ],
        "searchEntryPoint": {"renderedContent": "<b>"},
    }
    repeated = {"citationSources": [{"startIndex": 0, "endIndex": 3, "uri": "https://c.example", "license": ""}]}
    folded = both(said({"text": text}, end="STOP", groundingMetadata=grounding, citationMetadata=repeated))
    assert folded.parts == [
        FoldedPart(
            TEXT,
            text,
            state=folded.parts[0].state,
            citations=(
                Citation("a", "https://a.example", "", 6, 12),
                Citation("a", "https://a.example"),
                Citation("a", "https://a.example", "", 0, 4),
                Citation("b", "gs://b", "Warm."),
                Citation("", "https://c.example"),
            ),
        )
    ]
    assert folded.states == [{"grounding": grounding}]


def test_sources_find_a_text_that_is_signed_or_closed() -> None:
    grounding = {"groundingChunks": [{"web": {"uri": "https://a.example"}}]}
    signed = both(
        said({"text": "Yes."}, {"text": "", "thoughtSignature": SIG}), said(end="STOP", groundingMetadata=grounding)
    )
    assert [len(part.citations) for part in signed.parts] == [0, 1]
    assert signed.states == [None, {"signature": SIG, "grounding": grounding}]
    closed = both(said({"text": "Yes."}, call("now")), said(end="STOP", groundingMetadata=grounding))
    assert [(part.kind, len(part.citations)) for part in closed.parts] == [(TEXT, 0), (TOOL_CALL, 0), (TEXT, 1)]


@pytest.mark.parametrize("strange", [[], "x", {"groundingChunks": "x", "groundingSupports": [1, {"segment": 1}]}, {}])
def test_strange_sources_cost_nothing(strange: Any) -> None:
    folded = both(said({"text": "Yes."}, end="STOP", groundingMetadata=strange, citationMetadata=strange))
    assert folded.texts == ["Yes."]
    assert folded.parts[0].citations == ()


def test_tokens_have_probabilities() -> None:
    result = {
        "chosenCandidates": [
            {"token": "Ja", "tokenId": 1, "logProbability": -0.5},
            {"token": "."},
            {"token": None, "logProbability": "x"},
        ],
        "topCandidates": [
            {"candidates": [{"token": "Ja", "logProbability": -0.5}, {"token": "é", "logProbability": -2}]}
        ],
    }
    folded = both(said({"text": "Hm", "thought": True}, {"text": "Ja."}, end="STOP", logprobsResult=result))
    first, second, third = folded.logprobs
    assert (first.token, first.logprob, first.utf8) == ("Ja", -0.5, b"Ja")
    assert first.top == (("Ja", -0.5, b"Ja"), ("é", -2.0, "é".encode()))
    assert (second.token, second.logprob, second.top) == (".", 0.0, ())
    assert (third.token, third.logprob) == ("", 0.0)
