"""What the model may call, and how it is made to. See `request`.

Converse cannot say "call none": without tools in the conversation so far they are simply not offered; with some, they
must be, and the wish is refused. A conversation with calls whose request brings no tools gets those that it names,
without their parameters: the service demands some.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.messages import ToolCallPart, ToolResultPart
from llmgateway_server.core.requests import CompleteRequest, Tool, ToolChoice, ToolChoiceMode
from llmgateway_server.providers.dialects.bedrock_converse.families import Family, follows_schema
from llmgateway_server.providers.dialects.dialect import Unsupported
from llmgateway_server.providers.dialects.structured import answer_tool

CACHE_POINTS: dict[str, dict[str, Any]] = {
    "default": {"cachePoint": {"type": "default"}},
    "5m": {"cachePoint": {"type": "default", "ttl": "5m"}},
    "1h": {"cachePoint": {"type": "default", "ttl": "1h"}},
}
UNNAMED = "tool"
"""For a call in a history whose tool nobody named."""


def wanted_answer(attempt: Attempt) -> Tool | None:
    """Returns the tool that stands for the wanted format of the answer; None where the format needs none."""
    target = attempt.target
    profile = replace(target.profile, native_json_schema=follows_schema(target))
    return answer_tool(replace(attempt, target=replace(target, profile=profile)), json_objects_too=True)


class Tools:
    """Writes the tools of a request.

    Args:
        request: its completion.
        family: of the model.
        answer: the tool that stands for the answer.
        choice: which are to be called.
        unsupported: gets what the service does not take.
    """

    def __init__(
        self,
        request: CompleteRequest,
        family: Family,
        answer: Tool | None,
        choice: ToolChoice | None,
        unsupported: Unsupported,
    ) -> None:
        self._request = request
        self._family = family
        self._choice = choice
        self._unsupported = unsupported
        self._tools = [*request.tools, *([answer] if answer is not None else [])]

    def written(self) -> dict[str, Any] | None:
        """Returns the field `toolConfig`; None where it is left out."""
        named = _named_in(self._request)
        if self._choice is not None and self._choice.mode is ToolChoiceMode.NONE:
            if not named:
                return None
            self._unsupported.option("tool_choice")
            self._choice = None
        if not self._tools and named:
            self._unsupported.changed("tools", "holds those that the conversation names: the vendor demands some")
            self._tools = [Tool(name) for name in named]
        if not self._tools:
            return None
        config: dict[str, Any] = {"tools": [entry for tool in self._tools for entry in _tool(tool)]}
        if (choice := self._tool_choice()) is not None:
            config["toolChoice"] = choice
        return config

    def _tool_choice(self) -> dict[str, Any] | None:
        choice, choices = self._choice, self._family.choices
        if choice is None:
            return None
        if choice.mode is ToolChoiceMode.AUTO:
            return {"auto": {}} if choices else None
        if choice.mode is ToolChoiceMode.NAMED and choice.mode in choices:
            return {"tool": {"name": choice.name}}
        if ToolChoiceMode.REQUIRED in choices and (choice.mode is ToolChoiceMode.REQUIRED or len(self._tools) == 1):
            return {"any": {}}
        self._unsupported.option("tool_choice")
        return None


def can_force(family: Family, request: CompleteRequest) -> bool:
    """Tells whether the model can be made to call the tool that stands for the answer."""
    return bool(family.choices) and (ToolChoiceMode.NAMED in family.choices or not request.tools)


def _named_in(request: CompleteRequest) -> list[str]:
    """Returns the names of the tools that a conversation calls, in order of appearance."""
    names: dict[str, None] = {}
    for message in request.messages:
        for part in message.parts:
            if isinstance(part.content, ToolCallPart) or (isinstance(part.content, ToolResultPart) and not names):
                names[part.content.name or UNNAMED] = None
    return list(names)


def _tool(tool: Tool) -> list[dict[str, Any]]:
    said: dict[str, Any] = {"name": tool.name}
    if tool.description:
        said["description"] = tool.description
    said["inputSchema"] = {"json": _input_schema(tool.parameters_json_schema)}
    if tool.strict:
        said["strict"] = True
    return [{"toolSpec": said}, *([CACHE_POINTS["default"]] if tool.cache_breakpoint else [])]


def _input_schema(schema: str) -> Any:
    """Returns a tool's schema to the letter; models demand that it says that it is an object's."""
    if not schema:
        return {"type": "object", "properties": {}}
    fields = _decode_fields(schema)
    return msgspec.Raw(schema.encode()) if "type" in fields else {"type": "object", **fields}


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
