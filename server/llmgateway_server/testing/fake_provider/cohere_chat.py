"""Writes a reply as Cohere's chat does, version 2: one JSON object, or server-sent events.

Source: the API reference of Cohere, "Chat" and "Chat with Streaming", and recorded traffic.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from llmgateway_server.testing.fake_provider.frames import compact, frame, pieces, wish
from llmgateway_server.testing.fake_provider.reply import (
    FakeCitation,
    FakeError,
    FakeReasoning,
    FakeReply,
    FakeText,
    FakeToolCall,
    FakeUsage,
    Finish,
)

FINISHES: dict[Finish, str] = {
    "stop": "COMPLETE",
    "length": "MAX_TOKENS",
    "tool_calls": "TOOL_CALL",
    "content_filter": "COMPLETE",
    "refusal": "COMPLETE",
    "stop_sequence": "STOP_SEQUENCE",
    "pause": "COMPLETE",
}
DONE = frame("[DONE]")
UNBILLED_SHARE = 2
"""Of the tokens one in so many is billed: what the vendor adds to a conversation by itself is not."""

Json = dict[str, Any]


def body(reply: FakeReply, request: Mapping[str, Any]) -> Json:
    """Returns a unary answer to a decoded request."""
    message: Json = {"role": "assistant"}
    blocks = _blocks(reply, request)
    if blocks:
        message["content"] = [block for block, _ in blocks]
    if plan := _plan(reply):
        message["tool_plan"] = plan
    if calls := [_call(part) for part in reply.parts if isinstance(part, FakeToolCall)]:
        message["tool_calls"] = calls
    if citations := [each for at, (_, cited) in enumerate(blocks) for each in _citations(cited, at)]:
        message["citations"] = citations
    end = {"finish_reason": FINISHES[reply.ends], "usage": usage(reply.usage)}
    return {"id": _id(reply), "message": message, **end}


def frames(reply: FakeReply, request: Mapping[str, Any]) -> list[bytes]:
    """Returns a streamed answer, one frame per event and `[DONE]`."""
    opening = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    events = [
        {"id": _id(reply), "type": "message-start", "delta": {"message": opening}},
        *_content_events(reply, request),
        *(_event("tool-plan-delta", {"tool_plan": piece}) for piece in pieces(_plan(reply), reply.delta_chars)),
        *_call_events(reply),
        _ending({"finish_reason": FINISHES[reply.ends], "usage": usage(reply.usage)}),
    ]
    return [*map(_frame, events), DONE]


def error_body(error: FakeError, request_id: str) -> Json:
    """Returns the JSON of an error status."""
    return {"id": request_id, "message": error.message or f"The fake provider was told to answer {error.status}."}


def error_frames(error: FakeError, request: Mapping[str, Any], request_id: str) -> list[bytes]:
    """Returns a stream that begins as `error.reply` does, and ends with an error after `error.in_stream_after` events.

    The reason is TIMEOUT for the statuses of a time limit and ERROR for all others.
    """
    reason = "TIMEOUT" if error.status in (408, 504) else "ERROR"
    told = {"error": error_body(error, request_id)["message"], "finish_reason": reason}
    return [*frames(error.reply, request)[: error.in_stream_after or 0], _frame(_ending(told)), DONE]


def usage(figures: FakeUsage) -> Json:
    """Returns the figures in Cohere's words: what is billed, and what was read and written."""
    told = {"input_tokens": figures.input_tokens, "output_tokens": figures.output_tokens}
    billed = {name: tokens // UNBILLED_SHARE for name, tokens in told.items()}
    return {"billed_units": billed, "tokens": told, "cached_tokens": figures.cache_read_tokens}


# --- content -----------------------------------------------------------------------------------------------------

Block = tuple[Json, tuple[FakeCitation, ...]]
"""A content block with its citations."""


def _blocks(reply: FakeReply, request: Mapping[str, Any]) -> list[Block]:
    thinks = wish(request, "thinking", "type", default="enabled") != "disabled"
    found: list[Block] = []
    for part in reply.parts:
        match part:
            case FakeText(text=text, citations=cited):
                found.append(({"type": "text", "text": text}, cited))
            case FakeReasoning(text=text, plan=False) if text and thinks:
                found.append(({"type": "thinking", "thinking": text}, ()))
            case _:
                pass  # in a field of its own, or without words for it
    return found


def _plan(reply: FakeReply) -> str:
    return "".join(part.text for part in reply.parts if isinstance(part, FakeReasoning) and part.plan)


def _citations(cited: tuple[FakeCitation, ...], content_index: int) -> list[Json]:
    return [
        {
            "start": each.start_index,
            "end": each.end_index,
            "text": "",
            "sources": [_source(each, number)],
            "content_index": content_index,
            "type": "TEXT_CONTENT",
        }
        for number, each in enumerate(cited)
    ]


def _source(cited: FakeCitation, number: int) -> Json:
    document = {"id": f"doc:{number}", "title": cited.title, "snippet": cited.cited_text}
    return {"type": "document", "id": f"doc:{number}", "document": document | ({"url": cited.uri} if cited.uri else {})}


def _content_events(reply: FakeReply, request: Mapping[str, Any]) -> Iterator[Json]:
    numbers = itertools.count()
    for index, (block, cited) in enumerate(_blocks(reply, request)):
        field: str = block["type"]
        yield _event("content-start", {"content": {**block, field: ""}}, index)
        for piece in pieces(block[field], reply.delta_chars):
            yield _event("content-delta", {"content": {field: piece}}, index)
        for citation in _citations(cited, index):
            number = next(numbers)
            yield _event("citation-start", {"citations": citation}, number)
            yield {"type": "citation-end", "index": number}
        yield {"type": "content-end", "index": index}


def _call(part: FakeToolCall) -> Json:
    return {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments_json}}


def _call_events(reply: FakeReply) -> Iterator[Json]:
    for index, part in enumerate(part for part in reply.parts if isinstance(part, FakeToolCall)):
        opening = _call(part)
        opening["function"]["arguments"] = ""
        yield _event("tool-call-start", {"tool_calls": opening}, index)
        for piece in pieces(part.arguments_json, reply.delta_chars):
            yield _event("tool-call-delta", {"tool_calls": {"function": {"arguments": piece}}}, index)
        yield {"type": "tool-call-end", "index": index}


def _id(reply: FakeReply) -> str:
    return reply.response_id or "fake"


def _event(kind: str, message: Json, index: int | None = None) -> Json:
    return {"type": kind, **({} if index is None else {"index": index}), "delta": {"message": message}}


def _ending(delta: Json) -> Json:
    return {"type": "message-end", "delta": delta}


def _frame(event: Json) -> bytes:
    return frame(compact(event), event["type"])
