"""No connection: P1 refused, P2 names, P3 TLS, P4 black holes; P31 redirects, which make none."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
import threading
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import pytest
import trustme

from llmgateway_server.providers import http_provider
from llmgateway_server.providers.wire.http1 import Http1Wire
from llmgateway_server.providers.wire.names import Address
from llmgateway_server.providers.wire.port import Origin, WireLimits
from llmgateway_server.testing.clock import ManualClock
from llmgateway_server.testing.upstream import Upstream, answer, hang, head, stream
from tests.contract.raw_server import Peer, RawServer, answering, black_hole
from tests.faults.kit import BACKSTOP_S
from tests.faults.provider_kit import (
    BOTH,
    CANARIES,
    FAILED_PRECONDITION,
    WORDS,
    assert_planted,
    by_kind,
    only,
    planted,
    whole,
)

HELLO = by_kind(stream("hello"), answer("hello"))
OK_BODY = b'{"choices":[{"message":{"content":"hello"},"finish_reason":"stop"}]}'
OK = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(OK_BODY), OK_BODY)


def port_of(upstream: Upstream) -> int:
    return int(upstream.base_url.rpartition(":")[2].partition("/")[0])


@functools.cache
def closed_port() -> int:
    """Returns a port that refuses connections. It stays bound, and nobody listens, so that nobody else gets it."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    port = int(bound.getsockname()[1])
    bound.detach()
    return port


@BOTH
async def test_p1_connection_refused(streaming: bool) -> None:
    async with planted(f"http://127.0.0.1:{closed_port()}/v1") as it:
        await it.call(streaming=streaming)  # the first call of a process imports and compiles
        ended = await it.call(streaming=streaming)
    ended.assert_refused("UPSTREAM_UNREACHABLE")
    ended.assert_within(0.0)
    assert ended.attempt["request_bytes"] == 0


# --- names -------------------------------------------------------------------------------------------------------


class ScriptedResolver:
    """A resolver that answers with what `says` holds: addresses, an error, or silence."""

    def __init__(self, port: int) -> None:
        self.good = [(int(socket.AF_INET), ("127.0.0.1", port))]
        self.says: Sequence[Address] | Exception | None = self.good
        self.questions: list[str] = []

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        self.questions.append(f"{host}:{port}")
        if self.says is None:
            await asyncio.get_running_loop().create_future()
        if isinstance(self.says, Exception):
            raise self.says
        assert self.says is not None
        return self.says


NAME = Origin("http", "provider.test", 80)
FAILURES = {
    "no such name": socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    "SERVFAIL": socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    "no name at all": UnicodeError("label empty or too long"),
    "silence": None,
}


def named(resolver: ScriptedResolver, clock: ManualClock | None = None) -> Http1Wire:
    """Returns a wire by name that keeps no connection, so that each call asks."""
    limits = WireLimits(resolve_timeout_s=0.1, keepalive_s=0.0)
    return Http1Wire(NAME, limits=limits, resolver=resolver, clock=clock)


@pytest.mark.parametrize("failure", list(FAILURES))
@BOTH
async def test_p2_the_name_does_not_resolve(streaming: bool, failure: str) -> None:
    resolver = ScriptedResolver(0)
    resolver.says = FAILURES[failure]
    async with planted("http://provider.test/v1") as it:
        it.use(named(resolver))
        ended = await it.call(streaming=streaming)
    ended.assert_refused("UPSTREAM_UNREACHABLE")
    ended.assert_within(0.1)
    assert ended.attempt["request_bytes"] == 0
    assert resolver.questions == ["provider.test:80"]


@pytest.mark.parametrize("failure", list(FAILURES))
async def test_p2_the_last_good_addresses_serve_for_a_minute(failure: str) -> None:
    clock = ManualClock()
    async with Upstream(HELLO) as upstream, planted("http://provider.test/v1") as it:
        resolver = ScriptedResolver(port_of(upstream))
        it.use(named(resolver, clock))
        assert (await it.call(streaming=True)).text == "hello"
        resolver.says = FAILURES[failure]
        for passed_s in (0.0, 30.0, 30.0):
            clock.advance(passed_s)
            assert (await it.call(streaming=True)).text == "hello"
        clock.advance(0.1)
        (await it.call(streaming=True)).assert_refused("UPSTREAM_UNREACHABLE")
        if resolver.says is not None:  # who is silent is not asked again
            resolver.says = resolver.good
            assert (await it.call(streaming=True)).text == "hello"
            assert len(resolver.questions) == 6


async def test_p2_a_silent_resolver_is_waited_for_once() -> None:
    resolver = ScriptedResolver(0)
    resolver.says = None
    async with planted("http://provider.test/v1") as it:
        it.use(named(resolver))
        await it.call(streaming=True)
        for ended in [await it.call(streaming=True) for _ in range(3)]:
            ended.assert_refused("UPSTREAM_UNREACHABLE")
            ended.assert_within(0.0)
    assert len(resolver.questions) == 1


def test_p2_and_p4_defaults_are_the_documented_ones() -> None:
    limits = WireLimits()
    assert (limits.resolve_timeout_s, limits.stale_addresses_s, limits.connect_timeout_s) == (2.0, 60.0, 5.0)


# --- TLS ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """Makes the private authority one of the system's, so that the gateway's own TLS settings are tested."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return authority


class TlsServer:
    """Shakes hands in a thread, because asyncio drops the alerts of a handshake that fails, and notes every byte."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.heard = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._thread.join(BACKSTOP_S)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                with accepted, contextlib.suppress(OSError):
                    self._shake_hands(accepted)

    def _shake_hands(self, sock: socket.socket) -> None:
        """Moves the bytes itself, to see them as they came."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._context.wrap_bio(incoming, outgoing, server_side=True)
        sock.settimeout(BACKSTOP_S)
        while data := sock.recv(65536):
            self.heard += data
            incoming.write(data)
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                sock.sendall(outgoing.read())
                return
            sock.sendall(outgoing.read())


def certified(ca: trustme.CA, fault: str = "") -> ssl.SSLContext:
    """Returns the settings of a server with a certificate by `ca` that has the fault."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer = trustme.CA() if fault == "unknown authority" else ca
    name = "elsewhere.test" if fault == "wrong name" else "localhost"
    days = -1 if fault == "expired" else 1
    issuer.issue_cert(name, not_after=datetime.now(UTC) + timedelta(days=days)).configure_cert(context)
    if fault == "old version":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@pytest.mark.parametrize("fault", ["expired", "wrong name", "unknown authority", "old version"])
@BOTH
async def test_p3_tls_that_cannot_be_trusted(trusted: trustme.CA, streaming: bool, fault: str) -> None:
    with TlsServer(certified(trusted, fault)) as server:
        async with planted(f"https://localhost:{server.port}/v1") as it:
            ended = await it.call(streaming=streaming)
    ended.assert_refused("UPSTREAM_TLS")
    assert ended.attempt["request_bytes"] == 0
    assert server.heard.startswith(b"\x16\x03")
    assert not [word for word in (*CANARIES.values(), "HTTP", "authorization") if word.encode() in server.heard]


async def test_p3_the_same_authority_is_trusted_with_a_good_certificate(trusted: trustme.CA) -> None:
    async with (
        RawServer(answering(OK), context=certified(trusted)) as server,
        planted(f"https://localhost:{server.port}/v1") as it,
    ):
        assert (await it.call(streaming=False)).text == "hello"


@BOTH
async def test_p3_plain_text_where_tls_should_be(streaming: bool) -> None:
    async def behave(peer: Peer) -> None:
        heard.append(await peer.reader.read(65536))
        await peer.send(f"HTTP/1.1 400 {WORDS}\r\n\r\n".encode())

    heard: list[bytes] = []
    async with RawServer(behave) as server, planted(f"https://127.0.0.1:{server.port}/v1") as it:
        ended = await it.call(streaming=streaming)
    ended.assert_refused("UPSTREAM_TLS")
    assert len(heard) == 1
    assert heard[0].startswith(b"\x16\x03")


# --- silence, and elsewhere --------------------------------------------------------------------------------------


@pytest.mark.parametrize("hole", ["SYN", "TLS"])
@BOTH
async def test_p4_black_hole(streaming: bool, hole: str) -> None:
    limit_s = 0.2
    async with contextlib.AsyncExitStack() as stack:
        if hole == "SYN":
            held, port = await black_hole()
            for sock in held:
                stack.callback(sock.close)
        else:
            port = (await stack.enter_async_context(RawServer(Peer.gone))).port
        scheme = "http" if hole == "SYN" else "https"
        it = await stack.enter_async_context(planted(f"{scheme}://127.0.0.1:{port}/v1"))
        it.use(Http1Wire(Origin(scheme, "127.0.0.1", port), limits=WireLimits(connect_timeout_s=limit_s)))
        ended = await it.call(streaming=streaming)
    ended.assert_refused("UPSTREAM_UNREACHABLE")
    ended.assert_within(limit_s, at_least_s=limit_s)
    assert ended.attempt["request_bytes"] == 0


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
@BOTH
async def test_p31_redirects_are_not_followed(streaming: bool, status: int) -> None:
    async with RawServer(answering(OK)) as elsewhere:
        location = f"http://127.0.0.1:{elsewhere.port}/{WORDS}"
        body = b"" if status == 304 else f"<a href={location}>{WORDS}</a>".encode()
        script = whole(body, {"content-type": "text/html", "location": location}, status)
        async with Upstream(script) as upstream, planted(upstream) as it:
            ended = await it.call(streaming=streaming)
        assert_planted(only(upstream.requests))
        assert elsewhere.accepted == 0
    ended.assert_refused("UPSTREAM_REDIRECT", FAILED_PRECONDITION)
    assert ended.attempt["http_status"] == status


@BOTH
async def test_p31_a_redirect_is_known_by_its_head(streaming: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_provider, "ERROR_BODY_S", 0.1)
    script = [head(307, {"location": "/", "content-length": "9"}), hang]
    async with Upstream(script) as upstream, planted(upstream) as it:
        ended = await it.call(streaming=streaming)
        await only(upstream.requests).gone.wait()
    ended.assert_refused("UPSTREAM_REDIRECT", FAILED_PRECONDITION)
    ended.assert_within(0.1, at_least_s=0.1)
