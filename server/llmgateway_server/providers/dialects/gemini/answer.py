"""What generateContent answers, as far as it is used; everything else passes by unread. See `gemini`.

Fields are `object` where another type than the documented one must not cost the whole reply.
"""

from __future__ import annotations

import msgspec

from llmgateway_server.providers.dialects.dialect import UNREADABLE
from llmgateway_server.providers.dialects.json_body import decode_again
from llmgateway_server.providers.faults import malformed

NOTHING = msgspec.Raw()
"""Stands for absent JSON."""
ABSENT = (b"", b"null")

ReportedUsage = dict[str, object]
"""Tokens as they are reported. What comes later in a stream replaces what came before, field by field."""


class Content(msgspec.Struct):
    """What a candidate says; a blocked one says nothing, not even that it has no parts."""

    parts: list[msgspec.Raw] | None = None


class Candidate(msgspec.Struct, rename="camel"):
    """One answer, or more of it."""

    index: object = None
    content: Content | None = None
    finish_reason: object = None
    grounding_metadata: msgspec.Raw = NOTHING
    citation_metadata: msgspec.Raw = NOTHING
    logprobs_result: msgspec.Raw = NOTHING


class PromptFeedback(msgspec.Struct, rename="camel"):
    """What the vendor says of the prompt."""

    block_reason: object = None


class Chunk(msgspec.Struct, rename="camel"):
    """A whole answer, or a piece of one: both have the same form."""

    candidates: list[Candidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: ReportedUsage | None = None
    model_version: object = None
    response_id: object = None
    error: object = None


class FunctionCall(msgspec.Struct, rename="camel"):
    """A call of a tool, or a piece of one."""

    id: object = None
    name: object = None
    args: msgspec.Raw = NOTHING
    partial_args: list[msgspec.Raw] | None = None
    will_continue: object = None


class Blob(msgspec.Struct, rename="camel"):
    """Bytes of an image or of a sound."""

    mime_type: object = None
    data: object = None


class Part(msgspec.Struct, rename="camel"):
    """A part of an answer, as far as it has a part in the contract."""

    text: object = None
    thought: object = None
    thought_signature: object = None
    function_call: FunctionCall | None = None
    inline_data: Blob | None = None


class TokenCount(msgspec.Struct, rename="camel"):
    """The answer of the endpoint that counts tokens."""

    total_tokens: object = None
    error: object = None


_decode_chunk = msgspec.json.Decoder(Chunk).decode
_decode_part = msgspec.json.Decoder(Part).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder().decode
decode_token_count = msgspec.json.Decoder(TokenCount).decode


def decode_chunk(body: bytes) -> Chunk:
    """Returns a whole answer or a piece of one.

    Raises:
        UpstreamError: UPSTREAM_MALFORMED, it cannot be read.
    """
    try:
        return _decode_chunk(body)
    except UNREADABLE as refused:
        return decode_again(_decode_chunk, body, "answer cannot be read", refused)


def decode_part(raw: msgspec.Raw) -> Part:
    """Returns a part. Errors as in `decode_chunk`."""
    try:
        return _decode_part(raw)
    except UNREADABLE as refused:
        return decode_again(_decode_part, bytes(raw), "part cannot be read", refused)


def is_empty(raw: msgspec.Raw) -> bool:
    """Tells whether a part that was read says nothing at all."""
    fields = _decode_fields(bytes(raw))
    return not any(bytes(value) not in ABSENT for name, value in fields.items() if name != "thought")


def object_in(raw: msgspec.Raw) -> dict[str, object]:
    """Returns an object that stands beside the content; what is none, or cannot be read, says nothing."""
    if bytes(raw) in ABSENT:
        return {}
    try:
        found = _decode_any(bytes(raw))
    except UNREADABLE:
        return {}
    return found if isinstance(found, dict) else {}


def tidy(raw: msgspec.Raw) -> str:
    """Returns JSON text without insignificant blanks; order of keys and spelling of numbers stay as they are.

    Raises:
        UpstreamError: UPSTREAM_MALFORMED, it is not UTF-8.
    """
    try:
        return msgspec.json.format(bytes(raw).decode(), indent=-1)
    except UNREADABLE as error:
        raise malformed("JSON text that is not UTF-8") from error


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
