"""Connections that lie: P32. What breaks the framing, or leaves a byte too many, never serves another call."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Self

import pytest

from llmgateway_server.providers.wire.port import Origin
from llmgateway_server.testing.upstream import Exchange, Script, Step, Upstream, answer, hang, raw, stream
from tests.contract.raw_server import BACKSTOP_S
from tests.contract.wire_kit import except_httpx, fetch, wired
from tests.faults.provider_kit import BOTH, WORDS, Planted, assert_planted, by_kind, planted

SMUGGLED_BODY = b'{"choices":[{"message":{"content":"smuggled"},"finish_reason":"stop"}]}'
SMUGGLED = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(SMUGGLED_BODY), SMUGGLED_BODY)
OWN: Step = by_kind(stream("own"), answer("own"))
EVENTS, CHUNKED = b"content-type: text/event-stream\r\n", b"transfer-encoding: chunked\r\n"
OK_LINE = b"HTTP/1.1 200 OK\r\n"
PLANTED = f"x-words: {WORDS}\r\n".encode()

BAD_HEADS: dict[str, bytes] = {
    "no HTTP": WORDS.encode() + b"\r\n\r\n",
    "another version": b"HTTP/2.0 200 OK\r\n\r\n",
    "a version before the first": b"HTTP/0.9 200 OK\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a status that cannot be": b"HTTP/1.1 999 OK\r\n\r\n",
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    "both lengths": OK_LINE + CHUNKED + b"content-length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": OK_LINE + b"content-length: 2\r\ncontent-length: 5\r\n\r\n{}",
    "a length below zero": OK_LINE + b"content-length: -1\r\n\r\n",
    "a length that is none": OK_LINE + b"content-length: 0x10\r\n\r\n",
    "a length without end": OK_LINE + b"content-length: " + b"9" * 40 + b"\r\n\r\n",
    "an unknown coding": OK_LINE + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": OK_LINE + b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked with a tab": OK_LINE + b"transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a folded field": OK_LINE + b"x-a: 1\r\n 2\r\n\r\n",
    "a blank before the colon": OK_LINE + b"content-length : 5\r\n\r\n",
    "a NUL": OK_LINE + b"x-a: \x00\r\n\r\n",
    "a line feed alone": OK_LINE + b"x-a: 1\n\r\n",
    "a carriage return alone": OK_LINE + b"x-a: 1\rx-b: 2\r\n\r\n",
}
BAD_CHUNKS: dict[str, bytes] = {
    "no size": b"\r\n",
    "a size that is none": b"xyz\r\n",
    "a size below zero": b"-1\r\n",
    "a size with a sign": b"+5\r\n",
    "a size without end": b"f" * 40 + b"\r\n",
    "a longer chunk than was said": b"2\r\n{}}\r\n",
    "a line feed alone": b"2\n{}\n",
    "the next answer inside": b"2\r\n{}" + SMUGGLED,
}


async def closed_and_forgotten(it: Planted, upstream: Upstream, *, streaming: bool) -> None:
    """Holds that the first call's connection was closed and that the next call gets its own answer on another."""
    async with asyncio.timeout(BACKSTOP_S):
        await upstream.requests[0].gone.wait()
    following = await it.call(streaming=streaming)
    assert (following.text, following.reason) == ("own", "")
    assert upstream.exchanges[-1].writer is not upstream.exchanges[0].writer


@pytest.mark.parametrize("what", list(BAD_HEADS))
@BOTH
async def test_p32_a_head_that_cannot_be_trusted(streaming: bool, what: str) -> None:
    bad = BAD_HEADS[what].replace(OK_LINE, OK_LINE + PLANTED)
    async with Upstream(OWN) as upstream, planted(upstream) as it:
        upstream.then([raw(bad), hang])
        ended = await it.call(streaming=streaming)
        assert_planted(upstream.requests[0])
        await closed_and_forgotten(it, upstream, streaming=streaming)
    ended.assert_refused("UPSTREAM_MALFORMED")


@pytest.mark.parametrize("what", list(BAD_CHUNKS))
@BOTH
async def test_p32_chunks_that_cannot_be_trusted(streaming: bool, what: str) -> None:
    bad = OK_LINE + (EVENTS if streaming else b"") + PLANTED + CHUNKED + b"\r\n" + BAD_CHUNKS[what]
    async with Upstream(OWN) as upstream, planted(upstream) as it:
        upstream.then([raw(bad), hang])
        ended = await it.call(streaming=streaming)
        await closed_and_forgotten(it, upstream, streaming=streaming)
    ended.assert_refused("UPSTREAM_MALFORMED")


async def test_p32_framing_that_breaks_after_the_first_token() -> None:
    text = b'data: {"choices":[{"delta":{"content":"so far"}}]}\n\n'
    good = OK_LINE + EVENTS + CHUNKED + b"\r\n%x\r\n%s\r\n" % (len(text), text)
    async with Upstream(OWN) as upstream, planted(upstream) as it:
        upstream.then([raw(good), raw(b"zz\r\n"), hang])
        ended = await it.call(streaming=True)
        await closed_and_forgotten(it, upstream, streaming=True)
    ended.assert_broken("UPSTREAM_MALFORMED", "so far")


# --- a byte too many ---------------------------------------------------------------------------------------------


def after(seconds: float) -> Step:
    async def step(_: Exchange) -> None:
        await asyncio.sleep(seconds)

    return step


@pytest.mark.parametrize("late_s", [0.0, 0.05], ids=["at once", "late"])
@pytest.mark.parametrize("surplus", [SMUGGLED, b"x"], ids=["an answer", "a byte"])
@BOTH
async def test_p32_surplus_bytes_never_answer_the_next_call(streaming: bool, surplus: bytes, late_s: float) -> None:
    """In the segment of the answer, or while the connection waits for its next call."""
    first: list[Script] = [by_kind(stream("first"), answer("first"))]
    async with Upstream(OWN) as upstream, planted(upstream) as it:
        upstream.then([*first, after(late_s), raw(surplus), hang])  # type: ignore[list-item]
        ended = await it.call(streaming=streaming)
        assert (ended.text, ended.reason) == ("first", "")
        await closed_and_forgotten(it, upstream, streaming=streaming)


@BOTH
async def test_p32_a_surplus_line_end_harms_nobody(streaming: bool) -> None:
    """The parser skips it, as servers have to; it can be no answer."""
    async with Upstream(OWN) as upstream, planted(upstream) as it:
        upstream.then([OWN, raw(b"\r\n")])
        for _ in range(2):
            ended = await it.call(streaming=streaming)
            assert (ended.text, ended.reason) == ("own", "")


class Smuggler:
    """Answers a request from a thread of its own, and sends surplus bytes when told to, whatever the loop does."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.accepted = 0
        self.send, self.sent = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(BACKSTOP_S)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                with sock, contextlib.suppress(OSError):
                    self._answer(sock)

    def _answer(self, sock: socket.socket) -> None:
        sock.settimeout(BACKSTOP_S)
        number, self.accepted = self.accepted, self.accepted + 1
        while not sock.recv(65536).endswith(b'{"a":1}'):
            pass
        sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n%d" % number)
        if not number:
            self.send.wait(BACKSTOP_S)
            sock.sendall(SMUGGLED)
            self.sent.set()
        while sock.recv(65536):
            pass


@except_httpx("keep")
async def test_p32_surplus_bytes_that_nobody_has_read_yet(kind: str) -> None:
    """They arrive while the loop is busy: the next exchange starts before the loop sees them."""
    with Smuggler() as server:
        async with wired(kind, Origin("http", "127.0.0.1", server.port)) as wire:
            assert (await fetch(wire))[2] == b"0"
            server.send.set()
            server.sent.wait(BACKSTOP_S)  # holds up the loop
            assert (await fetch(wire))[2] == b"1"
    assert server.accepted == 2
