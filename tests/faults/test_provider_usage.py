"""Answers that are odd: P27 empty, P28 said twice, P30 figures that cannot be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmgateway.v1 import reply_pb2
from llmgateway_server.testing.upstream import (
    END,
    STREAM_HEAD,
    Script,
    Step,
    Upstream,
    chunk,
    delta,
    event,
    head,
    json_answer,
    pause,
    raw,
    stream,
    usage,
)
from tests.faults.provider_answers import QUOTED, Answered, answered, keyed
from tests.faults.provider_kit import BOTH, PROMPT, UNAVAILABLE, by_kind, whole

INPUT_TOKENS = -(-len(PROMPT) // 4)
"""Our estimate of every request here."""
STOP = event(delta(finish_reason="stop"))
DONE = event("[DONE]")


def told(figures: Any) -> dict[str, Any]:
    """Returns the chunk that reports figures, whatever they are."""
    return {**delta(), "choices": [], "usage": figures}


def reply(message: Any, figures: Any, finish_reason: str | None = "stop") -> dict[str, Any]:
    """Returns a whole unary reply."""
    return {"id": "r1", "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}], "usage": figures}


def saying(text: str, figures: Any) -> Step:
    """Answers both kinds of calls with a text and figures."""
    whole_stream: Script = [STREAM_HEAD, event(delta(text)), STOP, event(told(figures)), DONE, END]
    return by_kind(whole_stream, json_answer(reply({"content": text}, figures)))


# --- P27 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{}",
        b'{"choices": null}',
        b'{"choices": []}',
        json.dumps(reply({"content": "x"}, None, None)).encode(),
    ],
    ids=["nothing", "blank", "empty-object", "no-choices", "empty-choices", "no-finish-reason"],
)
async def test_p27_an_answer_without_an_answer(body: bytes) -> None:
    ended = await answered(whole(body, {"content-type": "application/json"}), streaming=False)
    ended.assert_refused(UNAVAILABLE, "UPSTREAM_MALFORMED", 200)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([STREAM_HEAD, END], id="nothing"),
        pytest.param([head(200, {"content-type": "text/event-stream", "content-length": "0"})], id="no-body"),
        pytest.param([STREAM_HEAD, chunk(b": ping\n\n"), END], id="comments"),
    ],
)
async def test_p27_a_stream_without_an_event(script: list[Step]) -> None:
    ended = await answered(script, streaming=True)
    ended.assert_refused(UNAVAILABLE, "UPSTREAM_MALFORMED", 200)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([STREAM_HEAD, DONE, END], id="only-done"),
        pytest.param([STREAM_HEAD, event(told(None)), DONE, END], id="no-choices"),
    ],
)
async def test_p27_a_stream_without_an_answer(script: list[Step]) -> None:
    """Events came and no content: as a connection that was dropped before the answer."""
    ended = await answered(script, streaming=True)
    ended.assert_refused(UNAVAILABLE, "UPSTREAM_RESET", 200)


@pytest.mark.parametrize("content", ["", None])
@BOTH
async def test_p27_an_empty_text_with_a_finish_reason_is_an_answer(streaming: bool, content: str | None) -> None:
    script = by_kind(
        [STREAM_HEAD, STOP, event(told(usage(8, 0))), DONE, END],
        json_answer(reply({"content": content}, usage(8, 0))),
    )
    ended = await answered(script, streaming=streaming)
    assert (ended.text, ended.summary.finish_reason) == ("", reply_pb2.FINISH_REASON_STOP)
    assert ended.charges == [("succeeded", None, 200, "CU")]
    assert ended.usage == (8, 0, "REPORTED")


# --- P28 ---------------------------------------------------------------------------------------------------------

TWICE = {
    "final-chunk": [STOP, STOP, event(told(usage(8, 2))), DONE, END],
    "usage": [STOP, event(told(usage(800, 200))), event(told(usage(8, 2))), DONE, END],
    "usage-in-every-chunk": [
        event({**delta("!"), "usage": usage(8, 1)}),
        event({**delta(finish_reason="stop"), "usage": usage(8, 2)}),
        DONE,
        END,
    ],
    "done": [STOP, event(told(usage(8, 2))), DONE, DONE, END],
    "text-after-done": [STOP, event(told(usage(8, 2))), DONE, event(delta(QUOTED)), STOP, END],
    "usage-after-done": [STOP, event(told(usage(8, 2))), DONE, event(told(usage(900, 900))), END],
    "error-after-done": [STOP, event(told(usage(8, 2))), DONE, event({"error": {"message": QUOTED}}), END],
    "garbage-after-done": [STOP, event(told(usage(8, 2))), DONE, chunk(b"{" + QUOTED.encode()), END],
}


def assert_said_once(ended: Answered) -> None:
    assert ended.text.rstrip("!") == "hello"
    assert ended.summary.finish_reason == reply_pb2.FINISH_REASON_STOP
    assert ended.charges == [("succeeded", None, 200, "CU")]
    assert ended.usage == (8, 2, "REPORTED")
    assert ended.events[-1].HasField("finished")


@pytest.mark.parametrize("late", [False, True], ids=["at-once", "late"])
@pytest.mark.parametrize("what", list(TWICE))
async def test_p28_said_twice(what: str, late: bool) -> None:
    """There is one end, and the last figures before it count: they are totals, not shares."""
    after = TWICE[what].index(DONE) + 1
    rest = TWICE[what][:after] + ([pause(0.02)] if late else []) + TWICE[what][after:]
    assert_said_once(await answered([STREAM_HEAD, event(delta("hello")), *rest], streaming=True))


def said_by_anthropic(**event_fields: Any) -> Step:
    return chunk(f"event: {event_fields['type']}\ndata: {json.dumps(event_fields)}\n\n".encode())


MESSAGE = {"id": "m1", "type": "message", "role": "assistant", "model": "claude", "content": []}
ANTHROPIC = [
    said_by_anthropic(type="message_start", message=MESSAGE | {"usage": {"input_tokens": 8, "output_tokens": 1}}),
    said_by_anthropic(type="content_block_start", index=0, content_block={"type": "text", "text": ""}),
    said_by_anthropic(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "hello"}),
    said_by_anthropic(type="content_block_stop", index=0),
    said_by_anthropic(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 700}),
    said_by_anthropic(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2}),
    said_by_anthropic(type="message_stop"),
]


@pytest.mark.parametrize(
    "after",
    [
        pytest.param([ANTHROPIC[-1]], id="another-end"),
        pytest.param(ANTHROPIC, id="another-message"),
        pytest.param([said_by_anthropic(type="error", error={"type": "api_error", "message": QUOTED})], id="error"),
    ],
)
async def test_p28_what_anthropic_says_after_its_last_event(after: list[Step]) -> None:
    async with Upstream([STREAM_HEAD, *ANTHROPIC, *after, END]) as upstream, keyed(upstream, vendor="anthropic") as it:
        assert_said_once(await it.call(streaming=True))
        assert len(upstream.requests) == 1


WHOLE = [STREAM_HEAD, event(delta("hello")), STOP, event(told(usage(8, 2))), DONE]


@pytest.mark.parametrize(
    "after",
    [
        pytest.param([END, raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")], id="another-response"),
        pytest.param([END, raw(QUOTED.encode())], id="bytes"),
        pytest.param([event(delta("more")), pause(5.0)], id="a-body-that-goes-on"),
    ],
)
async def test_p28_a_connection_with_more_on_it_is_not_used_again(after: list[Step]) -> None:
    async with Upstream(stream("hello", figures=usage(8, 2))) as upstream, keyed(upstream) as it:
        upstream.then([*WHOLE, *after])
        for _ in range(3):
            assert_said_once(await it.call(streaming=True))
        spoiled, second, third = (exchange.writer for exchange in upstream.exchanges)
    assert spoiled is not second
    assert second is third  # which was clean


# --- P30 ---------------------------------------------------------------------------------------------------------

TRILLION = 10**12
DOUBT = "usage cannot be believed"
CANNOT_BE = {
    "huge-input": usage(TRILLION, 2),
    "huge-output": usage(8, TRILLION),
    "both": usage(TRILLION, TRILLION),
    "just-too-much-input": usage(10 * INPUT_TOKENS + 1_000 + 32 + 1, 2),
    "just-too-much-output": usage(8, 200_001),
    "huge-share": {**usage(8, 2), "completion_tokens_details": {"reasoning_tokens": TRILLION}},
    "huge-cache": {**usage(8, 2), "prompt_tokens_details": {"cached_tokens": TRILLION}},
}


@pytest.mark.parametrize("name", list(CANNOT_BE))
@BOTH
async def test_p30_figures_that_cannot_be_are_estimated(streaming: bool, name: str) -> None:
    async with Upstream(saying("hello you", CANNOT_BE[name])) as upstream, keyed(upstream) as it:
        ended = await it.call(streaming=streaming)
        [line] = it.logged(DOUBT)
    assert ended.text == "hello you"
    assert ended.usage == (INPUT_TOKENS, 3, "ESTIMATED")
    assert ended.charges == [("succeeded", None, 200, "CP")]
    assert ended.notices.count("USAGE_ESTIMATED") == 1
    assert not ended.summary.usage.HasField("cache_read_token_count")
    assert not ended.summary.usage.HasField("reasoning_token_count")
    assert (line["level"], line["estimated_input"], line["estimated_output"]) == ("warning", INPUT_TOKENS, 3)
    snapshots = [each.usage_snapshot.usage for each in ended.events if each.HasField("usage_snapshot")]
    assert {(each.input_token_count, each.output_token_count) for each in snapshots} <= {(INPUT_TOKENS, 3)}


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        pytest.param(None, (INPUT_TOKENS, 3), id="none"),
        pytest.param({}, (INPUT_TOKENS, 3), id="empty"),
        pytest.param(usage(-5, 2), (INPUT_TOKENS, 2), id="negative-input"),
        pytest.param(usage(8, -1), (8, 3), id="negative-output"),
        pytest.param({"prompt_tokens": 8}, (8, 3), id="input-alone"),
        pytest.param({"completion_tokens": 2}, (INPUT_TOKENS, 2), id="output-alone"),
        pytest.param(usage(10**20, 2), (INPUT_TOKENS, 2), id="no-count-at-all"),
    ],
)
@BOTH
async def test_p30_what_is_missing_is_estimated(streaming: bool, figures: Any, expected: tuple[int, int]) -> None:
    async with Upstream(saying("hello you", figures)) as upstream, keyed(upstream) as it:
        ended = await it.call(streaming=streaming)
        assert it.logged(DOUBT) == []
    assert ended.usage == (*expected, "ESTIMATED")
    assert ended.charges == [("succeeded", None, 200, "CP")]
    assert ended.notices.count("USAGE_ESTIMATED") == 1


@pytest.mark.parametrize(
    ("figures", "options"),
    [
        pytest.param(usage(0, 0), {}, id="zero"),
        pytest.param(usage(10 * INPUT_TOKENS + 1_000, 2), {}, id="instructions-of-the-vendor"),
        pytest.param(usage(8, 200_000), {}, id="long-reasoning-that-is-not-shown"),
        pytest.param(usage(8, 1_030), {"max_output_tokens": 1}, id="short-reasoning"),
        pytest.param(usage(8, 52_564), {"max_output_tokens": 50_000}, id="reasoning-up-to-the-cap"),
    ],
)
@BOTH
async def test_p30_figures_that_can_be_are_charged(
    streaming: bool, figures: dict[str, int], options: dict[str, Any]
) -> None:
    async with Upstream(saying("hello you", figures)) as upstream, keyed(upstream) as it:
        ended = await it.call(streaming=streaming, **options)
        assert it.logged(DOUBT) == []
    assert ended.usage == (figures["prompt_tokens"], figures["completion_tokens"], "REPORTED")
    assert ended.charges == [("succeeded", None, 200, "CU")]
    assert ended.notices == ["UNPRICED"]


@BOTH
async def test_p30_more_than_the_cap_that_was_asked_for_cannot_be(streaming: bool) -> None:
    script = saying("hello you", usage(8, 52_565))
    ended = await answered(script, streaming=streaming, options={"max_output_tokens": 50_000})
    assert ended.usage == (INPUT_TOKENS, 3, "ESTIMATED")


async def test_p30_a_cost_is_computed_from_what_is_believed() -> None:
    price = {"input_usd": "1000", "output_usd": "0"}
    models = {"m": {"targets": [{"provider": "up", "model": "fake-1", "price": price}]}}
    async with Upstream(saying("hello you", usage(TRILLION, 2))) as upstream, keyed(upstream, models=models) as it:
        ended = await it.call(streaming=True, model="m")
    assert ended.attempts[0]["cost_nano_usd"] == INPUT_TOKENS * 1_000_000
    assert ended.notices == ["USAGE_ESTIMATED"]
