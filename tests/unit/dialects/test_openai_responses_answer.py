"""What Responses answer: items, state that goes back, citations, usage, finish reasons, token counts."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import (
    Finished,
    FinishReason,
    Logprob,
    PartFinished,
    PartKind,
    Started,
    TokensCounted,
)
from llmgateway_server.core.messages import Citation
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import (
    CompleteRequest,
    CountTokensRequest,
    FormatKind,
    ResponseFormat,
    Tool,
)
from llmgateway_server.core.targets import Profile
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.dialect import Quirks
from tests.unit.dialects.kit import TARGET, FoldedPart, Json, attempt_of
from tests.unit.dialects.openai_responses_replies import (
    DIALECT,
    added,
    call,
    created,
    delta,
    ended,
    message,
    output_text,
    reasoning,
    response,
    streamed,
    unary,
)

SEALED = {"encrypted_content": "sealed"}
SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": None}}


def test_an_answer_is_its_items_in_order() -> None:
    answer = response(
        reasoning("One.", "Two.", **SEALED),
        SEARCH,
        message(output_text("Hello."), output_text("Bye.")),
        call('{"a":1}'),
    )
    folded = unary(answer)
    assert folded.started == Started("resp_1", "m-1")
    assert [(part.kind, part.said, part.redacted) for part in folded.parts] == [
        (PartKind.REASONING, "One.\n\nTwo.", False),
        (PartKind.TEXT, "", False),
        (PartKind.TEXT, "Hello.", False),
        (PartKind.TEXT, "Bye.", False),
        (PartKind.TOOL_CALL, '{"a":1}', False),
    ]
    assert folded.states == [
        {"id": "rs_1", "summary": ["One.", "Two."], "encrypted_content": "sealed"},
        {"item": SEARCH},
        {"id": "msg_1"},
        {"id": "msg_1"},
        {"id": "fc_1"},
    ]
    assert {part.state.vendor for part in folded.parts if part.state} == {DIALECT.state_vendor}
    assert folded.finished == Finished(FinishReason.TOOL_CALLS, "completed")


def test_without_reasoning_nothing_has_to_go_back() -> None:
    assert unary(response(message(output_text("a")), call("{}"))).states == [None, None]


def test_a_phase_goes_back() -> None:
    assert unary(response(message(output_text("a"), phase="commentary"))).states == [{"phase": "commentary"}]


@pytest.mark.parametrize(
    ("item", "part", "state"),
    [
        (reasoning(**SEALED), FoldedPart(PartKind.REASONING, redacted=True), {"encrypted_content": "sealed"}),
        (reasoning(), FoldedPart(PartKind.REASONING, redacted=True), {}),
        (reasoning("", "a", ""), FoldedPart(PartKind.REASONING, said="a"), {"summary": ["", "a", ""]}),
        (
            reasoning(content=[{"type": "reasoning_text", "text": "raw"}]),
            FoldedPart(PartKind.REASONING, said="raw"),
            {"content": ["raw"]},
        ),
        (
            reasoning("short", content=[{"type": "reasoning_text", "text": "raw"}]),
            FoldedPart(PartKind.REASONING, said="short"),
            {"summary": ["short"], "content": ["raw"]},
        ),
    ],
    ids=["sealed", "stored", "gaps", "in the open", "both"],
)
def test_reasoning_is_one_part(item: Json, part: FoldedPart, state: Json) -> None:
    [found] = unary(response(item)).parts
    assert found.state is not None
    assert json.loads(found.state.data) == {"id": "rs_1", "summary": [], **state}
    found.state = None
    assert found == part


def test_reasoning_without_id_seal_and_text_is_nothing() -> None:
    assert unary(response({"type": "reasoning", "summary": None})).parts == []


def test_the_source_of_reasoning_that_speaks_first_is_heard() -> None:
    both = reasoning("short", content=[{"type": "reasoning_text", "text": "raw"}])
    events = [added(0, both), delta(0, "reasoning_text", "ra"), delta(0, "reasoning_summary_text", "short")]
    folded = streamed(*events, delta(0, "reasoning_text", "w"), ended(response(both)))
    assert folded.texts == ["raw"]
    assert folded.states == [{"id": "rs_1", "summary": ["short"], "content": ["raw"]}]


def test_an_item_goes_back_to_the_letter() -> None:
    whole = b'{"output":[{ "type": "new", "n": 10000000000000000000000, "f": 1.0, "s": "\\u00fc \\"" }]}'
    events = DIALECT.decode_reply(attempt_of(), Quirks(), whole)
    [state] = [event.provider_state for event in events if isinstance(event, PartFinished)]
    assert state is not None
    assert state.data == b'{"item":{"type":"new","n":10000000000000000000000,"f":1.0,"s":"\\u00fc \\""}}'


def test_a_refusal_is_a_part_and_no_finish_reason() -> None:
    folded = unary(response(message({"type": "refusal", "refusal": "No."})))
    assert folded.parts == [FoldedPart(PartKind.REFUSAL, said="No.")]
    assert folded.finished == Finished(FinishReason.STOP, "completed")


def test_citations_stand_beside_their_text() -> None:
    page = {"type": "url_citation", "title": "T", "url": "https://a.b/", "start_index": 0, "end_index": 3}
    file = {"type": "file_citation", "file_id": "file_1", "filename": "a.pdf", "index": 4}
    made = {
        "type": "container_file_citation",
        "container_id": "c",
        "filename": "b.csv",
        "start_index": 1,
        "end_index": 2,
    }
    path = {"type": "file_path", "file_id": "file_2", "index": 0}
    odd = {"type": "url_citation", "url": 1, "title": None, "start_index": -1, "end_index": 2**70}
    found = (
        Citation("T", "https://a.b/", "", 0, 3),
        Citation("a.pdf", "", "", 4, 4),
        Citation("b.csv", "", "", 1, 2),
        Citation("file_2"),
        Citation(),
    )
    text = output_text("Hello", page, file, made, path, odd, {"type": "new"}, None, 3)  # type: ignore[arg-type]
    answer = response(message(text))
    assert [part.citations for part in unary(answer).parts] == [found]
    events = [
        {"type": "response.output_text.annotation.added", "output_index": 0, "content_index": 0, "annotation": each}
        for each in (page, file, made, path, odd, None)
    ]
    cited = [delta(0, "output_text", "Hello"), *events, {"type": "response.completed"}]
    assert [part.citations for part in streamed(*cited).parts] == [found]


def test_log_probabilities() -> None:
    top = [{"token": "b", "logprob": -2, "bytes": None}, {"token": None, "logprob": None}]
    token = {"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": top}
    answer = response(message(output_text("a", logprobs=[token])))
    assert unary(answer).logprobs == [Logprob("a", -1.0, b"a", (("b", -2.0, b""),))]
    told = [delta(0, "output_text", "a", logprobs=[{"token": "a", "logprob": -1}]), ended(answer)]
    assert streamed(*told).logprobs == [Logprob("a", -1.0)]


def test_an_answer_by_tool_is_text() -> None:
    request = CompleteRequest(
        "m",
        [],
        tools=[Tool("look")],
        response_format=ResponseFormat(FormatKind.JSON_SCHEMA, "answer", schema_json="{}"),
    )
    attempt = attempt_of(request, replace(TARGET, profile=Profile(native_json_schema=False)))
    answer = response(reasoning(**SEALED), call('{"a":1}', "answer"))
    folded = unary(answer, attempt)
    assert [part.kind for part in folded.parts] == [PartKind.REASONING, PartKind.TEXT]
    assert folded.texts[1] == '{"a":1}'
    assert folded.finished == Finished(FinishReason.STOP, "completed")


@pytest.mark.parametrize(
    ("more", "finished"),
    [
        ({}, Finished(FinishReason.STOP, "completed")),
        ({"status": None}, Finished(FinishReason.STOP, "completed")),
        ({"incomplete_details": {"reason": "max_output_tokens"}}, Finished(FinishReason.LENGTH, "max_output_tokens")),
        ({"incomplete_details": {"reason": "content_filter"}}, Finished(FinishReason.CONTENT_FILTER, "content_filter")),
        ({"incomplete_details": {"reason": "steered"}}, Finished(FinishReason.UNSPECIFIED, "steered")),
        ({"incomplete_details": {}}, Finished(FinishReason.UNSPECIFIED, "incomplete")),
        ({"incomplete_details": "odd"}, Finished(FinishReason.UNSPECIFIED, "incomplete")),
    ],
)
def test_finish_reasons(more: Json, finished: Finished) -> None:
    status = "incomplete" if "incomplete_details" in more else "completed"
    answer = response(message(output_text("a")), **{"status": status, **more})
    assert unary(answer).finished == finished
    assert streamed(created(answer), {"type": f"response.{status}", "response": answer}).finished == finished


def test_a_call_that_was_cut_is_told_with_the_reason() -> None:
    details = {"reason": "max_output_tokens"}
    folded = unary(response(call('{"a'), status="incomplete", incomplete_details=details))
    assert folded.texts == ['{"a']
    assert folded.finished == Finished(FinishReason.LENGTH, "max_output_tokens")


def test_usage() -> None:
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 8},
        "total_tokens": 30,
    }
    assert unary(response(usage=usage)).usage == Usage(
        10, 20, cache_read_token_count=4, cache_write_5m_token_count=3, reasoning_token_count=8
    )


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        (None, None),
        ("many", None),
        ({"input_tokens_details": 3}, None),
        ({}, Usage()),
        ({"input_tokens": -1, "output_tokens": 2**53 + 1, "output_tokens_details": None}, Usage()),
        ({"input_tokens": True, "output_tokens": 1.5}, Usage()),
        ({"input_tokens": 2**53, "output_tokens": 0}, Usage(2**53, 0)),
    ],
)
def test_a_count_that_cannot_be_one_is_absent(usage: object, read: Usage | None) -> None:
    assert unary(response(usage=usage)).usage == read


# --- token counts ----------------------------------------------------------------------------------------------------

COUNTING = attempt_of(CountTokensRequest(CompleteRequest("m", [])))


def test_a_token_count() -> None:
    body = b'{"object": "response.input_tokens", "input_tokens": 11}'
    assert DIALECT.decode_reply(COUNTING, Quirks(), body) == [
        Started("", "upstream-1"),
        TokensCounted(11, "VENDOR"),
        Finished(FinishReason.STOP),
    ]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{}", Reason.UPSTREAM_MALFORMED),
        (b"", Reason.UPSTREAM_MALFORMED),
        (b'{"input_tokens":-1}', Reason.UPSTREAM_MALFORMED),
        (b'{"input_tokens":"11"}', Reason.UPSTREAM_MALFORMED),
        (b'{"error":{"code":"rate_limit_exceeded"}}', Reason.UPSTREAM_RATE_LIMITED),
    ],
)
def test_a_token_count_that_is_none(body: bytes, reason: Reason) -> None:
    with pytest.raises(UpstreamError) as caught:
        DIALECT.decode_reply(COUNTING, Quirks(), body)
    assert caught.value.reason is reason
