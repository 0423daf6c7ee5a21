"""Streams of Anthropic for tests, as the vendor writes them."""

from __future__ import annotations

import json
from typing import Any

from llmgateway_server.providers.dialects.anthropic_messages import AnthropicMessages
from tests.unit.dialects.kit import Reader, parsed

DIALECT = AnthropicMessages()
READER = Reader(DIALECT, parsed)
"""A stream brings arguments as the model spaced them, a whole answer as the vendor did."""
whole, read_stream, streamed = READER.whole, READER.read_stream, READER.streamed
END = {"type": "message_stop"}


def sse(*events: dict[str, Any], end: str = "\n", pad: str = "") -> bytes:
    """Writes events as the vendor does, who pads them with blanks before the last brace."""
    written = ""
    for event in events:
        data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        written += f"event: {event['type']}{end}data: {data[:-1]}{pad}}}{end}{end}"
    return written.encode()


def start(**more: Any) -> dict[str, Any]:
    message = {"type": "message", "id": "msg_1", "model": "m-1", "content": [], "stop_reason": None, **more}
    return {"type": "message_start", "message": message}


def begin(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **more}}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def reason(stop_reason: str | None, **usage: Any) -> dict[str, Any]:
    told = {"type": "message_delta", "delta": {"stop_reason": stop_reason, "stop_sequence": None}}
    return {**told, "usage": usage} if usage else told


def text_events(*texts: str, index: int = 0) -> list[dict[str, Any]]:
    pieces = [delta(index, "text_delta", text=text) for text in texts]
    return [begin(index, {"type": "text", "text": ""}), *pieces, stop(index)]
