"""TLS of connections: HTTP/2 is agreed on in the handshake, and every handshake looks whether the files changed."""

from __future__ import annotations

import ssl

from llmgateway_server.transport.tls import Certificate, CertificateFiles, TlsSettings


def context(settings: TlsSettings) -> ssl.SSLContext:
    """Returns a context that follows the files of the settings.

    Raises:
        TlsError: as `CertificateFiles.load`.
    """
    files = CertificateFiles(settings, _ready)
    first = files.load()
    current = first

    def look(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _first: ssl.SSLContext) -> None:
        nonlocal current
        current = files.changed() or current
        connection.context = current

    first.sni_callback = look
    return first


def _ready(found: Certificate) -> ssl.SSLContext:
    made = found.context
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["h2"])
    if found.roots is not None:
        made.verify_mode = ssl.CERT_REQUIRED
    return made
