"""The tools of a request and the choice among them. See `request`.

Schemas go out to the letter. Those in the vendor's own spelling, whose types are in capitals, stand in another field
than JSON schemas.

Source: https://ai.google.dev/api/caching#FunctionDeclaration
"""

from __future__ import annotations

from typing import Any

import msgspec

from llmgateway_server.core.requests import Tool, ToolChoice, ToolChoiceMode
from llmgateway_server.providers.dialects.dialect import Unsupported

MODES = {
    ToolChoiceMode.AUTO: "AUTO",
    ToolChoiceMode.NONE: "NONE",
    ToolChoiceMode.REQUIRED: "ANY",
    ToolChoiceMode.NAMED: "ANY",
}
VALIDATED = "VALIDATED"
"""As AUTO, and what is called follows its schema; ANY does so anyway."""
OWN_TYPES = frozenset({"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"})


class _Typed(msgspec.Struct):
    type: object = None


_decode_typed = msgspec.json.Decoder(_Typed).decode


def schema_field(schema: str, own: str, json_schema: str) -> dict[str, msgspec.Raw]:
    """Returns a schema in the field for its spelling.

    Args:
        schema: JSON text of an object.
        own: the field for the vendor's spelling.
        json_schema: the field for JSON schemas.
    """
    kind = _decode_typed(schema).type
    return {own if isinstance(kind, str) and kind in OWN_TYPES else json_schema: msgspec.Raw(schema.encode())}


def declarations(tools: list[Tool], unsupported: Unsupported) -> list[dict[str, Any]]:
    """Returns the caller's tools."""
    return [_declaration(f"tools[{t}]", tool, unsupported) for t, tool in enumerate(tools)]


def calling_config(choice: ToolChoice | None, *, strict: bool) -> dict[str, Any] | None:
    """Returns how free the model is in calling tools; None for the vendor's default.

    Args:
        choice: the caller's.
        strict: whether calls must follow their schemas.
    """
    if choice is None:
        return {"mode": VALIDATED} if strict else None
    said: dict[str, Any] = {"mode": MODES[choice.mode]}
    if strict and choice.mode is ToolChoiceMode.AUTO:
        said["mode"] = VALIDATED
    if choice.mode is ToolChoiceMode.NAMED:
        said["allowedFunctionNames"] = [choice.name]
    return said


def _declaration(path: str, tool: Tool, unsupported: Unsupported) -> dict[str, Any]:
    if tool.cache_breakpoint:
        unsupported.hint(f"{path}.cache_control")
    said: dict[str, Any] = {"name": tool.name}
    if tool.description:
        said["description"] = tool.description
    if tool.parameters_json_schema:
        said |= schema_field(tool.parameters_json_schema, "parameters", "parametersJsonSchema")
    return said
