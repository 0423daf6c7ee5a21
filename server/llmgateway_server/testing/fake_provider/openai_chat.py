"""Writes a reply as chat completions do: one JSON object, or chunks and `[DONE]`.

Source: the API reference of OpenAI, "Chat Completions" and "Streaming", and recorded traffic.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from llmgateway_server.testing.fake_provider.frames import (
    compact,
    frame,
    logprob,
    paddings,
    pieces,
    token_pieces,
    wish,
)
from llmgateway_server.testing.fake_provider.reply import (
    FakeRefusal,
    FakeReply,
    FakeText,
    FakeToolCall,
    FakeUsage,
    Finish,
)

FINISHES: dict[Finish, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "stop",
    "stop_sequence": "stop",
    "pause": "stop",
}
DONE = frame("[DONE]")


def body(reply: FakeReply, request: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a unary answer to a decoded request."""
    texts = [part for part in reply.parts if isinstance(part, FakeText)]
    refusals = [part.text for part in reply.parts if isinstance(part, FakeRefusal)]
    calls = [_call(part) for part in reply.parts if isinstance(part, FakeToolCall)]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(part.text for part in texts) if _has_content(reply) else None,
        "refusal": "".join(refusals) if refusals else None,
        "annotations": _annotations(reply),
    }
    if calls:
        message["tool_calls"] = calls
    tokens = [logprob(token, request.get("top_logprobs") or 0) for part in texts for token in part.logprobs]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": {"content": tokens, "refusal": None} if _asked(reply, request) else None,
        "finish_reason": FINISHES[reply.ends],
    }
    return {**_head(reply, request, "chat.completion"), "choices": [choice], "usage": usage(reply.usage)}


def frames(reply: FakeReply, request: Mapping[str, Any]) -> list[bytes]:
    """Returns a streamed answer, one frame per chunk and the closing `[DONE]`."""
    head = _head(reply, request, "chat.completion.chunk")
    with_usage = wish(request, "stream_options", "include_usage", default=False)
    padded = wish(request, "stream_options", "include_obfuscation", default=True)
    padding = paddings(head["id"])

    def chunk(choices: list[dict[str, Any]], figures: dict[str, Any] | None = None) -> bytes:
        said = {**head, "choices": choices}
        if with_usage:
            said["usage"] = figures
        if padded:
            said["obfuscation"] = next(padding)
        return frame(compact(said))

    written = [chunk([_choice(delta, tokens)]) for delta, tokens in _deltas(reply, request)]
    written.append(chunk([_choice({}, None, FINISHES[reply.ends])]))
    if with_usage:
        written.append(chunk([], usage(reply.usage)))
    return [*written, DONE]


def usage(figures: FakeUsage) -> dict[str, Any]:
    """Returns the figures in the words of chat completions."""
    read = {"cached_tokens": figures.cache_read_tokens, "audio_tokens": figures.input_audio_tokens}
    if figures.cache_write_tokens:  # models without paid cache writes do not have the key
        read["cache_write_tokens"] = figures.cache_write_tokens
    return {
        "prompt_tokens": figures.input_tokens,
        "completion_tokens": figures.output_tokens,
        "total_tokens": figures.input_tokens + figures.output_tokens,
        "prompt_tokens_details": read,
        "completion_tokens_details": {
            "reasoning_tokens": figures.reasoning_tokens or 0,
            "audio_tokens": figures.output_audio_tokens,
            "accepted_prediction_tokens": figures.accepted_prediction_tokens,
            "rejected_prediction_tokens": figures.rejected_prediction_tokens,
        },
    }


def _head(reply: FakeReply, request: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {
        "id": reply.response_id or "chatcmpl-fake",
        "object": kind,
        "created": reply.created_at_s,
        "model": reply.model or request["model"],
        "service_tier": reply.service_tier or "default",
        "system_fingerprint": "fp_fake",
    }


def _has_content(reply: FakeReply) -> bool:
    """A reply of nothing at all has an empty content; beside calls and refusals a missing text is null."""
    others = any(isinstance(part, FakeToolCall | FakeRefusal) for part in reply.parts)
    return not others or any(isinstance(part, FakeText) for part in reply.parts)


def _call(part: FakeToolCall) -> dict[str, Any]:
    return {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments_json}}


def _annotations(reply: FakeReply) -> list[dict[str, Any]]:
    """Returns the cited pages; their places count from the start of the whole content."""
    found: list[dict[str, Any]] = []
    before = 0
    for part in (part for part in reply.parts if isinstance(part, FakeText)):
        found += [
            {
                "type": "url_citation",
                "url_citation": {
                    "start_index": before + cited.start_index,
                    "end_index": before + cited.end_index,
                    "title": cited.title,
                    "url": cited.uri,
                },
            }
            for cited in part.citations
            if cited.uri
        ]
        before += len(part.text)
    return found


def _choice(delta: dict[str, Any], tokens: dict[str, Any] | None, finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": tokens, "finish_reason": finish}


Delta = tuple[dict[str, Any], dict[str, Any] | None]
"""A delta and its log probabilities."""


def _asked(reply: FakeReply, request: Mapping[str, Any]) -> bool:
    """Whether log probabilities are sent: the script has some and the caller wants them."""
    scripted = any(isinstance(part, FakeText) and part.logprobs for part in reply.parts)
    return scripted and request.get("logprobs") is True


def _deltas(reply: FakeReply, request: Mapping[str, Any]) -> Iterator[Delta]:
    asked = _asked(reply, request)
    first = {"role": "assistant", "content": "" if _has_content(reply) else None, "refusal": None}
    yield first, {"content": [], "refusal": None} if asked else None
    call_index = itertools.count()
    for part in reply.parts:
        match part:
            case FakeText(logprobs=tokens) if tokens and asked:
                for text, token in token_pieces(tokens):
                    said = [logprob(token, request.get("top_logprobs") or 0)]
                    yield {"content": text}, {"content": said, "refusal": None}
            case FakeText(text=text):
                yield from (({"content": piece}, None) for piece in pieces(text, reply.delta_chars))
            case FakeRefusal(text=text):  # an empty one is still said, or it would not be there at all
                yield from (({"refusal": piece}, None) for piece in pieces(text, reply.delta_chars) or [""])
            case FakeToolCall():
                yield from ((delta, None) for delta in _call_deltas(part, next(call_index), reply.delta_chars))
            case _:
                pass  # chat completions have no words for it
    if annotations := _annotations(reply):
        yield {"annotations": annotations}, None


def _call_deltas(part: FakeToolCall, index: int, chars: int) -> Iterator[dict[str, Any]]:
    opening = _call(part)
    opening["function"]["arguments"] = ""
    yield {"tool_calls": [{"index": index, **opening}]}
    for piece in pieces(part.arguments_json, chars):
        yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
