"""Structured output by forced tool: the caller sees the answer as text, as if the model had followed the schema."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llmgateway_server.core.events import FinishReason, PartKind
from llmgateway_server.core.requests import CompleteRequest, FormatKind, ResponseFormat, Tool
from llmgateway_server.core.targets import Profile
from tests.unit.dialects.kit import TARGET, attempt_of
from tests.unit.dialects.openai_chat_replies import chunk, sse, streamed, whole

OLD = replace(TARGET, profile=Profile(native_json_schema=False))
REQUEST = CompleteRequest(
    "m", [], tools=[Tool("look")], response_format=ResponseFormat(FormatKind.JSON_SCHEMA, "answer", schema_json="{}")
)


def call(name: str, arguments: str, index: int = 0) -> dict[str, Any]:
    return {"index": index, "id": f"c{index}", "type": "function", "function": {"name": name, "arguments": arguments}}


def decoded(*calls: dict[str, Any], finish: str = "tool_calls") -> list[Any]:
    """Returns the answer as a whole and as a stream, which must be the same, folded."""
    attempt = attempt_of(REQUEST, OLD)
    message = {"role": "assistant", "content": None, "tool_calls": list(calls)}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    folded = whole({"id": "c-1", "model": "m-1", "choices": [choice]}, attempt)
    body = sse(*(chunk({"tool_calls": [each]}) for each in calls), chunk({}, finish))
    assert folded == streamed(body, attempt=attempt)
    assert folded.finished is not None
    return [[part.kind for part in folded.parts], folded.texts, folded.finished.finish_reason]


def test_the_arguments_of_the_answer_tool_are_the_text() -> None:
    assert decoded(call("answer", '{"a":1}')) == [[PartKind.TEXT], ['{"a":1}'], FinishReason.STOP]


def test_an_answer_without_arguments_is_an_empty_object() -> None:
    assert decoded(call("answer", "")) == [[PartKind.TEXT], ["{}"], FinishReason.STOP]


def test_a_forced_choice_that_ends_with_stop_is_the_same() -> None:
    assert decoded(call("answer", "{}"), finish="stop") == [[PartKind.TEXT], ["{}"], FinishReason.STOP]


def test_the_callers_own_tools_stay_calls() -> None:
    assert decoded(call("look", "{}")) == [[PartKind.TOOL_CALL], ["{}"], FinishReason.TOOL_CALLS]


def test_calls_beside_the_answer_are_waited_for() -> None:
    kinds = [PartKind.TOOL_CALL, PartKind.TEXT]
    assert decoded(call("look", "{}"), call("answer", '{"a":1}', 1)) == [
        kinds,
        ["{}", '{"a":1}'],
        FinishReason.TOOL_CALLS,
    ]
