"""Answers of Cohere as tests write them, and the reader of them."""

from __future__ import annotations

import json
from typing import Any

from llmgateway_server.providers.dialects.cohere_chat import CohereChat
from tests.unit.dialects.kit import Json, Reader

DIALECT = CohereChat()
READER = Reader(DIALECT)
USAGE: Json = {
    "billed_units": {"input_tokens": 5, "output_tokens": 2},
    "tokens": {"input_tokens": 70, "output_tokens": 3.0},
    "cached_tokens": 64,
}
START: Json = {"id": "id-1", "type": "message-start", "delta": {"message": {"role": "assistant", "content": []}}}


def whole(reason: str | None = "COMPLETE", **message: Any) -> Json:
    """Returns a whole answer."""
    return {"id": "id-1", "message": {"role": "assistant", **message}, "finish_reason": reason, "usage": USAGE}


def event(kind: str, index: int | None = None, **message: Any) -> Json:
    """Returns an event of a stream."""
    return {"type": kind, "index": index, "delta": {"message": message}}


def text(*pieces: str, index: int = 0, cited: Json | None = None) -> list[Json]:
    """Returns the events of a text block."""
    return _block("text", pieces, index, cited)


def thought(*pieces: str, index: int = 0, cited: Json | None = None) -> list[Json]:
    """Returns the events of a thinking block."""
    return _block("thinking", pieces, index, cited)


def _block(field: str, pieces: tuple[str, ...], index: int, cited: Json | None) -> list[Json]:
    return [
        event("content-start", index, content={"type": field, field: ""}),
        *(event("content-delta", index, content={field: piece}) for piece in pieces),
        *([event("citation-start", 0, citations=cited), {"type": "citation-end", "index": 0}] if cited else []),
        {"type": "content-end", "index": index},
    ]


def plan(*pieces: str) -> list[Json]:
    """Returns the events of a plan."""
    return [event("tool-plan-delta", tool_plan=piece) for piece in pieces]


def called(call_id: str, name: str, *arguments: str, index: int = 0) -> list[Json]:
    """Returns the events of a tool call."""
    head = {"id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
    return [
        event("tool-call-start", index, tool_calls=head),
        *(event("tool-call-delta", index, tool_calls={"function": {"arguments": piece}}) for piece in arguments),
        {"type": "tool-call-end", "index": index},
    ]


def end(reason: str | None = "COMPLETE", **more: Any) -> Json:
    """Returns the last event of a stream."""
    return {"type": "message-end", "delta": {"finish_reason": reason, "usage": USAGE, **more}}


def sse(*events: Json) -> bytes:
    """Returns a stream of the events."""
    return b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events)


def stream(*events: Json, reason: str = "COMPLETE") -> bytes:
    """Returns a whole stream around the events."""
    return sse(START, *events, end(reason)) + b"data: [DONE]\n\n"


def call(call_id: str | None, name: str, arguments: str) -> Json:
    """Returns a whole tool call."""
    said = {} if call_id is None else {"id": call_id}
    return {**said, "type": "function", "function": {"name": name, "arguments": arguments}}
