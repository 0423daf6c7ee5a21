"""What Anthropic's messages answer, as far as it is used; everything else passes by unread. See `anthropic_messages`.

Fields are `object` where another type than the documented one must not cost the whole reply.
"""

from __future__ import annotations

import msgspec

from llmgateway_server.core.messages import Citation
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.counts import believable_count
from llmgateway_server.providers.dialects.dialect import UNREADABLE
from llmgateway_server.providers.dialects.json_body import decode_again, decode_event_again
from llmgateway_server.providers.faults import malformed

NOTHING = msgspec.Raw()
"""Stands for absent JSON."""

ReportedUsage = dict[str, object]
"""Tokens as they are reported. What comes later in a stream replaces what came before, field by field."""


class Block(msgspec.Struct):
    """A content block, or the beginning of one."""

    type: str
    id: object = None
    name: object = None
    text: object = None
    citations: msgspec.Raw = NOTHING
    thinking: object = None
    signature: object = None
    data: object = None
    input: msgspec.Raw = NOTHING


class Message(msgspec.Struct):
    """A whole answer, or the frame of one that is streamed."""

    type: object = None
    id: object = None
    model: object = None
    content: list[msgspec.Raw] | None = None
    stop_reason: object = None
    usage: ReportedUsage | None = None
    container: msgspec.Raw = NOTHING
    error: object = None


class Delta(msgspec.Struct):
    """More of a block, or of the message."""

    type: object = None
    text: object = None
    thinking: object = None
    signature: object = None
    partial_json: object = None
    citation: msgspec.Raw = NOTHING
    stop_reason: object = None
    container: msgspec.Raw = NOTHING


class StreamEvent(msgspec.Struct):
    """Any event of a stream."""

    type: str = ""
    index: object = None
    message: Message | None = None
    content_block: msgspec.Raw = NOTHING
    delta: Delta | None = None
    usage: ReportedUsage | None = None
    error: object = None


class Cited(msgspec.Struct):
    """A citation; which fields it has depends on what is cited."""

    title: object = None
    document_title: object = None
    url: object = None
    source: object = None
    cited_text: object = None


class TokenCount(msgspec.Struct):
    """The answer of the endpoint that counts tokens."""

    input_tokens: object = None
    error: object = None


class _OpaqueDelta(msgspec.Struct):
    delta: dict[str, msgspec.Raw] = {}


KNOWN_EVENTS = frozenset(
    {
        *("message_start", "message_delta", "message_stop", "error"),
        *("content_block_start", "content_block_delta", "content_block_stop"),
    }
)
"""Others may come, `ping` among them, and say nothing of the reply."""

_decode_message = msgspec.json.Decoder(Message).decode
decode_token_count = msgspec.json.Decoder(TokenCount).decode
_decode_event = msgspec.json.Decoder(StreamEvent).decode
_decode_block = msgspec.json.Decoder(Block).decode
_decode_opaque_delta = msgspec.json.Decoder(_OpaqueDelta).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_cited = msgspec.json.Decoder(Cited).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw] | None).decode
_decode_any = msgspec.json.Decoder().decode


def decode_event(data: bytes) -> StreamEvent:
    """Returns an event of a stream; of one that is unknown its type alone, whatever else it holds.

    Raises:
        UpstreamError: UPSTREAM_MALFORMED, it cannot be read.
    """
    try:
        return _decode_event(data)
    except UNREADABLE as refused:
        return decode_event_again(_decode_event, data, refused, KNOWN_EVENTS, StreamEvent)


def decode_message(body: bytes) -> Message:
    """Returns a whole answer. Errors as in `decode_event`."""
    try:
        return _decode_message(body)
    except UNREADABLE as refused:
        return decode_again(_decode_message, body, "answer is not a message", refused)


def decode_block(raw: msgspec.Raw) -> Block:
    """Returns a content block.

    Raises:
        UpstreamError: UPSTREAM_MALFORMED, it is none.
    """
    try:
        return _decode_block(raw)
    except UNREADABLE as error:
        raise malformed("content block cannot be read") from error


def fields_of(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Returns the fields of a block that is read no further. Errors as in `decode_block`."""
    try:
        return _decode_fields(bytes(raw))
    except UNREADABLE as error:
        raise malformed("content block is not an object") from error


def fields_of_delta(data: bytes) -> dict[str, msgspec.Raw]:
    """Returns the fields of a delta of an unknown type, without the type. Errors as in `decode_block`."""
    try:
        fields = _decode_opaque_delta(data).delta
    except UNREADABLE as error:
        raise malformed("delta is not an object") from error
    return {name: value for name, value in fields.items() if name != "type"}


def joined(old: msgspec.Raw | None, more: msgspec.Raw) -> msgspec.Raw:
    """Returns a field of a block after a delta: text goes on, anything else is replaced. Errors as in `tidy`."""
    before, after = tidy(old) if old is not None else "", tidy(more)
    if before.startswith('"') and after.startswith('"'):
        return msgspec.Raw((before[:-1] + after[1:]).encode())
    return more


def citations_in(raw: msgspec.Raw) -> list[str]:
    """Returns citations that come with their text, each as JSON text. Errors as in `decode_block`."""
    try:
        found = _decode_list(raw) if bytes(raw) else None
    except UNREADABLE as error:
        raise malformed("citations are not a list") from error
    return [tidy(each) for each in found or ()]


def tidy(raw: msgspec.Raw) -> str:
    """Returns JSON text without insignificant blanks; order of keys and spelling of numbers stay as they are.

    Raises:
        UpstreamError: UPSTREAM_MALFORMED, it is not UTF-8.
    """
    try:
        return msgspec.json.format(bytes(raw).decode(), indent=-1)
    except UNREADABLE as error:
        raise malformed("JSON text that is not UTF-8") from error


def is_json(text: str) -> bool:
    """Tells whether streamed input came to its end."""
    try:
        _decode_any(text)
    except UNREADABLE:
        return False
    return True


def word(value: object) -> str:
    """Returns a name or an id; empty for what is none."""
    return value if isinstance(value, str) else ""


def said(value: object) -> str:
    """Returns what is said; absent is empty.

    Raises:
        UpstreamError: UPSTREAM_MALFORMED, it is no text: to pass over it would lose something of the reply.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise malformed("text is not a string")
    return value


def citation_of(written: str) -> Citation:
    """Translates a citation. Its places are places in the source, not in our text, so there are none.

    Raises:
        UpstreamError: UPSTREAM_MALFORMED, it is no object.
    """
    try:
        cited = _decode_cited(written)
    except UNREADABLE as error:
        raise malformed("citation cannot be read") from error
    return Citation(
        title=word(cited.title) or word(cited.document_title),
        uri=word(cited.url) or word(cited.source),
        cited_text=word(cited.cited_text),
    )


def merged(before: ReportedUsage, later: ReportedUsage | None) -> ReportedUsage:
    """Returns the usage after another report; a null leaves what was known."""
    return before | {name: value for name, value in (later or {}).items() if value is not None}


def normalised(reported: ReportedUsage) -> Usage:
    """Adds the cache's tokens, which Anthropic counts apart, to the input; thinking is part of the output already.

    A stream tells the lifetimes of cached tokens only at its beginning: where the total has grown since, the rest was
    written for five minutes, which is the default.
    """
    fresh, read, written = (
        believable_count(reported.get(name))
        for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    )
    lifetimes = _details(reported, "cache_creation")
    short, long = (
        believable_count(lifetimes.get(name)) for name in ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
    )
    if written is None:
        written = (short or 0) + (long or 0) if lifetimes else None
    else:
        long = None if long is None else min(long, written)
        short = written - (long or 0)
    return Usage(
        input_token_count=None if fresh is None else believable_count(fresh + (read or 0) + (written or 0)),
        output_token_count=believable_count(reported.get("output_tokens")),
        cache_read_token_count=read,
        cache_write_5m_token_count=short,
        cache_write_1h_token_count=long,
        reasoning_token_count=believable_count(_details(reported, "output_tokens_details").get("thinking_tokens")),
    )


def _details(reported: ReportedUsage, name: str) -> dict[str, object]:
    found = reported.get(name)
    return found if isinstance(found, dict) else {}
