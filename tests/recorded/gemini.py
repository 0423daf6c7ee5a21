"""Recordings of Google's services: their neutral requests in the words of `neutral`, and what bodies may differ in.

Clients write a body's fields in either of two spellings, `functionCall` and `function_call`: the same to the vendor.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tests.recorded.differences import everywhere

Json = Any

LAST = b'"finishReason"'
"""What only the last chunk with something to say has."""
MODES = {"AUTO": "auto", "NONE": "none", "ANY": "required"}
UNSAID = {
    "safetySettings": "the recordings do not say it neutrally",
    "responseModalities": "as safetySettings",
    "candidateCount": "one answer is all that the contract offers",
    "labels": "as safetySettings",
}
EMPTY = ("generationConfig", "systemInstruction", "toolConfig")
"""Keys that may stand with nothing in them."""
STAND_IN = "skip_thought_signature_validator"


# --- what is asked -----------------------------------------------------------------------------------------------


def said(neutral: Json) -> Json:
    """Returns a neutral request with ids of calls made up, results as text and options in the words of `neutral`."""
    words = dict(neutral)
    words["messages"] = _Calls().messages(neutral["messages"])
    if neutral.get("tool_choice") is not None:
        words["tool_choice"] = _choice(neutral["tool_choice"])
    if neutral.get("reasoning") is not None:
        words["reasoning"] = {"contract": _thinking(neutral["reasoning"])}
    return words


class _Calls:
    """Gives ids to calls without one, and to their results, by name and order."""

    def __init__(self) -> None:
        self._count = 0
        self._waiting: list[tuple[str, str]] = []

    def messages(self, messages: list[Json]) -> list[Json]:
        return [
            message | {"role": _role(message["role"]), "parts": [self._part(part) for part in message["parts"]]}
            for message in messages
        ]

    def _part(self, part: Json) -> Json:
        [(kind, content)] = part.items()
        match kind:
            case "tool_call":
                return {kind: self._call(content)}
            case "tool_result":
                return {kind: self._result(content)}
            case "text" | "reasoning":
                return part
            case _:
                data = content.get("data_b64")
                return part if data is None else {kind: content | {"data_b64": data.translate(_USUAL)}}

    def _call(self, call: Json) -> Json:
        self._count += 1
        given = call["id"] or f"made-up-{self._count}"
        self._waiting.append((given, call["name"]))
        state = {
            name: call.get(key) for name, key in (("id", "id"), ("signature", "thought_signature")) if call.get(key)
        }
        return call | {"id": given, "provider_state": {"vendor": "google", "data": json.dumps(state)}}

    def _result(self, result: Json) -> Json:
        given = result["id"]
        found = next((each for each in self._waiting if given in (None, each[0]) and each[1] == result["name"]), None)
        if found is not None:
            self._waiting.remove(found)
        content = result["content"]
        text = content if isinstance(content, str) else json.dumps(content)
        return result | {"id": found[0] if found else given or "unknown", "content": [{"text": text}]}


def _role(role: str) -> str:
    return role if role in ("user", "assistant", "tool", "developer", "system") else "user"


def _choice(choice: Json) -> Json:
    config = choice.get("functionCallingConfig") or choice.get("function_calling_config") or {}
    names = config.get("allowedFunctionNames") or config.get("allowed_function_names") or []
    if config.get("mode") == "ANY" and len(names) == 1:
        return {"type": "tool", "name": names[0]}
    return MODES[config.get("mode", "AUTO").upper()]


def _thinking(config: Json) -> Json:
    fields: dict[str, Json] = {}
    for name, value in config.items():
        match _camel(name):
            case "includeThoughts":
                fields["includeText"] = value
            case "thinkingBudget":
                fields["budgetTokenCount"] = value
            case "thinkingLevel":
                fields["effort"] = f"REASONING_EFFORT_{value.upper()}"
    return fields


# --- what is sent ------------------------------------------------------------------------------------------------


def comparable(body: Json) -> Json:
    """Returns the body after all rules."""
    for _, rule in RULES:
        body = everywhere(rule, body)
    return body


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def _one_spelling(value: Json) -> Json:
    """Signatures of calls in the other spelling are not in the neutral requests; a stand-in takes their place."""
    if not isinstance(value, dict):
        return value
    value = {key: each for key, each in value.items() if key != "thought_signature" and each != STAND_IN}
    return value if "properties" in value else {_camel(key): each for key, each in value.items()}


def _without_null(value: Json) -> Json:
    return {key: each for key, each in value.items() if each is not None} if isinstance(value, dict) else value


def _without_unsaid(value: Json) -> Json:
    if not isinstance(value, dict):
        return value
    kept = {key: each for key, each in value.items() if key not in UNSAID and not (key == "description" and not each)}
    return {key: each for key, each in kept.items() if not (key in EMPTY and not each)}


def _roles(value: Json) -> Json:
    if isinstance(value, dict) and "parts" in value and "role" in value:
        return value | {"role": "model" if value["role"] == "model" else "user"}
    return value


def _instructions_without_role(value: Json) -> Json:
    if isinstance(value, dict) and isinstance(value.get("systemInstruction"), dict):
        return value | {"systemInstruction": {"parts": value["systemInstruction"]["parts"]}}
    return value


def _one_name_for_schemas(value: Json) -> Json:
    names = {"parametersJsonSchema": "parameters", "responseJsonSchema": "responseSchema"}
    return {names.get(key, key): each for key, each in value.items()} if isinstance(value, dict) else value


def _usual_base64(value: Json) -> Json:
    if isinstance(value, dict) and isinstance(value.get("data"), str) and "mimeType" in value:
        return value | {"data": value["data"].translate(_USUAL)}
    return value


def _any_of_all(value: Json) -> Json:
    if isinstance(value, dict) and len(value.get("allowedFunctionNames") or ()) > 1:
        return {key: each for key, each in value.items() if key != "allowedFunctionNames"}
    return value


def _numbers_alike(value: Json) -> Json:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


_USUAL = str.maketrans("-_", "+/")
"""From the alphabet for addresses to the usual one."""


RULES = (
    ("clients write fields in two spellings", _one_spelling),
    ("null means absent", _without_null),
    ("what the neutral request does not say, and what absence means", _without_unsaid),
    ("there are two roles, and the contract has no words for a third", _roles),
    ("instructions have no role", _instructions_without_role),
    ("schemas in either spelling", _one_name_for_schemas),
    ("base64 in either alphabet", _usual_base64),
    ("any of all tools is any", _any_of_all),
    ("1 and 1.0 are one number", _numbers_alike),
)
