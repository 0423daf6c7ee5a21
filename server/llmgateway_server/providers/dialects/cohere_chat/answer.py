"""What Cohere answers, as far as it is used; everything else passes by unread. See `cohere_chat`.

Fields are `object` where another type than the documented one must not cost the whole reply.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import msgspec

from llmgateway_server.core.events import Logprob
from llmgateway_server.core.messages import Citation
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.counts import believable_count
from llmgateway_server.providers.dialects.dialect import UNREADABLE
from llmgateway_server.providers.dialects.json_body import decode_again, decode_event_again
from llmgateway_server.providers.faults import malformed

Item = TypeVar("Item")

EXCERPTS = ("snippet", "text", "content")
"""Fields of a document, or of a tool's output, that hold its words."""


class Content(msgspec.Struct):
    """A content block, or a piece of one."""

    type: object = None
    text: object = None
    thinking: object = None


class Function(msgspec.Struct):
    """What is called, or a piece of its arguments."""

    name: object = None
    arguments: object = None


class ToolCall(msgspec.Struct):
    """A call, or a piece of one."""

    id: object = None
    function: Function | None = None


class Source(msgspec.Struct):
    """What a stretch rests on: a document of the request, or the output of a tool."""

    id: object = None
    document: object = None
    tool_output: object = None


class Cited(msgspec.Struct):
    """A stretch of the text, of the thoughts or of the plan, and its sources."""

    start: object = None
    end: object = None
    sources: list[Source] | None = None
    content_index: object = None
    type: object = None


class LogprobItem(msgspec.Struct):
    """The tokens of a piece of the text."""

    text: object = None
    logprobs: list[float] | None = None


class Message(msgspec.Struct):
    """A whole message."""

    content: list[Content] | str | None = None
    tool_plan: object = None
    tool_calls: list[ToolCall] | None = None
    citations: list[Cited] | None = None


class Answer(msgspec.Struct):
    """A whole answer; of an error `message` is its text."""

    id: object = None
    message: Message | str | None = None
    finish_reason: object = None
    usage: object = None
    logprobs: list[LogprobItem] | None = None


class MessageDelta(msgspec.Struct):
    """More of a message; the first event of a stream has lists where the others have one item."""

    content: Content | list[Content] | None = None
    tool_plan: object = None
    tool_calls: ToolCall | list[ToolCall] | None = None
    citations: Cited | list[Cited] | None = None


class Delta(msgspec.Struct):
    """What an event brings."""

    message: MessageDelta | None = None
    finish_reason: object = None
    usage: object = None
    error: object = None


class StreamEvent(msgspec.Struct):
    """Any event of a stream; `message` is there in place of all others where it is an error."""

    type: str = ""
    id: object = None
    index: object = None
    delta: Delta | None = None
    logprobs: LogprobItem | None = None
    message: object = None


KNOWN_EVENTS = frozenset(
    {
        *("message-start", "content-start", "content-delta", "content-end", "tool-plan-delta", "tool-call-start"),
        *("tool-call-delta", "tool-call-end", "citation-start", "citation-end", "message-end"),
    }
)
"""Others may come and say nothing of the reply."""

_decode_answer = msgspec.json.Decoder(Answer).decode
_decode_event = msgspec.json.Decoder(StreamEvent).decode


def decode_answer(body: bytes) -> Answer:
    """Returns a whole answer. Errors as in `decode_event`."""
    try:
        return _decode_answer(body)
    except UNREADABLE as refused:
        return decode_again(_decode_answer, body, "answer is not a chat response", refused)


def decode_event(data: bytes) -> StreamEvent:
    """Returns an event of a stream; of one that is unknown its type alone, whatever else it holds.

    Raises:
        UpstreamError: UPSTREAM_MALFORMED, it cannot be read.
    """
    try:
        return _decode_event(data)
    except UNREADABLE as refused:
        return decode_event_again(_decode_event, data, refused, KNOWN_EVENTS, StreamEvent)


def only(found: Item | list[Item] | None) -> Item | None:
    """Returns the item that an event brings, also where it stands in a list."""
    if isinstance(found, list):
        return found[0] if found else None
    return found


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


def word(value: object) -> str:
    """Returns a name or an id; empty for what is none."""
    return value if isinstance(value, str) else ""


def citations_of(cited: Cited) -> list[Citation]:
    """Translates a citation: one for each source, and one where there is none to name."""
    start, end = believable_count(cited.start), believable_count(cited.end)
    return [_citation(source, start, end) for source in cited.sources or (Source(),)]


def _citation(source: Source, start: int | None, end: int | None) -> Citation:
    fields = next((each for each in (source.document, source.tool_output) if isinstance(each, dict)), {})
    return Citation(
        title=word(fields.get("title")) or word(source.id),
        uri=word(fields.get("url")),
        cited_text=next((word(fields[name]) for name in EXCERPTS if word(fields.get(name))), ""),
        start_index=start,
        end_index=end,
    )


def logprob_of(item: LogprobItem) -> tuple[Logprob, ...]:
    """Translates log probabilities: of a piece of several tokens, whose own texts nobody tells, the sum."""
    text = said(item.text)
    return (Logprob(text, math.fsum(item.logprobs), text.encode()),) if item.logprobs else ()


def usage_of(reported: object) -> Usage | None:
    """Returns the tokens that were read and written; those that are billed, which are fewer, where only they are told.

    What a cache held is part of the input.
    """
    if not isinstance(reported, dict):
        return None
    counted = _counts(reported, "tokens")
    taken, given = counted if counted != (None, None) else _counts(reported, "billed_units")
    cached = _count(reported.get("cached_tokens"))
    if taken is None and given is None and cached is None:
        return None
    return Usage(input_token_count=taken, output_token_count=given, cache_read_token_count=cached)


def _counts(reported: dict[str, Any], name: str) -> tuple[int | None, int | None]:
    found = reported.get(name)
    fields = found if isinstance(found, dict) else {}
    return _count(fields.get("input_tokens")), _count(fields.get("output_tokens"))


def _count(reported: object) -> int | None:
    """Counts are written as numbers with a fraction at times."""
    return believable_count(int(reported) if isinstance(reported, float) and reported.is_integer() else reported)
