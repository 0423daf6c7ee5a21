"""How an API key is put into a request: one function for each header that vendors want."""

from __future__ import annotations

from collections.abc import Callable

from llmgateway_server.core.secret import Secret
from llmgateway_server.providers.wire.port import Headers, WireRequest

Authorize = Callable[[WireRequest, Secret], Headers]
"""Returns the headers that a request needs beside its own; the request is complete but for them."""


def bearer(_: WireRequest, secret: Secret) -> Headers:
    """Sends the key as `Authorization: Bearer` (RFC 6750)."""
    return (("authorization", f"Bearer {secret.reveal()}"),)


def header(name: str) -> Authorize:
    """Returns the scheme that sends the key alone in a header of this name, lower case."""

    def authorize(_: WireRequest, secret: Secret) -> Headers:
        return ((name, secret.reveal()),)

    return authorize
