"""Writes a reply as generateContent does: one JSON object, or server-sent events whose lines end in CRLF.

Source: the reference of the Gemini API, "Generating content", and recorded traffic.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from llmgateway_server.core.events import Logprob
from llmgateway_server.testing.fake_provider.frames import compact, pieces, token_pieces, wish
from llmgateway_server.testing.fake_provider.reply import (
    FakeCitation,
    FakeError,
    FakePart,
    FakeReasoning,
    FakeReply,
    FakeText,
    FakeToolCall,
    Finish,
)

FINISHES: dict[Finish, str] = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "refusal": "STOP",
    "stop_sequence": "STOP",
    "pause": "STOP",
}
STATUS_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""What an error is called where the script gives a status only; an unknown one is called as its hundred."""
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
EMPTY = {"text": ""}
FREE = ("args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema", "labels")
"""Fields in which names are the caller's."""

Json = dict[str, Any]


def body(reply: FakeReply, request: Mapping[str, Any]) -> Json:
    """Returns a unary answer to a decoded request."""
    request = spelled(request)
    said = [part for fake in reply.parts for part in _parts(fake, request)]
    tokens = [token for fake in reply.parts if isinstance(fake, FakeText) for token in fake.logprobs]
    candidate = {"content": _content(said), **_scored(tokens, request), **_end(reply)}
    return {"candidates": [candidate], "usageMetadata": _usage(reply), **_names(reply, request)}


def frames(reply: FakeReply, request: Mapping[str, Any]) -> list[bytes]:
    """Returns a streamed answer, one frame per chunk. The last one holds an empty text and why it ended."""
    request = spelled(request)
    names = _names(reply, request)
    begun = {"promptTokenCount": reply.usage.input_tokens, "totalTokenCount": reply.usage.input_tokens}
    written = [
        frame({"candidates": [{**candidate, "index": 0}], "usageMetadata": begun, **names})
        for fake in reply.parts
        for candidate in _streamed(fake, reply, request)
    ]
    last = {"content": _content([EMPTY]), **_end(reply)}
    return [*written, frame({"candidates": [last], "usageMetadata": _usage(reply), **names})]


def frame(payload: Json) -> bytes:
    """Returns one event."""
    return f"data: {compact(payload)}\r\n\r\n".encode()


def spelled(value: Any) -> Any:
    """Returns a body with its fields in one spelling."""
    if isinstance(value, list):
        return [spelled(each) for each in value]
    if not isinstance(value, dict):
        return value
    names = {name: re.sub("_([a-z])", lambda found: found[1].upper(), name) for name in value}
    return {names[name]: each if names[name] in FREE else spelled(each) for name, each in value.items()}


def error_body(error: FakeError, _request_id: str = "") -> Json:
    """Returns the JSON of an error status; the script's code is the reason in its details."""
    word = STATUS_WORDS.get(error.status) or STATUS_WORDS[500 if error.status >= 500 else 400]
    details = [{"@type": ERROR_INFO, "reason": error.code, "domain": "googleapis.com"}] if error.code else []
    message = error.message or f"The fake provider was told to answer {error.status}."
    return {"error": {"code": error.status, "message": message, "status": error.type or word, "details": details}}


def error_frames(error: FakeError, request: Mapping[str, Any], _request_id: str = "") -> list[bytes]:
    """Returns a stream that begins as `error.reply` does and fails after `error.in_stream_after` frames."""
    return [*frames(error.reply, request)[: error.in_stream_after or 0], frame(error_body(error))]


def _names(reply: FakeReply, request: Mapping[str, Any]) -> Json:
    return {"modelVersion": reply.model or request["model"], "responseId": reply.response_id or "gemini_fake"}


def _content(parts: list[Json]) -> Json:
    """Returns what a candidate says; nothing at all is an empty object."""
    return {"parts": parts, "role": "model"} if parts else {}


def _end(reply: FakeReply) -> Json:
    cited = [citation for part in reply.parts if isinstance(part, FakeText) for citation in _cited(part)]
    grounding = {"groundingMetadata": _grounding(cited)} if cited else {}
    return {"finishReason": FINISHES[reply.ends], "index": 0, **grounding}


# --- content -----------------------------------------------------------------------------------------------------


def _parts(part: FakePart, request: Mapping[str, Any]) -> list[Json]:
    """Returns a part as it comes whole; nothing for what the vendor has no words for, or was not asked to show."""
    match part:
        case FakeText(text=text):
            return [{"text": text}]
        case FakeReasoning(text=text, redacted_data="") if wish(
            request, "generationConfig", "thinkingConfig", "includeThoughts"
        ):
            return [{"text": text, "thought": True, "thoughtSignature": part.seal}]
        case FakeToolCall(id=call_id, name=name):
            return [{"functionCall": {"id": call_id, "name": name, "args": _object(part.arguments_json)}}]
        case _:
            return []


def _streamed(part: FakePart, reply: FakeReply, request: Mapping[str, Any]) -> Iterator[Json]:
    """Yields the candidates of a part: a text in pieces, everything else, and what is signed, at once."""
    if not isinstance(part, FakeText):
        for said in _parts(part, request):
            yield {"content": _content([said])}
    elif part.logprobs:
        for text, token in token_pieces(part.logprobs):
            yield {"content": _content([{"text": text}]), **_scored([token], request)}
    else:
        for text in pieces(part.text, reply.delta_chars):
            yield {"content": _content([{"text": text}])}


def _object(arguments_json: str) -> Json:
    """Returns the arguments; half an object cannot be said."""
    try:
        parsed = json.loads(arguments_json)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _scored(tokens: list[Logprob], request: Mapping[str, Any]) -> Json:
    """Returns log probabilities for those who ask."""
    if not tokens or not wish(request, "generationConfig", "responseLogprobs"):
        return {}
    count = wish(request, "generationConfig", "logprobs", default=0)
    chosen = [{"token": token.token, "logProbability": token.logprob} for token in tokens]
    tops = [
        {"candidates": [{"token": text, "logProbability": value} for text, value, _ in token.top[:count]]}
        for token in tokens
    ]
    return {"logprobsResult": {"topCandidates": tops, "chosenCandidates": chosen}}


def _cited(part: FakeText) -> list[tuple[str, FakeCitation]]:
    """Returns the pages of a text; of documents the vendor says nothing."""
    return [(part.text, citation) for citation in part.citations if citation.uri]


def _grounding(cited: list[tuple[str, FakeCitation]]) -> Json:
    return {
        "webSearchQueries": ["fake"],
        "groundingChunks": [{"web": {"uri": citation.uri, "title": citation.title}} for _, citation in cited],
        "groundingSupports": [
            {"segment": _segment(text, citation), "groundingChunkIndices": [index]}
            for index, (text, citation) in enumerate(cited)
        ],
    }


def _segment(text: str, citation: FakeCitation) -> Json:
    """Returns a stretch of text, counted in bytes; a 0 is left out."""
    words = text[citation.start_index : citation.end_index]
    start = len(text[: citation.start_index].encode())
    found = {"startIndex": start, "endIndex": start + len(words.encode()), "text": words}
    return {name: value for name, value in found.items() if value != 0}


# --- usage -------------------------------------------------------------------------------------------------------


def _usage(reply: FakeReply) -> Json:
    """Thoughts come on top of the answer's tokens."""
    figures = reply.usage
    thoughts = figures.reasoning_tokens
    found: Json = {
        "promptTokenCount": figures.input_tokens,
        "candidatesTokenCount": figures.output_tokens - (thoughts or 0),
        "totalTokenCount": figures.input_tokens + figures.output_tokens,
        "promptTokensDetails": _details(figures.input_tokens, figures.input_audio_tokens),
    }
    if figures.cache_read_tokens:
        found["cachedContentTokenCount"] = figures.cache_read_tokens
    if figures.output_audio_tokens:
        found["candidatesTokensDetails"] = [{"modality": "AUDIO", "tokenCount": figures.output_audio_tokens}]
    return found if thoughts is None else {**found, "thoughtsTokenCount": thoughts}


def _details(total: int, heard: int) -> list[Json]:
    counts = (("TEXT", total - heard), ("AUDIO", heard))
    return [{"modality": name, "tokenCount": count} for name, count in counts if count]
