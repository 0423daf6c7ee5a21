"""How answers of Google are read: parts, signatures, calls, sources, ends and tokens, whole and streamed."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import pytest

from llmgateway_server.core.calls import NoticeCode
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Event, FinishReason, MediaDelta, PartFinished, PartKind, PartStarted
from llmgateway_server.core.messages import (
    Citation,
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
from llmgateway_server.core.requests import CompleteRequest, CountTokensRequest, FormatKind, ResponseFormat, Tool
from llmgateway_server.core.targets import Profile, ReasoningStyle
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.dialect import Quirks
from llmgateway_server.providers.dialects.framing import framing_for
from llmgateway_server.providers.dialects.stream import EventStream
from tests.unit.dialects.gemini_replies import DIALECT, NAMES, READER, call, read_stream, said, sse, streamed, whole
from tests.unit.dialects.kit import (
    TARGET,
    Folded,
    FoldedPart,
    asked,
    assert_told_first,
    attempt_of,
    flat,
    fold,
)

TEXT, REASONING, TOOL_CALL = PartKind.TEXT, PartKind.REASONING, PartKind.TOOL_CALL
SIG = "c2ln"


def both(*chunks: dict[str, Any]) -> Folded:
    """Reads chunks as a stream, cut everywhere; one alone as a whole answer too."""
    stream = sse(*chunks)
    folded = streamed(stream)
    assert streamed(stream, range(1, len(stream))) == folded
    if len(chunks) == 1:
        assert whole(chunks[0]) == folded
    return folded


# ---------------------------------------------------------------------------------------------------------------------
# Parts
# ---------------------------------------------------------------------------------------------------------------------


def test_texts_go_on_and_thoughts_are_reasoning() -> None:
    folded = both(
        said({"text": "Hm", "thought": True}),
        said({"text": ".", "thought": True}, {"text": "Yes"}),
        said({"text": "!"}),
        said({"text": ""}, end="STOP"),
    )
    assert [(part.kind, part.said) for part in folded.parts] == [(REASONING, "Hm."), (TEXT, "Yes!")]
    assert folded.states == [{}, None]
    assert folded.started is not None
    assert (folded.started.response_id, folded.started.provider_model) == ("r1", "m-1")
    assert folded.finished is not None
    assert (folded.finished.finish_reason, folded.finished.provider_finish_reason) == (FinishReason.STOP, "STOP")


def test_a_signature_makes_a_part_of_its_own() -> None:
    folded = both(
        said({"text": "a", "thought": True}, {"text": "b", "thought": True, "thoughtSignature": "dA=="}),
        said({"text": "One."}),
        said({"text": "Two.", "thoughtSignature": SIG}, {"text": "Three."}),
        said({"text": "Four."}, {"text": "", "thoughtSignature": "ZQ=="}, end="STOP"),
    )
    assert [(part.kind, part.said) for part in folded.parts] == [
        (REASONING, "a"),
        (REASONING, "b"),
        (TEXT, "One."),
        (TEXT, "Two."),
        (TEXT, "Three.Four."),
        (TEXT, ""),
    ]
    assert folded.states == [{}, {"signature": "dA=="}, None, {"signature": SIG}, None, {"signature": "ZQ=="}]
    assert not any(part.redacted for part in folded.parts)


def test_a_thought_whose_text_is_withheld_is_redacted() -> None:
    folded = both(said({"text": "", "thought": True, "thoughtSignature": SIG}, {"text": "Yes."}, end="STOP"))
    assert [(part.said, part.redacted) for part in folded.parts] == [("", True), ("Yes.", False)]


def test_calls_keep_the_vendors_ids_and_get_made_up_ones() -> None:
    folded = both(
        said(
            call("weather", {"city": "Köln", "days": [1, 2.50]}) | {"thoughtSignature": SIG},
            call("weather", {"city": "Bonn"}),
            call("now", id="own"),
            end="STOP",
        )
    )
    assert folded.calls == [
        ("call_call-1_1", "weather", {"city": "Köln", "days": ["1", "2.5"]}),
        ("call_call-1_2", "weather", {"city": "Bonn"}),
        ("own", "now", {}),
    ]
    assert folded.states == [{"signature": SIG}, None, {"id": "own"}]
    assert folded.finished is not None
    assert (folded.finished.finish_reason, folded.finished.provider_finish_reason) == (FinishReason.TOOL_CALLS, "STOP")


def test_arguments_keep_their_spelling() -> None:
    body = b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a": 1.50, "b": 1e3}}}]}}]}'
    [found] = fold(DIALECT.decode_reply(attempt_of(), Quirks(), body)).calls
    assert found[2] == '{"a":1.50,"b":1e3}'


def test_what_has_no_part_of_its_own_is_kept_whole() -> None:
    code = {"executableCode": {"language": "PYTHON", "code": "print(1)"}, "thoughtSignature": SIG}
    result = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}}
    alone = {"thoughtSignature": SIG}
    folded = both(said({"text": "So: "}, code, result, {"text": "1."}, alone, {}, {"text": None}, end="STOP"))
    assert folded.texts == ["So: ", "", "", "1.", ""]
    assert folded.states == [None, {"part": code}, {"part": result}, None, {"part": alone}]


@pytest.mark.parametrize("data", ["+/8=", "-_8="])
def test_media_are_parts(data: str) -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": data}, "thoughtSignature": SIG}
    body = json.dumps(said({"text": "Look."}, image, end="STOP")).encode()
    events: list[Event] = DIALECT.decode_reply(attempt_of(), Quirks(), body)
    index = next(i for i, event in enumerate(events) if isinstance(event, PartStarted) and event.kind is PartKind.MEDIA)
    started, delta, finished = events[index : index + 3]
    assert isinstance(started, PartStarted)
    assert (started.part_index, started.mime_type) == (1, "image/png")
    assert delta == MediaDelta(1, b"\xfb\xff")
    assert isinstance(finished, PartFinished)
    assert finished.provider_state is not None
    assert json.loads(finished.provider_state.data) == {"signature": SIG}


def test_an_image_that_is_a_thought_is_kept_whole() -> None:
    part = {"inlineData": {"mimeType": "image/png", "data": "QQ=="}, "thought": True}
    folded = both(said(part, {"text": "Done."}, end="STOP"))
    assert folded.texts == ["", "Done."]
    assert folded.states == [{"part": part}, None]


def test_only_the_first_candidate_is_read() -> None:
    other = {"index": 1, "content": {"parts": [{"text": "No."}]}, "finishReason": "SAFETY"}
    chunk = said({"text": "Yes."}, end="STOP", index=0)
    chunk["candidates"].append(other)
    folded = both(chunk)
    assert folded.texts == ["Yes."]
    assert folded.finished is not None
    assert folded.finished.provider_finish_reason == "STOP"


def test_nothing_said_is_no_part() -> None:
    assert both(said({"text": ""}, {"text": "", "thought": True}, {"thought": True}, end="STOP")).parts == []


def test_unknown_fields_and_nulls_pass() -> None:
    chunk = said({"text": "Yes.", "thought": None, "thoughtSignature": None, "novelty": {}}, end="STOP", novelty=[1])
    chunk |= {"promptFeedback": None, "usageMetadata": None, "createTime": "2026-01-01", "novelty": {"a": []}}
    assert both(chunk).texts == ["Yes."]


# ---------------------------------------------------------------------------------------------------------------------
# Arguments in pieces
# ---------------------------------------------------------------------------------------------------------------------


def piece(path: str, value: Any, kind: str = "string", *, more: bool = False) -> dict[str, Any]:
    return {"jsonPath": path, f"{kind}Value": value, **({"willContinue": True} if more else {})}


def partial(*pieces: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"functionCall": {**({"partialArgs": list(pieces)} if pieces else {}), **more}}


def test_arguments_in_pieces_become_whole() -> None:
    folded = both(
        said(partial(name="book", id="c1", willContinue=True) | {"thoughtSignature": SIG}),
        said(partial(piece("$.city", "New ", more=True), willContinue=True)),
        said(partial(piece("$.city", "York"), piece("$.days", 3, "number"), willContinue=True)),
        said(partial(piece("$.who[0].name", "Ann"), piece("$['a b']", True, "bool"), willContinue=True)),
        said(partial(piece("$.who[1].name", "Bo"), piece("$.none", "NULL_VALUE", "null"), willContinue=True)),
        said(partial()),
        said(call("now"), end="STOP"),
    )
    arguments = {"city": "New York", "days": "3", "who": [{"name": "Ann"}, {"name": "Bo"}], "a b": True, "none": None}
    assert folded.calls == [("c1", "book", arguments), ("call_call-1_2", "now", {})]
    assert folded.states == [{"id": "c1", "signature": SIG}, None]


def test_a_call_whose_only_piece_is_its_last() -> None:
    folded = both(said(partial(piece("$.a", "x"), name="f", args={"b": "y"}), end="STOP"))
    assert folded.calls == [("call_call-1_1", "f", {"b": "y", "a": "x"})]


@pytest.mark.parametrize(
    "pieces",
    [
        [piece("city", "x")],
        [piece("$", "x")],
        [piece("$[0]", "x")],
        [piece("$.a[", "x")],
        [piece("$.a[5]", "x")],
        [piece("$.a", "x"), piece("$.a.b", "x")],
        [piece("$.a.b", "x"), piece("$.a[0]", "x")],
        [piece("$" + ".a" * 65, "x")],
        [{"stringValue": "x"}],
    ],
)
def test_pieces_without_a_place_are_malformed(pieces: list[dict[str, Any]]) -> None:
    with pytest.raises(UpstreamError) as caught:
        whole(said(partial(*pieces, name="f"), end="STOP"))
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


def test_arguments_beside_pieces_are_an_object() -> None:
    with pytest.raises(UpstreamError) as caught:
        whole(said({"functionCall": {"name": "f", "args": [1], "partialArgs": []}}, end="STOP"))
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


def test_half_a_call_is_never_whole() -> None:
    with pytest.raises(UpstreamError) as caught:
        read_stream(sse(said(partial(piece("$.a", "x"), name="f", willContinue=True)), said(end="STOP")))
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


# ---------------------------------------------------------------------------------------------------------------------
# Ends
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "reason", "native"),
    [
        ("STOP", FinishReason.STOP, "STOP"),
        (1, FinishReason.STOP, "STOP"),
        ("MAX_TOKENS", FinishReason.LENGTH, "MAX_TOKENS"),
        (2, FinishReason.LENGTH, "MAX_TOKENS"),
        ("SAFETY", FinishReason.CONTENT_FILTER, "SAFETY"),
        (3, FinishReason.CONTENT_FILTER, "SAFETY"),
        ("RECITATION", FinishReason.CONTENT_FILTER, "RECITATION"),
        ("BLOCKLIST", FinishReason.CONTENT_FILTER, "BLOCKLIST"),
        ("PROHIBITED_CONTENT", FinishReason.CONTENT_FILTER, "PROHIBITED_CONTENT"),
        ("SPII", FinishReason.CONTENT_FILTER, "SPII"),
        ("MODEL_ARMOR", FinishReason.CONTENT_FILTER, "MODEL_ARMOR"),
        ("IMAGE_SAFETY", FinishReason.CONTENT_FILTER, "IMAGE_SAFETY"),
        ("MALFORMED_FUNCTION_CALL", FinishReason.ERROR, "MALFORMED_FUNCTION_CALL"),
        ("UNEXPECTED_TOOL_CALL", FinishReason.ERROR, "UNEXPECTED_TOOL_CALL"),
        ("OTHER", FinishReason.UNSPECIFIED, "OTHER"),
        ("LANGUAGE", FinishReason.UNSPECIFIED, "LANGUAGE"),
        ("NOVELTY", FinishReason.UNSPECIFIED, "NOVELTY"),
        (0, FinishReason.UNSPECIFIED, "FINISH_REASON_UNSPECIFIED"),
        (5, FinishReason.UNSPECIFIED, "OTHER"),
        (6, FinishReason.UNSPECIFIED, "6"),
    ],
)
def test_ends_are_told(word: Any, reason: FinishReason, native: str) -> None:
    finished = both(said({"text": "Well"}, end=word)).finished
    assert finished is not None
    assert (finished.finish_reason, finished.provider_finish_reason) == (reason, native)


@pytest.mark.parametrize("content", [{"content": {}}, {"content": {"role": "model"}}, {"content": None}, {}])
def test_a_candidate_may_say_nothing(content: dict[str, Any]) -> None:
    folded = both({"candidates": [{**content, "finishReason": "SAFETY"}], **NAMES})
    assert folded.parts == []
    assert folded.finished is not None
    assert folded.finished.finish_reason is FinishReason.CONTENT_FILTER


@pytest.mark.parametrize("more", [{}, {"candidates": []}, {"candidates": None}])
def test_a_blocked_prompt_is_an_answer_without_content(more: dict[str, Any]) -> None:
    usage = {"promptTokenCount": 9, "totalTokenCount": 9}
    folded = both({"promptFeedback": {"blockReason": "MODEL_ARMOR"}, "usageMetadata": usage, **NAMES, **more})
    assert folded.parts == []
    assert folded.usage == Usage(input_token_count=9)
    assert folded.finished is not None
    assert folded.finished.finish_reason is FinishReason.CONTENT_FILTER
    assert folded.finished.provider_finish_reason == "MODEL_ARMOR"


def test_the_answers_own_end_says_more_than_a_block() -> None:
    finished = both(said({"text": "Yes."}, end="STOP") | {"promptFeedback": {"blockReason": "OTHER"}}).finished
    assert finished is not None
    assert finished.provider_finish_reason == "STOP"


def test_a_whole_answer_needs_no_reason_but_a_candidate() -> None:
    folded = whole(said({"text": "Yes."}))
    assert folded.finished is not None
    assert (folded.finished.finish_reason, folded.finished.provider_finish_reason) == (FinishReason.UNSPECIFIED, "")
    empty: list[dict[str, Any]] = [{}, {"candidates": []}, {"promptFeedback": {}}, {"usageMetadata": {}}]
    for nothing in empty:
        with pytest.raises(UpstreamError) as caught:
            whole(nothing)
        assert caught.value.reason is Reason.UPSTREAM_MALFORMED


def test_a_stream_that_ends_before_its_reason_was_cut() -> None:
    stream = sse(said({"text": "One"}), said({"text": " two"}, end="STOP"))
    for at in range(len(stream.rstrip())):
        with pytest.raises(UpstreamError) as caught:
            read_stream(stream[:at])
        assert caught.value.reason in (Reason.UPSTREAM_STREAM_INTERRUPTED, Reason.UPSTREAM_MALFORMED)
    assert streamed(stream.rstrip()).texts == ["One two"]


def test_usage_and_empty_parts_may_follow_the_end() -> None:
    folded = both(
        said({"text": "Yes."}, end="STOP"),
        said({"text": ""}) | {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1}},
        {"usageMetadata": {"trafficType": "ON_DEMAND"}, **NAMES},
    )
    assert folded.texts == ["Yes."]
    assert folded.usage == Usage(input_token_count=3, output_token_count=1)


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


def test_an_answer_by_tool_is_text() -> None:
    request = CompleteRequest("m", [], tools=[Tool("now")], response_format=ResponseFormat(FormatKind.JSON_OBJECT))
    target = dataclasses.replace(TARGET, profile=Profile(reasoning=ReasoningStyle.BUDGET))
    answer = said(call("structured_answer", {"a": 1}) | {"thoughtSignature": SIG}, end="STOP")
    folded = whole(answer, attempt_of(request, target))
    assert [(part.kind, part.said) for part in folded.parts] == [(TEXT, '{"a":1}')]
    assert folded.finished is not None
    assert folded.finished.finish_reason is FinishReason.STOP
