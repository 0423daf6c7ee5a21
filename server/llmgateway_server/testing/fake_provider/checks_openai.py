"""What OpenAI checks of every request, and of chat completions.

Source: OpenAI's API reference and its recorded refusals. The words of the messages are the fake's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from llmgateway_server.testing.fake_provider.checks import (
    ANY,
    FLAG,
    LIST,
    NAME,
    OBJECT,
    TEXT,
    Asked,
    Kind,
    Refused,
    loose_schema,
    number,
    objects,
    whole,
    word,
)
from llmgateway_server.testing.fake_provider.reply import FakeError

EFFORT = word("none", "minimal", "low", "medium", "high", "xhigh", "max")
TIER = word("auto", "default", "flex", "scale", "priority", "fast")
CHAT_FIELDS: dict[str, Kind] = {
    "messages": LIST,
    "model": TEXT,
    "audio": OBJECT,
    "frequency_penalty": number(-2, 2),
    "function_call": ANY,
    "functions": LIST,
    "logit_bias": OBJECT,
    "logprobs": FLAG,
    "max_completion_tokens": whole(1),
    "max_tokens": whole(1),
    "metadata": OBJECT,
    "modalities": LIST,
    "moderation": OBJECT,
    "n": whole(1, 1),
    "parallel_tool_calls": FLAG,
    "prediction": OBJECT,
    "presence_penalty": number(-2, 2),
    "prompt_cache_key": TEXT,
    "prompt_cache_options": OBJECT,
    "prompt_cache_retention": TEXT,
    "reasoning_effort": EFFORT,
    "response_format": OBJECT,
    "safety_identifier": TEXT,
    "seed": Kind((int,)),
    "service_tier": TIER,
    "stop": Kind((str, list)),
    "store": FLAG,
    "stream": FLAG,
    "stream_options": OBJECT,
    "temperature": number(0, 2),
    "tool_choice": Kind((str, dict)),
    "tools": LIST,
    "top_logprobs": whole(0, 20),
    "top_p": number(0, 1),
    "user": TEXT,
    "verbosity": word("low", "medium", "high"),
    "web_search_options": OBJECT,
}
"""Fields of chat completions; of `n` the fake plays one choice only."""
ROLES = {"system", "developer", "user", "assistant", "tool"}
CONTENT_TYPES: dict[str, set[str]] = {
    "system": {"text"},
    "developer": {"text"},
    "user": {"text", "image_url", "input_audio", "file"},
    "assistant": {"text", "refusal"},
    "tool": {"text"},
}
ALIKE_FIELDS: dict[str, Kind] = {
    **CHAT_FIELDS,
    "n": whole(1, 1),
    "random_seed": Kind((int,)),
    "reasoning": OBJECT,
    "service_tier": TEXT,
    "thinking": OBJECT,
    "top_k": whole(0),
}
"""Fields that others added, or take other words in."""
ALIKE_CONTENT_TYPES = {
    **CONTENT_TYPES,
    "user": {*CONTENT_TYPES["user"], "document_url", "file_url"},
    "assistant": {*CONTENT_TYPES["assistant"], "thinking"},
}
MOST_STOPS = 4

Check = Callable[[Asked], None]


def refuse(param: str | None, message: str, code: str | None = None, status: int = 400) -> Refused:
    """Returns a refusal in OpenAI's words."""
    return Refused(FakeError(status, "invalid_request_error", code, message, param))


def check_head(
    asked: Asked,
    fields: Mapping[str, Kind],
    required: tuple[str, ...],
    *,
    no_model_status: int,
    key: Callable[[Asked], None] | None = None,
) -> None:
    """Refuses what every endpoint refuses first: by key, by fields, by model.

    Args:
        asked: the request.
        fields: that the endpoint knows.
        required: those of them that must be there.
        no_model_status: the HTTP status for a model that does not exist; 404 of chat completions, 400 of Responses.
        key: refuses a wrong key; None for OpenAI's own way.
    """
    (key or check_key)(asked)
    _check_fields(asked, fields, required)
    if asked.models and asked.body["model"] not in asked.models:
        raise refuse(None, "There is no such model.", "model_not_found", no_model_status)


def check_key(asked: Asked) -> None:
    """Refuses a request without a bearer token, or with a wrong one."""
    scheme, _, key = asked.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise refuse(None, "The header authorization holds no bearer token.", status=401)
    if asked.api_key and key != asked.api_key:
        raise refuse(None, "The API key is not the right one.", "invalid_api_key", 401)


def _check_fields(asked: Asked, fields: Mapping[str, Kind], required: tuple[str, ...]) -> None:
    """Refuses a body that is no JSON object, and fields that are missing, unknown or of the wrong kind."""
    if not isinstance(asked.body, dict):
        raise refuse(None, "The body is not a JSON object.")
    for name in required:
        if asked.body.get(name) is None:
            raise refuse(name, f"The field {name} is missing.", "missing_required_parameter")
    for name, value in asked.body.items():
        if name not in fields:
            raise refuse(name, f"There is no field {name}.", "unknown_parameter")
        if fault := fields[name].fault(value):
            raise refuse(name, f"The field {name} {fault}.", "invalid_value")
    if asked.body.get("stream_options") is not None and asked.body.get("stream") is not True:
        raise refuse("stream_options", "stream_options is for streams.")


def check_content(content: Any, param: str, types: Collection[str]) -> None:
    """Refuses content that is neither text nor parts, and parts that the role does not have.

    Args:
        content: of a message.
        param: where it stands.
        types: of the parts that the role has.
    """
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise refuse(param, "The content is neither text nor parts.", "invalid_type")
    for index, part in enumerate(content):
        if not isinstance(part, dict) or part.get("type") not in types:
            raise refuse(f"{param}[{index}].type", "The part is unknown to the role.", "invalid_value")


def check_schema(wanted: Any, param: str, name: str) -> None:
    """Refuses a response format whose name is wrong or whose strict schema is not strict."""
    if not (isinstance(wanted.get("name"), str) and NAME.fullmatch(wanted["name"])):
        raise refuse(f"{name}.name", "The schema has no proper name.", "invalid_value")
    if not isinstance(wanted.get("schema"), dict):
        raise refuse(f"{name}.schema", "There is no schema.", "missing_required_parameter")
    if wanted.get("strict") and (place := loose_schema(wanted["schema"])):
        raise refuse(param, f"The strict schema is not strict at {place}.", "invalid_json_schema")


def check_function(function: Any, param: str) -> None:
    """Refuses a function without a proper name, and a strict one whose parameters are not strict."""
    if not isinstance(function, dict) or not NAME.fullmatch(str(function.get("name", ""))):
        raise refuse(f"{param}.name", "The tool has no proper name.", "invalid_value")
    parameters = function.get("parameters")
    if parameters is not None and (not isinstance(parameters, dict) or parameters.get("type") != "object"):
        raise refuse(f"{param}.parameters", "The parameters are no object.", "invalid_function_parameters")
    if function.get("strict") and (place := loose_schema(parameters or {})):
        raise refuse(f"{param}.parameters", f"Not strict at {place}.", "invalid_function_parameters")


def check_choice(body: Mapping[str, Any], named: str | None, names: list[str]) -> None:
    """Refuses a choice among no tools, and the choice of a tool that is not there."""
    for name in ("tool_choice", "parallel_tool_calls"):
        if body.get(name) is not None and not names:
            raise refuse(name, f"{name} is for requests with tools.")
    if named is not None and named not in names:
        raise refuse("tool_choice", "The chosen tool is not among the tools.")


# --- chat completions --------------------------------------------------------------------------------------------


def check_alike(asked: Asked) -> None:
    """Refuses what all refuse who speak like OpenAI. Errors as in `check_chat`."""
    check_chat(asked, fields=ALIKE_FIELDS, content_types=ALIKE_CONTENT_TYPES)


def check_chat(
    asked: Asked,
    key: Check | None = None,
    *,
    fields: Mapping[str, Kind] = CHAT_FIELDS,
    content_types: Mapping[str, Collection[str]] = CONTENT_TYPES,
) -> None:
    """Refuses what chat completions refuse.

    Args:
        asked: the request.
        key: as for `check_head`.
        fields: that there are.
        content_types: of pieces of content, by role.

    Raises:
        Refused: the first fault.
    """
    check_head(asked, fields, ("model", "messages"), no_model_status=404, key=key)
    body = asked.body
    if not body["messages"]:
        raise refuse("messages", "There are no messages.", "empty_array")
    for index, message in enumerate(body["messages"]):
        _check_message(message, f"messages[{index}]", content_types)
    _check_answers(body["messages"])
    _check_options(body)
    _check_tools(body)
    _check_format(body)


def _check_message(message: Any, param: str, content_types: Mapping[str, Collection[str]]) -> None:
    role = message.get("role") if isinstance(message, dict) else None
    if role not in ROLES:
        raise refuse(f"{param}.role", "The role is unknown.", "invalid_value")
    content = message.get("content")
    others = any(message.get(key) for key in ("tool_calls", "refusal", "audio"))
    if content is None and not (role == "assistant" and others):
        raise refuse(f"{param}.content", "The content is null.", "invalid_type")
    if content is not None:
        check_content(content, f"{param}.content", content_types[role])
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call.get("function", {})
        if not (call.get("id") and function.get("name") and isinstance(function.get("arguments"), str)):
            raise refuse(f"{param}.tool_calls[{index}]", "The call lacks its id, name or arguments.")


def _check_answers(messages: list[dict[str, Any]]) -> None:
    """Every call is answered by the tool messages right after it, and these answer nothing else."""
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            if message.get("tool_call_id") not in open_calls:
                raise refuse(f"messages.[{index}].role", "The tool message answers no call before it.")
            open_calls.discard(message["tool_call_id"])
            continue
        if open_calls:
            raise refuse(f"messages.[{index}].role", "Calls before this message have no answer.")
        open_calls = {call["id"] for call in message.get("tool_calls") or ()}
    if open_calls:
        raise refuse(f"messages.[{len(messages)}].role", "The last calls have no answer.")


def _check_options(body: Mapping[str, Any]) -> None:
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        raise refuse("max_tokens", "max_tokens and max_completion_tokens are the same.")
    if body.get("top_logprobs") is not None and body.get("logprobs") is not True:
        raise refuse("top_logprobs", "top_logprobs needs logprobs.")
    if isinstance(body.get("stop"), list) and len(body["stop"]) > MOST_STOPS:
        raise refuse("stop", "There are too many stop sequences.", "array_above_max_length")


def _check_tools(body: Mapping[str, Any]) -> None:
    names: list[str] = []
    for index, tool in enumerate(objects(body.get("tools"))):
        if tool.get("type") == "custom":
            names.append(tool["custom"]["name"])
            continue
        if tool.get("type") != "function":
            raise refuse(f"tools[{index}].type", "The tool is of no known type.", "invalid_value")
        check_function(tool.get("function"), f"tools[{index}].function")
        names.append(tool["function"]["name"])
    choice = body.get("tool_choice")
    named = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    check_choice(body, named, names)


def _check_format(body: Mapping[str, Any]) -> None:
    match body.get("response_format"):
        case None | {"type": "text"}:
            pass
        case {"type": "json_object"}:
            if "json" not in json.dumps(body["messages"]).lower():
                raise refuse("messages", "The mode json_object needs the word JSON in a message.")
        case {"type": "json_schema", "json_schema": dict(wanted)}:
            check_schema(wanted, "response_format", "response_format.json_schema")
        case _:
            raise refuse("response_format", "The format is unknown.", "invalid_value")
