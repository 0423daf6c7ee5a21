"""What Google checks of a request. Its fields may be spelled in either of two ways, here they are spelled in one.

Source: the reference of the Gemini API, "Generating content", "Function calling" and "Thought signatures", and its
recorded refusals. The words of the messages are the fake's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llmgateway_server.testing.fake_provider.checks import (
    FLAG,
    LIST,
    OBJECT,
    TEXT,
    Asked,
    Kind,
    Refused,
    number,
    objects,
    whole,
    word,
)
from llmgateway_server.testing.fake_provider.checks_gemini_turns import check_turns
from llmgateway_server.testing.fake_provider.gemini import spelled
from llmgateway_server.testing.fake_provider.reply import FakeError

FIELDS: dict[str, Kind] = {
    "cachedContent": TEXT,
    "contents": LIST,
    "generationConfig": OBJECT,
    "labels": OBJECT,
    "model": TEXT,
    "safetySettings": LIST,
    "serviceTier": word("standard", "flex", "priority"),
    "store": FLAG,
    "systemInstruction": OBJECT,
    "toolConfig": OBJECT,
    "tools": LIST,
}
CONFIG_FIELDS: dict[str, Kind] = {
    "candidateCount": whole(1, 8),
    "frequencyPenalty": number(-2, 2),
    "logprobs": whole(0, 20),
    "maxOutputTokens": whole(1),
    "mediaResolution": TEXT,
    "presencePenalty": number(-2, 2),
    "responseJsonSchema": OBJECT,
    "responseLogprobs": FLAG,
    "responseMimeType": TEXT,
    "responseModalities": LIST,
    "responseSchema": OBJECT,
    "seed": whole(-(2**31), 2**31 - 1),
    "speechConfig": OBJECT,
    "stopSequences": LIST,
    "temperature": number(0, 2),
    "thinkingConfig": OBJECT,
    "topK": number(0),
    "topP": number(0, 1),
}
THINKING_FIELDS: dict[str, Kind] = {
    "includeThoughts": FLAG,
    "thinkingBudget": whole(-1, 32_768),
    "thinkingLevel": Kind((str,)),
}
TOOL_FIELDS: dict[str, Kind] = {
    "codeExecution": OBJECT,
    "functionDeclarations": LIST,
    "googleSearch": OBJECT,
    "urlContext": OBJECT,
}
DECLARATION_FIELDS: dict[str, Kind] = {
    "behavior": TEXT,
    "description": TEXT,
    "name": TEXT,
    "parameters": OBJECT,
    "parametersJsonSchema": OBJECT,
    "response": OBJECT,
    "responseJsonSchema": OBJECT,
}
LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH")
MODES = ("AUTO", "ANY", "NONE", "VALIDATED")
NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
MOST_STOPS = 5


def refuse(message: str, status: int = 400, type: str = "", code: str | None = None) -> Refused:
    """Returns a refusal in Google's shape; a message begins with the place at fault."""
    return Refused(FakeError(status, type, code, message=message))


def check_generation(asked: Asked) -> None:
    """Refuses what generateContent refuses.

    Raises:
        Refused: the first fault.
    """
    _check_key(asked)
    _check_model(asked)
    _check_body(spelled(asked.body), asked)


def check_stream(asked: Asked) -> None:
    """Refuses what streamGenerateContent refuses. The fake streams events only, so they must be asked for."""
    if "alt=sse" not in asked.path.partition("?")[2]:
        raise refuse("alt: the fake provider streams server-sent events only")
    check_generation(asked)


def check_count(asked: Asked) -> None:
    """Refuses what countTokens refuses."""
    _check_key(asked)
    _check_model(asked)
    body = spelled(asked.body)
    if isinstance(body, dict) and "generateContentRequest" in body:
        inner = body["generateContentRequest"]
        if inner.get("model") != f"models/{asked.body['model']}":
            raise refuse("generateContentRequest.model: not the one of the path")
        _check_body(inner, asked)
    else:
        _check_body(body, asked)


def _check_key(asked: Asked) -> None:
    scheme, _, token = asked.headers.get("authorization", "").partition(" ")
    key = asked.headers.get("x-goog-api-key") or (token if scheme.lower() == "bearer" else "")
    if not key:
        raise refuse("The caller is unknown", 403)
    if asked.api_key and key != asked.api_key:
        raise refuse("API key not valid", 400, code="API_KEY_INVALID")


def _check_model(asked: Asked) -> None:
    if not isinstance(asked.body, dict):
        raise refuse("The body is not a JSON object")
    if asked.models and asked.body["model"] not in asked.models:
        raise refuse("model: not found", 404)


def _check_body(body: Mapping[str, Any], asked: Asked) -> None:
    _check_fields(body, FIELDS, "")
    if not body.get("contents"):
        raise refuse("contents: none")
    _check_config(body.get("generationConfig") or {})
    _check_tools(body)
    for index, setting in enumerate(objects(body.get("safetySettings"))):
        if not (str(setting.get("category")).startswith("HARM_CATEGORY_") and setting.get("threshold")):
            raise refuse(f"safety_settings[{index}]: of no known shape")
    check_turns(body, asked.memory)


def _check_fields(given: Mapping[str, Any], fields: Mapping[str, Kind], path: str) -> None:
    for name, value in given.items():
        if name not in fields:
            raise refuse(f"{path}{name}: unknown field")
        if fault := fields[name].fault(value):
            raise refuse(f"{path}{name}: {fault}")


def _check_config(config: Mapping[str, Any]) -> None:
    _check_fields(config, CONFIG_FIELDS, "generation_config.")
    if len(config.get("stopSequences") or ()) > MOST_STOPS:
        raise refuse(f"generation_config.stop_sequences: more than {MOST_STOPS}")
    schemas = [name for name in ("responseSchema", "responseJsonSchema") if config.get(name) is not None]
    if len(schemas) > 1 or (schemas and config.get("responseMimeType") != "application/json"):
        raise refuse("generation_config.response_schema: two schemas, or one without application/json")
    if config.get("logprobs") is not None and not config.get("responseLogprobs"):
        raise refuse("generation_config.logprobs: given without response_logprobs")
    thinking = config.get("thinkingConfig") or {}
    _check_fields(thinking, THINKING_FIELDS, "generation_config.thinking_config.")
    if "thinkingBudget" in thinking and "thinkingLevel" in thinking:
        raise refuse("generation_config.thinking_config: both a budget and a level")
    if "thinkingLevel" in thinking and thinking["thinkingLevel"].upper() not in LEVELS:
        raise refuse("generation_config.thinking_config.thinking_level: unknown")


def _check_tools(body: Mapping[str, Any]) -> None:
    names: list[str] = []
    for index, tool in enumerate(objects(body.get("tools"))):
        _check_fields(tool, TOOL_FIELDS, f"tools[{index}].")
        for declaration in objects(tool.get("functionDeclarations")):
            _check_fields(declaration, DECLARATION_FIELDS, f"tools[{index}].function_declarations.")
            if not NAME.fullmatch(str(declaration.get("name"))) or declaration["name"] in names:
                raise refuse(f"tools[{index}].function_declarations.name: not proper, or there already")
            if "parameters" in declaration and "parametersJsonSchema" in declaration:
                raise refuse(f"tools[{index}].function_declarations.parameters: two schemas")
            names.append(declaration["name"])
    config = (body.get("toolConfig") or {}).get("functionCallingConfig")
    if config is None:
        return
    if not names:
        raise refuse("tool_config: given without function declarations")
    if config.get("mode") not in MODES:
        raise refuse("tool_config.function_calling_config.mode: unknown")
    allowed = config.get("allowedFunctionNames") or []
    if (allowed and config["mode"] not in ("ANY", "VALIDATED")) or set(allowed) - set(names):
        raise refuse("tool_config.function_calling_config.allowed_function_names: of another mode, or unknown")
