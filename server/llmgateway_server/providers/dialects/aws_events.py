"""The binary events of Amazon (`application/vnd.amazon.eventstream`), from bytes cut anywhere.

A message is: total length and length of the headers (4 bytes each, big-endian), CRC-32 of these eight bytes, headers,
payload, CRC-32 of all before it. Both checksums are held.

Source: https://smithy.io/2.0/aws/amazon-eventstream.html
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from zlib import crc32

from llmgateway_server.providers.dialects.framing import Framed, Framing
from llmgateway_server.providers.faults import malformed

MEDIA_TYPE = "application/vnd.amazon.eventstream"
MAX_HEADER_BYTES = 128 * 1024
MAX_PAYLOAD_BYTES = 24 * 1024 * 1024
"""Most that the format allows; a larger message is refused before it is there."""
PRELUDE = struct.Struct(">III")
CHECKSUM = struct.Struct(">I")
FIXED_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type, for types of fixed size; the other two say theirs in two bytes."""
BINARY, TEXT = 6, 7
FAILURES = {"exception": ":exception-type", "error": ":error-code"}
"""Header that names a failure, by the type of its message."""
FAILED = b"!"
"""Stands before the name of an event that is a failure."""


class AwsEventDecoder:
    """Collects messages as (name, payload): the name is the event's type; that of a failure begins with `FAILED`."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> Framed:
        """See `framing.Framing`."""
        rest = self._rest
        rest += chunk
        found: Framed = []
        at = 0
        while len(rest) - at >= PRELUDE.size:
            total, header_bytes, checksum = PRELUDE.unpack_from(rest, at)
            if crc32(rest[at : at + 8]) != checksum:
                raise malformed("event whose prelude does not match its checksum")
            payload_bytes = total - header_bytes - PRELUDE.size - CHECKSUM.size
            if header_bytes > MAX_HEADER_BYTES or not 0 <= payload_bytes <= MAX_PAYLOAD_BYTES:
                raise malformed("event with an impossible length")
            if len(rest) - at < total:
                break
            found.append(self._message(bytes(rest[at : at + total]), header_bytes))
            at += total
        del rest[:at]
        return found

    def end(self) -> Framed:
        """A body that ends inside a message was cut."""
        if self._rest:
            raise malformed("body ended inside an event")
        return []

    def _message(self, message: bytes, header_bytes: int) -> tuple[bytes, bytes]:
        if crc32(message[: -CHECKSUM.size]) != CHECKSUM.unpack_from(message, len(message) - CHECKSUM.size)[0]:
            raise malformed("event that does not match its checksum")
        payload_at = PRELUDE.size + header_bytes
        headers = _headers(message[PRELUDE.size : payload_at])
        kind = headers.get(":message-type", "event")
        payload = message[payload_at : -CHECKSUM.size]
        if kind == "event":
            return headers.get(":event-type", "").encode(), payload
        return FAILED + headers.get(FAILURES.get(kind, ""), kind).encode(), payload


def _headers(data: bytes) -> dict[str, str]:
    """Returns the headers that are text.

    Raises:
        UpstreamError: UPSTREAM_MALFORMED, they do not fill their place exactly, or one is there twice.
    """
    names: set[bytes] = set()
    found: dict[str, str] = {}
    at = 0
    try:
        while at < len(data):
            name_end = at + 1 + data[at]
            name, kind = data[at + 1 : name_end], data[name_end]
            at = name_end + 1
            if name in names:
                raise malformed("event with a header twice")
            names.add(name)
            if kind in FIXED_SIZES:
                at += FIXED_SIZES[kind]
                continue
            if kind not in (BINARY, TEXT):
                raise malformed("event with a header of no known type")
            (size,) = struct.unpack_from(">H", data, at)
            value = data[at + 2 : at + 2 + size]
            at += 2 + size
            if kind == TEXT:
                found[name.decode()] = value.decode()
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise malformed("event with broken headers") from error
    if at != len(data):
        raise malformed("event with broken headers")
    return found


AWS_EVENTS: Mapping[str, Callable[[], Framing]] = {MEDIA_TYPE: AwsEventDecoder}
"""The framings of the dialects whose streams are of this form."""
