"""A response and its events say the same, however both are told and cut; what breaks off is never whole."""

from __future__ import annotations

import contextlib
import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import (
    DELTAS,
    Event,
    Finished,
    FinishReason,
    PartKind,
    PartStarted,
    Started,
    TextDelta,
    ToolArgumentsDelta,
)
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, FormatKind, ResponseFormat
from llmgateway_server.core.targets import Profile
from llmgateway_server.providers.dialects.dialect import Quirks
from tests.unit.dialects.kit import (
    COUNT,
    LINE_ENDS,
    SAID,
    TARGET,
    Folded,
    Json,
    assert_merged,
    assert_never_whole,
    assert_same_however_cut,
    attempt_of,
    bounds_in,
    cut_off,
    fold,
)
from tests.unit.dialects.openai_responses_replies import (
    DIALECT,
    READER,
    added,
    body_of,
    call,
    created,
    delta,
    done,
    ended,
    item_events,
    message,
    output_text,
    read_stream,
    reasoning,
    response,
    sse,
    streamed,
    unary,
)

# --- generated responses ---------------------------------------------------------------------------------------------

USAGE = st.none() | st.fixed_dictionaries(
    {"input_tokens": COUNT, "output_tokens": COUNT},
    optional={
        "input_tokens_details": st.none()
        | st.fixed_dictionaries({"cached_tokens": COUNT, "cache_write_tokens": COUNT}),
        "output_tokens_details": st.none() | st.fixed_dictionaries({"reasoning_tokens": COUNT}),
    },
)
ANNOTATION = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["url_citation", "file_citation", "container_file_citation", "file_path", "new"]),
        "title": SAID,
        "url": SAID,
        "filename": SAID,
        "file_id": SAID,
        "index": st.integers(0, 9),
        "start_index": st.integers(0, 9),
        "end_index": st.none() | st.integers(0, 9),
    }
)
OTHERS = st.sampled_from(["web_search_call", "code_interpreter_call", "mcp_call", "custom_tool_call", "never_seen"])


@st.composite
def texts(draw: st.DrawFn) -> Json:
    text = draw(SAID)
    tokens = [{"token": char, "logprob": -0.5, "top_logprobs": []} for char in text] if draw(st.booleans()) else []
    return output_text(text, *draw(st.lists(ANNOTATION, max_size=2)), logprobs=tokens)


@st.composite
def items(draw: st.DrawFn, n: int) -> Json:
    match draw(st.sampled_from(["message", "message", "reasoning", "raw reasoning", "call", "call", "other"])):
        case "message":
            content = draw(st.lists(texts() | SAID.map(lambda text: {"type": "refusal", "refusal": text}), max_size=3))
            phase: Json = draw(st.sampled_from([{}, {"phase": None}, {"phase": "commentary"}]))
            return message(*content, item_id=f"msg_{n}", **phase)
        case "reasoning":
            sealed: Json = draw(st.sampled_from([{}, {"encrypted_content": None}, {"encrypted_content": "sealed"}]))
            return reasoning(*draw(st.lists(SAID, max_size=3)), item_id=f"rs_{n}", **sealed)
        case "raw reasoning":
            raw = [{"type": "reasoning_text", "text": text} for text in draw(st.lists(SAID, max_size=2))]
            return reasoning(item_id=f"rs_{n}", content=raw)
        case "call":
            return call(draw(SAID), draw(st.sampled_from(["look", "answer"])), f"call_{n}", f"fc_{n}")
        case _:
            return {"id": f"x_{n}", "type": draw(OTHERS), "status": "completed", "input": draw(SAID), "big": 10**30}


@st.composite
def answers(draw: st.DrawFn) -> tuple[Json, list[Json]]:
    """Returns a response and events that say the same."""
    output = [draw(items(n)) for n in range(draw(st.integers(0, 5)))]
    reason = draw(st.sampled_from([None, "max_output_tokens", "content_filter", "steered"]))
    more: Json = {"status": "incomplete", "incomplete_details": {"reason": reason}} if reason else {}
    answer = response(*output, usage=draw(USAGE), **more)
    told = [list(item_events(draw, index, item)) for index, item in enumerate(output)]
    events = draw(in_order(told)) if draw(st.booleans()) else list(itertools.chain(*told))
    keepalive = {"type": "keepalive"}
    return answer, [keepalive, created(answer), *events, ended(answer)]


@st.composite
def in_order(draw: st.DrawFn, told: list[list[Json]]) -> list[Json]:
    """Mixes the events of items: each of them stays in order, and items begin in order."""
    left = [list(reversed(events)) for events in told]
    begun = 0
    mixed = []
    while any(left):
        ready = [n for n, events in enumerate(left) if events and n <= begun]
        chosen = draw(st.sampled_from(ready))
        mixed.append(left[chosen].pop())
        begun = max(begun, chosen + 1)
    return mixed


@settings(deadline=None)
@given(answers(), st.data())
def test_a_whole_response_is_the_fold_of_its_stream(answer: tuple[Json, list[Json]], data: st.DataObject) -> None:
    whole, events = answer
    stream = sse(events, end=data.draw(LINE_ENDS), done=data.draw(st.booleans()))
    assert_same_however_cut(READER, body_of(whole), stream, data.draw(bounds_in(stream)))


FORMAT = ResponseFormat(FormatKind.JSON_SCHEMA, "answer", schema_json="{}")
BY_TOOL = attempt_of(
    CompleteRequest("m", [], response_format=FORMAT),
    replace(TARGET, profile=Profile(native_json_schema=False)),
)


@settings(deadline=None)
@given(answers())
def test_so_it_is_with_an_answer_by_tool(answer: tuple[Json, list[Json]]) -> None:
    whole, events = answer
    assert streamed(*events, attempt=BY_TOOL) == unary(whole, BY_TOOL)


@settings(deadline=None)
@given(answers(), st.data())
def test_a_response_that_breaks_off_is_never_whole(answer: tuple[Json, list[Json]], data: st.DataObject) -> None:
    whole, events = answer
    body, stream = body_of(whole), sse(events)
    assert_never_whole(READER, data.draw(cut_off(body)), data.draw(cut_off(stream, len(stream) - 3)))


@settings(deadline=None)
@given(answers())
def test_the_first_delta_travels_alone_and_others_are_merged(answer: tuple[Json, list[Json]]) -> None:
    [got, rest] = read_stream(sse(answer[1]))
    assert rest == []
    assert_merged(got)


# --- noise -----------------------------------------------------------------------------------------------------------

FIELDS = [
    *("type", "id", "content", "summary", "text", "refusal", "annotations", "logprobs", "call_id", "name", "arguments"),
    *("encrypted_content", "phase", "reason", "error", "message", "code", "output", "usage", "input_tokens", "token"),
    *("input_tokens_details", "status", "incomplete_details", "response", "item", "part", "logprob", "bytes"),
]
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
    | st.sampled_from(["message", "function_call", "reasoning", "url_citation", "completed", "max_output_tokens"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)
KINDS = [
    *("response.created", "response.output_item.added", "response.output_item.done", "response.content_part.done"),
    *("response.output_text.delta", "response.output_text.done", "response.output_text.annotation.added"),
    *("response.refusal.delta", "response.refusal.done", "response.function_call_arguments.delta"),
    *("response.function_call_arguments.done", "response.reasoning_summary_text.delta", "response.completed"),
    *("response.reasoning_summary_text.done", "response.reasoning_summary_part.done", "response.reasoning_text.delta"),
    *("response.incomplete", "response.failed", "error", "response.mcp_call_arguments.delta", "new"),
]
VALUE = JUNK | items(0) | st.lists(JUNK | texts() | items(1), max_size=3) | st.just(response(message(output_text("a"))))
EVENT = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS) | JUNK},
    optional=dict.fromkeys(
        ["response", "item", "part", "delta", "text", "arguments", "annotation", "logprobs", "error", "code"], VALUE
    )
    | dict.fromkeys(["output_index", "content_index", "summary_index"], st.integers(0, 2) | JUNK),
)


@settings(deadline=None, max_examples=500)
@given(st.lists(EVENT, max_size=8))
def test_strange_events_are_a_whole_reply_or_an_error_with_a_reason(events: list[Json]) -> None:
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    with contextlib.suppress(UpstreamError):
        READER.streamed(body)


@settings(deadline=None, max_examples=300)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(["id", "model", "status", "output", "usage", "error"], VALUE)))
def test_a_strange_response_is_a_whole_reply_or_an_error_with_a_reason(answer: Json) -> None:
    with contextlib.suppress(UpstreamError):
        READER.whole(answer)


@settings(deadline=None)
@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4).map(sorted))
def test_noise_is_an_error_with_a_reason(noise: bytes, bounds: list[int]) -> None:
    for read in (
        lambda: DIALECT.decode_reply(attempt_of(), Quirks(), noise),
        lambda: read_stream(noise, bounds),
        lambda: read_stream(b"data: " + noise + b"\n\n", bounds),
    ):
        with pytest.raises(UpstreamError):
            read()


DEEP = b"[" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"output":null}',
        b'{"output":{}}',
        b'{"output":[1]}',
        b'{"output":[{"type":"message","content":"a"}]}',
        b'{"output":[{"type":"message","content":[{"text":"\xff"}]}]}',
        b'{"output":[{"type":"message","content":[{"text":"a","logprobs":[{"token":"a","logprob":0,"bytes":[256]}]}]}]}',
        b'{"output":[{"type":"function_call","call_id":"c","name":"n","arguments":{}}]}',
        b'{"output":[{"type":"x","said":"\xff"}]}',
        b'{"output":[{"type":"x","deep":' + DEEP,
        b'{"deep":' + DEEP,
        b'{"output":[],"status":"in_progress"}',
        b'{"output":[],"status":"queued"}',
        b'{"output":[],"status":"cancelled"}',
        b"<html></html>",
    ],
)
def test_what_cannot_be_read_is_malformed(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        DIALECT.decode_reply(attempt_of(), Quirks(), body)
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


# --- what vendors and proxies do -------------------------------------------------------------------------------------


def kinds(folded: Folded) -> list[PartKind]:
    return [part.kind for part in folded.parts]


def test_function_calls_may_be_open_side_by_side() -> None:
    one, two = call('{"a":1}', "one", "call_1", "fc_1"), call('{"b":2}', "two", "call_2", "fc_2")
    arguments = "function_call_arguments"
    events = [
        *(added(0, one), added(1, two), delta(1, arguments, '{"b":'), delta(0, arguments, '{"a":')),
        *(delta(1, arguments, "2}"), delta(0, arguments, "1}"), done(1, two), done(0, one)),
    ]
    decoder = READER.decoder()
    got: list[Event] = decoder.feed(sse(events[:4]))
    assert [type(event) for event in got] == [Started, PartStarted, PartStarted, ToolArgumentsDelta, ToolArgumentsDelta]
    answer = response(one, two)
    folded = streamed(created(answer), *events, ended(answer))
    assert folded == unary(answer)
    assert folded.calls == [
        ("call_1", "one", '{"a":1}'),
        ("call_2", "two", '{"b":2}'),
    ]
    assert folded.finished == Finished(FinishReason.TOOL_CALLS, "completed")


def test_what_would_tear_an_item_apart_waits_for_its_end() -> None:
    thought, said = reasoning("hm", encrypted_content="s"), message(output_text("ab"))
    summary, text = "reasoning_summary_text", "output_text"
    events = [
        *(added(0, thought), delta(0, summary, "h"), added(1, said), delta(1, text, "a"), delta(0, summary, "m")),
        *(delta(1, text, "b"), done(0, thought), done(1, said)),
    ]
    assert streamed(*events, ended(response(thought, said))).texts == ["hm", "ab"]


def test_text_is_told_as_it_comes() -> None:
    decoder = READER.decoder()
    said = message(output_text("ab"))
    decoder.feed(sse([created(response()), added(0, said)]))
    for text in "ab":
        assert [event for event in decoder.feed(sse([delta(0, "output_text", text)])) if isinstance(event, DELTAS)] == [
            TextDelta(0, text)
        ]


@pytest.mark.parametrize(
    "events",
    [
        [],
        [done(0, reasoning("hm")), done(1, message(output_text("a"))), done(2, call("{}"))],
        [done(0, reasoning("hm")), done(0, message(output_text("a"))), done(0, call("{}"))],
        [
            delta(0, "reasoning_summary_text", "h"),
            delta(1, "output_text", "a"),
            delta(2, "function_call_arguments", "{"),
        ],
        [
            delta(0, "reasoning_summary_text", "hm"),
            added(0, message()),
            delta(0, "output_text", "a"),
            done(0, call("{}")),
        ],
        [added(0, reasoning("hm")), added(1, message()), added(2, call(""))],
        [added(0, reasoning("hm")), added(0, message()), added(0, call(""))],
        [{**done(0, reasoning("hm")), "output_index": None}, {**added(1, message()), "output_index": None}],
    ],
    ids=[
        "the end alone",
        "ends of items",
        "one index",
        "no beginnings",
        "mixed",
        "beginnings",
        "one begun",
        "no index",
    ],
)
def test_what_deltas_did_not_bring_is_taken_from_what_is_done(events: list[Json]) -> None:
    answer = response(reasoning("hm", item_id="other"), message(output_text("a"), item_id="other"), call("{}"))
    folded = streamed(created(answer), *events, ended(answer))
    assert kinds(folded) == [PartKind.REASONING, PartKind.TEXT, PartKind.TOOL_CALL]
    assert folded.texts == ["hm", "a", "{}"]
    assert folded.calls == [("call_1", "look", "{}")]


def test_a_last_event_without_output_ends_what_was_said() -> None:
    events = [
        added(0, message()),
        delta(0, "output_text", "a"),
        added(1, call("")),
        delta(1, "function_call_arguments", "{"),
    ]
    folded = streamed(*events, {"type": "response.completed"})
    assert folded.texts == ["a", "{"]
    assert folded.finished == Finished(FinishReason.TOOL_CALLS, "completed")


def test_two_calls_under_one_index_without_ends_stay_two() -> None:
    one, two = call("", "one", "call_1", "fc_1"), call("", "two", "call_2", "fc_2")
    arguments = "function_call_arguments"
    events = [added(0, one), delta(0, arguments, "[]"), added(0, two), delta(0, arguments, "{}")]
    folded = streamed(*events, ended(response(call("[]", "one", "call_1"), call("{}", "two", "call_2"))))
    assert [(part.tool_name, part.said) for part in folded.parts] == [("one", "[]"), ("two", "{}")]


def test_a_call_without_an_id_gets_one() -> None:
    nameless = {"type": "function_call", "name": "look", "arguments": "{}"}
    answer = response(nameless, {**nameless, "call_id": None})
    assert [part.tool_call_id for part in unary(answer).parts] == ["call_call-1_1", "call_call-1_2"]
    folded = streamed(added(0, nameless), delta(0, "function_call_arguments", "{"), done(0, nameless), ended(answer))
    assert folded.parts == unary(answer).parts


def test_an_announcement_that_comes_late_or_twice_changes_nothing() -> None:
    late = [delta(0, "function_call_arguments", "{"), added(0, call("")), added(0, call("")), done(0, call("{}"))]
    folded = streamed(*late, delta(0, "function_call_arguments", "x"), done(0, call("{}")), ended(response(call("{}"))))
    assert folded.calls == [("call_1", "look", "{}")]


def test_the_name_of_an_event_is_looked_at_where_its_data_has_none() -> None:
    answer = json.dumps({"response": response(message(output_text("a")))}).encode()
    [events, _] = read_stream(b"event: response.completed\ndata: " + answer + b"\n\n")
    assert fold(events).texts == ["a"]


def test_comments_empty_events_and_unknown_ones_are_passed_over() -> None:
    others: list[Any] = [{"type": "response.mcp_call_arguments.delta", "delta": {"a": 1}}, {"type": 7}, {}]
    noise = b": ping\n\ndata:\n\n" + b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in others)
    [events, _] = read_stream(noise + sse([created(response()), ended(response(message(output_text("a"))))]))
    assert fold(events).texts == ["a"]
    assert events[0] == Started("resp_1", "m-1")


def test_done_before_the_last_event_is_an_interruption() -> None:
    with pytest.raises(UpstreamError) as caught:
        read_stream(sse([created(response()), added(0, message()), delta(0, "output_text", "a")], done=True))
    assert caught.value.reason is Reason.UPSTREAM_STREAM_INTERRUPTED


def test_what_follows_the_last_event_is_not_read() -> None:
    body = sse([ended(response(message(output_text("a")))), {"type": "error", "message": "x"}], done=True)
    assert fold(read_stream(body)[0]).texts == ["a"]
