"""TLS of the door: a certificate, its key and the authority of the callers' certificates, read again when they change.

The files are looked at in every handshake, so nothing has to be told that they changed. Connections that exist keep the
certificate that they were opened with.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmgateway_server.observe.log import logger

T = TypeVar("T")
Stamp = tuple[tuple[int, ...], ...]
READ_TRIES = 3
"""The files are replaced one after the other; what was read must have stood there unchanged while it was checked."""


class TlsError(Exception):
    """The files cannot be used. The text names the setting and the file."""


class TlsSettings(BaseModel):
    """TLS 1.2 or newer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificate: str = Field(min_length=1)
    """PEM file: the server's certificate, then those between it and the authority."""
    key: str = Field(min_length=1)
    """PEM file: its private key, without a password."""
    client_ca: str = ""
    """PEM file: the authorities of the callers' certificates. Empty: callers are not asked for one."""
    require_client_certificate: bool | None = None
    """Whether callers must show a certificate. Default: whether `client_ca` is set; the two cannot differ."""

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if self.require_client_certificate is not None and self.require_client_certificate != bool(self.client_ca):
            raise ValueError(
                "client_ca and require_client_certificate belong together: the gRPC library asks for a certificate only"
                " where it requires one"
            )
        return self


@dataclass(slots=True, frozen=True)
class Certificate:
    """What the files hold, checked."""

    chain: bytes
    """PEM."""
    key: bytes = field(repr=False)
    """PEM."""
    roots: bytes | None
    """PEM; None where callers show no certificate."""
    context: ssl.SSLContext
    """With all of it loaded."""


class CertificateFiles(Generic[T]):
    """The files behind the settings. Safe for threads, which ask in every handshake.

    Args:
        settings: where they are.
        form: makes of their content what a transport needs.
    """

    def __init__(self, settings: TlsSettings, form: Callable[[Certificate], T]) -> None:
        self._settings = settings
        self._form = form
        self._paths = tuple(Path(each) for each in (settings.certificate, settings.key, settings.client_ca) if each)
        self._seen: Stamp | None = None
        self._lock = threading.Lock()
        self._log = logger("transport")

    def load(self) -> T:
        """Reads and checks the files; returns the transport's form of them.

        Raises:
            TlsError: a file cannot be read, is none of its kind, or certificate and key do not belong together.
        """
        for _ in range(READ_TRIES):
            before = self._stamp()
            try:
                found = self._read()
            except TlsError:
                if self._stamp() != before:
                    continue
                raise
            if self._stamp() == before:
                self._seen = before
                return found
        raise TlsError("server.tls: the files do not stop changing")

    def changed(self) -> T | None:
        """Returns the files' content if it changed since it was last read and is good, else None. Never raises.

        Content that is not good is reported once in the log; the last good one stays.
        """
        with self._lock:
            stamp = self._stamp()
            if stamp == self._seen:
                return None
            try:
                found = self.load()
            except TlsError as error:
                self._seen = stamp
                self._log.error("certificate_not_reloaded", cause=str(error))
                return None
            self._log.info("certificate_reloaded")
            return found

    def _read(self) -> T:
        settings = self._settings
        chain, key = _bytes("certificate", settings.certificate), _bytes("key", settings.key)
        roots = _bytes("client_ca", settings.client_ca) if settings.client_ca else None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # A key with a password would make OpenSSL ask for it at the terminal.
            context.load_cert_chain(settings.certificate, settings.key, password=lambda: "")
        except (OSError, ValueError):
            raise TlsError(
                f"server.tls: {settings.certificate} and {settings.key} are not a certificate and its key without a"
                " password, both as PEM"
            ) from None
        if settings.client_ca:
            load_authorities(context, settings.client_ca, "server.tls.client_ca")
        return self._form(Certificate(chain, key, roots, context))

    def _stamp(self) -> Stamp:
        """Returns what changes when a file is written or replaced, also by a link to another file."""
        return tuple(_stamp_of(path) for path in self._paths)


def load_authorities(context: ssl.SSLContext, path: str, field: str) -> None:
    """Makes a context trust the authorities in a PEM file, beside those that it trusts already.

    Args:
        field: path of the setting, for errors.

    Raises:
        TlsError: the file cannot be read or holds no certificate.
    """
    try:
        context.load_verify_locations(cafile=path)
    except (OSError, ValueError):
        raise TlsError(f"{field}: {path} is not a readable PEM file with certificates") from None


def verified_names(auth_context: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the names in the caller's certificate that the handshake verified: URIs, and DNS names in lower case.

    Other kinds of names are left out, and so is what has the form of the other kind: no name can stand for another.

    Args:
        auth_context: of the call, as gRPC gives it.
    """
    if list(auth_context.get("transport_security_type", ())) != [b"ssl"]:
        return ()
    uris = [name for name in _texts(auth_context.get("peer_uri", ())) if ":" in name]
    hosts = [name.lower() for name in _texts(auth_context.get("peer_dns", ())) if ":" not in name]
    return (*uris, *hosts)


def _texts(values: Any) -> list[str]:
    return [value.decode("utf-8", "replace") for value in values]


def _bytes(field: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError):
        raise TlsError(f"server.tls.{field}: the file {path} cannot be read") from None


def _stamp_of(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
