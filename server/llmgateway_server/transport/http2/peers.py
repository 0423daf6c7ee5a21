"""Who is at the other end of a connection, in the words of gRPC."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any


def peer_of(transport: asyncio.BaseTransport) -> str:
    """See `Context.peer`."""
    connected: socket.socket | None = transport.get_extra_info("socket")
    name = transport.get_extra_info("peername")
    if connected is None or connected.family == socket.AF_UNIX or not name:
        return "unix:"
    if connected.family == socket.AF_INET6:
        return f"ipv6:[{name[0]}]:{name[1]}"
    return f"ipv4:{name[0]}:{name[1]}"


def auth_context_of(tls: Any) -> Mapping[str, Any]:
    """Returns what the handshake verified, as gRPC says it."""
    names = (tls.getpeercert() or {}).get("subjectAltName", ())
    return {
        "transport_security_type": [b"ssl"],
        "peer_uri": [value.encode() for kind, value in names if kind == "URI"],
        "peer_dns": [value.encode() for kind, value in names if kind == "DNS"],
    }
