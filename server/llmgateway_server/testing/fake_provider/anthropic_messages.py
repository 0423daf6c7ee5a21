"""Writes a reply as the Messages API does: one JSON object, or named events.

Source: Anthropic's API reference, "Messages" and "Streaming messages", and recorded traffic.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

from llmgateway_server.testing.fake_provider.frames import compact, frame, pieces, wish
from llmgateway_server.testing.fake_provider.reply import (
    FakeCitation,
    FakePart,
    FakeReasoning,
    FakeRefusal,
    FakeReply,
    FakeServerTool,
    FakeText,
    FakeToolCall,
    FakeUsage,
    Finish,
)

FINISHES: dict[Finish, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "stop_sequence": "stop_sequence",
    "pause": "pause_turn",
}
PING = frame('{"type": "ping"}', "ping")
LONGEST_PADDING = 15
FIRST_OUTPUT_TOKENS = 2
"""What `message_start` says of the output at most: the model has hardly begun."""
DIRECT = {"type": "direct"}

Json = dict[str, Any]


def body(reply: FakeReply, request: Mapping[str, Any]) -> Json:
    """Returns a unary answer to a decoded request."""
    blocks = [block for part in reply.parts for block in _blocks(part, request)]
    return {**_head(reply, request), "content": blocks, **_stop(reply), "usage": _usage(reply)}


def frames(reply: FakeReply, request: Mapping[str, Any]) -> list[bytes]:
    """Returns a streamed answer, one frame per event. Blanks stand before the last brace of all but `ping`."""
    head = _head(reply, request)
    dice = random.Random(str(head["id"]))

    def event(payload: Json) -> bytes:
        blanks = " " * dice.randint(0, LONGEST_PADDING)
        return frame(compact(payload)[:-1] + blanks + "}", payload["type"])

    nothing = {"stop_reason": None, "stop_sequence": None, "stop_details": None}
    message = {**head, "content": [], **nothing, "usage": _first_usage(reply)}
    written = [event({"type": "message_start", "message": message})]
    index = -1
    for part in reply.parts:
        for block in _blocks(part, request):
            index += 1
            opening, deltas = _streamed(block, part, reply.delta_chars)
            written.append(event({"type": "content_block_start", "index": index, "content_block": opening}))
            if index == 0:
                written.append(PING)
            written += [event({"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas]
            written.append(event({"type": "content_block_stop", "index": index}))
    if index < 0:
        written.append(PING)
    written.append(event({"type": "message_delta", "delta": _stop(reply), "usage": _last_usage(reply)}))
    written.append(event({"type": "message_stop"}))
    return written


def _head(reply: FakeReply, request: Mapping[str, Any]) -> Json:
    return {
        "model": reply.model or request["model"],
        "id": reply.response_id or "msg_fake",
        "type": "message",
        "role": "assistant",
    }


def _stop(reply: FakeReply) -> Json:
    reason = FINISHES[reply.ends]
    refusals = [part.text for part in reply.parts if isinstance(part, FakeRefusal)]
    details = {"type": "refusal", "category": None, "explanation": "".join(refusals) or None}
    return {
        "stop_reason": reason,
        "stop_sequence": reply.stop_sequence if reason == "stop_sequence" else None,
        "stop_details": details if reason == "refusal" else None,
    }


# --- content -----------------------------------------------------------------------------------------------------


def _blocks(part: FakePart, request: Mapping[str, Any]) -> list[Json]:
    """Returns the whole blocks of a part; none for a refusal, which is a stop reason."""
    match part:
        case FakeText(text=text, citations=cited):
            citations = {"citations": [_citation(citation) for citation in cited]} if cited else {}
            return [{**citations, "type": "text", "text": text}]
        case FakeReasoning(redacted_data=data) if data:
            return [{"type": "redacted_thinking", "data": data}]
        case FakeReasoning(text=text):
            shown = "" if wish(request, "thinking", "display") == "omitted" else text
            return [{"type": "thinking", "thinking": shown, "signature": part.seal}]
        case FakeToolCall(id=call_id, name=name):
            tool_input = _object(part.arguments_json)
            return [{"type": "tool_use", "id": call_id, "name": name, "input": tool_input, "caller": DIRECT}]
        case FakeServerTool():
            return _search(part)
        case _:
            return []


def _object(arguments_json: str) -> Json:
    """Returns the arguments; of half an object a unary answer says nothing."""
    try:
        parsed = json.loads(arguments_json)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _search(tool: FakeServerTool) -> list[Json]:
    found: Any = [
        {
            "type": "web_search_result",
            "title": result.title,
            "url": result.url,
            "encrypted_content": result.encrypted_content,
            "page_age": result.page_age,
        }
        for result in tool.results
    ]
    if tool.error_code:
        found = {"type": "web_search_tool_result_error", "error_code": tool.error_code}
    asked = {"type": "server_tool_use", "id": tool.id, "name": "web_search", "input": {"query": tool.query}}
    answer = {"type": "web_search_tool_result", "tool_use_id": tool.id, "content": found}
    return [{**asked, "caller": DIRECT}, {**answer, "caller": DIRECT}]


def _citation(cited: FakeCitation) -> Json:
    if cited.uri:
        return {
            "type": "web_search_result_location",
            "cited_text": cited.cited_text,
            "url": cited.uri,
            "title": cited.title,
            "encrypted_index": "fake-place",
        }
    return {
        "type": "char_location",
        "cited_text": cited.cited_text,
        "document_index": 0,
        "document_title": cited.title,
        "start_char_index": cited.start_index,
        "end_char_index": cited.end_index,
        "file_id": None,
    }


def _streamed(block: Json, part: FakePart, chars: int) -> tuple[Json, Iterator[Json]]:
    """Returns how a block begins in a stream, and its deltas."""
    match block["type"]:
        case "text":
            opening = {**block, "text": ""} | ({"citations": []} if "citations" in block else {})
            return opening, _text_deltas(block, chars)
        case "thinking":
            return {**block, "thinking": "", "signature": ""}, _thinking_deltas(block, chars)
        case "tool_use" | "server_tool_use":
            arguments = part.arguments_json if isinstance(part, FakeToolCall) else compact(block["input"])
            return {**block, "input": {}}, _input_deltas(arguments, chars)
        case _:  # redacted thoughts and search results come whole
            return block, iter(())


def _text_deltas(block: Json, chars: int) -> Iterator[Json]:
    for citation in block.get("citations", ()):
        yield {"type": "citations_delta", "citation": citation}
    for piece in pieces(block["text"], chars):
        yield {"type": "text_delta", "text": piece}


def _thinking_deltas(block: Json, chars: int) -> Iterator[Json]:
    for piece in pieces(block["thinking"], chars):
        yield {"type": "thinking_delta", "thinking": piece}
    yield {"type": "signature_delta", "signature": block["signature"]}


def _input_deltas(arguments_json: str, chars: int) -> Iterator[Json]:
    """A first empty piece, and nothing more for a call without arguments."""
    yield {"type": "input_json_delta", "partial_json": ""}
    for piece in [] if arguments_json == "{}" else pieces(arguments_json, chars):
        yield {"type": "input_json_delta", "partial_json": piece}


# --- usage -------------------------------------------------------------------------------------------------------


def _input(figures: FakeUsage) -> Json:
    """Input leaves out what was read from a cache or written into one."""
    return {
        "input_tokens": figures.input_tokens - figures.cached_tokens,
        "cache_creation_input_tokens": figures.cache_write_tokens,
        "cache_read_input_tokens": figures.cache_read_tokens,
    }


def _details(reply: FakeReply) -> Json:
    figures = reply.usage
    found: Json = {}
    if figures.reasoning_tokens is not None:
        found["output_tokens_details"] = {"thinking_tokens": figures.reasoning_tokens}
    if searches := sum(isinstance(part, FakeServerTool) for part in reply.parts):
        found["server_tool_use"] = {"web_search_requests": searches, "web_fetch_requests": 0}
    return found


def _standing(reply: FakeReply) -> Json:
    """What `message_start` says once and `message_delta` never."""
    lifetimes = {
        "ephemeral_5m_input_tokens": reply.usage.cache_write_5m_tokens,
        "ephemeral_1h_input_tokens": reply.usage.cache_write_1h_tokens,
    }
    tier = reply.service_tier or "standard"
    return {"cache_creation": lifetimes, "service_tier": tier, "inference_geo": "not_available"}


def _usage(reply: FakeReply) -> Json:
    figures = reply.usage
    return {**_input(figures), "output_tokens": figures.output_tokens, **_details(reply), **_standing(reply)}


def _first_usage(reply: FakeReply) -> Json:
    """What is known at the start. What searches find is input, too, and not yet part of it."""
    first = _input(reply.usage)
    if any(isinstance(part, FakeServerTool) for part in reply.parts):
        first["input_tokens"] //= 2
    return {**first, "output_tokens": min(FIRST_OUTPUT_TOKENS, reply.usage.output_tokens), **_standing(reply)}


def _last_usage(reply: FakeReply) -> Json:
    return {**_input(reply.usage), "output_tokens": reply.usage.output_tokens, **_details(reply)}
