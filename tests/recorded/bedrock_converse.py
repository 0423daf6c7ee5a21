"""Recordings of Bedrock's Converse: the words of their neutral requests, and what may differ in a request's body."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from llmgateway_server.providers.dialects.bedrock_converse.media import FORMATS, named
from tests.recorded import differences

Json = Any

MIME_TYPES = {word: mime_type for formats in FORMATS.values() for mime_type, word in reversed(formats.items())}
"""By the service's word; of several the usual one."""
UNSAID = {
    "guardrailConfig": "the recordings do not say it neutrally",
    "performanceConfig": "as guardrailConfig",
    "requestMetadata": "as guardrailConfig",
    "serviceTier": "as guardrailConfig",
    "additionalModelResponseFieldPaths": "as guardrailConfig",
    "guardContent": "as guardrailConfig",
    "cachePoint": "as guardrailConfig",
    "context": "of a document; as guardrailConfig",
    "citations": "of a document; as guardrailConfig",
}
"""Keys that are left out of the comparison, at any depth."""
DEFAULTS: dict[str, Json] = {
    "system": [],
    "inferenceConfig": {},
    "stopSequences": [],
    "additionalModelRequestFields": {},
    "toolChoice": {"auto": {}},
    "status": "success",
}
"""Values that mean what their absence means."""


def said(neutral: Json) -> Json:
    """Returns a neutral request whose parts are told in the words of `neutral`."""
    messages = [
        {**message, "parts": [_part(part) for part in message["parts"] if not part.keys() & {"cachePoint", "raw"}]}
        for message in neutral["messages"]
    ]
    messages = [{**each, "parts": each["parts"] or [{"text": " "}]} for each in messages]
    changed = {**neutral, "messages": messages}
    if isinstance(choice := neutral.get("tool_choice"), dict):
        changed["tool_choice"] = _tool_choice(choice)
    return changed


def comparable(body: Json) -> Json:
    """Returns the body after the rules of all dialects and those of this one."""
    for rule in (_without_unsaid, _documents, differences.comparable):
        body = rule(body) if rule is differences.comparable else differences.everywhere(rule, body)
    return body


def _tool_choice(choice: Json) -> Json:
    match choice:
        case {"auto": _}:
            return "auto"
        case {"any": _}:
            return "any"
        case {"tool": {"name": name}}:
            return {"type": "tool", "name": name}
    return choice


def _part(part: Json) -> Json:
    [(kind, told)] = part.items()
    match kind:
        case "reasoning":
            shown = told.get("reasoningText", {})
            words = {"text": shown.get("text", ""), "signature": shown.get("signature", ""), "vendor": "bedrock"}
            return {kind: words | ({"redacted": told["redactedContent"]} if "redactedContent" in told else {})}
        case "tool_result":
            pieces = [_piece(piece) for piece in told["content"] or ()]
            return {kind: {**told, "content": pieces, "is_error": told.get("status") == "error"}}
        case "document" | "image" | "video":
            return {kind: _medium(told)}
    return part


def _piece(piece: Json) -> Json:
    [(kind, told)] = piece.items()
    return {"media": _medium(told)} if kind in ("document", "image", "video") else piece


def _medium(told: Json) -> Json:
    word = told.get("format") or str(told.get("mime")).rpartition("/")[2]
    source = told.get("source") or {}
    if "s3Location" in source:
        return {"url": source["s3Location"]["uri"]}
    data = told.get("data_b64") or source.get("bytes") or b64encode(source.get("text", "").encode()).decode()
    return {"mime": MIME_TYPES.get(word, f"image/{word}"), "data_b64": data, "name": told.get("name")}


def _without_unsaid(value: Json) -> Json:
    if isinstance(value, list):  # without what held only such a key, and the message of which nothing remains
        return [each for each in value if each != {} and not (isinstance(each, dict) and each.get("content") == [])]
    if not isinstance(value, dict) or "properties" in value:
        return value
    return {
        key: each
        for key, each in value.items()
        if key not in UNSAID and not (key in DEFAULTS and each == DEFAULTS[key])
    }


def _documents(value: Json) -> Json:
    """Names in the letters that are documented; text as bytes."""
    if not isinstance(value, dict) or not isinstance(document := value.get("document"), dict):
        return value
    source = document["source"]
    if "text" in source:
        source = {"bytes": b64encode(source["text"].encode()).decode()}
    return value | {"document": {**document, "name": named(document["name"]), "source": source}}
