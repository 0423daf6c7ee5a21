"""The door behind TLS: who gets in, as whom, and certificates that change while calls run."""

from __future__ import annotations

import asyncio
import io
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from llmgateway.v1 import model_pb2
from llmgateway_server.admission.keys import new_key
from llmgateway_server.config.load import ConfigError, from_document
from llmgateway_server.core.secret import Secret
from llmgateway_server.observe import log
from tests.faults.kit import ask, failure_of, reason_of
from tests.path.door_kit import Door, Identity, door, expired, issued, issued_for_uris, key_entry

CHAT = "simulator/chat"
TIMEOUT_S = 10.0
AUTHORITY = trustme.CA()
STRANGER = trustme.CA()
SERVER = issued(AUTHORITY, "localhost")
KEY = new_key(Secret(""))


def bearer(key: Any = KEY) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key.key.reveal()}"),)


async def works(stub: Any, metadata: tuple[tuple[str, str], ...] = ()) -> None:
    reply = await stub.Complete(ask(model=CHAT), timeout=TIMEOUT_S, metadata=metadata)
    assert reply.parts[0].text


async def refused_by_the_handshake(stub: Any) -> bool:
    error = await failure_of(stub.Complete(ask(model=CHAT), timeout=TIMEOUT_S))
    return error.code() is grpc.StatusCode.UNAVAILABLE and not reason_of(error)


def with_keys(tls: dict[str, Any], **auth: Any) -> dict[str, Any]:
    return {"server": {"tls": tls}, "auth": {"keys": [key_entry(KEY)], **auth}}


# --- the server's certificate ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identity", "trusted", "host", "good"),
    [
        pytest.param(SERVER, AUTHORITY, "localhost", True, id="good"),
        pytest.param(SERVER, AUTHORITY, "127.0.0.1", False, id="wrong name"),
        pytest.param(SERVER, STRANGER, "localhost", False, id="unknown authority"),
        pytest.param(expired(AUTHORITY, "localhost"), AUTHORITY, "localhost", False, id="expired"),
    ],
)
async def test_callers_judge_the_certificate(
    tmp_path: Path, identity: Identity, trusted: trustme.CA, host: str, *, good: bool
) -> None:
    async with door(with_keys(identity.write(tmp_path))) as served, served.caller(trusted, host=host) as stub:
        if good:
            await works(stub, bearer())
        else:
            assert await refused_by_the_handshake(stub)


async def test_plaintext_is_not_answered_where_there_is_tls(tmp_path: Path) -> None:
    async with door(with_keys(SERVER.write(tmp_path))) as served, served.caller() as stub:
        assert await refused_by_the_handshake(stub)


@pytest.mark.parametrize(
    ("version", "good"),
    [(ssl.TLSVersion.TLSv1, False), (ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_nothing_below_tls_1_2(tmp_path: Path, version: ssl.TLSVersion, *, good: bool) -> None:
    context = ssl.create_default_context(cadata=AUTHORITY.cert_pem.bytes().decode())
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    async with door(with_keys(SERVER.write(tmp_path))) as served:
        port = int(served.address.rpartition(":")[2])
        opening = asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        if not good:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await opening
            return
        _, writer = await opening
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.2"
        writer.transport.abort()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        pytest.param(("tls.crt", "other.key"), "are not a certificate and its key", id="no pair"),
        pytest.param(("tls.key", "tls.crt"), "are not a certificate and its key", id="the wrong way round"),
        pytest.param(("none.crt", "tls.key"), "none.crt cannot be read", id="no file"),
        pytest.param(("tls.crt", "empty"), "are not a certificate and its key", id="empty"),
        pytest.param(("tls.crt", "locked.key"), "without a password", id="password"),
        pytest.param(("tls.crt", "tls.key", "empty"), "server.tls.client_ca", id="empty authority"),
        pytest.param(("tls.crt", "tls.key", "tls.key"), "server.tls.client_ca", id="no authority"),
    ],
)
async def test_files_that_cannot_be_used_stop_the_start(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    SERVER.write(tmp_path)
    (tmp_path / "other.key").write_bytes(issued(AUTHORITY, "localhost").key)
    (tmp_path / "empty").touch()
    locked = serialization.load_pem_private_key(SERVER.key, None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    (tmp_path / "locked.key").write_bytes(locked)
    places = [str(tmp_path / name) for name in names]
    with pytest.raises(ConfigError, match=r"server\.tls") as caught:
        async with door(with_keys(dict(zip(("certificate", "key", "client_ca"), places, strict=False)))):
            pass
    assert words in str(caught.value)


# --- certificates that change -------------------------------------------------------------------------------------


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """The log."""
    written = io.StringIO()
    log.configure(log.LogSettings(format="json"), written)
    yield written
    structlog.reset_defaults()


async def serial_of(served: Door) -> int:
    """Returns the serial number of the certificate that a new connection sees."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    host, _, port = served.address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    found = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
    writer.transport.abort()
    return found.serial_number


def own_serial(identity: Identity) -> int:
    return x509.load_pem_x509_certificate(identity.chain).serial_number


async def test_i17_a_new_certificate_is_used_at_once_and_no_stream_ends(tmp_path: Path, lines: io.StringIO) -> None:
    first, second = issued(AUTHORITY, "localhost"), issued(AUTHORITY, "localhost")
    tls = first.write(tmp_path)
    async with door(with_keys(tls)) as served, served.caller(AUTHORITY) as stub:
        stream = stub.StreamComplete(ask(model=f"{CHAT}?tokens=12&pace_ms=100"), metadata=bearer(), timeout=TIMEOUT_S)
        events = list((await stream.read()).events)
        assert await serial_of(served) == own_serial(first)
        second.write(tmp_path)
        assert await serial_of(served) == own_serial(second)
        async with served.caller(AUTHORITY) as other:
            await works(other, bearer())
        await works(stub, bearer())  # the old connection goes on as it is
        while (message := await stream.read()) is not grpc.aio.EOF:
            events += message.events
    assert events[-1].WhichOneof("event") == "finished"
    assert lines.getvalue().count("certificate_reloaded") == 1
    assert "certificate_not_reloaded" not in lines.getvalue()


async def test_i17_a_link_that_is_swapped_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes renews the files of a secret: the files are links through a link to a folder."""
    first, second = issued(AUTHORITY, "localhost"), issued(AUTHORITY, "localhost")
    first.write(tmp_path / "one")
    second.write(tmp_path / "two")
    (tmp_path / "data").symlink_to("one")
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    for name in ("tls.crt", "tls.key"):
        (mounted / name).symlink_to(f"../data/{name}")
    tls = {"certificate": str(mounted / "tls.crt"), "key": str(mounted / "tls.key")}
    async with door(with_keys(tls)) as served:
        assert await serial_of(served) == own_serial(first)
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").rename(tmp_path / "data")
        assert await serial_of(served) == own_serial(second)


@pytest.mark.parametrize("wrong", ["other key", "nonsense", "gone"])
async def test_i17_a_bad_pair_changes_nothing_and_is_said_once(tmp_path: Path, lines: io.StringIO, wrong: str) -> None:
    first, second = issued(AUTHORITY, "localhost"), issued(AUTHORITY, "localhost")
    tls = first.write(tmp_path)
    async with door(with_keys(tls)) as served:
        key = Path(tls["key"])
        if wrong == "gone":
            key.unlink()
        else:
            key.write_bytes(second.key if wrong == "other key" else b"nonsense")
        for _ in range(3):
            assert await serial_of(served) == own_serial(first)
        async with served.caller(AUTHORITY) as stub:
            await works(stub, bearer())
        assert lines.getvalue().count("certificate_not_reloaded") == 1
        second.write(tmp_path)
        assert await serial_of(served) == own_serial(second)
    assert "PRIVATE" not in lines.getvalue()
    assert lines.getvalue().count("certificate_not_reloaded") == 1


async def test_i17_a_file_that_is_written_with_its_old_time_is_a_change(tmp_path: Path) -> None:
    first, second = issued(AUTHORITY, "localhost"), issued(AUTHORITY, "localhost")
    tls = first.write(tmp_path)
    before = {path: Path(path).stat().st_mtime_ns for path in tls.values()}
    async with door(with_keys(tls)) as served:
        second.write(tmp_path)
        for path, time_ns in before.items():
            os.utime(path, ns=(time_ns, time_ns))
        assert await serial_of(served) == own_serial(second)


async def test_i17_a_new_authority_of_callers_is_used_at_once(tmp_path: Path) -> None:
    one, two = trustme.CA(), trustme.CA()
    async with door(mutual(tmp_path, one)) as served, served.caller(AUTHORITY, issued(one, "chat.example")) as old:
        await works(old)
        (tmp_path / "clients.pem").write_bytes(two.cert_pem.bytes())
        async with served.caller(AUTHORITY, issued(two, "chat.example")) as new:
            await works(new)
        async with served.caller(AUTHORITY, issued(one, "chat.example")) as late:
            assert await refused_by_the_handshake(late)
        await works(old)


# --- the callers' certificates ------------------------------------------------------------------------------------

CLIENTS = trustme.CA()
SPIFFE = "spiffe://example.org/ns/prod/sa/chat"
ENTRIES = [
    {"san": "Chat.example", "tenant": "acme"},
    {"san": SPIFFE, "tenant": "mesh", "roles": ["viewer"]},
    {"san": "narrow.example", "tenant": "acme", "models": ["other-*"], "rpcs": ["Stream*", "ListModels"]},
]


def mutual(folder: Path, clients: trustme.CA = CLIENTS, **auth: Any) -> dict[str, Any]:
    (folder / "clients.pem").write_bytes(clients.cert_pem.bytes())
    tls = {**SERVER.write(folder), "client_ca": str(folder / "clients.pem"), "require_client_certificate": True}
    return {"server": {"tls": tls}, "auth": {"certificates": ENTRIES, **auth}}


async def outcome(served: Door, identity: Identity, metadata: tuple[tuple[str, str], ...] = ()) -> str:
    """Returns who a caller with this certificate is in the records, or the reason of the refusal."""
    async with served.caller(AUTHORITY, identity) as stub:
        try:
            await stub.Complete(ask(model=CHAT), timeout=TIMEOUT_S, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return reason_of(error)
    record = next(each for each in reversed(served.records()) if each["record"] == "call")
    return f"{record['tenant']} {record['key_id']}"


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        pytest.param(issued(CLIENTS, "chat.example"), "acme cert:chat.example", id="DNS name"),
        pytest.param(issued(CLIENTS, "other.example", "CHAT.example"), "acme cert:chat.example", id="one of several"),
        pytest.param(issued_for_uris(CLIENTS, SPIFFE), "ROLE_REQUIRED", id="URI with the role of a viewer"),
        pytest.param(issued(CLIENTS, "narrow.example"), "ROLE_REQUIRED", id="RPC outside its list"),
        pytest.param(issued(CLIENTS, "other.example"), "INVALID_CREDENTIALS", id="unknown name"),
        pytest.param(issued(CLIENTS, "*.example"), "INVALID_CREDENTIALS", id="wildcard"),
        pytest.param(issued(CLIENTS, "x.chat.example"), "INVALID_CREDENTIALS", id="below a known name"),
        pytest.param(issued(CLIENTS, "chat.example@evil.test"), "INVALID_CREDENTIALS", id="mail address"),
        pytest.param(issued(CLIENTS, "x.example", common_name="chat.example"), "INVALID_CREDENTIALS", id="common name"),
        pytest.param(issued_for_uris(CLIENTS, f"{SPIFFE}/more"), "INVALID_CREDENTIALS", id="below a known URI"),
        pytest.param(issued_for_uris(CLIENTS, SPIFFE.upper()), "INVALID_CREDENTIALS", id="URI in other letters"),
        pytest.param(issued_for_uris(CLIENTS, "chat.example"), "INVALID_CREDENTIALS", id="URI that looks like DNS"),
        pytest.param(
            issued_for_uris(CLIENTS, "x:y", dns=(SPIFFE,)), "INVALID_CREDENTIALS", id="DNS name that looks like a URI"
        ),
    ],
)
async def test_a_certificate_says_who_calls(tmp_path: Path, identity: Identity, expected: str) -> None:
    async with door(mutual(tmp_path)) as served:
        assert await outcome(served, identity) == expected


async def test_a_viewer_with_a_certificate_looks_on(tmp_path: Path) -> None:
    async with door(mutual(tmp_path)) as served, served.caller(AUTHORITY, issued_for_uris(CLIENTS, SPIFFE)) as stub:
        assert (await stub.ListModels(model_pb2.ListModelsRequest(), timeout=TIMEOUT_S)).models


@pytest.mark.parametrize(
    "identity",
    [
        pytest.param(None, id="none"),
        pytest.param(issued(STRANGER, "chat.example"), id="unknown authority"),
        pytest.param(expired(CLIENTS, "chat.example"), id="expired"),
        pytest.param(SERVER, id="the server's own authority"),
    ],
)
async def test_the_handshake_refuses_who_has_no_good_certificate(tmp_path: Path, identity: Identity | None) -> None:
    async with (
        door(mutual(tmp_path, keys=[key_entry(KEY)])) as served,
        served.caller(AUTHORITY, identity) as stub,
    ):
        error = await failure_of(stub.Complete(ask(model=CHAT), timeout=TIMEOUT_S, metadata=bearer()))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert not served.records()


FOREIGN = new_key(Secret(""))
UNKNOWN = new_key(Secret(""))
KNOWN_CERTIFICATE, OTHER_CERTIFICATE = issued(CLIENTS, "chat.example"), issued(CLIENTS, "other.example")


@pytest.mark.parametrize(
    ("identity", "key", "expected"),
    [
        pytest.param(KNOWN_CERTIFICATE, KEY, f"acme {KEY.key_id}", id="the key decides"),
        pytest.param(OTHER_CERTIFICATE, KEY, f"acme {KEY.key_id}", id="a key needs no entry for the certificate"),
        pytest.param(KNOWN_CERTIFICATE, FOREIGN, "INVALID_CREDENTIALS", id="another tenant's key"),
        pytest.param(KNOWN_CERTIFICATE, UNKNOWN, "INVALID_CREDENTIALS", id="a wrong key beside a good certificate"),
    ],
)
async def test_a_key_beside_a_certificate(tmp_path: Path, identity: Identity, key: Any, expected: str) -> None:
    keys = [key_entry(KEY), key_entry(FOREIGN, "rival")]
    async with door(mutual(tmp_path, keys=keys)) as served:
        assert await outcome(served, identity, bearer(key)) == expected


FILES = {"certificate": "c", "key": "k"}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        pytest.param(
            {"auth": {"certificates": ENTRIES}}, "without server.tls.client_ca nobody shows", id="nobody is asked"
        ),
        pytest.param(
            {"server": {"tls": {**FILES, "client_ca": "a", "require_client_certificate": False}}},
            "belong together",
            id="optional",
        ),
        pytest.param(
            {"server": {"tls": {**FILES, "require_client_certificate": True}}},
            "belong together",
            id="required by nobody",
        ),
        pytest.param(
            {
                "server": {"tls": {**FILES, "client_ca": "a"}},
                "auth": {"certificates": [*ENTRIES, {"san": "CHAT.example", "tenant": "b"}]},
            },
            "the name chat.example is there 2 times",
            id="twice",
        ),
        pytest.param(
            {"server": {"listen": "0.0.0.0:0", "tls": {**FILES, "client_ca": "a"}}},
            "only a loopback address",
            id="a certificate alone is nobody",
        ),
        pytest.param(
            {"auth": {"keys": [key_entry(KEY, rpcs=["Complet"])]}}, "'Complet' of rpcs fits no RPC", id="no such RPC"
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(document: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_document(document, "x")
    assert words in str(caught.value)
