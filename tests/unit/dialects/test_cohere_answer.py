"""How answers of Cohere are read, whole and event by event."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import FinishReason, Logprob, PartKind
from llmgateway_server.core.messages import Citation, ProviderState
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, FormatKind, ResponseFormat, Tool
from llmgateway_server.core.usage import Usage
from tests.unit.dialects.cohere_replies import (
    DIALECT,
    READER,
    START,
    USAGE,
    call,
    called,
    end,
    event,
    plan,
    sse,
    stream,
    text,
    thought,
    whole,
)
from tests.unit.dialects.kit import Folded, Json, assert_told_first, attempt_of, bounds_in, cut_off

HELLO = stream(*text("Hel", "lo 🙂"))
THINKING, PLAN = ProviderState("cohere", b"thinking"), ProviderState("cohere", b"tool_plan")
DOCUMENT = {
    "type": "document",
    "id": "doc:0",
    "document": {"title": "Handbook", "url": "https://a/b", "snippet": "Be."},
}
TOOL = {"type": "tool", "id": "now_1:0", "tool_output": {"content": "4:20 PM"}}


def both(events: list[Any], reason: str = "COMPLETE", **message: Any) -> Folded:
    """Returns what a stream and a whole answer say, which is the same."""
    streamed = READER.streamed(stream(*events, reason=reason))
    assert streamed == READER.whole(whole(reason, **message))
    return streamed


def refused(answer: Any) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        READER.whole(answer)
    return caught.value


def broken(body: bytes) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        READER.read_stream(body)
    return caught.value


# ---------------------------------------------------------------------------------------------------------------------
# What is said
# ---------------------------------------------------------------------------------------------------------------------


@given(bounds_in(HELLO))
def test_text_is_the_same_however_it_is_cut(bounds: list[int]) -> None:
    assert READER.streamed(HELLO, bounds) == READER.whole(whole(content=[{"type": "text", "text": "Hello 🙂"}]))


def test_an_answer_tells_its_id_and_its_tokens_and_not_its_model() -> None:
    found = READER.streamed(HELLO)
    assert found.started is not None
    assert (found.started.response_id, found.started.provider_model) == ("id-1", "")
    assert found.usage == Usage(input_token_count=70, output_token_count=3, cache_read_token_count=64)


def test_every_block_is_a_part() -> None:
    blocks = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    found = both([*thought("Hm", "."), *text("a", index=1), *text("b", index=2)], content=blocks)
    assert [(part.kind, part.said, part.state) for part in found.parts] == [
        (PartKind.REASONING, "Hm.", THINKING),
        (PartKind.TEXT, "a", None),
        (PartKind.TEXT, "b", None),
    ]


def test_a_plan_is_reasoning_that_knows_its_place() -> None:
    events = [*plan("I will ", "look."), *called("now_1", "now", "{", "}"), *called("", "weather", index=1)]
    calls = [call("now_1", "now", "{}"), call(None, "weather", "")]
    found = both(events, "TOOL_CALL", tool_plan="I will look.", tool_calls=calls)
    assert [(part.kind, part.state) for part in found.parts[:1]] == [(PartKind.REASONING, PLAN)]
    assert found.parts[0].said == "I will look."
    assert found.calls == [("now_1", "now", "{}"), ("call_call-1_2", "weather", "")]
    assert found.finished is not None
    assert (found.finished.finish_reason, found.finished.provider_finish_reason) == (
        FinishReason.TOOL_CALLS,
        "TOOL_CALL",
    )


def test_empty_blocks_are_none() -> None:
    blocks = [{"type": "thinking", "thinking": ""}, {"type": "text", "text": ""}]
    assert both([*thought(), *text("", index=1)], content=blocks, tool_plan="").parts == []


@pytest.mark.parametrize("message", [{}, {"content": None}, {"content": []}, {"content": None, "citations": None}])
def test_an_answer_may_say_nothing(message: Any) -> None:
    assert READER.whole(whole(**message)).parts == []


def test_content_may_be_a_plain_text() -> None:
    assert READER.whole(whole(content="Hi")).texts == ["Hi"]


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("COMPLETE", FinishReason.STOP),
        ("STOP_SEQUENCE", FinishReason.STOP_SEQUENCE),
        ("MAX_TOKENS", FinishReason.LENGTH),
        ("NOVELTY", FinishReason.UNSPECIFIED),
    ],
)
def test_reasons_to_end(native: str, reason: FinishReason) -> None:
    found = both(text("a"), native, content=[{"type": "text", "text": "a"}])
    assert found.finished is not None
    assert (found.finished.finish_reason, found.finished.provider_finish_reason) == (reason, native)


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        ({"billed_units": {"input_tokens": 5, "output_tokens": 2}}, Usage(input_token_count=5, output_token_count=2)),
        ({"tokens": {"input_tokens": 7.0}}, Usage(input_token_count=7)),
        ({"tokens": {"input_tokens": 7.5, "output_tokens": -1}, "cached_tokens": "9"}, None),
        ({"tokens": None, "billed_units": []}, None),
        (None, None),
        ([], None),
    ],
)
def test_tokens_as_far_as_they_are_told(reported: Any, usage: Usage | None) -> None:
    assert READER.whole({**whole(content="a"), "usage": reported}).usage == usage


def test_log_probabilities_go_with_the_text() -> None:
    items = [
        {"text": "Hm", "token_ids": [1], "logprobs": [-1.0]},
        {"text": "Hi ", "token_ids": [2, 3], "logprobs": [-0.25, -0.5]},
        {"text": "!", "token_ids": [4], "logprobs": None},
    ]
    events = [*thought("Hm"), *text("Hi ", "!", index=1)]
    deltas = iter(items)
    scored = [{**each, "logprobs": next(deltas)} if each["type"] == "content-delta" else each for each in events]
    blocks = [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "Hi !"}]
    found = READER.streamed(stream(*scored))
    assert found.logprobs == [Logprob("Hm", -1.0, b"Hm"), Logprob("Hi ", -0.75, b"Hi ")]
    assert found == READER.whole({**whole(content=blocks), "logprobs": items})


def test_log_probabilities_of_no_text() -> None:
    answer = {**whole(tool_calls=[call("c", "now", "{}")]), "logprobs": [{"text": "{", "logprobs": [-1.0]}]}
    assert READER.whole(answer).logprobs == [Logprob("{", -1.0, b"{")]


# ---------------------------------------------------------------------------------------------------------------------
# Citations
# ---------------------------------------------------------------------------------------------------------------------


def cited(kind: str | None = None, index: int | None = None, *sources: Any) -> dict[str, Any]:
    return {"start": 1, "end": 3, "text": "el", "sources": list(sources), "type": kind, "content_index": index}


HANDBOOK = Citation("Handbook", "https://a/b", "Be.", 1, 3)


def test_a_text_has_its_citations_one_for_each_source() -> None:
    citation = cited("TEXT_CONTENT", 1, DOCUMENT, TOOL)
    blocks = [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "Hello"}]
    found = both([*thought("Hm"), *text("Hello", index=1, cited=citation)], content=blocks, citations=[citation])
    assert [part.citations for part in found.parts] == [(), (HANDBOOK, Citation("now_1:0", "", "4:20 PM", 1, 3))]


def test_thoughts_and_plans_have_citations_too() -> None:
    of_thought, of_plan = cited("THINKING_CONTENT", 0, DOCUMENT), cited("PLAN", None, DOCUMENT)
    events = [*thought("Hm", cited=of_thought), *plan("Look."), event("citation-start", 1, citations=of_plan)]
    found = both(
        events,
        content=[{"type": "thinking", "thinking": "Hm"}],
        tool_plan="Look.",
        citations=[of_plan, of_thought],
    )
    assert [part.citations for part in found.parts] == [(HANDBOOK,), (HANDBOOK,)]


def test_a_citation_may_name_nothing() -> None:
    found = both(
        text("Hello", cited={"start": 1, "end": None}),
        content=[{"type": "text", "text": "Hello"}],
        citations=[{"start": 1, "end": None}],
    )
    assert found.parts[0].citations == (Citation(start_index=1),)


def test_citations_of_words_that_are_not_there_are_told_without_places() -> None:
    late = event("citation-start", 0, citations=cited(None, None, DOCUMENT))
    found = READER.streamed(stream(*text("Hello"), *called("c", "now"), late))
    assert [(part.kind, part.said, part.citations) for part in found.parts] == [
        (PartKind.TEXT, "Hello", ()),
        (PartKind.TOOL_CALL, "", ()),
        (PartKind.TEXT, "", (Citation("Handbook", "https://a/b", "Be."),)),
    ]
    wrong_block = READER.whole(whole(content="Hello", citations=[cited(None, 4, DOCUMENT)]))
    assert [part.citations for part in wrong_block.parts] == [(HANDBOOK,)]


# ---------------------------------------------------------------------------------------------------------------------
# Answers by tool
# ---------------------------------------------------------------------------------------------------------------------


def test_an_answer_by_tool_is_text() -> None:
    request = CompleteRequest(
        "m", [], tools=[Tool("now")], response_format=ResponseFormat(FormatKind.JSON_SCHEMA, "s", schema_json="{}")
    )
    answer = whole("TOOL_CALL", tool_plan="So.", tool_calls=[call("c", "s", '{"a":1}')])
    streamed = READER.streamed(
        stream(*plan("So."), *called("c", "s", '{"a"', ":1}"), reason="TOOL_CALL"), attempt=attempt_of(request)
    )
    assert streamed == READER.whole(answer, attempt_of(request))
    assert [(part.kind, part.said) for part in streamed.parts] == [
        (PartKind.REASONING, "So."),
        (PartKind.TEXT, '{"a":1}'),
    ]
    assert streamed.finished is not None
    assert streamed.finished.finish_reason is FinishReason.STOP


# ---------------------------------------------------------------------------------------------------------------------
# What cannot be a whole answer
# ---------------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.data())
def test_a_stream_without_its_last_event_was_cut(data: st.DataObject) -> None:
    beginning = data.draw(cut_off(sse(START, *text("Hello"), end()).rstrip()))
    assert broken(beginning).reason in (Reason.UPSTREAM_STREAM_INTERRUPTED, Reason.UPSTREAM_MALFORMED)


def test_done_alone_ends_nothing() -> None:
    assert broken(sse(START, *text("Hi")) + b"data: [DONE]\n\n").reason is Reason.UPSTREAM_STREAM_INTERRUPTED


def test_unknown_events_say_nothing() -> None:
    odd: list[Json] = [
        {"type": "debug", "delta": 5},
        {"type": "novelty", "index": [], "delta": {"message": {"content": 1}}},
    ]
    assert READER.streamed(stream(*odd, *text("Hi"))).texts == ["Hi"]
    found = READER.streamed(b'data: {"type":"novelty"}\n\n' + stream(*text("Hi")))
    assert found.started is not None
    assert found.started.response_id == "id-1"
    assert READER.streamed(sse(START) + b"data: \n\n" + sse(*text("Hi"), end())).texts == ["Hi"]


def test_events_may_lack_what_they_need_not_have() -> None:
    bare = [
        event("content-delta", content={"text": "Hi"}),
        {"type": "content-start"},
        {"type": "content-delta"},
        {"type": "citation-start"},
        {"type": "tool-call-end", "index": 7},
        {"type": "tool-plan-delta", "delta": {"message": None}},
        event("tool-call-start", None, tool_calls=[call("c", "now", "{")]),
        event("tool-call-delta", None, tool_calls=[{"function": {"arguments": "}"}}]),
        event("tool-call-start", None, tool_calls=[]),
    ]
    found = READER.streamed(sse(*bare, end("TOOL_CALL")))
    assert found.started is not None
    assert found.started.response_id == ""
    assert found.texts[:2] == ["Hi", "{}"]
    assert found.calls[1] == ("call_call-1_2", "", "")


@pytest.mark.parametrize(("native", "reason"), [("ERROR", Reason.UPSTREAM_ERROR), ("TIMEOUT", Reason.UPSTREAM_TIMEOUT)])
def test_an_answer_that_failed_is_an_error(native: str, reason: Reason) -> None:
    assert refused(whole(native, content="Hi")).reason is reason
    decoder = READER.decoder()
    failed = end(native, error="the words of the vendor")
    assert_told_first(decoder, sse(START, *text("Hi")[:2], failed), reason)
    assert "words" not in f"{decoder.failure} {decoder.failure and decoder.failure.detail}"


def test_a_prompt_that_is_too_long_inside_a_stream() -> None:
    failed = end("ERROR", error="too many tokens: total number of tokens in the prompt cannot exceed 4 - received 5")
    assert broken(sse(START, failed)).reason is Reason.CONTEXT_LENGTH_EXCEEDED


@pytest.mark.parametrize(
    "error", [{"type": "", "message": "internal server error"}, {"type": "error", "message": "internal server error"}]
)
def test_an_error_in_the_place_of_an_event(error: Any) -> None:
    assert broken(sse(START) + f"data: {json.dumps(error)}\n\n".encode()).reason is Reason.UPSTREAM_ERROR
    assert broken(b'event: error\ndata: {"message":"x"}\n\n').reason is Reason.UPSTREAM_ERROR


def test_an_error_in_an_answer_whose_status_was_well() -> None:
    assert refused({"id": "x", "message": "internal server error"}).reason is Reason.UPSTREAM_ERROR


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"null",
        b"{}",
        {"id": "x"},
        whole(None, content="a"),
        whole(content=[{"type": "text", "text": 1}]),
        whole(content=5),
        whole(tool_plan=["a"]),
        whole(tool_calls=[{"id": "c", "function": {"name": "a", "arguments": {}}}]),
    ],
)
def test_an_answer_that_cannot_be_read(answer: Any) -> None:
    assert refused(answer).reason is Reason.UPSTREAM_MALFORMED


@pytest.mark.parametrize(
    "odd",
    [
        event("content-delta", 0, content="a"),
        event("content-delta", 0, content={"text": 1}),
        event("tool-call-delta", 3, tool_calls={"function": {"arguments": "{"}}),
        event("tool-plan-delta", tool_plan={}),
        {"type": "message-end", "delta": {"usage": USAGE}},
        {"type": "message-end"},
    ],
)
def test_an_event_that_cannot_be_read(odd: Any) -> None:
    assert broken(sse(START, odd, end())).reason is Reason.UPSTREAM_MALFORMED


def test_an_event_that_is_no_object() -> None:
    for data in (b"[]", b"5", b"{", b'{"type":5}'):
        assert broken(sse(START) + b"data: " + data + b"\n\n").reason is Reason.UPSTREAM_MALFORMED


def test_half_a_surrogate_pair_is_mended() -> None:
    body = stream(*text("-X-")).replace(b"-X-", b"\\ud83d")
    assert READER.streamed(body).texts == ["\ufffd"]


def test_every_order_of_blocks_is_kept() -> None:
    for kinds in itertools.product((text, thought), repeat=3):
        blocks = [
            {"type": "text", "text": "x"} if kind is text else {"type": "thinking", "thinking": "y"} for kind in kinds
        ]
        events = [each for i, kind in enumerate(kinds) for each in kind("x" if kind is text else "y", index=i)]
        found = both(events, content=blocks)
        assert found.texts == ["x" if kind is text else "y" for kind in kinds]


def test_the_dialect_is_cohere_s() -> None:
    assert (DIALECT.name, DIALECT.state_vendor) == ("cohere_chat", "cohere")
