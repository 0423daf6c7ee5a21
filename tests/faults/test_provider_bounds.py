"""Too much of everything: P12 compressed bombs, P13 lines, events, heads and bodies without end."""

from __future__ import annotations

import contextlib
import gzip
import re
from pathlib import Path
from typing import Any

import pytest

from llmgateway_server.providers import http_provider
from llmgateway_server.providers.dialects import sse
from llmgateway_server.providers.wire.port import WireLimits
from llmgateway_server.testing.upstream import Exchange, Script, Step, Upstream, chunk, hang, head, raw
from tests.faults.canary import assert_absent
from tests.faults.kit import BACKSTOP_S, ask, child_gateway, failure_of, read_all, reason_of, settings, until
from tests.faults.provider_kit import (
    BOTH,
    CANARIES,
    EVENTS_HEAD,
    JSON_HEAD,
    PROMPT,
    PROVIDER_KEY,
    STREAM_HEAD,
    WORDS,
    assert_planted,
    by_kind,
    only,
    planted,
    said,
    whole,
)

KIB, MIB = 1024, 1024 * 1024
RSS_BYTES = 40 * MIB
"""What a stream that bursts may cost at its worst moment (docs/reliability.md)."""
ANSWER_RSS_BYTES = 64 * MIB
"""Likewise a unary answer, of which 32 MiB may be kept."""
IN_FLIGHT_BYTES = 16 * MIB
"""What a provider may have sent beyond a bound before it hears of it: the buffers of two sockets."""

BLOCK = WORDS.encode().ljust(64 * KIB, b"x")
CHUNKED_JSON = head(200, {**JSON_HEAD, "transfer-encoding": "chunked"})


def endlessly(step: Step) -> Step:
    async def repeat(exchange: Exchange) -> None:
        while True:
            await step(exchange)

    return repeat


# --- P12 ---------------------------------------------------------------------------------------------------------

BOMB = gzip.compress(bytes(10 * MIB))
"""10 KiB that are 10 MiB; a thousand of them in a row are one valid file of 10 GiB."""
CODINGS = ["gzip", "x-gzip", "GZIP", "br", "deflate", "zstd", "gzip, gzip", "identity, gzip", WORDS]


def bomb(coding: str) -> Step:
    def script(kind: dict[str, str]) -> Script:
        return [
            head(200, {**kind, "content-encoding": coding, "transfer-encoding": "chunked"}),
            endlessly(chunk(BOMB)),
        ]

    return by_kind(script(EVENTS_HEAD), script(JSON_HEAD))


@pytest.mark.parametrize("coding", CODINGS)
@BOTH
async def test_p12_nothing_is_decompressed(streaming: bool, coding: str) -> None:
    async with Upstream(bomb(coding)) as upstream, planted(upstream) as it:
        ended = await it.call(streaming=streaming)
        await only(upstream.requests).gone.wait()
        assert only(upstream.requests).headers["accept-encoding"] == "identity"
        assert upstream.exchanges[0].sent_bytes <= IN_FLIGHT_BYTES
        assert_planted(only(upstream.requests))
    ended.assert_refused("UPSTREAM_MALFORMED")


@BOTH
async def test_p12_a_compressed_error_is_judged_by_its_status(streaming: bool) -> None:
    script = whole(BOMB, {**JSON_HEAD, "content-encoding": "gzip"}, 503)
    async with Upstream(script) as upstream, planted(upstream) as it:
        ended = await it.call(streaming=streaming)
    ended.assert_refused("UPSTREAM_OVERLOADED")


# --- P13 ---------------------------------------------------------------------------------------------------------

FLOODS: dict[str, tuple[Step, ...]] = {
    "a line without end": (STREAM_HEAD, chunk(b"data: "), endlessly(chunk(BLOCK))),
    "a comment without end": (STREAM_HEAD, chunk(b": "), endlessly(chunk(BLOCK))),
    "an event without end": (STREAM_HEAD, endlessly(chunk(b"data: " + BLOCK + b"\n"))),
    "an event of empty lines of data": (STREAM_HEAD, endlessly(chunk(b"data\n" * 10_000))),
    "an event of short lines": (STREAM_HEAD, endlessly(chunk(b"data: xy\n" * 10_000))),
    "one event of 100 MB": (STREAM_HEAD, chunk(b"data: "), *(chunk(BLOCK) for _ in range(1600)), chunk(b"\n\n"), hang),
}
"""What streams bring."""
HEADS: dict[str, tuple[Step, ...]] = {
    "a head without end": (raw(b"HTTP/1.1 200 OK\r\n"), endlessly(raw(f"x-words: {WORDS}\r\n".encode() * 100))),
    "a field without end": (raw(b"HTTP/1.1 200 OK\r\nx-words: "), endlessly(raw(BLOCK))),
    "a status line without end": (raw(b"HTTP/1.1 200 "), endlessly(raw(BLOCK))),
    "interim heads without end": (endlessly(raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)),),
}
"""What comes before streams and answers."""
FRAMES: dict[str, tuple[Step, ...]] = {
    "an extension of a chunk": (raw(b"5;x="), endlessly(raw(BLOCK))),
    "trailers without end": (raw(b"0\r\n"), endlessly(raw(f"x-words: {WORDS}\r\n".encode() * 100))),
    "a size of zeros": (endlessly(raw(b"0" * 64 * KIB)),),
}
"""What stands between the pieces of a body."""
ANSWERS: dict[str, tuple[Step, ...]] = {
    "an answer without end": (CHUNKED_JSON, endlessly(chunk(BLOCK))),
    "an answer of 10 GB": (head(200, {**JSON_HEAD, "content-length": str(10**10)}), endlessly(raw(BLOCK))),
}
"""What unary calls get."""


@pytest.mark.parametrize("what", list(FLOODS))
async def test_p13_floods_in_a_stream(what: str) -> None:
    limit = 4 * MIB + IN_FLIGHT_BYTES
    async with Upstream() as upstream, planted(upstream) as it:
        upstream.then(FLOODS[what], [*said("so far"), *FLOODS[what][1:]])
        before, after = [await it.call(streaming=True) for _ in range(2)]
        for received, exchange in zip(upstream.requests, upstream.exchanges, strict=True):
            await received.gone.wait()
            assert exchange.sent_bytes <= limit
    before.assert_refused("UPSTREAM_MALFORMED")
    after.assert_broken("UPSTREAM_MALFORMED", "so far")


@pytest.mark.parametrize("what", list(HEADS))
@BOTH
async def test_p13_heads_without_end(streaming: bool, what: str) -> None:
    async with Upstream(HEADS[what]) as upstream, planted(upstream) as it:
        ended = await it.call(streaming=streaming)
        await only(upstream.requests).gone.wait()
        assert upstream.exchanges[0].sent_bytes <= IN_FLIGHT_BYTES
    ended.assert_refused("UPSTREAM_MALFORMED")
    assert ended.attempt["response_bytes"] <= 2 * 64 * KIB


@pytest.mark.parametrize("what", list(FRAMES))
@BOTH
async def test_p13_framing_without_end(streaming: bool, what: str) -> None:
    begin = STREAM_HEAD if streaming else CHUNKED_JSON
    async with Upstream([begin, *FRAMES[what]]) as upstream, planted(upstream) as it:
        ended = await it.call(streaming=streaming)
        await only(upstream.requests).gone.wait()
        assert upstream.exchanges[0].sent_bytes <= IN_FLIGHT_BYTES
    ended.assert_refused("UPSTREAM_MALFORMED")


@pytest.mark.parametrize("what", list(ANSWERS))
async def test_p13_answers_without_end(what: str) -> None:
    async with Upstream(ANSWERS[what]) as upstream, planted(upstream) as it:
        ended = await it.call(streaming=False)
        await only(upstream.requests).gone.wait()
        assert upstream.exchanges[0].sent_bytes <= 32 * MIB + IN_FLIGHT_BYTES
    ended.assert_refused("UPSTREAM_MALFORMED")


def test_p13_bounds_are_the_documented_ones() -> None:
    assert (sse.MAX_LINE_BYTES, sse.MAX_EVENT_BYTES) == (MIB, 4 * MIB)
    assert (http_provider.MAX_ANSWER_BYTES, WireLimits().max_header_bytes) == (32 * MIB, 64 * KIB)


# --- memory ------------------------------------------------------------------------------------------------------


class Peak:
    """The largest memory of a process since the beginning of the context."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")
        with contextlib.suppress(OSError):  # not everywhere allowed
            (self._process / "clear_refs").write_text("5")  # forgets the peak so far
        self._before = self._peak()

    def grown_bytes(self) -> int:
        return self._peak() - self._before

    def _peak(self) -> int:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", (self._process / "status").read_text(), re.MULTILINE)
        assert found
        return int(found[1]) * KIB


MEMORY: dict[str, tuple[bool, Script, int]] = {
    "gzip": (True, bomb("gzip"), RSS_BYTES),
    "br": (False, bomb("br"), RSS_BYTES),
    **{what: (True, script, RSS_BYTES) for what, script in FLOODS.items()},
    **{what: (True, script, RSS_BYTES) for what, script in HEADS.items()},
    **{what: (True, (STREAM_HEAD, *script), RSS_BYTES) for what, script in FRAMES.items()},
    **{what: (False, script, ANSWER_RSS_BYTES) for what, script in ANSWERS.items()},
}


async def test_p12_and_p13_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway has a process of its own here, so that only its memory is measured."""
    monkeypatch.setenv("UP", PROVIDER_KEY)
    async with Upstream() as upstream:
        document = settings(upstream)
        document["providers"]["up"]["api_key"] = "env:UP"
        document["breakers"] = {"enabled": False}
        async with child_gateway(document) as child:
            await child.stub.Complete(ask(PROMPT))
            for what, (streaming, script, most_bytes) in MEMORY.items():
                upstream.then(script)
                peak = Peak(child.process.pid)
                method = child.stub.StreamComplete if streaming else child.stub.Complete
                call: Any = method(ask(PROMPT), timeout=BACKSTOP_S)
                error = await failure_of(read_all(call) if streaming else call)
                assert reason_of(error) == "UPSTREAM_MALFORMED", what
                grown = peak.grown_bytes()
                print(f"{what}: {grown / MIB:.1f} MiB")
                assert grown <= most_bytes, (what, grown)
            await until(lambda: len(child.records()) > 2 * len(MEMORY))
            assert_absent(CANARIES, {"log": "".join(child.stderr), "records": child.records_path.read_text()})
