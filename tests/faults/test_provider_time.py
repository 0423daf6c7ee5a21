"""Providers that take their time: P5 slow heads, P6 slow loris and pings, before and after the first token."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llmgateway_server.attempts.timeouts import TimeoutSettings
from llmgateway_server.providers import http_provider
from llmgateway_server.testing.upstream import Exchange, Script, Step, Upstream, chunk, delta, event, hang, head, raw
from tests.faults.provider_kit import (
    BOTH,
    JSON_HEAD,
    STREAM_HEAD,
    WORDS,
    assert_planted,
    only,
    planted,
    said,
)

PAUSE_S = 0.02
PING = chunk(f": ping {WORDS}\n\n".encode())
NO_CONTENT = event({"id": "a", "choices": [{"index": 0, "delta": {"role": "assistant"}}]})
UNARY_HEAD = head(200, {**JSON_HEAD, "content-length": "99999"})
MORE = b'data: {"choices":[{"delta":{"content":"' + b"x" * 5000


def again_and_again(*steps: Step) -> Step:
    """Plays steps with a pause after each, until the caller leaves."""

    async def step(exchange: Exchange) -> None:
        while True:
            for each in steps:
                await each(exchange)
                await asyncio.sleep(PAUSE_S)

    return step


def drip(data: bytes, *, chunked: bool) -> Step:
    """Sends one byte at a time."""
    pieces = [data[i : i + 1] for i in range(len(data))]
    return again_and_again(*(chunk(piece) if chunked else raw(piece) for piece in pieces))


SILENT: dict[str, Script] = {
    "nothing": hang,
    "half a head": [raw(b"HTTP/1.1 200 OK\r\ncontent-"), hang],
    "an interim head": [raw(b"HTTP/1.1 100 Continue\r\n\r\n"), hang],
    "a head that drips": drip(b"HTTP/1.1 200 OK\r\nx-words: " + WORDS.encode() * 99, chunked=False),
}
"""What comes instead of a head, of streams and of unary answers."""
SLOW_STREAMS: dict[str, Script] = {
    "a head alone": [STREAM_HEAD, hang],
    "pings": [STREAM_HEAD, again_and_again(PING)],
    "events without content": [STREAM_HEAD, again_and_again(NO_CONTENT)],
    "bytes that drip": [STREAM_HEAD, drip(MORE, chunked=True)],
}
"""What a stream brings instead of its first token."""
SLOW_ANSWERS: dict[str, Script] = {
    "a head alone": [UNARY_HEAD, hang],
    "bytes that drip": [UNARY_HEAD, drip(MORE, chunked=False)],
}


@pytest.mark.parametrize("what", list(SILENT))
@BOTH
async def test_p5_no_head(streaming: bool, what: str) -> None:
    """A unary answer has no first token: its time is that of the call."""
    limit_s = 0.2
    limits: dict[str, Any] = {"timeouts": {"first_token_s": limit_s}}
    if not streaming:
        limits = {"deadlines": {"unary_default_s": limit_s}}
    async with Upstream(SILENT[what]) as upstream, planted(upstream, **limits) as it:
        ended = await it.call(streaming=streaming)
        await only(upstream.requests).gone.wait()
        assert_planted(only(upstream.requests))
    ended.assert_refused("UPSTREAM_TIMEOUT")
    ended.assert_within(limit_s, at_least_s=limit_s * 0.9)


@pytest.mark.parametrize("what", list(SLOW_STREAMS))
async def test_p5_and_p6_no_first_token(what: str) -> None:
    """Whatever comes before it, the first token has one clock; the others are for what follows."""
    limits = {"first_token_s": 0.2, "idle_s": 60.0, "progress_s": 60.0}
    async with Upstream(SLOW_STREAMS[what]) as upstream, planted(upstream, timeouts=limits) as it:
        ended = await it.call(streaming=True)
        await only(upstream.requests).gone.wait()
    ended.assert_refused("UPSTREAM_TIMEOUT")
    ended.assert_within(0.2, at_least_s=0.18)
    assert ended.attempt["http_status"] == 200


@pytest.mark.parametrize("what", list(SLOW_ANSWERS))
async def test_p6_a_unary_answer_that_drips(what: str) -> None:
    async with Upstream(SLOW_ANSWERS[what]) as upstream, planted(upstream, deadlines={"unary_default_s": 0.2}) as it:
        ended = await it.call(streaming=False)
        await only(upstream.requests).gone.wait()
    ended.assert_refused("UPSTREAM_TIMEOUT")
    ended.assert_within(0.2, at_least_s=0.18)


@pytest.mark.parametrize(
    ("then", "ends_after_s"),
    [
        pytest.param(hang, 0.15, id="idle: nothing"),
        pytest.param(again_and_again(PING), 0.4, id="progress: pings"),
        pytest.param(again_and_again(NO_CONTENT), 0.4, id="progress: events without content"),
        pytest.param(drip(MORE, chunked=True), 0.4, id="progress: bytes that drip"),
    ],
)
async def test_p6_standing_still_after_the_first_token(then: Step, ends_after_s: float) -> None:
    limits = {"idle_s": 0.15, "progress_s": 0.4}
    async with Upstream([*said("some ", "text"), then]) as upstream, planted(upstream, timeouts=limits) as it:
        ended = await it.call(streaming=True)
        await only(upstream.requests).gone.wait()
    ended.assert_broken("UPSTREAM_STALLED", "some text")
    ended.assert_within(ends_after_s, at_least_s=ends_after_s * 0.9)


async def test_p6_content_winds_both_clocks_up() -> None:
    """More than twice the limits, in pieces that keep them."""
    more = [step for _ in range(24) for step in (lambda _: asyncio.sleep(0.05), event(delta("x")))]
    end = [event(delta(finish_reason="stop")), event("[DONE]"), raw(b"0\r\n\r\n")]
    limits = {"first_token_s": 0.5, "idle_s": 0.5, "progress_s": 0.5}
    async with Upstream([STREAM_HEAD, *more, *end]) as upstream, planted(upstream, timeouts=limits) as it:
        ended = await it.call(streaming=True)
    assert (ended.reason, ended.text) == ("", "x" * 24)


@BOTH
async def test_p6_the_body_of_an_error_that_drips(streaming: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is known; who waits for its explanation waits shortly."""
    monkeypatch.setattr(http_provider, "ERROR_BODY_S", 0.1)
    body = drip(b'{"error":{"message":"' + WORDS.encode() * 99, chunked=False)
    script = [head(503, {**JSON_HEAD, "content-length": "99999"}), body]
    async with Upstream(script) as upstream, planted(upstream) as it:
        ended = await it.call(streaming=streaming)
        await only(upstream.requests).gone.wait()
    ended.assert_refused("UPSTREAM_OVERLOADED")
    ended.assert_within(0.1, at_least_s=0.09)
    assert ended.attempt["http_status"] == 503


def test_p5_and_p6_defaults_are_the_documented_ones() -> None:
    defaults = TimeoutSettings()
    assert (defaults.first_token_s, defaults.idle_s, defaults.progress_s) == (30.0, 60.0, 120.0)
