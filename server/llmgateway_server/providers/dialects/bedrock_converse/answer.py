"""What Converse answers, as far as it is used; everything else passes by unread. See `bedrock_converse`.

Fields are `object` where another type than the documented one must not cost the whole reply.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import TypeVar

import msgspec

from llmgateway_server.core.messages import Citation
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.counts import believable_count
from llmgateway_server.providers.dialects.dialect import UNREADABLE
from llmgateway_server.providers.dialects.json_body import decode_again
from llmgateway_server.providers.faults import malformed

NOTHING = msgspec.Raw()
"""Stands for absent JSON."""
EMPTY = (b"", b"null")
"""JSON that says nothing."""

ReportedUsage = dict[str, object]


class ToolUse(msgspec.Struct, rename="camel"):
    """A call of a tool, its beginning, or a piece of it: then the input is text."""

    tool_use_id: object = None
    name: object = None
    type: object = None
    input: msgspec.Raw = NOTHING


class ReasoningText(msgspec.Struct):
    """Reasoning that is shown."""

    text: object = None
    signature: object = None


class Reasoning(msgspec.Struct, rename="camel"):
    """Reasoning: whole with `reasoningText`, in pieces with `text` and `signature`."""

    reasoning_text: ReasoningText | None = None
    text: object = None
    signature: object = None
    redacted_content: object = None


class CitedPiece(msgspec.Struct):
    """A stretch of a text."""

    text: object = None


class Cited(msgspec.Struct):
    """A text with its sources."""

    content: list[CitedPiece] | None = None
    citations: list[msgspec.Raw] | None = None


class Block(msgspec.Struct, rename="camel"):
    """A content block, its beginning or a piece of it: one of these is there, or one that is not known."""

    text: object = None
    tool_use: ToolUse | None = None
    reasoning_content: Reasoning | None = None
    citations_content: Cited | None = None
    citation: msgspec.Raw = NOTHING


class Message(msgspec.Struct):
    """What the model says."""

    content: list[msgspec.Raw] | None = None


class Output(msgspec.Struct):
    """Where the message stands."""

    message: Message | None = None


class Answer(msgspec.Struct, rename="camel"):
    """A whole answer."""

    output: Output | None = None
    stop_reason: object = None
    usage: ReportedUsage | None = None


class StreamEvent(msgspec.Struct, rename="camel"):
    """Any event of a stream."""

    content_block_index: object = None
    start: msgspec.Raw = NOTHING
    delta: Block | None = None
    stop_reason: object = None
    usage: ReportedUsage | None = None


class _OpaqueDelta(msgspec.Struct):
    delta: dict[str, msgspec.Raw] = {}


class _Source(msgspec.Struct):
    text: object = None


class _Web(msgspec.Struct):
    url: object = None


class _Location(msgspec.Struct):
    web: _Web | None = None


class _Citation(msgspec.Struct, rename="camel"):
    title: object = None
    source: object = None
    source_content: list[_Source] | None = None
    location: _Location | None = None


T = TypeVar("T")

_decode_answer = msgspec.json.Decoder(Answer).decode
_decode_event = msgspec.json.Decoder(StreamEvent).decode
_decode_block = msgspec.json.Decoder(Block).decode
_decode_opaque_delta = msgspec.json.Decoder(_OpaqueDelta).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_citation = msgspec.json.Decoder(_Citation).decode
_decode_any = msgspec.json.Decoder().decode


def decode_answer(body: bytes) -> Answer:
    """Returns a whole answer.

    Raises:
        UpstreamError: UPSTREAM_MALFORMED, it cannot be read; so for the other functions.
    """
    return _decoded(_decode_answer, body, "answer of Converse")


def decode_event(data: bytes) -> StreamEvent:
    """Returns an event of a stream."""
    return _decoded(_decode_event, data, "event of Converse")


def decode_block(raw: msgspec.Raw) -> Block:
    """Returns a content block."""
    return _decoded(_decode_block, bytes(raw) or b"{}", "content block")


def fields_of(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Returns the fields of a block that is read no further."""
    return _decoded(_decode_fields, bytes(raw) or b"{}", "content block")


def fields_of_delta(data: bytes) -> dict[str, msgspec.Raw]:
    """Returns the fields of the delta of an event, of a kind that is not known."""
    return _decoded(_decode_opaque_delta, data, "delta").delta


def tidy(raw: msgspec.Raw) -> str:
    """Returns JSON text without insignificant blanks; order of keys and spelling of numbers stay as they are."""
    try:
        return msgspec.json.format(bytes(raw).decode(), indent=-1)
    except UNREADABLE as error:
        raise malformed("JSON text that is not UTF-8") from error


def arguments_of(raw: msgspec.Raw) -> str:
    """Returns the arguments of a call as JSON text: an object, or with some models text that holds one."""
    if bytes(raw) in EMPTY:
        return "{}"
    written = tidy(raw)
    if not written.startswith('"'):
        return written
    return said(_decode_any(written)) or "{}"


def is_json(text: str) -> bool:
    """Tells whether text is a JSON document."""
    try:
        _decode_any(text)
    except UNREADABLE:
        return False
    return True


def word(value: object) -> str:
    """Returns a name or an id; empty for what is none."""
    return value if isinstance(value, str) else ""


def said(value: object) -> str:
    """Returns what is said; absent is empty. Text that is no text would lose something of the reply."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise malformed("text is not a string")
    return value


def piece_of(raw: msgspec.Raw) -> str:
    """Returns a piece of a call's input, which is text."""
    return "" if bytes(raw) in EMPTY else said(_decoded(_decode_any, bytes(raw), "piece of a tool's input"))


def joined_base64(pieces: list[str]) -> str:
    """Returns base64 (RFC 4648 §4) of the bytes that the pieces stand for; one piece stays as it is."""
    if len(pieces) < 2:
        return "".join(pieces)
    try:
        return b64encode(b"".join(b64decode(piece, validate=True) for piece in pieces)).decode()
    except binascii.Error as error:
        raise malformed("redacted reasoning is not base64") from error


def citation_of(written: str) -> Citation:
    """Translates a citation. Its places are places in the source, not in our text, so there are none."""
    cited = _decoded(_decode_citation, written.encode(), "citation")
    web = cited.location.web if cited.location else None
    return Citation(
        title=word(cited.title),
        uri=word(web.url) if web else word(cited.source),
        cited_text="".join(word(each.text) for each in cited.source_content or ()),
    )


def normalised(reported: ReportedUsage) -> Usage:
    """Adds the cache's tokens, which Converse counts apart, to the input.

    What was written for an hour is told in details; the rest was written for five minutes, which is the default.
    """
    fresh = believable_count(reported.get("inputTokens"))
    read, written = (
        next((count for name in names if (count := believable_count(reported.get(name))) is not None), None)
        for names in (READ, WRITTEN)
    )
    details = reported.get("cacheDetails")
    by_lifetime = [each for each in details if isinstance(each, dict)] if isinstance(details, list) else []
    short, long = (
        sum(believable_count(each.get("inputTokens")) or 0 for each in by_lifetime if each.get("ttl") == lifetime)
        for lifetime in ("5m", "1h")
    )
    if written is None:
        written = short + long if by_lifetime else None
    long = min(long, written or 0)
    return Usage(
        input_token_count=None if fresh is None else believable_count(fresh + (read or 0) + (written or 0)),
        output_token_count=believable_count(reported.get("outputTokens")),
        cache_read_token_count=read,
        cache_write_5m_token_count=None if written is None else written - long,
        cache_write_1h_token_count=long if by_lifetime else None,
    )


READ = ("cacheReadInputTokens", "cacheReadInputTokenCount")
WRITTEN = ("cacheWriteInputTokens", "cacheWriteInputTokenCount")
"""Names of the cache's figures; the second of each is the older one, and both may be there."""


def _decoded(decode: Callable[[bytes], T], data: bytes, place: str) -> T:
    try:
        return decode(data)
    except UNREADABLE as refused:
        return decode_again(decode, data, f"{place} cannot be read", refused)
