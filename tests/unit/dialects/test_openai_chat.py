"""What chat completions answer: whole, as streams however they are cut, and as errors."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Finished, FinishReason, Logprob, PartKind, Started
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.dialect import Quirks
from tests.unit.dialects.kit import (
    COUNT,
    LINE_ENDS,
    SAID,
    FoldedPart,
    assert_merged,
    assert_never_whole,
    assert_same_however_cut,
    assert_told_first,
    bounds_in,
    cut_off,
    pieces,
)
from tests.unit.dialects.openai_chat_replies import READER, chunk, read_stream, sse, streamed, whole

# ---------------------------------------------------------------------------------------------------------------------
# Generated answers: a message, and the same message in pieces
# ---------------------------------------------------------------------------------------------------------------------

USAGE = st.none() | st.fixed_dictionaries(
    {"prompt_tokens": COUNT, "completion_tokens": COUNT},
    optional={
        "prompt_tokens_details": st.none() | st.fixed_dictionaries({"cached_tokens": COUNT}),
        "completion_tokens_details": st.none() | st.fixed_dictionaries({"reasoning_tokens": COUNT}),
    },
)
TOOL = st.tuples(st.text("abc", min_size=1, max_size=5), SAID)


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Returns a whole answer and a stream that says the same."""
    reasoning, content, refusal = draw(SAID), draw(SAID), draw(st.just("") | SAID)
    tools = draw(st.lists(TOOL, max_size=3))
    finish = draw(st.sampled_from(["stop", "length", "tool_calls", "content_filter", "eos"]))
    usage = draw(USAGE)
    logprobs = [{"token": char, "logprob": -0.5, "bytes": list(char.encode())} for char in content]
    calls = [
        {"id": f"id{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(tools)
    ]
    message = {"role": "assistant", "content": content or None, "reasoning_content": reasoning, "refusal": refusal}
    choice = {"message": {**message, "tool_calls": calls}, "logprobs": {"content": logprobs}, "finish_reason": finish}
    answer = {"id": "c-1", "model": "m-1", "choices": [{"index": 0, **choice}], "usage": usage}

    chunks = [chunk({"role": "assistant", "content": ""}, usage=None)]
    chunks += [chunk({"reasoning_content": piece}) for piece in draw(pieces(reasoning))]
    at = 0
    for piece in draw(pieces(content)):
        said = chunk({"content": piece})
        said["choices"][0]["logprobs"] = {"content": logprobs[at : at + len(piece)]}
        chunks.append(said)
        at += len(piece)
    chunks += [chunk({"refusal": piece}) for piece in draw(pieces(refusal))]
    heads = [
        chunk({"tool_calls": [{"index": n, "id": f"id{n}", "function": {"name": name, "arguments": ""}}]})
        for n, (name, _) in enumerate(tools)
    ]
    bodies = [
        [chunk({"tool_calls": [{"index": n, "function": {"arguments": piece}}]}) for piece in draw(pieces(arguments))]
        for n, (_, arguments) in enumerate(tools)
    ]
    chunks += heads + [each for row in itertools.zip_longest(*bodies) for each in row if each is not None]
    chunks.append(chunk({}, finish))
    if usage is not None:
        chunks.append({"id": "c-1", "choices": [], "usage": usage})
    return json.dumps(answer).encode(), sse(*chunks, end=draw(LINE_ENDS))


@settings(deadline=None)
@given(answers(), st.data())
def test_a_whole_answer_is_the_fold_of_its_stream(answer: tuple[bytes, bytes], data: st.DataObject) -> None:
    body, stream = answer
    assert_same_however_cut(READER, body, stream, data.draw(bounds_in(stream)))


@settings(deadline=None)
@given(answers(), st.data())
def test_an_answer_that_breaks_off_is_never_whole(answer: tuple[bytes, bytes], data: st.DataObject) -> None:
    body, stream = answer
    assert_never_whole(READER, data.draw(cut_off(body)), data.draw(cut_off(stream, stream.index(b"[DONE]") + 5)))


@settings(deadline=None)
@given(answers())
def test_the_first_delta_travels_alone_and_others_are_merged(answer: tuple[bytes, bytes]) -> None:
    [events, rest] = read_stream(answer[1])
    assert rest == []
    assert_merged(events)


# ---------------------------------------------------------------------------------------------------------------------
# What vendors do
# ---------------------------------------------------------------------------------------------------------------------


def test_a_forced_tool_call_that_ends_with_stop() -> None:
    tool = {"index": 0, "id": "a", "function": {"name": "t", "arguments": "{}"}}
    finished = streamed(sse(chunk({"tool_calls": [tool]}), chunk({}, "stop"))).finished
    assert finished is not None
    assert (finished.finish_reason, finished.provider_finish_reason) == (FinishReason.TOOL_CALLS, "stop")


def test_a_filter_chunk_names_nobody_and_a_choice_may_lack_its_delta() -> None:
    first = {"id": "", "model": "", "choices": [], "prompt_filter_results": []}
    body = sse(first, chunk({"content": "a"}), chunk(None, content_filter_results={}), chunk({}, "stop"))
    folded = streamed(body)
    assert folded.started == Started("c-1", "m-1")
    assert folded.texts == ["a"]


def test_a_filtered_answer_has_no_message() -> None:
    body = b'{"id":"c","model":"m","choices":[{"index":0,"finish_reason":"content_filter"}]}'
    folded = whole(body)
    assert folded.parts == []
    assert folded.finished == Finished(FinishReason.CONTENT_FILTER, "content_filter")


def test_nulls_are_absent() -> None:
    delta = {"role": None, "content": "a", "refusal": None, "tool_calls": None, "reasoning": None}
    said = chunk(delta, "stop", usage=None, error=None)
    said["choices"][0] |= {"index": None, "logprobs": None}
    tool = chunk({"tool_calls": [{"index": 0, "id": "x", "function": {"name": "t", "arguments": None}}]})
    nothing = {"id": None, "model": None, "choices": None}
    folded = streamed(sse(nothing, said, tool))
    assert [(part.tool_name, part.said) for part in folded.parts] == [("", "a"), ("t", "")]
    assert folded.usage is None


def test_comments_and_empty_events_are_passed_over() -> None:
    body = b": PROCESSING\n\ndata:\n\n" + sse(chunk({"content": "a"}, "stop"), done=False) + b"data: [DONE] \n\n"
    assert streamed(body).texts == ["a"]


def test_other_choices_are_not_mixed_in() -> None:
    second = chunk({"content": "b"}, "length")
    second["choices"][0]["index"] = 1
    folded = streamed(sse(chunk({"content": "a"}), second, chunk({}, "stop")))
    assert folded.texts == ["a"]
    assert folded.finished == Finished(FinishReason.STOP, "stop")


def tools_of(*deltas: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    chunks = [chunk({"tool_calls": delta}) for delta in deltas]
    folded = streamed(sse(*chunks, chunk({}, "tool_calls")))
    assert len(folded.calls) == len(folded.parts)
    return folded.calls


def piece(arguments: str, **more: Any) -> dict[str, Any]:
    name = more.pop("name", None)
    return {**more, "function": {"arguments": arguments, **({"name": name} if name else {})}}


def test_tool_calls_without_an_index_are_told_apart_by_their_ids() -> None:
    calls = tools_of(
        [piece("{}", id="a", name="one")], [piece("{}", id="b", name="two"), piece("[]", id="c", name="x")]
    )
    assert calls == [("a", "one", "{}"), ("b", "two", "{}"), ("c", "x", "[]")]


def test_a_piece_without_index_id_and_name_goes_on_with_the_last_call() -> None:
    calls = tools_of([piece("{", id="a", name="one")], [piece("}")], [piece("{", id="b", name="two")], [piece("}")])
    assert calls == [("a", "one", "{}"), ("b", "two", "{}")]


def test_tool_calls_that_share_an_index_are_told_apart_by_their_ids() -> None:
    calls = tools_of(
        [piece("{", index=0, id="a", name="one")],
        [piece("}", index=0)],
        [piece("[", index=0, id="b", name="two")],
        [piece("]", index=0, id="b")],
    )
    assert calls == [("a", "one", "{}"), ("b", "two", "[]")]


def test_a_call_that_repeats_its_id_and_name_stays_one() -> None:
    calls = tools_of([piece("{", index=0, id="a", name="one")], [piece("}", index=0, id="a", name="one")])
    assert calls == [("a", "one", "{}")]


def test_tool_calls_without_ids_get_some() -> None:
    calls = tools_of([piece("{}", name="one")], [piece("{}", name="two"), piece("{}", name="two")])
    assert calls == [("call_call-1_1", "one", "{}"), ("call_call-1_2", "two", "{}"), ("call_call-1_3", "two", "{}")]
    indexed = tools_of([piece("{", index=0, name="one")], [piece("}", index=0)])
    assert indexed == [("call_call-1_1", "one", "{}")]


def test_a_function_call_of_old_is_a_tool_call() -> None:
    body = sse(
        chunk({"function_call": {"name": "f", "arguments": "{"}}),
        chunk({"function_call": {"arguments": "}"}}),
        chunk({}, "function_call"),
    )
    folded = streamed(body)
    assert folded.parts == [FoldedPart(PartKind.TOOL_CALL, "{}", "call_call-1_1", "f")]
    assert folded.finished == Finished(FinishReason.TOOL_CALLS, "function_call")


def test_log_probabilities_of_text_and_of_a_refusal() -> None:
    top = [{"token": "b", "logprob": -2, "bytes": None}]
    token = {"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": top}
    refused = {"token": "n", "logprob": -3, "bytes": [110]}
    message = {"content": "a", "refusal": "n"}
    choice = {"message": message, "logprobs": {"content": [token], "refusal": [refused]}, "finish_reason": "stop"}
    folded = whole({"choices": [choice]})
    assert folded.logprobs == [Logprob("a", -1.0, b"a", (("b", -2.0, b""),)), Logprob("n", -3.0, b"n")]


@pytest.mark.parametrize("count", [-1, 2**53 + 1, 10**30])
def test_a_count_that_cannot_be_one_is_absent(count: int) -> None:
    body = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}
    body["usage"] = {"prompt_tokens": count, "completion_tokens": 3}  # type: ignore[assignment]
    assert whole(body).usage == Usage(None, 3)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"choices":[]}',
        b'{"choices":[{"message":{"content":"a"}}]}',
        b'{"choices":[{"message":{"content":"\xff"},"finish_reason":"stop"}]}',
        b'{"choices":[{"message":{"content":["a"]},"finish_reason":"stop"}]}',
        b'{"choices":[{"logprobs":{"content":[{"token":"a","logprob":0,"bytes":[256]}]},"finish_reason":"stop"}]}',
        b'{"choices":' + b"[" * 100_000,
        b'{"x":' + b"[" * 100_000,
        b"<html></html>",
    ],
)
def test_what_cannot_be_read_is_malformed(body: bytes) -> None:
    with pytest.raises(UpstreamError) as told:
        whole(body)
    assert told.value.reason is Reason.UPSTREAM_MALFORMED
    with pytest.raises(UpstreamError) as caught:
        read_stream(b"data: " + body.replace(b"message", b"delta") + b"\n\ndata: [DONE]\n\n")
    assert caught.value.reason in (Reason.UPSTREAM_MALFORMED, Reason.UPSTREAM_STREAM_INTERRUPTED)


@settings(deadline=None)
@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4).map(sorted))
def test_noise_is_an_error_with_a_reason(noise: bytes, bounds: list[int]) -> None:
    with pytest.raises(UpstreamError):
        whole(noise)
    with pytest.raises(UpstreamError):
        read_stream(noise, bounds)
    with pytest.raises(UpstreamError):
        read_stream(b"data: " + noise + b"\n\n", bounds)


def test_what_came_before_an_error_is_handed_out_first() -> None:
    body = sse(chunk({"content": "a"}), {"error": {"message": "x", "code": "429"}}, done=False)
    assert_told_first(READER.decoder(), body, Reason.UPSTREAM_RATE_LIMITED)


def test_an_error_after_the_finish_reason_is_still_an_error() -> None:
    with pytest.raises(UpstreamError) as caught:
        read_stream(sse(chunk({"content": "a"}, "stop"), chunk({}, "error", error={"code": 502, "message": "x"})))
    assert caught.value.reason is Reason.UPSTREAM_ERROR


def test_done_without_a_finish_reason_is_an_interruption() -> None:
    with pytest.raises(UpstreamError) as caught:
        read_stream(sse(chunk({"content": "a"})))
    assert caught.value.reason is Reason.UPSTREAM_STREAM_INTERRUPTED


def test_a_vendor_without_a_last_line_ends_with_its_finish_reason() -> None:
    quirks = Quirks(done_line_required=False)
    folded = streamed(sse(chunk({"content": "a"}, "stop"), done=False), quirks=quirks)
    assert folded.finished == Finished(FinishReason.STOP, "stop")
    with pytest.raises(UpstreamError):
        read_stream(sse(chunk({"content": "a"}), done=False), quirks=quirks)


def test_a_finish_reason_without_the_last_line_is_an_interruption() -> None:
    with pytest.raises(UpstreamError) as caught:
        read_stream(sse(chunk({"content": "a"}, "stop"), done=False))
    assert caught.value.reason is Reason.UPSTREAM_STREAM_INTERRUPTED


def test_what_follows_the_last_line_is_not_read() -> None:
    body = sse(chunk({"content": "a"}, "stop")) + sse({"error": {}})
    assert streamed(body).texts == ["a"]
    assert streamed(body, [len(body) - 5]).texts == ["a"]
