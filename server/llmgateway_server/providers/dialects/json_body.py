"""A second look at JSON that the decoder refused, for faults that many vendors have and that harm nobody.

Decoding is strict and fast, and nearly always succeeds. Only what it refused comes here: half a surrogate pair becomes
U+FFFD, a byte order mark is dropped. Whatever else is wrong stays wrong: NaN, broken syntax, bytes that are not UTF-8,
the wrong types, too deep nesting.

Nesting has no limit of its own. What nests where no field is read is skipped, what nests where one is read has the
wrong type, arguments of tools are text to us, and the decoder itself gives up before the stack does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from llmgateway_server.providers.faults import malformed

T = TypeVar("T")

MAX_MENDED_BYTES = 256 * 1024
"""Larger bodies are not mended: one that is full of halves would hold up the loop for longer than 50 ms."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
REPLACEMENT = rb"\ufffd"
SURROGATES = re.compile(
    rb"(?<!\\)((?:\\\\)*+)(?:(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""A whole pair (group 2) or half of one, after the backslashes that escape each other (group 1)."""


def decode_again(decode: Callable[[bytes], T], body: bytes, place: str, refused: Exception) -> T:
    """Decodes what `decode` refused, with what can be mended mended.

    Args:
        decode: a decoder of msgspec.
        body: what it refused.
        place: where in an answer the body stands, for the log.
        refused: what it raised.

    Raises:
        UpstreamError: UPSTREAM_MALFORMED, it is beyond mending.
    """
    mended = body if isinstance(refused, RecursionError) else mend(body)
    if mended == body:
        raise malformed(place) from refused
    try:
        return decode(mended)
    except (ValueError, RecursionError) as error:
        raise malformed(place) from error


class _Kind(msgspec.Struct):
    type: str = ""


_decode_kind = msgspec.json.Decoder(_Kind).decode


def decode_event_again(
    decode: Callable[[bytes], T], data: bytes, refused: Exception, known: frozenset[str], unknown: Callable[[str], T]
) -> T:
    """Decodes an event of a stream that `decode` refused; of one of an unknown type the type alone, whatever it holds.

    Args:
        decode: a decoder of msgspec.
        data: what it refused.
        refused: what it raised.
        known: the types that are read.
        unknown: makes an event of any other type.

    Raises:
        UpstreamError: UPSTREAM_MALFORMED, it is beyond mending.
    """
    try:
        kind = _decode_kind(data).type
    except (ValueError, RecursionError):
        kind = ""
    if kind and kind not in known:
        return unknown(kind)
    return decode_again(decode, data, "event cannot be read", refused)


def mending(decode: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """Returns `decode` with a second try; for what is decoded rarely, as it costs a call more each time."""

    def decode_mended(body: bytes) -> T:
        try:
            return decode(body)
        except ValueError:
            mended = mend(bytes(body))  # of raw JSON inside JSON, too
            if mended == body:
                raise
            return decode(mended)

    return decode_mended


def mend(body: bytes) -> bytes:
    """Returns `body` without its byte order mark and with every half of a pair replaced."""
    if len(body) > MAX_MENDED_BYTES:
        return body
    whole = body.removeprefix(BYTE_ORDER_MARK)
    return SURROGATES.sub(lambda found: found[0] if found[2] else found[1] + REPLACEMENT, whole)
