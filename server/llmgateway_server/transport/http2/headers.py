"""Header blocks: what a request asks for, and the blocks of a reply.

Requests are decoded by `hpack`. A channel repeats itself: while the compression's table stays as it was, the same bytes
mean the same request, so what was read is remembered by its bytes. Replies use no table and no Huffman code: every
block can be written without knowing any other.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from hpack import Decoder, HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from llmgateway_server.transport.http2.frames import Code, ConnectionFaultError

Pairs = tuple[tuple[str, str | bytes], ...]

MAX_METADATA_BYTES = 16 * 1024
"""As RFC 9113 §6.5.2 counts: names, values and 32 bytes for each. More is refused with a status."""
MAX_BLOCK_BYTES = 64 * 1024
"""More ends the connection: whoever sends it was told the bound."""
MAX_DIGITS = 16
REMEMBERED_COUNT = 64
REMEMBERED_BYTES = 4096
OVERHEAD_BYTES = 32
TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
NAME = re.compile(rb"[0-9a-z!#$%&'*+.^_`|~\-]+")
"""RFC 9110 §5.6.2, in lower case."""
METADATA_NAME = re.compile(r"[0-9a-z_.\-]+")
"""PROTOCOL-HTTP2.md, Header-Name; other headers, which a proxy may have added, are no metadata."""
OUR_OWN = frozenset(
    {"te", "content-type", "content-length", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding", "grpc-trace-bin"}
)
"""Headers of the protocol, which are no metadata."""
LINE_ENDS = re.compile(rb"[\x00\r\n]")
FORBIDDEN = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
"""RFC 9113 §8.2.2."""
PSEUDO = frozenset({":method", ":path", ":scheme", ":authority"})

OK_HEADERS = b"\x88" + b"\x0f\x10\x10application/grpc"
"""`:status: 200`, `content-type: application/grpc`."""
NEW_TABLE_SIZE_0 = b"\x20"
"""Tells a peer that shrank its table that we use none (RFC 7541 §4.2)."""
ACCEPTED: Pairs = (("grpc-accept-encoding", "identity,deflate,gzip"),)
"""Goes with the refusal of any other compression (PROTOCOL-HTTP2.md)."""


@dataclass(slots=True, frozen=True)
class RequestHead:
    """What a header block asks for."""

    method: str
    """`/package.Service/Method`."""
    timeout_s: float | None
    encoding: str
    """Of the message, where it says that it is compressed."""
    metadata: Pairs
    length: int | None = None
    """Bytes of the body, where it says so."""
    refusal: bytes = b""
    """The header block that answers it where nothing of gRPC can: it is no call."""
    refusal_text: bytes = b""
    too_large: bool = False


class _CountedTable(HeaderTable):
    """Counts its changes."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)

    @HeaderTable.maxsize.setter  # type: ignore[attr-defined,untyped-decorator]
    def maxsize(self, newmax: int) -> None:
        self.changes += 1
        HeaderTable.maxsize.fset(self, newmax)  # type: ignore[attr-defined]


class HeaderReader:
    """Reads the header blocks of one connection, in their order."""

    def __init__(self) -> None:
        self._table = _CountedTable()
        self._decoder = Decoder(max_header_list_size=MAX_BLOCK_BYTES)
        self._decoder.header_table = self._table
        self._known: dict[bytes, RequestHead] = {}
        self._known_at = 0

    def read(self, block: bytes) -> RequestHead:
        """Returns what a block asks for.

        Raises:
            ConnectionFaultError: it cannot be decoded, is too large, or is no request of HTTP/2.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        before = self._table.changes
        fields = self._decode(block)
        head = _head(fields)
        if self._table.changes != before or len(self._known) >= REMEMBERED_COUNT:
            self._known.clear()
        if self._table.changes == before and len(block) <= REMEMBERED_BYTES:
            self._known[block] = head
        return head

    def skip(self, block: bytes) -> None:
        """Reads a block that says nothing to us, as the caller's trailers, because the following ones build on it.

        Raises:
            ConnectionFaultError: as `read`.
        """
        before = self._table.changes
        for name, value in self._decode(block):
            _check_name(name, value.decode("latin-1"))
            _check_value(value)
        if self._table.changes != before:
            self._known.clear()

    def _decode(self, block: bytes) -> list[tuple[bytes, bytes]]:
        try:
            return [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError:
            raise ConnectionFaultError(Code.ENHANCE_YOUR_CALM, "the headers are too large") from None
        except (HPACKError, ValueError, IndexError):
            raise ConnectionFaultError(Code.COMPRESSION_ERROR, "a header block cannot be decoded") from None


def _head(fields: list[tuple[bytes, bytes]]) -> RequestHead:
    """See `HeaderReader.read`."""
    pseudo: dict[str, str] = {}
    protocol: dict[str, str] = {}
    metadata: list[tuple[str, str | bytes]] = []
    size, regular = 0, False
    for raw_name, raw_value in fields:
        size += len(raw_name) + len(raw_value) + OVERHEAD_BYTES
        _check_value(raw_value)
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name.startswith(":"):
            if name not in PSEUDO or name in pseudo or regular:
                raise ConnectionFaultError(Code.PROTOCOL_ERROR, "a pseudo header is unknown, repeated or late")
            pseudo[name] = value
            continue
        regular = True
        _check_name(raw_name, value)
        if name in OUR_OWN:
            protocol[name] = value
        elif name.endswith("-bin"):
            metadata += [(name, _binary(each)) for each in value.split(",")]
        elif METADATA_NAME.fullmatch(name):
            metadata.append((name, value.strip(" \t")))
    method = pseudo.get(":method", "")
    if not method or (method != "CONNECT" and not (pseudo.get(":path") and pseudo.get(":scheme"))):
        raise ConnectionFaultError(Code.PROTOCOL_ERROR, "a request lacks a pseudo header")
    return RequestHead(
        method=pseudo.get(":path", ""),
        timeout_s=timeout_s(protocol.get("grpc-timeout", "")),
        encoding=protocol.get("grpc-encoding", "identity"),
        metadata=tuple(metadata),
        length=_length(protocol.get("content-length")),
        refusal=_refusal(method, protocol.get("content-type", "")),
        refusal_text=b"" if method == "HEAD" else NO_CALL,
        too_large=size > MAX_METADATA_BYTES,
    )


def _check_name(name: bytes, value: str) -> None:
    if NAME.fullmatch(name) is None or name in FORBIDDEN or (name == b"te" and value != "trailers"):
        raise ConnectionFaultError(Code.PROTOCOL_ERROR, "a header is not allowed in HTTP/2")


def _check_value(value: bytes) -> None:
    if LINE_ENDS.search(value):
        raise ConnectionFaultError(Code.PROTOCOL_ERROR, "a header's value holds the end of a line")


def _length(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < MAX_DIGITS):
        raise ConnectionFaultError(Code.PROTOCOL_ERROR, "a length that is no number")
    return int(text)


def _refusal(method: str, content_type: str) -> bytes:
    """Returns the block that answers what is no call; empty for a call."""
    if method != "POST":
        return literal(":status", "405") + literal("allow", "POST") + PLAIN_TEXT
    if not content_type.startswith("application/grpc"):
        return literal(":status", "415") + PLAIN_TEXT
    return b""


def timeout_s(text: str) -> float | None:
    """Returns the seconds of a `grpc-timeout`; None where there is none or it is not one."""
    found = TIMEOUT.fullmatch(text)
    return int(found[1]) * SECONDS[found[2]] if found else None


def _binary(value: str) -> bytes:
    text = value.strip(" \t")
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _integer(value: int, bits: int) -> bytes:
    """Returns a number with a prefix of so many bits, the others 0 (RFC 7541 §5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((value,))
    out = bytearray((most,))
    value -= most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


@lru_cache(64)  # names are few
def _name(name: str) -> bytes:
    raw = name.encode()
    return b"\x00" + _integer(len(raw), 7) + raw


def literal(name: str, value: str | bytes) -> bytes:
    """Returns a field that no table remembers (RFC 7541 §6.2.2). Values of names in `-bin` may be bytes."""
    raw = b64encode(value).rstrip(b"=") if isinstance(value, bytes) else value.encode("ascii", "replace")
    return _name(name) + (bytes((len(raw),)) if len(raw) < 127 else _integer(len(raw), 7)) + raw


OK_STATUS = literal("grpc-status", "0")
PLAIN_TEXT = literal("content-type", "text/plain; charset=utf-8")
NO_CALL = b"This address speaks gRPC: it takes POST with content-type application/grpc.\n"
HTTP1 = re.compile(rb"[A-Z]{3,7} /")
"""How a request of HTTP/1 begins: somebody tried the address with a browser."""
NOT_HTTP2 = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\n"
    b"This address speaks gRPC over HTTP/2, which the request is not.\n"
)


def trailers(code: int, message: str, metadata: Iterable[tuple[str, str | bytes]]) -> bytes:
    """Returns the block that ends a call.

    Args:
        code: of gRPC.
        message: sent percent-encoded.
        metadata: of the caller's trailers.
    """
    block = OK_STATUS if code == 0 else literal("grpc-status", str(code))
    if message:
        block += literal("grpc-message", quote(message, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"))
    for name, value in metadata:
        block += literal(name, value)
    return block
