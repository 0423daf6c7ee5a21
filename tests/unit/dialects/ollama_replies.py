"""Answers of Ollama as tests write them, and the reader of them."""

from __future__ import annotations

import json
from typing import Any

from llmgateway_server.providers.dialects.ollama_chat import OllamaChat
from tests.unit.dialects.kit import Json, Reader

DIALECT = OllamaChat()
READER = Reader(DIALECT)
END: Json = {"done": True, "done_reason": "stop", "prompt_eval_count": 7, "eval_count": 3}


def line(message: Json | None = None, **more: Any) -> Json:
    """Returns a line of a stream."""
    said = {} if message is None else {"message": {"role": "assistant", **message}}
    return {"model": "m:1b", "created_at": "2026-01-01T00:00:00Z", **said, "done": False, **more}


def said(content: str) -> Json:
    return line({"content": content})


def call(name: str, arguments: Any, **more: Any) -> Json:
    return {"function": {"name": name, "arguments": arguments}, **more}


def whole(message: Json | None, **more: Any) -> Json:
    """Returns a whole answer."""
    return line(message, **{**END, **more})


def stream(*lines: Json, end: Json | None = None) -> bytes:
    """Returns a stream of lines with the last one behind them."""
    last = line({"content": ""}, **(END if end is None else end))
    return b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in [*lines, last])
