"""Contract of `Wire`: connecting, by TLS, and through a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from llmgateway_server.providers.wire.httpx_wire import HttpxWire
from llmgateway_server.providers.wire.names import SystemResolver
from llmgateway_server.providers.wire.port import (
    Origin,
    WireProgress,
    WireRequest,
    WireReset,
    WireTlsError,
    WireUnreachable,
)
from tests.contract.raw_server import BACKSTOP_S, Peer, RawServer, Seen, answering, answering_once, black_hole, until
from tests.contract.wire_kit import (
    CHUNKED,
    CHUNKED_BODY,
    OK,
    POST,
    _open_client_sockets,
    build,
    every,
    except_httpx,
    fetch,
    on_its_loop,
    settled,
    wired,
)


@every
async def test_refused(kind: str) -> None:
    async with RawServer(answering(OK)) as server:
        origin = server.origin
    async with wired(kind, origin, max_connections=1) as wire:
        for _ in range(2):
            progress = WireProgress()
            with pytest.raises(WireUnreachable):
                await fetch(wire, POST, progress)
            assert progress == WireProgress()


@pytest.mark.parametrize("kind", ["http1", "httpx"])
@on_its_loop
async def test_name_that_does_not_resolve(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise OSError("no such name")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
    async with wired(kind, Origin("http", "nowhere.invalid", 80)) as wire:
        with pytest.raises(WireUnreachable):
            await fetch(wire)


@every
async def test_connect_timeout(kind: str) -> None:
    held, port = await black_hole()
    try:
        async with wired(kind, Origin("http", "127.0.0.1", port), connect_timeout_s=0.1) as wire:
            with pytest.raises(WireUnreachable):
                await fetch(wire)
            for sock in held:
                sock.close()
    finally:
        for sock in held:
            sock.close()


@pytest.mark.parametrize("first", ["hangs", "refuses"])
@except_httpx("keep")
async def test_second_address_is_tried_beside_the_first(kind: str, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held, port = await black_hole()
    async with RawServer(answering(OK)) as refusing:
        closed_port = refusing.port
    try:
        async with RawServer(answering(OK)) as server:
            bad = port if first == "hangs" else closed_port

            async def resolve(*_: Any) -> list[tuple[int, Any]]:
                return [(2, ("127.0.0.1", bad)), (2, ("127.0.0.1", server.port))]

            monkeypatch.setattr(SystemResolver, "resolve", resolve)
            async with wired(kind, server.origin) as wire:
                assert (await fetch(wire))[2] == b"hello"
                await until(lambda: _open_client_sockets(port) == len(held) - 1)
    finally:
        for sock in held:
            sock.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes a private authority and certificates: good, for another name, expired, and of another authority."""
    home = tmp_path_factory.mktemp("ca")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=home, check=True, capture_output=True)

    for ca in ("ca", "stranger"):
        openssl("req", "-x509", *new_key, "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-subj", f"/CN={ca}")
    for name, host, ca, days in (
        ("good", "localhost", "ca", "2"),
        ("wrong_name", "elsewhere.test", "ca", "2"),
        ("expired", "localhost", "ca", "-1"),
        ("unknown_ca", "localhost", "stranger", "2"),
    ):
        (home / f"{name}.ext").write_text(f"subjectAltName=DNS:{host}\n")
        openssl("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={host}")
        signing = ["-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial", "-extfile", f"{name}.ext"]
        openssl("x509", "-req", "-in", f"{name}.csr", *signing, "-days", days, "-out", f"{name}.pem")
    return home


def _contexts(home: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(home / f"{name}.pem", home / f"{name}.key")
    return server, ssl.create_default_context(cafile=str(home / "ca.pem"))


@every
async def test_tls(kind: str, certificates: Path) -> None:
    at_server, at_client = _contexts(certificates, "good")
    async with (
        RawServer(answering(CHUNKED), context=at_server) as server,
        wired(kind, server.origin, at_client) as wire,
    ):
        for _ in range(3):
            assert (await fetch(wire))[2] == CHUNKED_BODY
        assert kind == "httpx" or server.accepted == 1


@every
async def test_tls_cut_and_early_leaving(kind: str, certificates: Path) -> None:
    at_server, at_client = _contexts(certificates, "good")

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED[:-20])
        if peer.number == 0:
            peer.writer.transport.abort()
        else:
            await peer.gone()

    async with RawServer(behave, context=at_server) as server, wired(kind, server.origin, at_client) as wire:
        with pytest.raises(WireReset):
            await fetch(wire)
        async with wire.exchange(POST, WireProgress()) as response:
            await response.read()
        await until(lambda: server.live == 0)


@every
async def test_tls_slow_reader_and_large_request(kind: str, certificates: Path) -> None:
    at_server, at_client = _contexts(certificates, "good")
    size = 8 * 1024 * 1024
    taken = 0

    async def behave(peer: Peer) -> None:
        nonlocal taken
        assert len((await peer.request()).body) == size
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (8 * size))
        while taken < 8 * size:
            await peer.send(bytes(65536))
            taken += 65536
        await peer.gone()

    async with RawServer(behave, context=at_server) as server, wired(kind, server.origin, at_client) as wire:
        async with wire.exchange(WireRequest("POST", "/", (), bytes(size)), WireProgress()) as response:
            got = len(await response.read())
            assert await settled(lambda: taken) < 20 * 1024 * 1024
            while data := await response.read():
                got += len(data)
        assert got == 8 * size


@pytest.mark.parametrize("fault", ["wrong_name", "expired", "unknown_ca"])
@every
async def test_tls_faults(kind: str, fault: str, certificates: Path) -> None:
    at_server, at_client = _contexts(certificates, fault)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the server's view of the failed handshake
    async with RawServer(answering(OK), context=at_server) as server, wired(kind, server.origin, at_client) as wire:
        progress = WireProgress()
        with pytest.raises(WireTlsError):
            await fetch(wire, POST, progress)
        assert progress == WireProgress()


@every
async def test_tls_version(kind: str, certificates: Path) -> None:
    at_server, at_client = _contexts(certificates, "good")
    at_server.maximum_version = ssl.TLSVersion.TLSv1_2
    at_client.minimum_version = ssl.TLSVersion.TLSv1_3

    def serve(listener: socket.socket) -> None:  # in a thread: asyncio's server drops its alert
        with listener.accept()[0] as accepted, contextlib.suppress(OSError):
            at_server.wrap_socket(accepted, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(asyncio.to_thread(serve, listener))
        async with wired(kind, Origin("https", "localhost", listener.getsockname()[1]), at_client) as wire:
            with pytest.raises(WireTlsError):
                await fetch(wire)
        await serving


@every
async def test_plain_server_behind_https(kind: str) -> None:
    async def behave(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(b"HTTP/1.1 400 Bad\r\n\r\n")

    async with RawServer(behave) as server, wired(kind, Origin("https", "127.0.0.1", server.port)) as wire:
        with pytest.raises(WireTlsError):
            await fetch(wire)


@every
async def test_context_that_does_not_verify_is_refused(kind: str) -> None:
    for spoil in ("name", "verify", "version"):
        context = ssl.create_default_context()
        if spoil == "name":
            context.check_hostname = False
        elif spoil == "verify":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.raises(ValueError):
            build(kind, Origin("https", "localhost", 1), context)


@pytest.mark.parametrize(
    "origin", [Origin("ftp", "a", 1), Origin("http", "a b", 1), Origin("http", "a\r\nb", 1), Origin("http", "a", 0)]
)
@every
async def test_impossible_origin_is_refused(kind: str, origin: Origin) -> None:
    with pytest.raises(ValueError):
        build(kind, origin)


async def test_httpx_wire_uses_the_proxy() -> None:
    seen: list[Seen] = []

    async def behave(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.send(OK)

    async with RawServer(behave) as proxy, asyncio.timeout(BACKSTOP_S):
        wire = HttpxWire(Origin("http", "provider.test", 80), proxy=f"http://u:p@127.0.0.1:{proxy.port}")
        assert (await fetch(wire))[2] == b"hello"
        await wire.aclose()
        assert seen[0].lines[0] == "POST http://provider.test/v1/chat?x=%2F HTTP/1.1"
        assert any(line.lower().startswith("proxy-authorization: ") for line in seen[0].lines)


async def test_httpx_wire_names_a_refusing_proxy() -> None:
    async with RawServer(answering_once(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n")) as proxy:
        wire = HttpxWire(Origin("https", "provider.test", 443), proxy=f"http://127.0.0.1:{proxy.port}")
        progress = WireProgress()
        with pytest.raises(WireUnreachable):
            await fetch(wire, POST, progress)
        await wire.aclose()
        assert progress == WireProgress()
