"""How Anthropic's models are told to reason, and what does not go with it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from llmgateway_server.core.calls import NoticeCode
from llmgateway_server.core.requests import (
    CompleteRequest,
    FormatKind,
    ReasoningOptions,
    ResponseFormat,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from llmgateway_server.core.targets import ReasoningStyle
from tests.unit.dialects.anthropic_requests import HI, JSON_SCHEMA, body_of, refused

FORCED = ToolChoice(ToolChoiceMode.REQUIRED)
BUDGET, ADAPTIVE, NONE, UNKNOWN = (
    ReasoningStyle.BUDGET,
    ReasoningStyle.ADAPTIVE,
    ReasoningStyle.NONE,
    ReasoningStyle.UNKNOWN,
)
OFF = {"type": "disabled"}


def enabled(budget: int, **more: str) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": budget, **more}


@pytest.mark.parametrize(
    ("style", "options", "max_tokens", "thinking", "effort"),
    [
        (BUDGET, ReasoningOptions(), None, None, None),
        (BUDGET, ReasoningOptions(include_text=True), None, None, None),
        (BUDGET, ReasoningOptions(budget_token_count=2000), None, enabled(2000), None),
        (BUDGET, ReasoningOptions(budget_token_count=2000, include_text=True), None, enabled(2000), None),
        (
            BUDGET,
            ReasoningOptions(budget_token_count=2000, include_text=False),
            None,
            enabled(2000, display="omitted"),
            None,
        ),
        (BUDGET, ReasoningOptions(budget_token_count=5000), 4000, enabled(3999), None),
        (BUDGET, ReasoningOptions(budget_token_count=0), 10, OFF, None),
        (BUDGET, ReasoningOptions("none"), 10, OFF, None),
        (BUDGET, ReasoningOptions("minimal"), None, enabled(1024), None),
        (BUDGET, ReasoningOptions("low"), 64_000, enabled(4096), None),
        (BUDGET, ReasoningOptions("medium"), 64_000, enabled(8192), None),
        (BUDGET, ReasoningOptions("high"), 64_000, enabled(16_384), None),
        (BUDGET, ReasoningOptions("max"), 64_000, enabled(32_768), None),
        (BUDGET, ReasoningOptions("max"), 10_000, enabled(8000), None),
        (BUDGET, ReasoningOptions("high"), 1025, enabled(1024), None),
        (ADAPTIVE, ReasoningOptions(), None, None, None),
        (ADAPTIVE, ReasoningOptions("minimal"), None, {"type": "adaptive"}, "low"),
        (ADAPTIVE, ReasoningOptions("high"), None, {"type": "adaptive"}, "high"),
        (ADAPTIVE, ReasoningOptions("max"), 10, {"type": "adaptive"}, "max"),
        (
            ADAPTIVE,
            ReasoningOptions("low", include_text=False),
            None,
            {"type": "adaptive", "display": "omitted"},
            "low",
        ),
        (
            ADAPTIVE,
            ReasoningOptions(include_text=True),
            None,
            {"type": "adaptive", "display": "summarized"},
            None,
        ),
        (ADAPTIVE, ReasoningOptions("none"), None, OFF, None),
        (ADAPTIVE, ReasoningOptions(budget_token_count=0), None, OFF, None),
        (NONE, ReasoningOptions("none", 0, include_text=False), None, None, None),
        (UNKNOWN, ReasoningOptions("high"), None, {"type": "adaptive"}, "high"),
        (UNKNOWN, ReasoningOptions("none"), None, OFF, None),
        (UNKNOWN, ReasoningOptions(budget_token_count=3000), 4096, enabled(3000), None),
        (UNKNOWN, ReasoningOptions("high", 3000), 4096, enabled(3000), "high"),
    ],
)
def test_reasoning_is_said_in_the_models_own_way(
    style: ReasoningStyle,
    options: ReasoningOptions,
    max_tokens: int | None,
    thinking: dict[str, Any] | None,
    effort: str | None,
) -> None:
    body, notices = body_of(CompleteRequest("m", [HI], reasoning=options, max_output_tokens=max_tokens), style)
    assert body.get("thinking") == thinking
    assert body.get("output_config") == (None if effort is None else {"effort": effort})
    assert notices == []


def test_a_budget_makes_room_for_the_answer_where_nobody_set_a_cap() -> None:
    body, _ = body_of(CompleteRequest("m", [HI], reasoning=ReasoningOptions(budget_token_count=10_000)))
    assert (body["max_tokens"], body["thinking"]) == (14_096, enabled(10_000))


@pytest.mark.parametrize(
    ("style", "options", "max_tokens", "fields"),
    [
        (BUDGET, ReasoningOptions("low"), 1024, ["reasoning.effort"]),
        (BUDGET, ReasoningOptions(budget_token_count=2000), 500, ["reasoning.budget_token_count"]),
        (ADAPTIVE, ReasoningOptions("low", 2000), None, ["reasoning.budget_token_count"]),
        (NONE, ReasoningOptions("low", 2000), None, ["reasoning.effort", "reasoning.budget_token_count"]),
    ],
)
def test_reasoning_that_the_model_does_not_take_is_refused(
    style: ReasoningStyle, options: ReasoningOptions, max_tokens: int | None, fields: list[str]
) -> None:
    request = CompleteRequest("m", [HI], reasoning=options, max_output_tokens=max_tokens)
    assert refused(request, style) == fields
    _, notices = body_of(dataclasses.replace(request, drop_unsupported=True), style)
    assert [subject for _, subject in notices] == fields


@pytest.mark.parametrize(
    ("style", "options", "subject"),
    [
        (BUDGET, ReasoningOptions(budget_token_count=500), "reasoning.budget_token_count"),
        (BUDGET, ReasoningOptions("high", 2000), "reasoning.effort"),
        (ADAPTIVE, ReasoningOptions("high", 0), "reasoning.effort"),
        (UNKNOWN, ReasoningOptions("none", 2000), "reasoning.effort"),
        (NONE, ReasoningOptions(include_text=True), "reasoning.include_text"),
    ],
)
def test_reasoning_that_is_said_otherwise_is_told(
    style: ReasoningStyle, options: ReasoningOptions, subject: str
) -> None:
    _, notices = body_of(CompleteRequest("m", [HI], reasoning=options), style)
    assert notices == [(NoticeCode.OPTION_DROPPED, subject)]


# ---------------------------------------------------------------------------------------------------------------------
# What does not go with reasoning
# ---------------------------------------------------------------------------------------------------------------------


def test_thinking_takes_hardly_any_sampling() -> None:
    reasoning = ReasoningOptions("low")
    request = CompleteRequest("m", [HI], reasoning=reasoning, temperature=0.5, top_p=0.5, top_k=5)
    assert refused(request, ADAPTIVE) == ["temperature", "top_p", "top_k"]
    body, _ = body_of(dataclasses.replace(request, drop_unsupported=True), ADAPTIVE)
    assert body.keys() == {"model", "max_tokens", "messages", "thinking", "output_config"}
    body, _ = body_of(CompleteRequest("m", [HI], reasoning=reasoning, temperature=1, top_p=0.95), ADAPTIVE)
    assert (body["temperature"], body["top_p"]) == (1, 0.95)


def test_thinking_and_a_forced_tool_exclude_each_other() -> None:
    request = CompleteRequest("m", [HI], tools=[Tool("t")], tool_choice=FORCED, reasoning=ReasoningOptions("low"))
    assert refused(request, BUDGET) == ["tool_choice"]
    body, _ = body_of(dataclasses.replace(request, drop_unsupported=True), BUDGET)
    assert "tool_choice" not in body
    assert body["thinking"]["type"] == "enabled"


def test_a_model_that_thinks_unasked_is_told_not_to_where_the_answer_is_a_forced_tool() -> None:
    request = CompleteRequest("m", [HI], response_format=ResponseFormat(FormatKind.JSON_OBJECT))
    assert body_of(request, ADAPTIVE)[0]["thinking"] == OFF
    assert "thinking" not in body_of(request, BUDGET)[0]
    assert "thinking" not in body_of(dataclasses.replace(request, response_format=None), ADAPTIVE)[0]
    forced = CompleteRequest("m", [HI], tools=[Tool("t")], tool_choice=FORCED)
    assert "thinking" not in body_of(forced, ADAPTIVE)[0]  # the caller's own choice, and the caller's to settle


@pytest.mark.parametrize("style", [BUDGET, ADAPTIVE, UNKNOWN])
def test_an_answer_by_tool_is_never_left_to_a_model_that_thinks(style: ReasoningStyle) -> None:
    request = CompleteRequest("m", [HI], response_format=JSON_SCHEMA, reasoning=ReasoningOptions("low"))
    assert refused(request, style, native_json_schema=False) == ["reasoning"]
    body, _ = body_of(dataclasses.replace(request, drop_unsupported=True), style, native_json_schema=False)
    assert body.get("thinking", OFF) == OFF
    assert body["tool_choice"] == {"type": "tool", "name": "answer", "disable_parallel_tool_use": True}
    body, _ = body_of(request, style)
    assert body["output_config"]["format"] == {"type": "json_schema", "schema": {"type": "object"}}
