"""The head of an HTTP/1.1 request as bytes, with every way of smuggling a second line into it closed."""

from __future__ import annotations

import functools
import re

from llmgateway_server.providers.wire.port import Origin, WireRequest

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""RFC 9110 section 5.6.2: what a method or a field name may be made of."""

_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""Controls that RFC 9110 section 5.5 keeps out of field values; CR and LF are the ones that inject."""

_OWNED = frozenset(
    ("host", "content-length", "transfer-encoding", "connection", "accept-encoding", "expect", "upgrade")
)
"""Fields that decide framing or the fate of the connection: two authors of them are request smuggling."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


@functools.lru_cache(maxsize=1024)
def _is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


@functools.lru_cache(maxsize=1024)
def _is_name(name: str) -> bool:
    return _is_token(name) and name.lower() not in _OWNED


def authority(origin: Origin) -> str:
    """Returns the `host` field of an origin: IPv6 in brackets, the port only when it is not the scheme's own.

    Raises:
        ValueError: the scheme is neither `http` nor `https`, or the host or port cannot stand in a head.
    """
    if origin.scheme not in _DEFAULT_PORTS:
        raise ValueError(f"origin scheme must be http or https, not {origin.scheme!r}")
    host = origin.host
    if not host or not host.isascii() or not host.isprintable() or set(host) & set(" /?#@[]\\"):
        raise ValueError(f"origin host is not a plain ASCII host name or address: {host!r}")
    if not 0 < origin.port < 65536:
        raise ValueError(f"origin port is out of range: {origin.port}")
    name = f"[{host}]" if ":" in host else host
    return name if origin.port == _DEFAULT_PORTS[origin.scheme] else f"{name}:{origin.port}"


def check_request(request: WireRequest) -> None:
    """Refuses a request whose head would not say what its author meant.

    Messages name the field and never its value, which may be a credential.

    Raises:
        ValueError: CR, LF, NUL or another control, text outside latin-1, a method or name that is no token, a
            path that is not a percent-encoded ASCII target starting with `/`, or a field that the wire owns.
    """
    if not _is_token(request.method):
        raise ValueError("request method is not a token")
    path = request.path
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path or "#" in path:
        raise ValueError("request path must start with '/' and be percent-encoded printable ASCII")
    for name, value in request.headers:
        if not _is_name(name):
            reason = "is written by the wire itself" if _is_token(name) else "is not a token"
            raise ValueError(f"request header {name!r} {reason}")
        # `isprintable` is one pass in C; what it refuses (tab, no-break space) is looked at more closely.
        if not value.isprintable() and _BAD_VALUE.search(value):
            raise ValueError(f"request header {name!r} holds a control character")
        if not value.isascii():
            try:
                value.encode("latin-1")
            except UnicodeEncodeError:
                raise ValueError(f"request header {name!r} holds characters outside latin-1") from None


def encode_head(request: WireRequest, host: str) -> bytes:
    """Returns the head of `request` including the empty line that ends it.

    Args:
        host: what `authority` returned for the origin.

    Raises:
        ValueError: see `check_request`.

    Source: RFC 9112 sections 3 and 6.2 (`content-length: 0` is sent where a body would have been expected).
    """
    check_request(request)
    lines = [f"{request.method} {request.path} HTTP/1.1\r\nhost: {host}\r\naccept-encoding: identity"]
    if request.body or request.method not in ("GET", "HEAD"):
        lines.append(f"content-length: {len(request.body)}")
    lines.extend([f"{name}: {value}" for name, value in request.headers])
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1")
