"""What Anthropic's messages answer: what of it is told, and how."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from llmgateway_server.core.events import DELTAS, Finished, FinishReason, PartKind
from llmgateway_server.core.messages import Citation
from llmgateway_server.core.requests import CompleteRequest, FormatKind, ResponseFormat, Tool
from llmgateway_server.core.targets import Profile, Target
from llmgateway_server.providers.dialects.dialect import Quirks
from tests.unit.dialects.anthropic_replies import (
    DIALECT,
    END,
    begin,
    delta,
    reason,
    sse,
    start,
    stop,
    streamed,
    text_events,
    whole,
)
from tests.unit.dialects.kit import TARGET, Folded, Json, attempt_of, golden_names, golden_of

GOLDEN = "anthropic_messages_answers"

# ---------------------------------------------------------------------------------------------------------------------
# Answers that are written down
# ---------------------------------------------------------------------------------------------------------------------


def plain(folded: Folded) -> Json:
    """Returns what is worth writing down."""
    assert folded.started is not None
    assert folded.finished is not None
    parts = []
    for part in folded.parts:
        said = {name: value for name, value in asdict(part).items() if value}
        if part.state is not None:
            said["state"] = part.state.data.decode()
            assert part.state.vendor == "anthropic"
        if part.citations:
            said["citations"] = [
                {name: value for name, value in asdict(each).items() if value is not None} for each in part.citations
            ]
        parts.append(said)
    usage = {} if folded.usage is None else asdict(folded.usage)
    return {
        "id": folded.started.response_id,
        "model": folded.started.provider_model,
        "parts": parts,
        "finish": [folded.finished.finish_reason, folded.finished.provider_finish_reason],
        "usage": {name: value for name, value in usage.items() if value is not None and name != "source"},
    }


@pytest.mark.parametrize("name", golden_names(GOLDEN))
def test_replies_are_as_written_down(name: str) -> None:
    golden = golden_of(GOLDEN, name)
    found = []
    if "answer" in golden:
        found.append(whole(golden["answer"]))
    if "events" in golden:
        body = sse(*golden["events"])
        found += [streamed(body), streamed(body, range(1, len(body)))]
    for folded in found:
        assert plain(folded) == golden["reply"]


def test_golden_files_were_found() -> None:
    assert len(golden_names(GOLDEN)) >= 10


# ---------------------------------------------------------------------------------------------------------------------
# What the vendor does
# ---------------------------------------------------------------------------------------------------------------------


def test_numbers_of_arguments_keep_their_spelling() -> None:
    block = b'{"type":"tool_use","id":"t","name":"n","input":{ "b" : 1.0e+5, "a":123456789012345678901234567890 }}'
    body = b'{"content":[%b],"stop_reason":"tool_use"}' % block
    events = DIALECT.decode_reply(attempt_of(), Quirks(), body)
    [arguments] = [
        event.arguments_json for event in events if isinstance(event, DELTAS) if hasattr(event, "arguments_json")
    ]
    assert arguments == '{"b":1.0e+5,"a":123456789012345678901234567890}'


def test_calls_without_an_id_get_one() -> None:
    block = {"type": "tool_use", "name": "n", "input": {}}
    answer = {"content": [{"type": "text", "text": "a"}, block, block], "stop_reason": "tool_use"}
    assert [part.tool_call_id for part in whole(answer).parts] == ["", "call_call-1_2", "call_call-1_3"]


def test_the_container_is_told_at_the_end() -> None:
    container = {"id": "container_1", "expires_at": "2026-01-01T00:00:00Z"}
    answer = {"content": [{"type": "text", "text": "a"}], "stop_reason": "pause_turn", "container": container}
    told = reason("pause_turn")
    told["delta"]["container"] = container
    folded = whole(answer)
    body = sse(start(), *text_events("a"), told, END)
    assert streamed(body).parts == folded.parts
    assert folded.parts[1].state is not None
    assert json.loads(folded.parts[1].state.data) == {"container": container}


def test_citations_say_where_the_words_stand() -> None:
    cited = [
        {
            "type": "web_search_result_location",
            "url": "https://a",
            "title": None,
            "cited_text": "w",
            "encrypted_index": "e",
        },
        {"type": "search_result_location", "source": "s", "title": "t", "cited_text": "", "start_block_index": 0},
        {"type": "char_location", "document_title": "d", "cited_text": "c", "start_char_index": 3, "end_char_index": 9},
    ]
    [part] = whole({"content": [{"type": "text", "text": "x", "citations": cited}], "stop_reason": "end_turn"}).parts
    assert part.citations == (Citation("", "https://a", "w"), Citation("t", "s", ""), Citation("d", "", "c"))
    assert part.state is not None
    assert json.loads(part.state.data) == {"citations": cited}


@pytest.mark.parametrize(
    ("native", "expected"),
    [
        ("end_turn", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("stop_sequence", FinishReason.STOP_SEQUENCE),
        ("refusal", FinishReason.REFUSAL),
        ("pause_turn", FinishReason.PAUSE),
        ("novelty", FinishReason.UNSPECIFIED),
    ],
)
def test_empty_answers_are_answers(native: str, expected: FinishReason) -> None:
    answer = {"content": [], "stop_reason": native, "stop_details": {"type": "refusal"}}
    for folded in (whole(answer), streamed(sse(start(), reason(native), END))):
        assert folded.parts == []
        assert folded.finished == Finished(expected, native)


def test_half_a_surrogate_pair_costs_one_character() -> None:
    body = b'{"content":[{"type":"text","text":"a\\ud800b"}],"stop_reason":"end_turn"}'
    stream = sse(start(), *text_events("a?b"), reason("end_turn"), END).replace(b"?", b"\\ud800")
    assert whole(body).text() == streamed(stream).text() == "a\ufffdb"


# ---------------------------------------------------------------------------------------------------------------------
# Structured output by forced tool
# ---------------------------------------------------------------------------------------------------------------------

OLD = replace(TARGET, profile=Profile(native_json_schema=False))
SCHEMA = ResponseFormat(FormatKind.JSON_SCHEMA, "answer", schema_json="{}")


@pytest.mark.parametrize(
    ("wanted", "target", "name"),
    [
        (SCHEMA, OLD, "answer"),
        (ResponseFormat(FormatKind.JSON_OBJECT), TARGET, "structured_answer"),
    ],
)
def test_the_arguments_of_the_answer_tool_are_the_text(wanted: ResponseFormat, target: Target, name: str) -> None:
    attempt = attempt_of(CompleteRequest("m", [], tools=[Tool("look")], response_format=wanted), target)
    block = {"type": "tool_use", "id": "t", "name": name, "input": {"a": 1}}
    answer = whole({"content": [block], "stop_reason": "tool_use"}, attempt)
    piece = delta(0, "input_json_delta", partial_json='{"a":1}')
    events = [start(), begin(0, {**block, "input": {}}), piece, stop(0), reason("tool_use"), END]
    for folded in (answer, streamed(sse(*events), attempt=attempt)):
        assert [(part.kind, part.said) for part in folded.parts] == [(PartKind.TEXT, '{"a":1}')]
        assert folded.finished == Finished(FinishReason.STOP, "tool_use")
