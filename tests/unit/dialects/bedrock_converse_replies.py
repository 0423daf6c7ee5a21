"""Answers and streams of Converse for tests, as the service writes them."""

from __future__ import annotations

import json
from typing import Any

from llmgateway_server.testing.fake_provider.bedrock_converse_frames import event, exception
from tests.unit.dialects.bedrock_converse_requests import DIALECT
from tests.unit.dialects.kit import Reader, parsed

READER = Reader(DIALECT, parsed)
whole, read_stream, streamed = READER.whole, READER.read_stream, READER.streamed
USAGE = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}

Event = tuple[str, Any]


def stream(*events: Event) -> bytes:
    """Writes events; a name that begins with `!` is a failure's."""
    written = b""
    for name, payload in events:
        data = payload if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False).encode()
        written += exception(name[1:], data) if name.startswith("!") else event(name, data)
    return written


def answer(*content: Any, stop_reason: Any = "end_turn", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": list(content)}
    return {"output": {"message": message}, "stopReason": stop_reason, "usage": USAGE, "metrics": {}, **more}


START: Event = ("messageStart", {"role": "assistant", "p": "abc"})


def begin(index: int, call_id: str, name: str, **more: Any) -> Event:
    start = {"toolUse": {"toolUseId": call_id, "name": name, **more}}
    return "contentBlockStart", {"contentBlockIndex": index, "start": start, "p": "abcdef"}


def delta(index: int, **piece: Any) -> Event:
    return "contentBlockDelta", {"contentBlockIndex": index, "delta": piece, "p": "ab"}


def text(index: int, *pieces: str) -> list[Event]:
    return [*(delta(index, text=piece) for piece in pieces), stop(index)]


def stop(index: int) -> Event:
    return "contentBlockStop", {"contentBlockIndex": index, "p": "a"}


def ended(stop_reason: str = "end_turn", usage: Any = USAGE) -> list[Event]:
    return [
        ("messageStop", {"stopReason": stop_reason, "p": "abcd"}),
        ("metadata", {"usage": usage, "metrics": {"latencyMs": 7}, "p": "abcdefgh"}),
    ]
