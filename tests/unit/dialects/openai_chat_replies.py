"""Chat completions as the vendor writes them, in chunks."""

from __future__ import annotations

import json
from typing import Any

from llmgateway_server.providers.dialects.openai_chat import OpenAiChat
from tests.unit.dialects.kit import Reader

DIALECT = OpenAiChat()
READER = Reader(DIALECT)
whole, read_stream, streamed = READER.whole, READER.read_stream, READER.streamed


def sse(*chunks: Any, done: bool = True, end: str = "\n") -> bytes:
    lines = [f"data: {chunk if isinstance(chunk, str) else json.dumps(chunk, ensure_ascii=False)}" for chunk in chunks]
    return "".join(f"{line}{end}{end}" for line in [*lines, *(["data: [DONE]"] if done else [])]).encode()


def chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": finish, **({} if delta is None else {"delta": delta})}
    return {"id": "c-1", "model": "m-1", "choices": [choice], **more}
