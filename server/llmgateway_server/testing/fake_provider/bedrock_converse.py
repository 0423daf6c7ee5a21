"""Writes a reply as Converse of AWS Bedrock does: one JSON object, or binary events.

Source: the API reference of Amazon Bedrock, "Converse" and "ConverseStream", and recorded traffic.
"""

from __future__ import annotations

import json
import random
import string
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

from llmgateway_server.testing.fake_provider.bedrock_converse_frames import event, exception
from llmgateway_server.testing.fake_provider.frames import compact, pieces
from llmgateway_server.testing.fake_provider.reply import (
    FakeCitation,
    FakeError,
    FakePart,
    FakeReasoning,
    FakeReply,
    FakeText,
    FakeToolCall,
    FakeUsage,
    Finish,
)

FINISHES: dict[Finish, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
    "refusal": "end_turn",
    "stop_sequence": "stop_sequence",
    "pause": "end_turn",
}
PADDING = string.ascii_letters + string.digits
"""What the length of an event is hidden with: so much of it."""
LATENCY_MS = 321
EVENT_STREAM = "application/vnd.amazon.eventstream"
EXCEPTIONS = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
"""What an error is called where the script gives a status only; an unknown status is called as its hundred."""
NAMESPACE = ":http://internal.amazon.com/coral/com.amazon.bedrock/"

Json = dict[str, Any]


def body(reply: FakeReply, _request: Mapping[str, Any]) -> Json:
    """Returns a unary answer to a decoded request."""
    content = [block for part in reply.parts if (block := _block(part)) is not None]
    return {
        "metrics": {"latencyMs": LATENCY_MS},
        "output": {"message": {"content": content, "role": "assistant"}},
        "stopReason": FINISHES[reply.ends],
        "usage": _usage(reply.usage),
        **_tier(reply),
    }


def frames(reply: FakeReply, _request: Mapping[str, Any]) -> list[bytes]:
    """Returns a streamed answer, one frame per event; every one is padded."""
    dice = random.Random(reply.response_id)
    return [
        event(name, compact({**said, "p": PADDING[: dice.randint(1, len(PADDING))]}).encode())
        for name, said in events(reply)
    ]


def events(reply: FakeReply) -> list[tuple[str, Json]]:
    """Returns the events of a streamed answer with their names."""
    written: list[tuple[str, Json]] = [("messageStart", {"role": "assistant"})]
    index = -1
    for part in reply.parts:
        if (block := _block(part)) is None:
            continue
        index += 1
        place = {"contentBlockIndex": index}
        if isinstance(part, FakeToolCall):
            start = {"toolUse": {"name": part.name, "toolUseId": part.id}}
            written.append(("contentBlockStart", {**place, "start": start}))
        written += [("contentBlockDelta", {**place, "delta": delta}) for delta in _deltas(part, block, reply)]
        written.append(("contentBlockStop", place))
    written.append(("messageStop", {"stopReason": FINISHES[reply.ends]}))
    measured = {"metrics": {"latencyMs": LATENCY_MS}, "usage": _usage(reply.usage), **_tier(reply)}
    return [*written, ("metadata", measured)]


# --- failures ----------------------------------------------------------------------------------------------------


def error_body(error: FakeError, _request_id: str = "") -> Json:
    """Returns the JSON of an error status; what it is called stands in a header."""
    return {"message": _message(error)}


def error_headers(error: FakeError) -> Mapping[str, str]:
    """Returns the header that says what an error is called."""
    return {"x-amzn-errortype": _name(error) + NAMESPACE}


def error_frames(error: FakeError, request: Mapping[str, Any], _request_id: str = "") -> list[bytes]:
    """Returns a stream that begins as `error.reply` does and fails after `error.in_stream_after` frames."""
    name = _name(error)
    said = frames(error.reply, request)[: error.in_stream_after or 0]
    return [*said, exception(name[0].lower() + name[1:], compact(error_body(error)).encode())]


def _name(error: FakeError) -> str:
    return error.type or EXCEPTIONS.get(error.status) or EXCEPTIONS[500 if error.status >= 500 else 400]


def _message(error: FakeError) -> str:
    return error.message or f"The fake provider was told to answer {error.status}."


# --- content -----------------------------------------------------------------------------------------------------


def _block(part: FakePart) -> Json | None:
    """Returns the whole block of a part; None for what Converse has no block for."""
    match part:
        case FakeText(text=text, citations=cited) if cited:
            citations = [_citation(citation) for citation in cited]
            return {"citationsContent": {"content": [{"text": text}], "citations": citations}}
        case FakeText(text=text):
            return {"text": text}
        case FakeReasoning(redacted_data=data) if data:
            return {"reasoningContent": {"redactedContent": redacted(data)}}
        case FakeReasoning(text=text):
            return {"reasoningContent": {"reasoningText": {"signature": part.seal, "text": text}}}
        case FakeToolCall(id=call_id, name=name):
            return {"toolUse": {"input": _object(part.arguments_json), "name": name, "toolUseId": call_id}}
        case _:
            return None


def redacted(data: str) -> str:
    """Returns redacted reasoning as it is sent."""
    return b64encode(data.encode()).decode()


def _object(arguments_json: str) -> Json:
    """Returns the arguments; of half an object a unary answer says nothing."""
    try:
        parsed = json.loads(arguments_json)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _citation(cited: FakeCitation) -> Json:
    location: Json = {"web": {"url": cited.uri}}
    if not cited.uri:
        location = {"documentChar": {"documentIndex": 0, "end": cited.end_index, "start": cited.start_index}}
    return {"location": location, "sourceContent": [{"text": cited.cited_text}], "title": cited.title}


def _deltas(part: FakePart, block: Json, reply: FakeReply) -> Iterator[Json]:
    """Yields the pieces of a block. A call without arguments has one that is empty."""
    match part:
        case FakeText(text=text):
            for citation in block.get("citationsContent", {}).get("citations", ()):
                yield {"citation": citation}
            yield from ({"text": piece} for piece in pieces(text, reply.delta_chars) or [""])
        case FakeReasoning(redacted_data=data) if data:
            yield block
        case FakeReasoning(text=text):
            for piece in pieces(text, reply.delta_chars):
                yield {"reasoningContent": {"text": piece}}
            yield {"reasoningContent": {"signature": part.seal}}
        case FakeToolCall(arguments_json=arguments):
            yield {"toolUse": {"input": ""}}
            for piece in [] if arguments == "{}" else pieces(arguments, reply.delta_chars):
                yield {"toolUse": {"input": piece}}


# --- usage -------------------------------------------------------------------------------------------------------


def _usage(figures: FakeUsage) -> Json:
    """Input leaves out what was read from a cache or written into one; the total does not."""
    read, written = figures.cache_read_tokens, figures.cache_write_tokens
    lifetimes = (("1h", figures.cache_write_1h_tokens), ("5m", figures.cache_write_5m_tokens))
    details = [{"inputTokens": tokens, "ttl": ttl} for ttl, tokens in lifetimes if tokens]
    return {
        **({"cacheDetails": details} if details else {}),
        "cacheReadInputTokenCount": read,
        "cacheReadInputTokens": read,
        "cacheWriteInputTokenCount": written,
        "cacheWriteInputTokens": written,
        "inputTokens": figures.input_tokens - figures.cached_tokens,
        "outputTokens": figures.output_tokens,
        "totalTokens": figures.input_tokens + figures.output_tokens,
    }


def _tier(reply: FakeReply) -> Json:
    return {"serviceTier": {"type": reply.service_tier}} if reply.service_tier else {}
