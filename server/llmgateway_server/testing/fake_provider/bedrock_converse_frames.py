"""Writes the binary messages of Amazon's streams, with both their checksums.

Source: https://smithy.io/2.0/aws/amazon-eventstream.html
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from zlib import crc32

TEXT = 7
"""Type of a header's value."""


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Returns one message."""
    written = b"".join(_header(name, value) for name, value in headers.items())
    prelude = struct.pack(">II", 16 + len(written) + len(payload), len(written))
    begun = prelude + struct.pack(">I", crc32(prelude)) + written + payload
    return begun + struct.pack(">I", crc32(begun))


def event(name: str, payload: bytes, content_type: str = "application/json") -> bytes:
    """Returns an event."""
    return message({":event-type": name, ":content-type": content_type, ":message-type": "event"}, payload)


def exception(name: str, payload: bytes) -> bytes:
    """Returns an event that is a failure; nothing follows it."""
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return message(headers, payload)


def _header(name: str, value: str) -> bytes:
    return bytes([len(name.encode())]) + name.encode() + struct.pack(">BH", TEXT, len(value.encode())) + value.encode()
