"""Writes a reply as Ollama's own chat does: one JSON object, or a line of JSON for each piece.

Source: the documentation of Ollama, "Generate a chat message", its server's source, and recorded traffic.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from llmgateway_server.core.events import Logprob
from llmgateway_server.testing.fake_provider.frames import compact, pieces, token_pieces
from llmgateway_server.testing.fake_provider.frames import logprob as openai_logprob
from llmgateway_server.testing.fake_provider.reply import (
    FakeError,
    FakeReasoning,
    FakeReply,
    FakeText,
    FakeToolCall,
    Finish,
)

FINISHES: dict[Finish, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "stop",
    "content_filter": "stop",
    "refusal": "stop",
    "stop_sequence": "stop",
    "pause": "stop",
}
NDJSON = "application/x-ndjson"
ESCAPES = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})
"""What the encoder of Go escapes in strings, beside what JSON demands."""
LOAD_NS, NS_PER_TOKEN = 9_550_375, 2_500_000
"""Made-up durations."""

Json = dict[str, Any]


def body(reply: FakeReply, request: Mapping[str, Any]) -> Json:
    """Returns a unary answer to a decoded request."""
    thoughts = [part.text for part in reply.parts if isinstance(part, FakeReasoning)] if _thinks(request) else []
    message = _message("".join(part.text for part in reply.parts if isinstance(part, FakeText)), "".join(thoughts))
    if calls := _calls(reply):
        message["tool_calls"] = calls
    tokens = [token for part in reply.parts if isinstance(part, FakeText) for token in part.logprobs]
    return {**_head(reply, request), "message": message, **_end(reply), **_scored(tokens, request)}


def frames(reply: FakeReply, request: Mapping[str, Any]) -> list[bytes]:
    """Returns a streamed answer, one frame per line; the last one has the counts."""
    head = _head(reply, request)
    lines = [{**head, **line, "done": False} for line in _lines(reply, request)]
    return [_line(each) for each in [*lines, {**head, "message": _message(), **_end(reply)}]]


def error_body(error: FakeError, _request_id: str) -> Json:
    """Returns the JSON of an error status."""
    return {"error": error.message or f"The fake provider was told to answer {error.status}."}


def error_frames(error: FakeError, request: Mapping[str, Any], request_id: str) -> list[bytes]:
    """Returns a stream that begins as `error.reply` does and fails after `error.in_stream_after` lines."""
    said = frames(error.reply, request)[: error.in_stream_after or 0]
    return [*said, _line(error_body(error, request_id))]


def _lines(reply: FakeReply, request: Mapping[str, Any]) -> Iterator[Json]:
    calls = iter(_calls(reply))
    for part in reply.parts:
        match part:
            case FakeText(logprobs=tokens) if tokens and request.get("logprobs") is True:
                for text, token in token_pieces(tokens):
                    yield {"message": _message(text), **_scored([token], request)}
            case FakeText(text=text):
                yield from ({"message": _message(piece)} for piece in pieces(text, reply.delta_chars))
            case FakeReasoning(text=text) if _thinks(request):
                yield from ({"message": _message(thinking=piece)} for piece in pieces(text, reply.delta_chars))
            case FakeToolCall():  # always whole
                yield {"message": {**_message(), "tool_calls": [next(calls)]}}
            case _:
                pass  # Ollama has no words for it


def _line(payload: Json) -> bytes:
    return f"{compact(payload).translate(ESCAPES)}\n".encode()


def _head(reply: FakeReply, request: Mapping[str, Any]) -> Json:
    created = datetime.fromtimestamp(reply.created_at_s, UTC).isoformat().replace("+00:00", "Z")
    return {"model": reply.model or request["model"], "created_at": created}


def _message(content: str = "", thinking: str = "") -> Json:
    return {"role": "assistant", "content": content} | ({"thinking": thinking} if thinking else {})


def _thinks(request: Mapping[str, Any]) -> bool:
    """A model that can think does, unless it is told not to."""
    return request.get("think") is not False


def _calls(reply: FakeReply) -> list[Json]:
    calls = [part for part in reply.parts if isinstance(part, FakeToolCall)]
    return [
        {
            **({"id": call.id} if call.id else {}),  # models of before 2025 have none
            "function": {"index": index, "name": call.name, "arguments": _object(call.arguments_json)},
        }
        for index, call in enumerate(calls)
    ]


def _object(arguments_json: str) -> Json:
    """Returns the arguments; half an object is none."""
    try:
        parsed = json.loads(arguments_json)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _scored(tokens: list[Logprob] | tuple[Logprob, ...], request: Mapping[str, Any]) -> Json:
    """Returns log probabilities for those who ask."""
    if not tokens or request.get("logprobs") is not True:
        return {}
    count = request.get("top_logprobs") or 0
    return {"logprobs": [openai_logprob(token, count) for token in tokens]}


def _end(reply: FakeReply) -> Json:
    """Returns what the last line says; a count of 0 is left out."""
    taken, given = reply.usage.input_tokens, reply.usage.output_tokens
    counts = {
        "total_duration": LOAD_NS + (taken + given) * NS_PER_TOKEN,
        "load_duration": LOAD_NS,
        "prompt_eval_count": taken,
        "prompt_eval_duration": taken * NS_PER_TOKEN,
        "eval_count": given,
        "eval_duration": given * NS_PER_TOKEN,
    }
    found = {name: value for name, value in counts.items() if value}
    return {"done": True, "done_reason": FINISHES[reply.ends], **found}
