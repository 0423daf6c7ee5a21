"""What Anthropic's messages answer: whole, and as streams however they are cut."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import (
    DELTAS,
    Finished,
    FinishReason,
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
from llmgateway_server.core.targets import Profile, Target
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.dialect import Quirks
from tests.unit.dialects.anthropic_replies import (
    DIALECT,
    END,
    READER,
    begin,
    delta,
    read_stream,
    reason,
    sse,
    start,
    stop,
    streamed,
    text_events,
    whole,
)
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
    assert_told_first,
    attempt_of,
    bounds_in,
    cut_off,
    golden_names,
    golden_of,
    pieces,
)

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
# Generated answers: a message, and the same message in pieces
# ---------------------------------------------------------------------------------------------------------------------

NAME = st.text("abc", min_size=1, max_size=5)
OBJECT = st.dictionaries(
    NAME, st.integers() | st.floats(allow_nan=False, allow_infinity=False) | SAID | st.none(), max_size=3
)
CITATION = st.fixed_dictionaries({"type": st.just("x"), "url": SAID, "title": st.none() | SAID, "cited_text": SAID})
BLOCK = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": SAID}, optional={"citations": st.none() | st.just([])}),
    st.fixed_dictionaries({"type": st.just("text"), "text": SAID, "citations": st.lists(CITATION, max_size=2)}),
    st.fixed_dictionaries({"type": st.just("thinking"), "thinking": SAID, "signature": SAID}),
    st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": SAID}),
    st.fixed_dictionaries({"type": st.just("tool_use"), "id": NAME, "name": NAME, "input": OBJECT}),
    st.fixed_dictionaries({"type": st.just("server_tool_use"), "id": NAME, "name": NAME, "input": OBJECT}),
    st.fixed_dictionaries({"type": st.just("web_search_tool_result"), "content": st.lists(OBJECT, max_size=2)}),
)
USAGE = st.dictionaries(
    st.sampled_from(
        ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "service_tier"]
    ),
    COUNT,
)


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Returns a whole answer and a stream that says the same."""
    blocks = draw(st.lists(BLOCK, max_size=4))
    stop_reason = draw(st.sampled_from(["end_turn", "max_tokens", "tool_use", "refusal", "pause_turn", "novelty"]))
    first, last = draw(USAGE), draw(USAGE)
    usage = first | {name: count for name, count in last.items() if count is not None}
    message = {"type": "message", "id": "msg_1", "model": "m-1", "content": blocks, "stop_reason": stop_reason}
    events = [start(usage=first), {"type": "ping"}]
    for index, block in enumerate(blocks):
        events += draw(events_of(index, block))
        events += draw(st.sampled_from([[], [{"type": "ping"}], [{"type": "novelty", "message": 1, "delta": "x"}]]))
    events += [reason(stop_reason) | {"usage": last}, END]
    indent = draw(st.sampled_from([None, 2]))
    whole_body = json.dumps({**message, "usage": usage}, ensure_ascii=False, indent=indent).encode()
    return whole_body, sse(*events, end=draw(LINE_ENDS), pad=draw(st.text(" ", max_size=3)))


@st.composite
def events_of(draw: st.DrawFn, index: int, block: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the events that bring a block; what a block is streamed by is empty in its beginning."""
    empty = {"text": "", "thinking": "", "signature": "", "input": {}, "citations": []}
    bare = {name: empty.get(name, value) for name, value in block.items()}
    brought: list[dict[str, Any]] = []
    match block["type"]:
        case "text":
            brought = [delta(index, "text_delta", text=piece) for piece in draw(pieces(block["text"]))]
            brought += [delta(index, "citations_delta", citation=each) for each in block.get("citations") or ()]
        case "thinking":
            brought = [delta(index, "thinking_delta", thinking=piece) for piece in draw(pieces(block["thinking"]))]
            brought.append(delta(index, "signature_delta", signature=block["signature"]))
        case "tool_use" | "server_tool_use":
            written = (
                "" if not block["input"] and draw(st.booleans()) else json.dumps(block["input"], ensure_ascii=False)
            )
            brought = [delta(index, "input_json_delta", partial_json=piece) for piece in ["", *draw(pieces(written))]]
        case _:
            bare = block
    return [begin(index, bare), *brought, stop(index)]


@settings(deadline=None)
@given(answers(), st.data())
def test_a_whole_answer_is_the_fold_of_its_stream(answer: tuple[bytes, bytes], data: st.DataObject) -> None:
    body, stream = answer
    assert_same_however_cut(READER, body, stream, data.draw(bounds_in(stream)))


@settings(deadline=None)
@given(answers(), st.data())
def test_an_answer_that_breaks_off_is_never_whole(answer: tuple[bytes, bytes], data: st.DataObject) -> None:
    body, stream = answer
    assert_never_whole(READER, data.draw(cut_off(body)), data.draw(cut_off(stream, stream.rindex(b"message_stop") + 5)))


@settings(deadline=None)
@given(answers())
def test_the_first_delta_travels_alone_and_others_are_merged(answer: tuple[bytes, bytes]) -> None:
    [events, rest] = read_stream(answer[1])
    assert rest == []
    assert_merged(events)


# ---------------------------------------------------------------------------------------------------------------------
# What the vendor does
# ---------------------------------------------------------------------------------------------------------------------


def test_events_that_are_unknown_say_nothing_whatever_they_hold() -> None:
    odd = {"type": "novelty", "index": "x", "message": [1], "content_block": 5, "delta": "x", "usage": "y"}
    pieces = [delta(0, "novelty_delta", novelty={"a": 1}), *text_events("a")]
    body = b": hello\n\ndata:\n\n" + sse({"type": "ping"}, start(), odd, pieces[1], pieces[0], *pieces[2:])
    assert streamed(body + sse(odd, reason("end_turn"), END)).text() == "a"


def test_numbers_of_arguments_keep_their_spelling() -> None:
    block = b'{"type":"tool_use","id":"t","name":"n","input":{ "b" : 1.0e+5, "a":123456789012345678901234567890 }}'
    body = b'{"content":[%b],"stop_reason":"tool_use"}' % block
    events = DIALECT.decode_reply(attempt_of(), Quirks(), body)
    [arguments] = [
        event.arguments_json for event in events if isinstance(event, DELTAS) if hasattr(event, "arguments_json")
    ]
    assert arguments == '{"b":1.0e+5,"a":123456789012345678901234567890}'


def test_arguments_that_break_off_stay_as_they_are() -> None:
    pieces = [delta(0, "input_json_delta", partial_json=piece) for piece in ("", '{"city": "K')]
    head = begin(0, {"type": "tool_use", "id": "t", "name": "n", "input": {}})
    folded = streamed(sse(start(), head, *pieces, stop(0), reason("max_tokens"), END))
    assert [part.said for part in folded.parts] == ['{"city": "K']
    assert folded.finished == Finished(FinishReason.LENGTH, "max_tokens")


def test_input_of_the_vendors_own_tool_that_breaks_off_is_left_out() -> None:
    head = begin(0, {"type": "server_tool_use", "id": "t", "name": "web_search", "input": {}})
    piece = delta(0, "input_json_delta", partial_json='{"query": "K')
    [part] = streamed(sse(start(), head, piece, stop(0), reason("max_tokens"), END)).parts
    assert part.state is not None
    assert json.loads(part.state.data)["block"]["input"] == {}


def test_deltas_of_blocks_that_are_not_known_are_put_together() -> None:
    head = begin(0, {"type": "compaction", "content": None, "n": 1})
    pieces = [delta(0, "compaction_delta", content=text, n=2) for text in ("so ", "far\n")]
    [part] = streamed(sse(start(), head, *pieces, stop(0), reason("end_turn"), END)).parts
    assert part.state is not None
    assert json.loads(part.state.data) == {"block": {"type": "compaction", "content": "so far\n", "n": 2}}


def test_calls_without_an_id_get_one() -> None:
    block = {"type": "tool_use", "name": "n", "input": {}}
    answer = {"content": [{"type": "text", "text": "a"}, block, block], "stop_reason": "tool_use"}
    assert [part.tool_call_id for part in whole(answer).parts] == ["", "call_call-1_2", "call_call-1_3"]


def test_a_block_ends_with_the_beginning_of_the_next_or_with_the_message() -> None:
    one, two = text_events("a"), text_events("b", index=1)
    folded = streamed(sse(start(), *one[:2], *two[:2], stop(0), reason("end_turn"), END))
    assert [part.said for part in folded.parts] == ["a", "b"]


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
    ("reported", "usage"),
    [
        ({"input_tokens": 3, "output_tokens": 4}, Usage(3, 4)),
        (
            {"input_tokens": 3, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 100},
            Usage(113, None, cache_read_token_count=10, cache_write_5m_token_count=100),
        ),
        (
            {
                "input_tokens": 3,
                "cache_creation_input_tokens": 100,
                "cache_creation": {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 60},
            },
            Usage(103, None, cache_write_5m_token_count=40, cache_write_1h_token_count=60),
        ),
        (
            {"input_tokens": 3, "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 6}},
            Usage(13, None, cache_write_5m_token_count=4, cache_write_1h_token_count=6),
        ),
        (
            {
                "input_tokens": 0,
                "cache_creation_input_tokens": 50,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 60},
            },
            Usage(50, None, cache_write_5m_token_count=0, cache_write_1h_token_count=50),
        ),
        (
            {"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 5}},
            Usage(None, 9, reasoning_token_count=5),
        ),
        ({"input_tokens": -1, "output_tokens": 2**53 + 1, "cache_read_input_tokens": True}, Usage()),
        ({"input_tokens": "3", "output_tokens": 1.5, "cache_creation": [], "output_tokens_details": 4}, Usage()),
        ({"input_tokens": None, "service_tier": "standard"}, Usage()),
    ],
)
def test_usage_is_inclusive(reported: dict[str, Any], usage: Usage) -> None:
    assert whole({"content": [], "stop_reason": "end_turn", "usage": reported}).usage == usage


def test_later_usage_replaces_what_came_before() -> None:
    first = {"input_tokens": 2068, "cache_read_input_tokens": 7, "output_tokens": 8}
    body = sse(start(usage=first), reason(None), reason("end_turn", input_tokens=22397, output_tokens=637), END)
    assert streamed(body).usage == Usage(22404, 637, cache_read_token_count=7)
    assert streamed(sse(start(), reason("end_turn"), END)).usage is None


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


# ---------------------------------------------------------------------------------------------------------------------
# Counting
# ---------------------------------------------------------------------------------------------------------------------


def counted(body: bytes) -> list[Any]:
    return DIALECT.decode_reply(attempt_of(CountTokensRequest(CompleteRequest("m", []))), Quirks(), body)


def test_tokens_are_counted_by_the_vendor() -> None:
    assert counted(b'{"input_tokens": 2095}') == [
        Started("", "upstream-1"),
        TokensCounted(2095, "VENDOR"),
        Finished(FinishReason.STOP),
    ]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"input_tokens":"1"}', b'{"input_tokens":-1}'])
def test_a_count_that_cannot_be_read_is_malformed(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        counted(body)
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


def test_a_count_may_be_an_error() -> None:
    with pytest.raises(UpstreamError) as caught:
        counted(b'{"type":"error","error":{"type":"overloaded_error"}}')
    assert caught.value.reason is Reason.UPSTREAM_OVERLOADED


# ---------------------------------------------------------------------------------------------------------------------
# What cannot be read
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"content":[]}',
        b'{"content":[],"stop_reason":5}',
        b'{"content":null,"stop_reason":"end_turn"}',
        b'{"content":[5],"stop_reason":"end_turn"}',
        b'{"content":[{}],"stop_reason":"end_turn"}',
        b'{"content":[{"type":5}],"stop_reason":"end_turn"}',
        b'{"content":[{"type":"text","text":["a"]}],"stop_reason":"end_turn"}',
        b'{"content":[{"type":"text","text":"\xff"}],"stop_reason":"end_turn"}',
        b'{"content":[{"type":"text","text":"","citations":{}}],"stop_reason":"end_turn"}',
        b'{"content":[{"type":"text","text":"","citations":[5]}],"stop_reason":"end_turn"}',
        b'{"content":[{"type":"text","text":"","citations":[{"title":"\xff"}]}],"stop_reason":"end_turn"}',
        b'{"content":[{"type":"tool_use","name":"n","input":{"a":"\xff"}}],"stop_reason":"tool_use"}',
        b'{"content":[{"type":"novelty","a":"\xff"}],"stop_reason":"end_turn"}',
        b'{"content":[{"type":"tool_use","input":' + b"[" * 100_000,
        b'{"x":' + b"[" * 100_000,
        b"<html></html>",
    ],
)
def test_what_cannot_be_read_is_malformed(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        whole(body)
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


TEXT = begin(0, {"type": "text", "text": ""})


@pytest.mark.parametrize(
    "events",
    [
        [reason("end_turn")],
        [TEXT],
        [END],
        [start(), END],
        [start(), start()],
        [start(), delta(0, "text_delta", text="a")],
        [start(), TEXT, delta(1, "text_delta", text="a")],
        [start(), TEXT, delta(0, "text_delta", text=5)],
        [start(), TEXT, stop(0), delta(0, "text_delta", text="a")],
        [start(), TEXT, delta(0, "citations_delta", citation="x")],
        [start(), {"type": "content_block_start", "index": 0}],
        [start(), {"type": "content_block_delta", "index": 0}],
        [start(), {"type": "content_block_delta", "index": 0, "delta": 5}],
        [start(), {"type": "message_delta", "usage": []}],
        [
            start(),
            begin(0, {"type": "novelty"}),
            {"type": "content_block_delta", "index": 0, "delta": {"type": [1]}},
            END,
        ],
    ],
)
def test_events_out_of_place_or_shape_are_malformed(events: list[dict[str, Any]]) -> None:
    with pytest.raises(UpstreamError) as caught:
        streamed(sse(*events))
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


KEYS = ["type", "index", "message", "content_block", "delta", "usage", "error", "content", "text", "input", "citations"]
KINDS = ["message_start", "message_delta", "message_stop", "content_block_start", "content_block_delta", "error"]
KINDS += ["content_block_stop", "text", "thinking", "tool_use", "novelty", "text_delta", "input_json_delta", "end_turn"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | SAID | st.sampled_from(KINDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)


def survive(body: bytes) -> None:
    """Reads a stream to its end, which may be good or bad, but nothing else than an UpstreamError may come of it."""
    decoder = READER.decoder()
    try:
        decoder.feed(body)
        decoder.end()
    except UpstreamError:
        pass


@settings(deadline=None)
@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4).map(sorted))
def test_noise_is_an_error_with_a_reason(noise: bytes, bounds: list[int]) -> None:
    with pytest.raises(UpstreamError):
        whole(noise)
    with pytest.raises(UpstreamError):
        read_stream(noise, bounds)
    with pytest.raises(UpstreamError):
        read_stream(b"event: content_block_delta\ndata: " + noise + b"\n\n", bounds)


@settings(deadline=None, max_examples=300)
@given(st.lists(VALUES, max_size=6), st.booleans())
def test_odd_events_are_read_or_refused(odd: list[Any], begun: bool) -> None:
    head = sse(start(), TEXT) if begun else b""
    survive(head + b"".join(f"data: {json.dumps(each)}\n\n".encode() for each in odd))
    for each in odd:
        try:
            whole(json.dumps({"content": each, "stop_reason": "end_turn"}).encode())
            whole(json.dumps({"content": [each], "usage": each}).encode())
        except UpstreamError:
            pass


def test_half_a_surrogate_pair_costs_one_character() -> None:
    body = b'{"content":[{"type":"text","text":"a\\ud800b"}],"stop_reason":"end_turn"}'
    stream = sse(start(), *text_events("a?b"), reason("end_turn"), END).replace(b"?", b"\\ud800")
    assert whole(body).text() == streamed(stream).text() == "a\ufffdb"


def test_what_came_before_an_error_is_handed_out_first() -> None:
    failed = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    assert_told_first(READER.decoder(), sse(start(), *text_events("a")[:2], failed), Reason.UPSTREAM_OVERLOADED)


def test_what_follows_the_end_is_not_read() -> None:
    body = sse(start(), *text_events("a"), reason("end_turn"), END, {"type": "error", "error": {}})
    assert streamed(body).text() == "a"
    assert streamed(body, [len(body) - 5]).text() == "a"
