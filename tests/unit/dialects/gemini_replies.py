"""Answers of Google for tests, as the vendor writes them."""

from __future__ import annotations

import json
from typing import Any

from llmgateway_server.providers.dialects.gemini import Gemini
from tests.unit.dialects.kit import Folded, Reader, parsed

DIALECT = Gemini()
READER = Reader(DIALECT, parsed)
whole, read_stream, streamed = READER.whole, READER.read_stream, READER.streamed
NAMES = {"modelVersion": "m-1", "responseId": "r1"}
SIG = "c2ln"


def said(*parts: dict[str, Any], end: Any = None, **more: Any) -> dict[str, Any]:
    """Returns a chunk with one candidate; `more` stands in the candidate."""
    content = {"content": {"parts": list(parts), "role": "model"}} if parts else {"content": {}}
    finish = {} if end is None else {"finishReason": end}
    return {"candidates": [{**content, **finish, **more}], **NAMES}


def sse(*chunks: dict[str, Any]) -> bytes:
    """Writes a stream as the vendor does, whose lines end with CRLF."""
    return b"".join(b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\r\n\r\n" for chunk in chunks)


def call(name: str, args: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, **({} if args is None else {"args": args}), **more}}


def both(*chunks: dict[str, Any]) -> Folded:
    """Reads chunks as a stream, cut everywhere; one alone as a whole answer too."""
    stream = sse(*chunks)
    folded = streamed(stream)
    assert streamed(stream, range(1, len(stream))) == folded
    if len(chunks) == 1:
        assert whole(chunks[0]) == folded
    return folded
