"""Limits, the provider's and ours: P23 and P24 rate limits, P29 streams that never end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import grpc
import pytest

from llmgateway.v1 import reply_pb2
from llmgateway_server.routing.cooldown import DEFAULT_S, LONGEST_S
from llmgateway_server.testing.clock import ManualClock
from llmgateway_server.testing.upstream import (
    END,
    MODEL,
    STREAM_HEAD,
    Step,
    Upstream,
    chunk,
    delta,
    endless,
    event,
    hang,
    stream,
)
from tests.faults.kit import BACKSTOP_S
from tests.faults.provider_answers import Answered, answered, keyed, problem, refusal
from tests.faults.provider_kit import BOTH, PROMPT, UNAVAILABLE

NOW_S = 1_800_000_000.0
"""2027-01-15 08:00:00 UTC."""
READ_BYTES = 64 * 1024
"""Most that one read of the socket brings, and so most by which a bound is exceeded."""

# --- P23, P24 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        pytest.param({"retry_after": "2"}, 2.0, id="seconds"),
        pytest.param({"retry_after": "0.25"}, 0.25, id="fraction"),
        pytest.param({"retry_after": " 3600 "}, LONGEST_S, id="an-hour"),
        pytest.param({"retry_after": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30.0, id="date"),
        pytest.param({"retry_after": "Friday, 15-Jan-27 08:00:30 GMT"}, 30.0, id="old-date"),
        pytest.param({"retry_after": "Fri, 15 Jan 2027 10:00:30 +0200"}, 30.0, id="date-elsewhere"),
        pytest.param({"retry_after_ms": "1500"}, 1.5, id="milliseconds"),
        pytest.param({"retry_after_ms": "1500", "retry_after": "9"}, 1.5, id="both"),
        pytest.param({"retry_after_ms": "soon", "retry_after": "9"}, 9.0, id="one-is-garbage"),
        pytest.param({"retry_after": "0"}, DEFAULT_S, id="zero"),
        pytest.param({"retry_after": "-5"}, DEFAULT_S, id="negative"),
        pytest.param({"retry_after_ms": "-5"}, DEFAULT_S, id="negative-milliseconds"),
        pytest.param({"retry_after": "3601"}, DEFAULT_S, id="more-than-an-hour"),
        pytest.param({"retry_after": "9" * 400}, DEFAULT_S, id="huge"),
        pytest.param({"retry_after": "1e308"}, DEFAULT_S, id="huge-float"),
        pytest.param({"retry_after": "inf"}, DEFAULT_S, id="infinite"),
        pytest.param({"retry_after": "nan"}, DEFAULT_S, id="not-a-number"),
        pytest.param({"retry_after": "Fri, 15 Jan 2027 07:59:59 GMT"}, DEFAULT_S, id="past-date"),
        pytest.param({"retry_after": "Thu, 01 Jan 1970 00:00:00 GMT"}, DEFAULT_S, id="epoch"),
        pytest.param({"retry_after": "Fri, 31 Dec 9999 23:59:59 GMT"}, DEFAULT_S, id="far-date"),
        pytest.param({"retry_after": "Fri, 99 Foo 2027 08:00:30 GMT"}, DEFAULT_S, id="no-date"),
        pytest.param({"retry_after": "soon"}, DEFAULT_S, id="garbage"),
        pytest.param({"retry_after": ""}, DEFAULT_S, id="empty"),
        pytest.param({"retry_after": "2, 3"}, DEFAULT_S, id="list"),
    ],
)
@BOTH
async def test_p23_rate_limit_with_a_pause(streaming: bool, headers: dict[str, str], wait_s: float) -> None:
    script = refusal(429, problem(code="rate_limit_exceeded", type="requests"), **headers)
    ended = await answered(script, streaming=streaming, clock=ManualClock(NOW_S))
    ended.assert_refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "UPSTREAM_RATE_LIMITED", 429)
    assert ended.retry_after_s == wait_s
    assert ended.precondition is None


@pytest.mark.parametrize("body", [problem(), problem(type="tokens"), b"slow down", b""])
@BOTH
async def test_p24_rate_limit_without_a_pause(streaming: bool, body: bytes) -> None:
    ended = await answered(refusal(429, body), streaming=streaming)
    ended.assert_refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "UPSTREAM_RATE_LIMITED", 429)
    assert ended.error is not None
    assert ended.retry_after_s == pytest.approx(DEFAULT_S, abs=0.5)  # as long as the target is asked last
    assert int(dict(ended.error.trailing_metadata() or ())["retry-after"]) == DEFAULT_S


@BOTH
async def test_p23_the_key_is_not_set_aside_for_a_rate_limit(streaming: bool) -> None:
    """The limit is the account's, and another key would be used to get around it."""
    async with Upstream(refusal(429, retry_after="2")) as upstream, keyed(upstream, keys=2) as it:
        ended = await it.call(streaming=streaming)
        assert it.logged("key set aside") == []
        assert len(upstream.requests) == 1
    ended.assert_refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "UPSTREAM_RATE_LIMITED", 429)


# --- P29 ---------------------------------------------------------------------------------------------------------


def saying(said: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a chunk that says this."""
    return {**delta(), "choices": [{"index": 0, "delta": said, "finish_reason": None}]}


def calling(text: str, **named: str) -> dict[str, Any]:
    """Returns a chunk with a piece of a tool call's arguments."""
    return saying(
        {"tool_calls": [{"index": 0, **({"id": "t1"} if named else {}), "function": {**named, "arguments": text}}]}
    )


NEVER_ENDING = {
    "text": [endless(delta("x" * 100))],
    "multi-byte text": [endless(delta("ü" * 50))],
    "reasoning": [endless(saying({"reasoning_content": "hm " * 30}))],
    "tool call": [event(calling('{"a": "', name="f")), endless(calling("x" * 100))],
    "text after a tool call": [event(calling("{}", name="f")), endless(delta("x" * 100))],
}
CAP = {"max_output_tokens": 100}
BOUND_BYTES = (105 + 64) * 32


def delivered_bytes(ended: Answered) -> int:
    said = ("text_delta", "text"), ("reasoning_delta", "text"), ("tool_arguments_delta", "arguments_json")
    return sum(len(getattr(getattr(each, kind), name).encode()) for each in ended.events for kind, name in said)


def assert_cut_off(ended: Answered, input_tokens: int = -(-len(PROMPT) // 4)) -> None:
    """Holds the shape of a reply that we ended."""
    assert ended.summary.finish_reason == reply_pb2.FINISH_REASON_LENGTH
    assert ended.summary.provider_finish_reason == ""
    assert ended.charges == [("succeeded", None, 200, "CP")]
    assert ended.record["outcome"] == "succeeded"
    assert ended.usage == (input_tokens, -(-delivered_bytes(ended) // 4), "ESTIMATED")
    assert "USAGE_ESTIMATED" in ended.notices
    assert [each.seq for each in ended.events] == list(range(1, len(ended.events) + 1))
    begun = [each.part_started.part_index for each in ended.events if each.HasField("part_started")]
    closed = [each.part_finished.part_index for each in ended.events if each.HasField("part_finished")]
    assert begun
    assert sorted(closed) == begun


async def cut_off(script: list[Step], bound: str, *, options: Mapping[str, Any] | None = None, **how: Any) -> Answered:
    """Makes one stream that must be cut off, with the provider's connection closed."""
    async with Upstream([STREAM_HEAD, *script]) as upstream, keyed(upstream, **how) as it:
        ended = await it.call(streaming=True, **(options or {}))
        async with asyncio.timeout(BACKSTOP_S):
            await upstream.requests[0].gone.wait()
        [line] = it.logged("stream cut off")
        assert len(upstream.requests) == 1
    assert (line["level"], line["bound"], line["provider"], line["model"]) == ("warning", bound, "up", MODEL)
    assert_cut_off(ended)
    return ended


@pytest.mark.parametrize("kind", list(NEVER_ENDING))
async def test_p29_a_never_ending_stream_is_cut_off(kind: str) -> None:
    ended = await cut_off(NEVER_ENDING[kind], "size", options=CAP)
    assert BOUND_BYTES < delivered_bytes(ended) <= BOUND_BYTES + READ_BYTES


async def test_p29_without_a_known_cap_the_configured_bound_holds() -> None:
    ended = await cut_off(NEVER_ENDING["text"], "size", bounds={"max_output_bytes": 20_000})
    assert 20_000 < delivered_bytes(ended) <= 20_000 + READ_BYTES


async def test_p29_the_configured_bound_is_above_no_other() -> None:
    options = {"max_output_tokens": 1_000_000}
    ended = await cut_off(NEVER_ENDING["text"], "size", options=options, bounds={"max_output_bytes": 20_000})
    assert delivered_bytes(ended) <= 20_000 + READ_BYTES


async def test_p29_the_cap_that_was_sent_because_the_vendor_demands_one() -> None:
    """It is known only once the request was encoded, and figures from the stream's beginning are not the whole."""
    figures = {"input_tokens": 5, "output_tokens": 1}
    begun: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "m", "type": "message", "usage": figures}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ]
    more = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x" * 4000}}
    script: list[Step] = [*(event(each) for each in begun), endless(more)]
    async with Upstream([STREAM_HEAD, *script]) as upstream, keyed(upstream, vendor="anthropic") as it:
        ended = await it.call(streaming=True)
        sent = upstream.requests[0].body["max_tokens"]
    assert_cut_off(ended)
    bound_bytes = (sent + sent // 20 + 64) * 32
    assert bound_bytes < delivered_bytes(ended) <= bound_bytes + READ_BYTES


async def test_p29_an_answer_that_ends_by_itself_is_not_cut_off_in_its_last_read() -> None:
    """It is longer than what was asked for, but there is nothing left to be stopped."""
    text = "x" * (BOUND_BYTES + 1)
    events = (json.dumps(delta(text)), json.dumps(delta(finish_reason="stop")), "[DONE]")
    at_once = chunk("".join(f"data: {each}\n\n" for each in events).encode())
    async with Upstream([STREAM_HEAD, at_once, END]) as upstream, keyed(upstream) as it:
        ended = await it.call(streaming=True, **CAP)
        assert it.logged("stream cut off") == []
    assert ended.text == text
    assert ended.summary.finish_reason == reply_pb2.FINISH_REASON_STOP


async def test_p29_the_next_call_gets_a_connection_of_its_own() -> None:
    async with Upstream([STREAM_HEAD, *NEVER_ENDING["text"]]) as upstream, keyed(upstream) as it:
        assert_cut_off(await it.call(streaming=True, **CAP))
        upstream.script = stream("hello")
        assert (await it.call(streaming=True)).text == "hello"
        first, second = upstream.exchanges
    assert first.writer is not second.writer


LIMIT: dict[str, Any] = {"deadlines": {"stream_default_s": 0.3}}


@pytest.mark.parametrize(
    "script",
    [[event(delta("some text")), hang], [event(calling("{", name="f")), event(calling('"a":')), hang]],
    ids=["text", "tool call"],
)
async def test_p29_our_own_limit_on_the_duration_ends_what_has_begun(script: list[Step]) -> None:
    ended = await cut_off(script, "duration", **LIMIT)
    assert ended.record["duration_ms"] >= 300


async def test_p29_the_callers_own_deadline_is_no_bound_of_ours() -> None:
    async with Upstream([STREAM_HEAD, event(delta("some text")), hang]) as upstream, keyed(upstream) as it:
        ended = await it.call(streaming=True, limits={"max_latency_ms": 200})
        assert it.logged("stream cut off") == []
    assert ended.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert ended.charges == [("cancelled", "DEADLINE_EXCEEDED", 200, "CP")]


@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "unary"])
async def test_p29_nothing_begun_is_a_timeout(streaming: bool) -> None:
    limits: dict[str, Any] = {"deadlines": {"stream_default_s": 0.2, "unary_default_s": 0.2}}
    async with Upstream([STREAM_HEAD, hang] if streaming else hang) as upstream, keyed(upstream, **limits) as it:
        ended = await it.call(streaming=streaming)
    assert ended.code is UNAVAILABLE
    assert [each[:2] for each in ended.charges] == [("failed", "UPSTREAM_TIMEOUT")]
