"""How answers of Google are read: parts, signatures, calls and ends, whole and streamed."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Event, FinishReason, MediaDelta, PartFinished, PartKind, PartStarted
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, FormatKind, ResponseFormat, Tool
from llmgateway_server.core.targets import Profile, ReasoningStyle
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.dialect import Quirks
from tests.unit.dialects.gemini_replies import (
    DIALECT,
    NAMES,
    SIG,
    both,
    call,
    read_stream,
    said,
    sse,
    streamed,
    whole,
)
from tests.unit.dialects.kit import (
    TARGET,
    attempt_of,
    fold,
)

TEXT, REASONING = PartKind.TEXT, PartKind.REASONING


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


def test_an_answer_by_tool_is_text() -> None:
    request = CompleteRequest("m", [], tools=[Tool("now")], response_format=ResponseFormat(FormatKind.JSON_OBJECT))
    target = dataclasses.replace(TARGET, profile=Profile(reasoning=ReasoningStyle.BUDGET))
    answer = said(call("structured_answer", {"a": 1}) | {"thoughtSignature": SIG}, end="STOP")
    folded = whole(answer, attempt_of(request, target))
    assert [(part.kind, part.said) for part in folded.parts] == [(TEXT, '{"a":1}')]
    assert folded.finished is not None
    assert folded.finished.finish_reason is FinishReason.STOP
