"""What Converse answers, whole and streamed: parts, reasons, usage, and what cannot be a reply."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llmgateway_server.core.events import FinishReason, PartKind, UsageSnapshot
from llmgateway_server.core.messages import Citation, ProviderState
from llmgateway_server.core.requests import CompleteRequest, FormatKind, ResponseFormat, Tool
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.bedrock_converse.answer import normalised
from tests.unit.dialects.bedrock_converse_replies import (
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
from tests.unit.dialects.bedrock_converse_requests import NOVA, attempt_at
from tests.unit.dialects.kit import (
    TARGET,
    Folded,
    assert_merged,
    attempt_of,
    flat,
)

CITED = {
    "title": "Handbook",
    "sourceContent": [{"text": "Be "}, {"text": "kind."}],
    "location": {"documentChar": {"documentIndex": 0, "start": 0, "end": 8}},
}
PAGE = {"title": "A page", "sourceContent": [], "location": {"web": {"url": "https://example.com/a"}}}


def both(content: list[Any], events: list[Any], stop_reason: str = "end_turn", **more: Any) -> Folded:
    """Returns what is read, whole and streamed alike."""
    found = whole(answer(*content, stop_reason=stop_reason), **more)
    body = stream(START, *events, *ended(stop_reason))
    for bounds in (range(0), range(1, len(body))):
        assert streamed(body, bounds, **more) == found
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Parts
# ---------------------------------------------------------------------------------------------------------------------


def test_text_has_no_beginning_and_every_block_is_a_part() -> None:
    found = both([{"text": "Hello"}, {"text": " there"}], [*text(0, "", "Hel", "lo"), *text(1, " there")])
    assert [part.said for part in found.parts] == ["Hello", " there"]
    assert found.started is not None
    assert (found.started.response_id, found.started.provider_model) == ("", "")


def test_nothing_is_said() -> None:
    assert both([{"text": ""}], text(0, "")).parts == both([], []).parts == []


def test_thoughts_in_plain_text_stay_text() -> None:
    assert both([{"text": "<thinking>Hm</thinking>Yes"}], text(0, "<think", "ing>Hm</thinking>Yes")).text() == (
        "<thinking>Hm</thinking>Yes"
    )


def test_calls_come_in_pieces_or_at_once() -> None:
    content = [
        {"text": "Looking."},
        {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Zürich"}}},
        {"toolUse": {"toolUseId": "t2", "name": "now", "input": {}}},
    ]
    events = [
        *text(0, "Looking."),
        begin(1, "t1", "weather"),
        delta(1, toolUse={"input": ""}),
        delta(1, toolUse={"input": '{"city":'}),
        delta(1, toolUse={"input": '"Zürich"}'}),
        stop(1),
        begin(2, "t2", "now"),
        delta(2, toolUse={"input": ""}),
        stop(2),
    ]
    found = both(content, events, "tool_use")
    assert found.calls == [("t1", "weather", {"city": "Zürich"}), ("t2", "now", {})]
    assert found.finished is not None
    assert found.finished.finish_reason is FinishReason.TOOL_CALLS


def test_an_id_is_made_up_where_there_is_none() -> None:
    content = [{"toolUse": {"name": "now"}}, {"toolUse": {"toolUseId": None, "name": "now", "input": None}}]
    calls = whole(answer(*content, stop_reason="tool_use")).calls
    assert [call[1:] for call in calls] == [("now", {}), ("now", {})]
    assert len({call_id for call_id, _, _ in calls if call_id}) == 2


@pytest.mark.parametrize(
    ("given", "read"), [('{"a":1}', {"a": "1"}), ("", {}), ('{"half', '{"half'), ({"a": 1}, {"a": "1"})]
)
def test_some_models_write_their_arguments_as_text(given: Any, read: Any) -> None:
    call = {"toolUse": {"toolUseId": "t", "name": "now", "input": given}}
    assert whole(answer(call, stop_reason="tool_use")).calls[0][2] == read


def test_half_an_object_stays_half() -> None:
    events = [START, begin(0, "t", "now"), delta(0, toolUse={"input": '{"a'}), stop(0), *ended("max_tokens")]
    found = streamed(stream(*events))
    assert found.calls == [("t", "now", '{"a')]
    assert found.finished is not None
    assert found.finished.finish_reason is FinishReason.LENGTH


def test_reasoning_has_its_signature_as_state() -> None:
    content = [{"reasoningContent": {"reasoningText": {"text": "Hm…", "signature": "c2ln"}}}, {"text": "Yes"}]
    pieces = [{"text": "H"}, {"text": "m…"}, {"signature": ""}, {"signature": "c2"}, {"signature": "ln"}]
    events = [*(delta(0, reasoningContent=piece) for piece in pieces), stop(0), *text(1, "Yes")]
    found = both(content, events)
    assert [(part.kind, part.said, part.state) for part in found.parts] == [
        (PartKind.REASONING, "Hm…", ProviderState("bedrock", b"c2ln")),
        (PartKind.TEXT, "Yes", None),
    ]


def test_reasoning_that_is_not_signed_has_no_state() -> None:
    found = both(
        [{"reasoningContent": {"reasoningText": {"text": "Hm"}}}], [delta(0, reasoningContent={"text": "Hm"}), stop(0)]
    )
    assert [(part.said, part.state) for part in found.parts] == [("Hm", None)]


def test_reasoning_may_be_withheld() -> None:
    found = both(
        [{"reasoningContent": {"reasoningText": {"text": "", "signature": "c2ln"}}}],
        [delta(0, reasoningContent={"signature": "c2ln"}), stop(0)],
    )
    assert [(part.said, part.redacted, part.state) for part in found.parts] == [
        ("", False, ProviderState("bedrock", b"c2ln"))
    ]


def test_redacted_reasoning_is_state_alone() -> None:
    found = both(
        [{"reasoningContent": {"redactedContent": "c2VjcmV0"}}],
        [delta(0, reasoningContent={"redactedContent": piece}) for piece in ("c2Vj", "cmV0")] + [stop(0)],
    )
    assert [(part.kind, part.said, part.redacted, part.state) for part in found.parts] == [
        (PartKind.REASONING, "", True, ProviderState("bedrock", b"c2VjcmV0"))
    ]


def test_reasoning_that_is_partly_redacted_is_two_parts() -> None:
    content = {"reasoningContent": {"reasoningText": {"text": "Hm"}, "redactedContent": "c2Vj"}}
    found = whole(answer(content))
    assert [(part.said, part.redacted) for part in found.parts] == [("Hm", False), ("", True)]


def test_sources_stand_beside_the_text() -> None:
    cited = {"content": [{"text": "As it "}, {"text": "says."}], "citations": [CITED, PAGE]}
    events = [delta(1, citation=CITED), delta(1, text="As it says."), delta(1, citation=PAGE), stop(1)]
    found = both([{"text": "Well. "}, {"citationsContent": cited}], [*text(0, "Well. "), *events])
    assert found.text() == "Well. As it says."
    assert found.parts[1].citations == (
        Citation("Handbook", "", "Be kind."),
        Citation("A page", "https://example.com/a", ""),
    )
    assert found.states == [None, {"citations": [CITED, PAGE]}]


def test_sources_of_a_search_are_named() -> None:
    cited = {"content": [{"text": "x"}], "citations": [{"source": "https://example.com/s", "title": None}]}
    assert whole(answer({"citationsContent": cited})).parts[0].citations == (Citation("", "https://example.com/s", ""),)


def test_tools_of_the_vendor_are_kept_whole() -> None:
    call = {"toolUse": {"toolUseId": "s1", "name": "code", "type": "server_tool_use", "input": {"snippet": "1+1"}}}
    result = {"toolResult": {"toolUseId": "s1", "type": "code_result", "content": [{"json": {"out": "2"}}]}}
    shown = {"image": {"format": "png", "source": {"bytes": "cGlj"}}}
    events = [
        begin(0, "s1", "code", type="server_tool_use"),
        delta(0, toolUse={"input": '{"snippet":'}),
        delta(0, toolUse={"input": '"1+1"}'}),
        stop(0),
        (
            "contentBlockStart",
            {"contentBlockIndex": 1, "start": {"toolResult": {"toolUseId": "s1", "type": "code_result"}}},
        ),
        delta(1, toolResult=[{"json": {"out": "2"}}]),
        stop(1),
        ("contentBlockStart", {"contentBlockIndex": 2, "start": {"image": {"format": "png"}}}),
        delta(2, image={"source": {"bytes": "cGlj"}}),
        stop(2),
        *text(3, "2"),
    ]
    found = both([call, result, shown, {"text": "2"}], events)
    assert found.states == [{"block": call}, {"block": result}, {"block": shown}, None]
    assert found.text() == "2"
    assert found.calls == []


def test_an_unknown_block_is_kept_whole() -> None:
    found = both([{"novelty": {"x": [1]}}], [delta(0, novelty={"x": [1]}), stop(0)])
    assert found.states == [{"block": {"novelty": {"x": [1]}}}]


def test_a_block_of_nothing_is_no_part() -> None:
    assert both([{"text": None}, {}], [delta(0, text=None), stop(0), delta(1), stop(1)]).parts == []


def test_input_of_the_vendors_tool_that_broke_off_cannot_go_back() -> None:
    events = [begin(0, "s", "code", type="server_tool_use"), delta(0, toolUse={"input": '{"a'}), stop(0)]
    found = streamed(stream(START, *events, *ended("max_tokens")))
    assert found.states == [{"block": {"toolUse": {"toolUseId": "s", "name": "code", "type": "server_tool_use"}}}]


def test_blocks_may_end_unsaid_and_be_mixed() -> None:
    events = [
        START,
        delta(0, text="a"),
        delta(1, text="b"),
        begin(2, "t1", "now"),
        begin(3, "t2", "now"),
        delta(2, toolUse={"input": '{"a":'}),
        delta(3, toolUse={"input": "{}"}),
        delta(2, toolUse={"input": "1}"}),
        *ended("tool_use"),
    ]
    found = streamed(stream(*events))
    assert [part.said for part in found.parts if part.kind is PartKind.TEXT] == ["a", "b"]
    assert found.calls == [("t1", "now", {"a": "1"}), ("t2", "now", {})]


def test_deltas_of_one_read_are_merged() -> None:
    batches = read_stream(stream(START, *text(0, *"Hello there"), *ended()))
    assert_merged(flat(batches))


def test_the_answer_tool_is_text() -> None:
    wanted = ResponseFormat(FormatKind.JSON_SCHEMA, "answer", schema_json='{"type":"object"}')
    attempt = attempt_at(NOVA, CompleteRequest("m", [], response_format=wanted))
    found = both(
        [{"toolUse": {"toolUseId": "t", "name": "answer", "input": {"a": "b"}}}],
        [begin(0, "t", "answer"), delta(0, toolUse={"input": '{"a":"b"}'}), stop(0)],
        "tool_use",
        attempt=attempt,
    )
    assert (found.text(), found.calls) == ('{"a":"b"}', [])
    assert found.finished is not None
    assert (found.finished.finish_reason, found.finished.provider_finish_reason) == (FinishReason.STOP, "tool_use")


def test_a_schema_of_a_model_that_follows_it_is_no_tool() -> None:
    wanted = ResponseFormat(FormatKind.JSON_SCHEMA, "answer", schema_json='{"type":"object"}')
    request = CompleteRequest("m", [], response_format=wanted, tools=[Tool("answer")])
    attempt = attempt_of(request, replace(TARGET, upstream_model="anthropic.claude-haiku-4-5-20251001-v1:0"))
    call = {"toolUse": {"toolUseId": "t", "name": "answer", "input": {}}}
    assert whole(answer(call, stop_reason="tool_use"), attempt).calls == [("t", "answer", {})]


# ---------------------------------------------------------------------------------------------------------------------
# Reasons
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", FinishReason.STOP),
        ("tool_use", FinishReason.TOOL_CALLS),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("stop_sequence", FinishReason.STOP_SEQUENCE),
        ("guardrail_intervened", FinishReason.CONTENT_FILTER),
        ("content_filtered", FinishReason.CONTENT_FILTER),
        ("refusal", FinishReason.REFUSAL),
        ("pause_turn", FinishReason.PAUSE),
        ("malformed_model_output", FinishReason.ERROR),
        ("malformed_tool_use", FinishReason.ERROR),
        ("novelty", FinishReason.UNSPECIFIED),
    ],
)
def test_reasons_are_translated(word: str, reason: FinishReason) -> None:
    finished = both([{"text": "x"}], text(0, "x"), word).finished
    assert finished is not None
    assert (finished.finish_reason, finished.provider_finish_reason) == (reason, word)


def test_a_call_that_ends_otherwise_is_a_call() -> None:
    finished = whole(answer({"toolUse": {"toolUseId": "t", "name": "now", "input": {}}})).finished
    assert finished is not None
    assert finished.finish_reason is FinishReason.TOOL_CALLS


# ---------------------------------------------------------------------------------------------------------------------
# Usage
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        ({}, Usage()),
        ({"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}, Usage(3, 5)),
        ({"inputTokens": 397, "outputTokens": 1, "cacheReadInputTokens": 0}, Usage(397, 1, 0)),
        (
            {
                "inputTokens": 3,
                "outputTokens": 121,
                "cacheReadInputTokens": 1712,
                "cacheReadInputTokenCount": 1712,
                "cacheWriteInputTokens": 236,
                "cacheDetails": [{"inputTokens": 236, "ttl": "5m"}],
                "serverToolUsage": {},
            },
            Usage(1951, 121, 1712, 236, 0),
        ),
        (
            {"inputTokens": 1, "outputTokens": 1, "cacheReadInputTokenCount": 2, "cacheWriteInputTokenCount": 4},
            Usage(7, 1, 2, 4),
        ),
        (
            {
                "inputTokens": 0,
                "outputTokens": 0,
                "cacheWriteInputTokens": 30,
                "cacheDetails": [{"inputTokens": 10, "ttl": "1h"}, {"inputTokens": 20, "ttl": "5m"}, None],
            },
            Usage(30, 0, None, 20, 10),
        ),
        ({"inputTokens": 1, "cacheDetails": [{"inputTokens": 10, "ttl": "1h"}]}, Usage(11, None, None, 0, 10)),
        (
            {"cacheWriteInputTokens": 4, "cacheDetails": [{"inputTokens": 9, "ttl": "1h"}]},
            Usage(None, None, None, 0, 4),
        ),
        ({"inputTokens": "3", "outputTokens": -5, "cacheReadInputTokens": 1.5, "cacheDetails": {}}, Usage()),
        ({"inputTokens": True, "cacheDetails": []}, Usage()),
    ],
)
def test_the_cache_is_part_of_the_input(reported: dict[str, Any], usage: Usage) -> None:
    assert normalised(reported) == usage


def test_usage_comes_after_the_stop() -> None:
    events = flat(read_stream(stream(START, *text(0, "x"), *ended())))
    assert isinstance(events[-2], UsageSnapshot)
    assert (events[-2].usage.input_token_count, events[-2].usage.output_token_count) == (3, 5)


@pytest.mark.parametrize("usage", [None, {}])
def test_usage_may_be_missing(usage: Any) -> None:
    assert streamed(stream(START, *text(0, "x"), *ended(usage=usage))).usage is None
    assert whole(answer({"text": "x"}, usage=usage)).usage is None
