"""What Anthropic checks of a request.

Source: Anthropic's API reference, "Extended thinking", "Tool use" and "Prompt caching", and its recorded refusals. The
words of the messages are the fake's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llmgateway_server.testing.fake_provider.checks import (
    ANY,
    FLAG,
    LIST,
    OBJECT,
    TEXT,
    Asked,
    Kind,
    loose_schema,
    number,
    objects,
    whole,
    word,
)
from llmgateway_server.testing.fake_provider.checks_anthropic_turns import check_turns, refuse

COUNT_FIELDS: dict[str, Kind] = {
    "messages": LIST,
    "model": TEXT,
    "cache_control": OBJECT,
    "output_config": OBJECT,
    "speed": word("standard", "fast"),
    "system": Kind((str, list), nullable=False),
    "thinking": OBJECT,
    "tool_choice": OBJECT,
    "tools": LIST,
    "user_profile_id": TEXT,
    "workspace_id": TEXT,
}
"""Fields of a token count."""
MESSAGE_FIELDS: dict[str, Kind] = {
    **COUNT_FIELDS,
    "container": ANY,
    "diagnostics": OBJECT,
    "inference_geo": TEXT,
    "max_tokens": whole(1, nullable=False),
    "metadata": OBJECT,
    "service_tier": word("auto", "standard_only"),
    "stop_sequences": LIST,
    "stream": FLAG,
    "temperature": number(0, 1),
    "top_k": whole(0),
    "top_p": number(0, 1),
}
"""Fields of a message."""
LEAST_THINKING_TOKENS = 1024
LEAST_THINKING_TOP_P = 0.95
MOST_CACHE_MARKS = 4
LONGEST_TOOL_NAME = 128
EFFORTS = word("low", "medium", "high", "xhigh", "max")


def check_message(asked: Asked) -> None:
    """Refuses what the Messages API refuses.

    Raises:
        Refused: the first fault.
    """
    check_headers(asked)
    check_body(asked)


def check_body(asked: Asked) -> None:
    """Refuses what the Messages API refuses wherever it is served.

    Raises:
        Refused: the first fault.
    """
    _check_fields(asked, MESSAGE_FIELDS, ("model", "max_tokens", "messages"))
    _check_thinking(asked.body)
    _check_rest(asked)


def check_count(asked: Asked) -> None:
    """Refuses what a token count refuses.

    Raises:
        Refused: the first fault.
    """
    check_headers(asked)
    check_count_body(asked)


def check_count_body(asked: Asked) -> None:
    """Refuses what a token count refuses wherever it is served.

    Raises:
        Refused: the first fault.
    """
    _check_fields(asked, COUNT_FIELDS, ("model", "messages"))
    _check_rest(asked)


def check_headers(asked: Asked) -> None:
    """Refuses a request without a key or a version.

    Raises:
        Refused: the first fault.
    """
    scheme, _, token = asked.headers.get("authorization", "").partition(" ")
    key = asked.headers.get("x-api-key") or (token if scheme.lower() == "bearer" else "")
    if not key or (asked.api_key and key != asked.api_key):
        raise refuse("x-api-key: missing or wrong", 401, "authentication_error")
    if not asked.headers.get("anthropic-version"):
        raise refuse("anthropic-version: missing header")


def _check_fields(asked: Asked, fields: Mapping[str, Kind], required: tuple[str, ...]) -> None:
    if not isinstance(asked.body, dict):
        raise refuse("The body is not a JSON object")
    for name in required:
        if name not in asked.body:
            raise refuse(f"{name}: missing field")
    for name, value in asked.body.items():
        if name not in fields:
            raise refuse(f"{name}: unknown field")
        if fault := fields[name].fault(value):
            raise refuse(f"{name}: {fault}")
    if asked.models and asked.body["model"] not in asked.models:
        raise refuse("model: not found", 404, "not_found_error")


def _check_rest(asked: Asked) -> None:
    body = asked.body
    for index, block in enumerate(objects(body.get("system"))):
        if block.get("type") != "text" or not block.get("text"):
            raise refuse(f"system.{index}: not a text")
    for index, sequence in enumerate(body.get("stop_sequences") or ()):
        if not isinstance(sequence, str) or not sequence.strip():
            raise refuse(f"stop_sequences.{index}: without a visible character")
    unknown = set(body.get("metadata") or ()) - {"user_id"}
    if unknown:
        raise refuse(f"metadata.{min(unknown)}: unknown field")
    _check_output(body.get("output_config") or {})
    _check_tools(body)
    _check_marks(body)
    check_turns(asked)


def _check_output(config: Mapping[str, Any]) -> None:
    if fault := EFFORTS.fault(config.get("effort")):
        raise refuse(f"output_config.effort: {fault}")
    wanted = config.get("format")
    if wanted is None:
        return
    if wanted.get("type") != "json_schema" or not isinstance(wanted.get("schema"), dict):
        raise refuse("output_config.format: not a JSON schema")
    place = loose_schema(wanted["schema"])
    if place is not None and place.endswith("additionalProperties"):
        raise refuse(f"output_config.format.schema: not closed at {place}")


def _check_thinking(body: Mapping[str, Any]) -> None:
    """Thinking leaves room for the answer and does not go with other ways to steer it."""
    match body.get("thinking"):
        case None | {"type": "disabled" | "between_tools"}:
            return
        case {"type": "enabled", "budget_tokens": int(budget)}:
            if budget < LEAST_THINKING_TOKENS:
                raise refuse(f"thinking.enabled.budget_tokens: less than {LEAST_THINKING_TOKENS}")
            if budget >= body["max_tokens"]:
                raise refuse("max_tokens: not more than thinking.budget_tokens")
        case {"type": "adaptive"}:
            pass
        case _:
            raise refuse("thinking: of no known shape")
    if body.get("temperature") not in (None, 1):
        raise refuse("temperature: not 1, but thinking is enabled")
    if body.get("top_k") is not None:
        raise refuse("top_k: given, but thinking is enabled")
    if body.get("top_p") is not None and body["top_p"] < LEAST_THINKING_TOP_P:
        raise refuse(f"top_p: less than {LEAST_THINKING_TOP_P}, but thinking is enabled")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise refuse("tool_choice: forces a tool, but thinking is enabled")


def _check_tools(body: Mapping[str, Any]) -> None:
    names: list[str] = []
    for index, tool in enumerate(objects(body.get("tools"))):
        name = str(tool.get("name", ""))
        if not (name and len(name) <= LONGEST_TOOL_NAME and name.replace("-", "_").isidentifier()):
            raise refuse(f"tools.{index}.custom.name: not a proper name")
        if name in names:
            raise refuse("tools: two of the same name")
        names.append(name)
        schema = tool.get("input_schema")
        own = tool.get("type") in (None, "custom")  # tools of the vendor have a type and no schema
        if own and (not isinstance(schema, dict) or schema.get("type") != "object"):
            raise refuse(f"tools.{index}.custom.input_schema: not the schema of an object")
    choice = body.get("tool_choice")
    if choice is None:
        return
    if choice.get("type") not in ("auto", "any", "tool", "none"):
        raise refuse("tool_choice: of no known type")
    if not names:
        raise refuse("tool_choice: given without tools")
    if choice["type"] == "tool" and choice.get("name") not in names:
        raise refuse("tool_choice.name: not among the tools")


def _check_marks(body: Mapping[str, Any]) -> None:
    """At most four marks, of known lifetimes, the longer ones first."""
    marks = list(_marks(body))
    if len(marks) > MOST_CACHE_MARKS:
        raise refuse(f"cache_control: more than {MOST_CACHE_MARKS} blocks")
    lifetimes = [mark.get("ttl", "5m") for mark in marks]
    if any(mark.get("type") != "ephemeral" for mark in marks) or set(lifetimes) - {"5m", "1h"}:
        raise refuse("cache_control: of no known type or lifetime")
    if "5m" in lifetimes and "1h" in lifetimes[lifetimes.index("5m") :]:
        raise refuse("cache_control.ttl: 1h after 5m")


def _marks(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yields the marks in the order of a prompt: tools, system, messages."""
    turns = [block for message in objects(body.get("messages")) for block in objects(message.get("content"))]
    blocks = [*objects(body.get("tools")), *objects(body.get("system")), *turns, body]
    yield from (block["cache_control"] for block in blocks if block.get("cache_control"))
