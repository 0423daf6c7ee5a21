"""Anthropic's streams: the same as a whole answer however they are cut, and what only they do."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.core.events import Finished, FinishReason
from llmgateway_server.core.reasons import Reason
from tests.unit.dialects.anthropic_replies import (
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
)
from tests.unit.dialects.kit import (
    COUNT,
    LINE_ENDS,
    SAID,
    assert_merged,
    assert_never_whole,
    assert_same_however_cut,
    assert_told_first,
    bounds_in,
    cut_off,
    pieces,
)

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


def test_a_block_ends_with_the_beginning_of_the_next_or_with_the_message() -> None:
    one, two = text_events("a"), text_events("b", index=1)
    folded = streamed(sse(start(), *one[:2], *two[:2], stop(0), reason("end_turn"), END))
    assert [part.said for part in folded.parts] == ["a", "b"]


def test_what_came_before_an_error_is_handed_out_first() -> None:
    failed = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    assert_told_first(READER.decoder(), sse(start(), *text_events("a")[:2], failed), Reason.UPSTREAM_OVERLOADED)


def test_what_follows_the_end_is_not_read() -> None:
    body = sse(start(), *text_events("a"), reason("end_turn"), END, {"type": "error", "error": {}})
    assert streamed(body).text() == "a"
    assert streamed(body, [len(body) - 5]).text() == "a"
