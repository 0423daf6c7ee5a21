"""Tools as OpenAI's models read them: functions of a TypeScript namespace.

OpenAI does not publish the rendering; this is the one that is publicly known from models that were asked to repeat it.
It agrees with recorded counts of gpt-3.5-turbo, gpt-4o and o4-mini to within 2 tokens. What a schema says beyond the
keywords below (limits, patterns, titles, references) is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from llmgateway_server.core.requests import Tool

MAX_DEPTH: Final = 24
"""Objects inside one another; what is deeper is `any`."""
_SAME = {"string": "string", "boolean": "boolean", "null": "null", "number": "number", "integer": "number"}


def namespace(tools: Iterable[Tool]) -> str:
    """Returns the text of the tools' definitions."""
    functions = "\n\n".join(_function(tool) for tool in tools)
    return f"namespace functions {{\n\n{functions}\n\n}} // namespace functions"


def _function(tool: Tool) -> str:
    schema = _schema(tool.parameters_json_schema)
    comment = "".join(f"// {line}\n" for line in tool.description.strip().splitlines())
    if schema is None:
        return f"{comment}type {tool.name} = (_: {tool.parameters_json_schema}) => any;"
    properties = "\n".join(_properties(schema, 0))
    return f"{comment}type {tool.name} = " + (f"(_: {{\n{properties}\n}}) => any;" if properties else "() => any;")


def _schema(text: str) -> dict[str, Any] | None:
    """Returns the schema, or None where the text is not a JSON object or too deep to be read."""
    try:
        schema = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
    return schema if isinstance(schema, dict) else None


def _properties(schema: dict[str, Any], depth: int) -> Iterator[str]:
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict):
        return
    wanted = (
        frozenset(name for name in required if isinstance(name, str)) if isinstance(required, list) else frozenset()
    )
    indent = "  " * depth
    for name, value in properties.items():
        described = value.get("description") if isinstance(value, dict) else None
        if isinstance(described, str):
            for line in described.strip().splitlines():
                yield f"{indent}// {line}"
        yield f"{indent}{name}{'' if name in wanted else '?'}: {_type(value, depth)},"


def _type(schema: Any, depth: int) -> str:
    if not isinstance(schema, dict) or depth >= MAX_DEPTH:
        return "any"
    for key in ("enum", "anyOf", "oneOf"):
        choices = schema.get(key)
        if isinstance(choices, list):
            return " | ".join(_literal(item) if key == "enum" else _type(item, depth + 1) for item in choices)
    match schema.get("type"):
        case "array":
            return f"{_type(schema.get('items'), depth + 1)}[]"
        case "object":
            inner = "\n".join(_properties(schema, depth + 1))
            return f"{{\n{inner}\n{'  ' * depth}}}" if inner else "object"
        case [*kinds]:
            return " | ".join(_type({**schema, "type": kind}, depth) for kind in _apart(kinds))
        case str(kind):
            return _SAME.get(kind, "any")
    return "any"


def compact(text: str) -> str:
    """Returns JSON without the spaces that its writer chose, or the text itself where it is not JSON."""
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return text


def _apart(kinds: list[Any]) -> list[str]:
    """Returns the kinds of a union once each, one of them at most with something inside: nested ones would multiply."""
    names = list(dict.fromkeys(kind for kind in kinds if isinstance(kind, str)))
    return [name for name in names if name != "array" or "object" not in names]


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
