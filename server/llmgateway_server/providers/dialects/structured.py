"""Structured output for models that cannot follow a schema by themselves: by a forced tool, with the same result.

The schema becomes the parameters of one more tool, and the model must call a tool. Its arguments come back as the
answer's text (`PartsBuilder.answer_tool`), and the reply ends as any other. With tools of the caller beside it the
model may call those first, as it could without a schema.
"""

from __future__ import annotations

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.requests import (
    CompleteRequest,
    FormatKind,
    ResponseFormat,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)

ANY_OBJECT = '{"type":"object"}'
ANSWER_TOOL = "structured_answer"
WHY = "Gives the final answer to the user. Always answer by calling this tool."


def answer_tool(attempt: Attempt, *, json_objects_too: bool = False) -> Tool | None:
    """Returns the tool that stands for the wanted format; None where the format needs none.

    Args:
        attempt: its request says the format, its target's profile what the model follows by itself.
        json_objects_too: whether the dialect has no way to ask for any JSON object either.
    """
    request = attempt.call.request
    wanted = request.response_format if isinstance(request, CompleteRequest) else None
    if wanted is None or not _needs_tool(wanted, attempt.target.profile.native_json_schema, json_objects_too):
        return None
    names = {tool.name for tool in request.tools} if isinstance(request, CompleteRequest) else set()
    name = wanted.name or ANSWER_TOOL
    while name in names:
        name += "_"
    schema = wanted.schema_json if wanted.kind is FormatKind.JSON_SCHEMA else ANY_OBJECT
    return Tool(name, wanted.description or WHY, schema)


def answer_choice(request: CompleteRequest, answer: Tool) -> ToolChoice:
    """Returns the choice that forces the answer tool, or any tool where the caller brought some that may be called."""
    given = request.tool_choice
    if given is not None and given.mode is ToolChoiceMode.NAMED:
        return given
    if request.tools and (given is None or given.mode is not ToolChoiceMode.NONE):
        return ToolChoice(ToolChoiceMode.REQUIRED)
    return ToolChoice(ToolChoiceMode.NAMED, answer.name)


def _needs_tool(wanted: ResponseFormat, native: bool, json_objects_too: bool) -> bool:
    if wanted.kind is FormatKind.JSON_SCHEMA:
        return not native
    return wanted.kind is FormatKind.JSON_OBJECT and json_objects_too
