"""What chat completions answer: whole, as streams however they are cut, and as errors."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.core.calls import Attempt, AttemptRecord, Call, CallScope, Deadline
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import (
    DELTAS,
    Event,
    Finished,
    FinishReason,
    Logprob,
    PartFinished,
    PartKind,
    PartStarted,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolArgumentsDelta,
    UsageSnapshot,
)
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, Operation
from llmgateway_server.core.targets import Target
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.dialect import Quirks
from llmgateway_server.providers.dialects.openai_chat import OpenAiChat

DIALECT = OpenAiChat()
NOW_S = 1_700_000_000.0


TARGET = Target(provider="p", vendor="openai", upstream_model="upstream-1")


def attempt_of(request: CompleteRequest | None = None, target: Target = TARGET) -> Attempt:
    scope = CallScope("call-1", "/m", "peer", {}, 0.0, Deadline(10.0, from_client=False))
    call = Call(scope, Operation.COMPLETE, streaming=True, request=request or CompleteRequest("m", []))
    return Attempt(call, target, AttemptRecord(1, target))


# ---------------------------------------------------------------------------------------------------------------------
# Reading replies
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Folded:
    """What a caller puts together from events."""

    started: Started | None = None
    parts: list[tuple[PartKind, str, str, str]] = field(default_factory=list)
    """Kind, tool call's id, tool's name, everything that was said."""
    logprobs: list[Logprob] = field(default_factory=list)
    usage: Usage | None = None
    finished: Finished | None = None


def fold(events: list[Event]) -> Folded:
    """Holds events to the grammar and puts them together."""
    folded, still_open = Folded(), set[int]()
    for event in events:
        assert folded.finished is None
        assert isinstance(event, Started) == (folded.started is None)
        match event:
            case Started():
                folded.started = event
            case PartStarted():
                assert event.part_index == len(folded.parts)
                folded.parts.append((event.kind, event.tool_call_id, event.tool_name, ""))
                still_open.add(event.part_index)
            case TextDelta(part_index=index, text=text, logprobs=logprobs):
                folded.logprobs += logprobs
                say(folded, still_open, index, text)
            case ReasoningDelta(part_index=index, text=text):
                say(folded, still_open, index, text)
            case ToolArgumentsDelta(part_index=index, arguments_json=text):
                say(folded, still_open, index, text)
            case PartFinished():
                still_open.remove(event.part_index)
            case UsageSnapshot():
                folded.usage = event.usage
            case Finished():
                folded.finished = event
    assert not still_open
    assert folded.finished is not None
    return folded


def say(folded: Folded, still_open: set[int], index: int, text: str) -> None:
    assert index in still_open
    *what, said = folded.parts[index]
    folded.parts[index] = (*what, said + text)  # type: ignore[assignment]


def read_stream(body: bytes, bounds: list[int], quirks: Quirks | None = None) -> list[list[Event]]:
    """Feeds a body cut at `bounds`; one batch per read. Raises what the reader would see."""
    decoder = DIALECT.stream_decoder(attempt_of(), quirks or Quirks())
    batches = []
    for start, stop in itertools.pairwise([0, *bounds, len(body)]):
        batches.append(decoder.feed(body[start:stop]))
        if decoder.failure is not None:
            raise decoder.failure
    batches.append(decoder.end())
    if decoder.failure is not None:
        raise decoder.failure
    assert decoder.finished
    return batches


def flat(batches: list[list[Event]]) -> list[Event]:
    return [event for batch in batches for event in batch]


def sse(*chunks: Any, done: bool = True, end: str = "\n") -> bytes:
    lines = [f"data: {chunk if isinstance(chunk, str) else json.dumps(chunk, ensure_ascii=False)}" for chunk in chunks]
    return "".join(f"{line}{end}{end}" for line in [*lines, *(["data: [DONE]"] if done else [])]).encode()


def chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": finish, **({} if delta is None else {"delta": delta})}
    return {"id": "c-1", "model": "m-1", "choices": [choice], **more}


# ---------------------------------------------------------------------------------------------------------------------
# Generated answers: a message, and the same message in pieces
# ---------------------------------------------------------------------------------------------------------------------

SAID = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
COUNT = st.none() | st.integers(0, 10**6)
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
    whole = {"id": "c-1", "model": "m-1", "choices": [{"index": 0, **choice}], "usage": usage}

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
    end = draw(st.sampled_from(["\n", "\r", "\r\n"]))
    return json.dumps(whole).encode(), sse(*chunks, end=end)


def pieces(text: str) -> st.SearchStrategy[list[str]]:
    places = st.lists(st.integers(0, len(text)), max_size=4).map(sorted)
    return places.map(lambda at: [text[a:b] for a, b in itertools.pairwise([0, *at, len(text)]) if a < b])


@settings(deadline=None)
@given(answers(), st.data())
def test_a_whole_answer_is_the_fold_of_its_stream(answer: tuple[bytes, bytes], data: st.DataObject) -> None:
    whole, stream = answer
    expected = fold(DIALECT.decode_reply(attempt_of(), Quirks(), whole))
    bounds = data.draw(st.lists(st.integers(0, len(stream)), max_size=30).map(sorted))
    for cut in ([], bounds, list(range(1, len(stream)))):
        assert fold(flat(read_stream(stream, cut))) == expected


@settings(deadline=None)
@given(answers(), st.data())
def test_an_answer_that_breaks_off_is_never_whole(answer: tuple[bytes, bytes], data: st.DataObject) -> None:
    whole, stream = answer
    with pytest.raises(UpstreamError):
        DIALECT.decode_reply(attempt_of(), Quirks(), whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(UpstreamError) as caught:
        read_stream(stream[: data.draw(st.integers(0, stream.index(b"[DONE]") + 5))], [])
    assert caught.value.reason in (Reason.UPSTREAM_STREAM_INTERRUPTED, Reason.UPSTREAM_MALFORMED)


@settings(deadline=None)
@given(answers())
def test_the_first_delta_travels_alone_and_others_are_merged(answer: tuple[bytes, bytes]) -> None:
    [events, rest] = read_stream(answer[1], [])
    assert rest == []
    deltas = [event for event in events if isinstance(event, DELTAS)]
    for one, other in itertools.pairwise(events):
        if deltas and one is not deltas[0] and isinstance(one, TextDelta | ReasoningDelta):
            assert not isinstance(other, type(one))


# ---------------------------------------------------------------------------------------------------------------------
# What vendors do
# ---------------------------------------------------------------------------------------------------------------------


def test_a_forced_tool_call_that_ends_with_stop() -> None:
    tool = {"index": 0, "id": "a", "function": {"name": "t", "arguments": "{}"}}
    finished = fold(flat(read_stream(sse(chunk({"tool_calls": [tool]}), chunk({}, "stop")), []))).finished
    assert finished is not None
    assert (finished.finish_reason, finished.provider_finish_reason) == (FinishReason.TOOL_CALLS, "stop")


def test_a_filter_chunk_names_nobody_and_a_choice_may_lack_its_delta() -> None:
    first = {"id": "", "model": "", "choices": [], "prompt_filter_results": []}
    body = sse(first, chunk({"content": "a"}), chunk(None, content_filter_results={}), chunk({}, "stop"))
    folded = fold(flat(read_stream(body, [])))
    assert folded.started == Started("c-1", "m-1")
    assert [part[3] for part in folded.parts] == ["a"]


def test_a_filtered_answer_has_no_message() -> None:
    body = b'{"id":"c","model":"m","choices":[{"index":0,"finish_reason":"content_filter"}]}'
    folded = fold(DIALECT.decode_reply(attempt_of(), Quirks(), body))
    assert folded.parts == []
    assert folded.finished == Finished(FinishReason.CONTENT_FILTER, "content_filter")


def test_nulls_are_absent() -> None:
    delta = {"role": None, "content": "a", "refusal": None, "tool_calls": None, "reasoning": None}
    said = chunk(delta, "stop", usage=None, error=None)
    said["choices"][0] |= {"index": None, "logprobs": None}
    tool = chunk({"tool_calls": [{"index": 0, "id": "x", "function": {"name": "t", "arguments": None}}]})
    nothing = {"id": None, "model": None, "choices": None}
    folded = fold(flat(read_stream(sse(nothing, said, tool), [])))
    assert [part[2:] for part in folded.parts] == [("", "a"), ("t", "")]
    assert folded.usage is None


def test_comments_and_empty_events_are_passed_over() -> None:
    body = b": PROCESSING\n\ndata:\n\n" + sse(chunk({"content": "a"}, "stop"), done=False) + b"data: [DONE] \n\n"
    assert [part[3] for part in fold(flat(read_stream(body, []))).parts] == ["a"]


def test_other_choices_are_not_mixed_in() -> None:
    second = chunk({"content": "b"}, "length")
    second["choices"][0]["index"] = 1
    folded = fold(flat(read_stream(sse(chunk({"content": "a"}), second, chunk({}, "stop")), [])))
    assert [part[3] for part in folded.parts] == ["a"]
    assert folded.finished == Finished(FinishReason.STOP, "stop")


def tools_of(*deltas: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    chunks = [chunk({"tool_calls": delta}) for delta in deltas]
    return [part[1:] for part in fold(flat(read_stream(sse(*chunks, chunk({}, "tool_calls")), []))).parts]


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
    folded = fold(flat(read_stream(body, [])))
    assert folded.parts == [(PartKind.TOOL_CALL, "call_call-1_1", "f", "{}")]
    assert folded.finished == Finished(FinishReason.TOOL_CALLS, "function_call")


def test_log_probabilities_of_text_and_of_a_refusal() -> None:
    top = [{"token": "b", "logprob": -2, "bytes": None}]
    token = {"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": top}
    refused = {"token": "n", "logprob": -3, "bytes": [110]}
    message = {"content": "a", "refusal": "n"}
    choice = {"message": message, "logprobs": {"content": [token], "refusal": [refused]}, "finish_reason": "stop"}
    folded = fold(DIALECT.decode_reply(attempt_of(), Quirks(), json.dumps({"choices": [choice]}).encode()))
    assert folded.logprobs == [Logprob("a", -1.0, b"a", (("b", -2.0, b""),)), Logprob("n", -3.0, b"n")]


@pytest.mark.parametrize("count", [-1, 2**53 + 1, 10**30])
def test_a_count_that_cannot_be_one_is_absent(count: int) -> None:
    body = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}
    body["usage"] = {"prompt_tokens": count, "completion_tokens": 3}  # type: ignore[assignment]
    assert fold(DIALECT.decode_reply(attempt_of(), Quirks(), json.dumps(body).encode())).usage == Usage(None, 3)


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
    with pytest.raises(UpstreamError) as whole:
        DIALECT.decode_reply(attempt_of(), Quirks(), body)
    assert whole.value.reason is Reason.UPSTREAM_MALFORMED
    with pytest.raises(UpstreamError) as streamed:
        read_stream(b"data: " + body.replace(b"message", b"delta") + b"\n\ndata: [DONE]\n\n", [])
    assert streamed.value.reason in (Reason.UPSTREAM_MALFORMED, Reason.UPSTREAM_STREAM_INTERRUPTED)


@settings(deadline=None)
@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4).map(sorted))
def test_noise_is_an_error_with_a_reason(noise: bytes, bounds: list[int]) -> None:
    with pytest.raises(UpstreamError):
        DIALECT.decode_reply(attempt_of(), Quirks(), noise)
    with pytest.raises(UpstreamError):
        read_stream(noise, bounds)
    with pytest.raises(UpstreamError):
        read_stream(b"data: " + noise + b"\n\n", bounds)


def test_what_came_before_an_error_is_handed_out_first() -> None:
    body = sse(chunk({"content": "a"}), {"error": {"message": "x", "code": "429"}}, done=False)
    decoder = DIALECT.stream_decoder(attempt_of(), Quirks())
    events = decoder.feed(body)
    assert [type(event) for event in events] == [Started, PartStarted, TextDelta]
    assert decoder.failure is not None
    assert decoder.failure.reason is Reason.UPSTREAM_RATE_LIMITED
    assert not decoder.finished


def test_an_error_after_the_finish_reason_is_still_an_error() -> None:
    with pytest.raises(UpstreamError) as caught:
        read_stream(sse(chunk({"content": "a"}, "stop"), chunk({}, "error", error={"code": 502, "message": "x"})), [])
    assert caught.value.reason is Reason.UPSTREAM_ERROR


def test_done_without_a_finish_reason_is_an_interruption() -> None:
    with pytest.raises(UpstreamError) as caught:
        read_stream(sse(chunk({"content": "a"})), [])
    assert caught.value.reason is Reason.UPSTREAM_STREAM_INTERRUPTED


def test_a_vendor_without_a_last_line_ends_with_its_finish_reason() -> None:
    quirks = Quirks(done_line_required=False)
    folded = fold(flat(read_stream(sse(chunk({"content": "a"}, "stop"), done=False), [], quirks)))
    assert folded.finished == Finished(FinishReason.STOP, "stop")
    with pytest.raises(UpstreamError):
        read_stream(sse(chunk({"content": "a"}), done=False), [], quirks)


def test_a_finish_reason_without_the_last_line_is_an_interruption() -> None:
    with pytest.raises(UpstreamError) as caught:
        read_stream(sse(chunk({"content": "a"}, "stop"), done=False), [])
    assert caught.value.reason is Reason.UPSTREAM_STREAM_INTERRUPTED


def test_what_follows_the_last_line_is_not_read() -> None:
    body = sse(chunk({"content": "a"}, "stop")) + sse({"error": {}})
    assert [part[3] for part in fold(flat(read_stream(body, []))).parts] == ["a"]
    assert [part[3] for part in fold(flat(read_stream(body, [len(body) - 5]))).parts] == ["a"]
