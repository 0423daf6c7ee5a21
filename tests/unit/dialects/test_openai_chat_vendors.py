"""What speakers of chat completions answer in ways of their own, and what is read of it all the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Finished, FinishReason, PartKind
from llmgateway_server.core.messages import Citation, ProviderState
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.dialect import Quirks
from tests.unit.dialects.kit import Folded, attempt_of
from tests.unit.dialects.openai_chat_replies import DIALECT, READER, chunk, read_stream, sse, streamed, whole

OPEN_END = Quirks(done_line_required=False)
OPENROUTER = Quirks(state_vendor="openrouter")


def message(said: dict[str, Any], finish: object = "stop", **more: Any) -> dict[str, Any]:
    return {"id": "c-1", "model": "m-1", "choices": [{"index": 0, "message": said, "finish_reason": finish}], **more}


def calls(*functions: dict[str, Any]) -> dict[str, Any]:
    return {"tool_calls": [{"type": "function", **each} for each in functions]}


# ---------------------------------------------------------------------------------------------------------------------
# Content and reasoning
# ---------------------------------------------------------------------------------------------------------------------

THOUGHT: dict[str, Any] = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm. "}], "closed": True}
PIECES = [THOUGHT, {"type": "text", "text": "Yes"}, {"type": "reference", "reference_ids": [1]}]


def test_content_as_a_list_of_thoughts_and_texts() -> None:
    folded = whole(message({"content": PIECES}))
    assert [(part.kind, part.said) for part in folded.parts] == [(PartKind.REASONING, "Hm. "), (PartKind.TEXT, "Yes")]
    contents: list[Any] = [[THOUGHT], [{**THOUGHT, "thinking": "So."}], "Yes"]
    said = streamed(sse(*(chunk({"content": each}) for each in contents), chunk({"content": ""}, "stop")))
    assert said.texts == ["Hm. So.", "Yes"]


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_in_either_field(field: str) -> None:
    assert whole(message({"content": "a", field: "b"})).text(PartKind.REASONING) == "b"
    assert streamed(sse(chunk({field: "b"}), chunk({"content": "a"}, "stop"))).text(PartKind.REASONING) == "b"


def test_reasoning_in_both_fields_is_said_once() -> None:
    both = {"reasoning": "b", "reasoning_content": "b"}
    assert whole(message({"content": "a", **both})).text(PartKind.REASONING) == "b"


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("eos", FinishReason.STOP),
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP_SEQUENCE),
        ("max_tokens", FinishReason.LENGTH),
        ("model_length", FinishReason.LENGTH),
        ("function_call", FinishReason.TOOL_CALLS),
        ("error", FinishReason.ERROR),
        ("insufficient_system_resource", FinishReason.ERROR),
        ("something_new", FinishReason.UNSPECIFIED),
        (7, FinishReason.UNSPECIFIED),
    ],
)
def test_finish_words(word: object, reason: FinishReason) -> None:
    expected = Finished(reason, str(word))
    assert whole(message({"content": "a"}, word)).finished == expected
    last = chunk({"content": "a"})
    last["choices"][0]["finish_reason"] = word
    assert streamed(sse(last)).finished == expected


def test_the_last_of_several_finish_reasons_counts() -> None:
    said = sse(chunk({"content": "a"}, "stop"), chunk({"content": "b"}, "stop"), chunk({}, "length"))
    folded = streamed(said)
    assert (folded.texts, folded.finished) == (["ab"], Finished(FinishReason.LENGTH, "length"))


def test_empty_finish_reasons_are_none() -> None:
    folded = streamed(sse(chunk({"content": "a"}, ""), chunk({"content": "b"}, "stop")))
    assert folded.texts == ["ab"]


def test_identities_of_another_type() -> None:
    folded = whole({**message({"content": "a"}), "id": 7, "model": None})
    assert folded.started is not None
    assert (folded.started.response_id, folded.started.provider_model) == ("7", "")


def test_one_number_for_log_probabilities_is_no_token() -> None:
    said = chunk({"content": "a"}, "stop")
    said["choices"][0]["logprobs"] = -0.25
    assert streamed(sse(said)).logprobs == []


# ---------------------------------------------------------------------------------------------------------------------
# Tool calls
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(None, ""), ({"a": 1, "b": [1.5, "ü"]}, '{"a":1,"b":[1.5,"ü"]}'), ({}, "{}"), ('{"a": 1}', '{"a": 1}')],
)
def test_arguments_in_any_form(arguments: object, told: str) -> None:
    call = {"id": "x", "index": 0, "function": {"name": "t", "arguments": arguments}}
    assert whole(message(calls(call), "tool_calls")).calls == [("x", "t", told)]
    assert streamed(sse(chunk(calls(call)), chunk({}, "tool_calls"))).calls == [("x", "t", told)]


def test_a_piece_with_null_arguments_adds_nothing() -> None:
    deltas = ('{"a"', None, ":1}")
    chunks = [chunk(calls({"index": 0, "id": "x", "function": {"name": "t", "arguments": each}})) for each in deltas]
    assert streamed(sse(*chunks, chunk({}, "tool_calls"))).calls == [("x", "t", '{"a":1}')]


@pytest.mark.parametrize("index", [None, 0])
def test_whole_calls_are_told_apart_whatever_they_are_called(index: int | None) -> None:
    call = {"id": "x", "index": index, "function": {"name": "t", "arguments": "{}"}}
    folded = whole(message(calls(call, call, {**call, "id": None}), "tool_calls"))
    assert folded.calls == [("x", "t", "{}"), ("call_call-1_2", "t", "{}"), ("call_call-1_3", "t", "{}")]


def test_calls_at_several_places_that_share_an_id_get_their_own() -> None:
    chunks = [chunk(calls({"index": n, "id": "x", "function": {"name": "t", "arguments": "{}"}})) for n in range(2)]
    assert [call[0] for call in streamed(sse(*chunks, chunk({}, "tool_calls"))).calls] == ["x", "call_call-1_2"]


def test_call_text_and_finish_in_one_chunk() -> None:
    call = calls({"id": "D681PevKs", "function": {"name": "t", "arguments": "{}"}})
    folded = streamed(sse(chunk({"content": "Look. ", **call}, "tool_calls", usage={"prompt_tokens": 1})))
    assert folded.texts == ["Look. ", "{}"]
    assert folded.calls == [("D681PevKs", "t", "{}")]
    assert folded.usage == Usage(1)


def test_arguments_that_nest_too_deeply_are_malformed() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    body = '{"choices":[{"message":{"tool_calls":[{"function":{"name":"t","arguments":%s}}]},"finish_reason":"stop"}]}'
    with pytest.raises(UpstreamError) as caught:
        whole((body % deep).encode())
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


# ---------------------------------------------------------------------------------------------------------------------
# Usage and ends
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "normalised"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_cache_hit_tokens": 6}, Usage(9, 4, 6)),
        (
            {"prompt_tokens": 9, "prompt_cache_hit_tokens": 6, "prompt_tokens_details": {"cached_tokens": 5}},
            Usage(9, None, 5),
        ),
        ({"prompt_tokens": "9", "completion_tokens": 4.5}, Usage()),
        ({"prompt_tokens": None, "prompt_tokens_details": None}, Usage()),
        (
            {"prompt_tokens": 1, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 9}},
            Usage(1, 2, reasoning_token_count=9),
        ),
    ],
)
def test_usage_in_other_words(usage: dict[str, Any], normalised: Usage) -> None:
    assert whole(message({"content": "a"}, usage=usage)).usage == normalised
    assert streamed(sse(chunk({"content": "a"}, "stop", usage=usage))).usage == normalised


def test_the_last_usage_counts() -> None:
    chunks = [chunk({"content": "a"}, usage={"prompt_tokens": 3, "completion_tokens": n}) for n in (1, 2)]
    folded = streamed(sse(*chunks, chunk({}, "stop", usage=None), done=False, end="\r\n"), quirks=OPEN_END)
    assert folded.usage == Usage(3, 2)


def test_usage_that_groq_keeps_to_itself() -> None:
    told = {"id": "req_1", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    assert streamed(sse(chunk({"content": "a"}, "stop", x_groq=told))).usage == Usage(3, 2)
    both = chunk({"content": "a"}, "stop", x_groq=told, usage={"prompt_tokens": 4})
    assert streamed(sse(chunk({}, x_groq={"id": "req_1"}), both)).usage == Usage(4)


PAGE = Citation("A page", "https://example.com/a")
RESULTS = [{"title": "A page", "url": "https://example.com/a", "date": None}, {"title": 7, "url": None}]


@pytest.mark.parametrize(
    ("more", "citations"),
    [
        ({"search_results": RESULTS, "citations": ["https://example.com/a"]}, (PAGE,)),
        ({"citations": ["https://example.com/a", 7]}, (Citation("", "https://example.com/a"),)),
        ({"citations": "none", "search_results": {}}, ()),
    ],
)
def test_pages_that_the_answer_rests_on(more: dict[str, Any], citations: tuple[Citation, ...]) -> None:
    [told] = whole(message({"content": "a [1]"}, **more)).parts
    assert told.citations == citations
    chunks = (chunk({"content": "a "}, **more), chunk({"content": "[1]"}, "stop", **more))
    [told] = streamed(sse(*chunks, done=False), quirks=OPEN_END).parts
    assert (told.said, told.citations) == ("a [1]", citations)


# ---------------------------------------------------------------------------------------------------------------------
# Errors inside an answer
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"error": "Model is overloaded"}, Reason.UPSTREAM_ERROR),
        ({"error": "x", "code": 429}, Reason.UPSTREAM_ERROR),
        ({"object": "error", "message": "x", "code": 429}, Reason.UPSTREAM_RATE_LIMITED),
        (
            {"object": "error", "message": "x", "type": "invalid_request_error", "code": 3051},
            Reason.UPSTREAM_REJECTED_REQUEST,
        ),
        ({"detail": "Not authenticated"}, Reason.UPSTREAM_ERROR),
    ],
)
def test_errors_of_every_shape(body: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(UpstreamError) as told:
        whole(body)
    with pytest.raises(UpstreamError) as said:
        read_stream(sse(body))
    assert told.value.reason is said.value.reason is reason


def test_an_error_event_ends_a_stream_that_began_well() -> None:
    failed = {"error": {"message": "x", "type": "invalid_request_error", "code": "tool_use_failed", "status_code": 400}}
    body = sse(chunk({"content": "maybe"}), done=False) + b"event: error\n" + sse(failed, done=False)
    with pytest.raises(UpstreamError) as caught:
        read_stream(body)
    assert caught.value.reason is Reason.UPSTREAM_REJECTED_REQUEST


def test_an_error_beside_choices_counts_after_a_finish_reason() -> None:
    failed = chunk({"content": ""}, "error", error={"code": 502, "message": "x", "metadata": {"raw": {}}})
    with pytest.raises(UpstreamError) as caught:
        read_stream(sse(chunk({"content": "a"}, "stop"), chunk({}, "stop"), failed))
    assert caught.value.reason is Reason.UPSTREAM_ERROR


def test_an_error_inside_a_choice() -> None:
    choice = {"index": 0, "message": {"content": "a"}, "finish_reason": "error", "error": {"code": 429}}
    with pytest.raises(UpstreamError) as told:
        whole({"choices": [choice]})
    with pytest.raises(UpstreamError) as said:
        read_stream(sse({"choices": [{**choice, "delta": {}}]}))
    assert told.value.reason is said.value.reason is Reason.UPSTREAM_RATE_LIMITED


# ---------------------------------------------------------------------------------------------------------------------
# Reasoning that goes back unchanged
# ---------------------------------------------------------------------------------------------------------------------

SEALED = {"type": "reasoning.encrypted", "data": "c2VjcmV0", "id": "rs_1", "format": "openai-responses-v1", "index": 0}
SHOWN = {"type": "reasoning.text", "text": "Hm. So.", "signature": "c2ln", "format": "anthropic-claude-v1", "index": 0}


def state_of(folded: Folded) -> list[Any]:
    [part] = [part for part in folded.parts if part.kind is PartKind.REASONING]
    assert part.state is not None
    assert part.state.vendor == "openrouter"
    details: list[Any] = json.loads(part.state.data)
    return details


def whole_of_openrouter(said: dict[str, Any]) -> Folded:
    body = json.dumps(message(said)).encode()
    return READER.fold(DIALECT.decode_reply(attempt_of(), OPENROUTER, body))


def test_details_are_kept_for_their_vendor() -> None:
    said = {"content": "a", "reasoning": "Hm. So.", "reasoning_details": [SHOWN, SEALED]}
    folded = whole_of_openrouter(said)
    assert state_of(folded) == [SHOWN, SEALED]
    assert folded.text(PartKind.REASONING) == "Hm. So."
    assert whole(message(said)).states == [None, None]


def test_pieces_of_details_become_one() -> None:
    first = {**SHOWN, "text": "Hm. ", "signature": None}
    second = {"type": "reasoning.text", "text": "So.", "index": 0}
    last = {"type": "reasoning.text", "signature": "c2ln", "index": 0}
    deltas = [{"reasoning": each.get("text"), "reasoning_details": [each]} for each in (first, second, last)]
    deltas += [{"content": "a", "reasoning_details": [SEALED]}, {"reasoning_details": [{**SEALED, "id": "rs_2"}]}]
    folded = streamed(sse(*map(chunk, deltas), chunk({}, "stop")), quirks=OPENROUTER)
    assert state_of(folded) == [SHOWN, SEALED, {**SEALED, "id": "rs_2"}]
    assert folded.text(PartKind.REASONING) == "Hm. So."


def test_details_without_words_are_redacted_reasoning() -> None:
    folded = whole_of_openrouter({"content": "a", "reasoning": None, "reasoning_details": [SEALED]})
    assert [(part.kind, part.said, part.redacted) for part in folded.parts] == [
        (PartKind.TEXT, "a", False),
        (PartKind.REASONING, "", True),
    ]


def test_words_in_details_alone_are_not_shown() -> None:
    summary = {"type": "reasoning.summary", "summary": "In short.", "index": 1}
    folded = whole_of_openrouter({"content": "a", "reasoning": None, "reasoning_details": [SEALED, summary]})
    assert state_of(folded) == [SEALED, summary]
    assert folded.text(PartKind.REASONING) == ""


@pytest.mark.parametrize("details", [[], "x", [7], {}])
def test_details_of_another_shape_are_none(details: object) -> None:
    assert whole_of_openrouter({"content": "a", "reasoning_details": details}).states == [None]


def test_state_is_what_its_vendor_wrote() -> None:
    assert ProviderState("openrouter", json.dumps([SEALED], separators=(",", ":")).encode()) in [
        part.state for part in whole_of_openrouter({"reasoning_details": [SEALED]}).parts
    ]
