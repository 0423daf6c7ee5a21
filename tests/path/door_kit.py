"""What the tests of the door share: a private authority, certificates in files, a gateway behind TLS."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import msgspec
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from llmgateway.v1.llm_gateway_service_pb2_grpc import LlmGatewayServiceStub
from llmgateway_server.app import App
from llmgateway_server.config.load import from_document
from llmgateway_server.core.clock import Clock
from llmgateway_server.testing.gateway import SIMULATOR_ONLY

RETRY_NOTHING = ("grpc.enable_retries", 0)
OWN_POOL = ("grpc.use_local_subchannel_pool", 1)
"""Every channel makes a connection, and so a handshake, of its own."""
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


@dataclass(slots=True, frozen=True)
class Identity:
    """A certificate with the certificates above it, and its key, as PEM."""

    chain: bytes
    key: bytes

    def write(self, folder: Path) -> dict[str, str]:
        """Writes both into `folder` and returns the settings of TLS."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tls.crt").write_bytes(self.chain)
        (folder / "tls.key").write_bytes(self.key)
        return {"certificate": str(folder / "tls.crt"), "key": str(folder / "tls.key")}


def issued(authority: trustme.CA, *names: str, **options: Any) -> Identity:
    """Returns a certificate for DNS names, addresses of machines or mail addresses."""
    made = authority.issue_cert(*names, **options)
    return Identity(b"".join(each.bytes() for each in made.cert_chain_pems), made.private_key_pem.bytes())


def expired(authority: trustme.CA, *names: str) -> Identity:
    return issued(authority, *names, not_before=LONG_AGO, not_after=LONG_AGO + dt.timedelta(days=1))


def issued_for_uris(authority: trustme.CA, *uris: str, dns: tuple[str, ...] = ()) -> Identity:
    """Returns a certificate whose names are URIs, as SPIFFE wants it."""
    key = ec.generate_private_key(ec.SECP256R1())
    above = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    signer = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    now = dt.datetime.now(dt.UTC)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
    names += [x509.DNSName(name) for name in dns]
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(above.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .sign(signer, hashes.SHA256())
    )
    return Identity(
        made.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def key_entry(key: Any, tenant: str = "acme", **options: Any) -> dict[str, Any]:
    """Returns the entry of a new key in the configuration."""
    return {"id": key.key_id, "hash": key.key_hash, "tenant": tenant, **options}


@dataclass(slots=True)
class Door:
    """A gateway that serves."""

    app: App
    address: str
    _records: io.StringIO = field(repr=False)

    @asynccontextmanager
    async def caller(
        self, authority: trustme.CA | None = None, identity: Identity | None = None, *, host: str = "localhost"
    ) -> AsyncIterator[Any]:
        """Yields a stub on a connection of its own: plaintext without `authority`, else TLS."""
        options = (RETRY_NOTHING, OWN_POOL)
        target = self.address if self.address.startswith("unix:") else f"{host}:{self.address.rpartition(':')[2]}"
        if authority is None:
            channel = grpc.aio.insecure_channel(target, options=options)
        else:
            shown = (identity.key, identity.chain) if identity is not None else (None, None)
            credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes(), *shown)
            channel = grpc.aio.secure_channel(target, credentials, options=options)
        async with channel:
            yield LlmGatewayServiceStub(channel)

    def records(self) -> list[dict[str, Any]]:
        self.app.parts.records.flush()
        return [msgspec.json.decode(line) for line in self._records.getvalue().splitlines()]


@asynccontextmanager
async def door(document: Mapping[str, Any], *, clock: Clock | None = None) -> AsyncIterator[Door]:
    """Starts a gateway on the simulator; the address is a free port of loopback unless `document` names one."""
    server = {"listen": "127.0.0.1:0", "grace_s": 1.0, **document.get("server", {})}
    settings = {"gate": {"max_loop_lag_s": 60.0}, **SIMULATOR_ONLY, **document, "server": server}
    records = io.StringIO()
    app = App(from_document(settings, "test"), {}, clock=clock, records_stream=records)
    address = await app.start()
    try:
        yield Door(app, address, records)
    finally:
        await app.stop()
