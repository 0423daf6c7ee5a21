"""Amazon's signature, version 4: the keys of an account sign each request.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from time import gmtime, strftime
from urllib.parse import quote

from llmgateway_server.core.clock import Clock
from llmgateway_server.core.secret import Secret
from llmgateway_server.providers.wire.port import Headers, WireRequest

ALGORITHM = "AWS4-HMAC-SHA256"
BEDROCK = "bedrock"
"""Service that requests to the runtime of Bedrock are signed for; its host says `bedrock-runtime`."""


class AwsKeys(Secret):
    """The keys of an account: the secret one, and what is sent beside its signatures.

    Args:
        secret_access_key: never leaves the process.
        access_key_id: is sent.
        session_token: is sent; empty for keys that do not expire.
    """

    __slots__ = ("access_key_id", "session_token")

    def __init__(self, secret_access_key: str, access_key_id: str, session_token: Secret) -> None:
        super().__init__(secret_access_key)
        self.access_key_id = access_key_id
        self.session_token = session_token


class SigV4:
    """Signs requests to one host; an `Authorize`.

    Signed are the host, the content type and all `x-amz` headers: others may be changed on the way.

    Args:
        region: of the endpoint.
        host: as the wire sends it, with the port where that is not the scheme's own.
        clock: wall time; Amazon takes a signature for a few minutes.
        service: that the request is for.
    """

    def __init__(self, region: str, host: str, clock: Clock, service: str = BEDROCK) -> None:
        self._region = region
        self._host = host
        self._clock = clock
        self._service = service

    def __call__(self, request: WireRequest, secret: Secret) -> Headers:
        """Returns the headers that carry the signature.

        Raises:
            TypeError: the secret is no keys of AWS.
        """
        if not isinstance(secret, AwsKeys):
            raise TypeError(type(secret).__name__)
        at = strftime("%Y%m%dT%H%M%SZ", gmtime(self._clock.wall_s()))
        added: Headers = (("x-amz-date", at),)
        if secret.session_token:
            added += (("x-amz-security-token", secret.session_token.reveal()),)
        names, digest = _canonical(request, (("host", self._host), *request.headers, *added))
        scope = f"{at[:8]}/{self._region}/{self._service}/aws4_request"
        key = f"AWS4{secret.reveal()}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), sha256)
        signature = hmac.digest(key, f"{ALGORITHM}\n{at}\n{scope}\n{digest}".encode(), sha256).hex()
        credential = f"{ALGORITHM} Credential={secret.access_key_id}/{scope}"
        return (*added, ("authorization", f"{credential}, SignedHeaders={names}, Signature={signature}"))


def _canonical(request: WireRequest, headers: Headers) -> tuple[str, str]:
    """Returns the names of the signed headers, and the digest of the request in its canonical form."""
    path, _, query = request.path.partition("?")
    signed: dict[str, list[str]] = {}
    for name, value in headers:
        if name in ("host", "content-type") or name.startswith("x-amz"):
            signed.setdefault(name, []).append(" ".join(value.split()))
    names = ";".join(sorted(signed))
    lines = (
        request.method,
        quote(_without_dots(path), safe="/~"),  # what is percent-encoded is encoded once more, but for S3
        "&".join("=".join(pair) for pair in sorted(_pairs(query))),
        *(f"{name}:{','.join(signed[name])}" for name in sorted(signed)),
        "",
        names,
        sha256(request.body).hexdigest(),
    )
    return names, sha256("\n".join(lines).encode()).hexdigest()


def _pairs(query: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (each.partition("=") for each in query.split("&") if each)]


def _without_dots(path: str) -> str:
    """Returns a path without `.`, `..` and empty segments (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")
