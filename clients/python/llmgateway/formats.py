"""Tools and forms of answers, from mappings, JSON Schemas and classes that have one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from llmgateway.v1.tool_pb2 import (
    TOOL_CHOICE_MODE_AUTO,
    TOOL_CHOICE_MODE_NAMED,
    TOOL_CHOICE_MODE_NONE,
    TOOL_CHOICE_MODE_REQUIRED,
    JsonObjectFormat,
    JsonSchemaFormat,
    ResponseFormat,
    TextFormat,
    Tool,
    ToolChoice,
)


@runtime_checkable
class HasJsonSchema(Protocol):
    """A class that knows its JSON Schema, as pydantic's models do."""

    def model_json_schema(self) -> Mapping[str, Any]: ...


SchemaLike = str | Mapping[str, Any] | HasJsonSchema
ToolLike = Tool | Mapping[str, Any]

_TOOL_KEYS = frozenset({"name", "description", "parameters", "strict", "cache_breakpoint"})
_MODES = {
    "auto": TOOL_CHOICE_MODE_AUTO,
    "none": TOOL_CHOICE_MODE_NONE,
    "required": TOOL_CHOICE_MODE_REQUIRED,
}
_NAME_LENGTH = 64


def tool(given: ToolLike) -> Tool:
    """Makes a tool of a mapping with `name` and perhaps `description`, `parameters`, `strict`, `cache_breakpoint`.

    Raises:
        TypeError: it is neither a tool nor a mapping, or its parameters are no schema.
        ValueError: a key does not exist, or the name is missing.
    """
    if isinstance(given, Tool):
        return given
    if not isinstance(given, Mapping):
        raise TypeError(f"{type(given).__name__} cannot be a tool")
    unknown = sorted(str(key) for key in given.keys() - _TOOL_KEYS)
    if unknown:
        raise ValueError(f"a tool has no {', '.join(unknown)}")
    if not given.get("name"):
        raise ValueError("a tool needs a name")
    parameters = given.get("parameters")
    return Tool(
        name=given["name"],
        description=given.get("description") or "",
        parameters_json_schema="" if parameters is None else schema_text(parameters),
        strict=given.get("strict"),
        cache_breakpoint=bool(given.get("cache_breakpoint")),
    )


def tool_choice(given: str | ToolChoice) -> ToolChoice:
    """Makes a choice of `auto`, `none`, `required`, or the name of a tool."""
    if isinstance(given, ToolChoice):
        return given
    mode = _MODES.get(given)
    return ToolChoice(mode=TOOL_CHOICE_MODE_NAMED, name=given) if mode is None else ToolChoice(mode=mode)


def response_format(given: SchemaLike | ResponseFormat) -> ResponseFormat:
    """Makes a form of `text`, `json` (any object), a JSON Schema, or a class that has one.

    The schema's `title` becomes its name as far as vendors allow it.

    Raises:
        TypeError: it is none of these.
        ValueError: a text that is neither `text` nor `json`.
    """
    if isinstance(given, ResponseFormat):
        return given
    if given == "text":
        return ResponseFormat(text=TextFormat())
    if given == "json":
        return ResponseFormat(json_object=JsonObjectFormat())
    if isinstance(given, str):
        raise ValueError("a response_format by name is text or json")
    schema = json.loads(schema_text(given))
    name = re.sub(r"[^a-zA-Z0-9_-]+", "_", str(schema.get("title", ""))).strip("_")[:_NAME_LENGTH]
    return ResponseFormat(json_schema=JsonSchemaFormat(name=name or "response", schema_json=json.dumps(schema)))


def schema_text(given: SchemaLike) -> str:
    """Returns a JSON Schema as JSON text; text is taken as it is."""
    if isinstance(given, str):
        return given
    if isinstance(given, HasJsonSchema):
        given = given.model_json_schema()
    if not isinstance(given, Mapping):
        raise TypeError(f"{type(given).__name__} is no JSON Schema and has none")
    return json.dumps(dict(given))
