"""What Anthropic's messages are asked: bodies against golden files, and what is refused, dropped or said otherwise."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, get_type_hints

import pytest
from anthropic.types import (
    message_count_tokens_params,
    message_create_params,
    message_param,
    thinking_config_param,
    tool_choice_param,
    tool_union_param,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ConfigDict, TypeAdapter

from llmgateway_server.core.calls import Attempt, NoticeCode
from llmgateway_server.core.events import PartKind
from llmgateway_server.core.messages import (
    Content,
    MediaPart,
    Message,
    Part,
    ProviderState,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from llmgateway_server.core.requests import (
    CompleteRequest,
    CountTokensRequest,
    FormatKind,
    ReasoningOptions,
    ResponseFormat,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from llmgateway_server.core.targets import Profile, ReasoningStyle
from llmgateway_server.providers.dialects.anthropic_messages.conversation import vendor_id
from llmgateway_server.providers.dialects.dialect import Quirks
from tests.unit.dialects.anthropic_replies import DIALECT, whole
from tests.unit.dialects.kit import (
    TARGET,
    FoldedPart,
    asked,
    attempt_of,
    golden_attempt,
    golden_names,
    golden_of,
    refused_fields,
)

NAMES = golden_names("anthropic_messages")
HI = Message(Role.USER, [Part(TextPart("Hi"))])
VIDEO = MediaPart("video/mp4", data=b"x")
JSON_SCHEMA = ResponseFormat(FormatKind.JSON_SCHEMA, "answer", schema_json='{"type":"object"}')
SAMPLING = {"temperature", "top_p", "top_k"}
"""What the vendor's client no longer names, because its newest models do not take it; those before them do."""
FORCED = ToolChoice(ToolChoiceMode.REQUIRED)


@pytest.mark.parametrize("name", NAMES)
def test_bodies_are_as_written_down(name: str) -> None:
    golden = golden_of("anthropic_messages", name)
    attempt = golden_attempt(golden, counting=golden.get("counting", False))
    request = DIALECT.encode_request(attempt, Quirks())
    assert json.loads(request.body) == golden["body"]
    assert (request.method, request.path) == ("POST", golden.get("path", "/messages"))
    accept = "text/event-stream" if golden.get("streaming") else "application/json"
    usual = {"content-type": "application/json", "accept": accept, "anthropic-version": "2023-06-01"}
    assert dict(request.headers) == usual | golden.get("headers", {})
    assert [notice.subject for notice in attempt.call.notices] == golden.get("notices", [])


def test_golden_files_were_found() -> None:
    assert len(NAMES) >= 20


@pytest.mark.parametrize("name", NAMES)
def test_bodies_are_what_the_vendors_own_client_would_send(name: str) -> None:
    golden = golden_of("anthropic_messages", name)
    kind: Any = message_create_params.MessageCreateParamsBase
    if golden.get("counting"):
        kind = message_count_tokens_params.MessageCountTokensParams
    body = {field: value for field, value in golden["body"].items() if field != "stream"}
    assert body.keys() - SAMPLING <= get_type_hints(kind).keys()
    judges: dict[str, Any] = {
        "messages": list[message_param.MessageParam],
        "tools": list[tool_union_param.ToolUnionParam],
        "tool_choice": tool_choice_param.ToolChoiceParam,
        "thinking": thinking_config_param.ThinkingConfigParam,
    }
    for field in judges.keys() & body.keys():
        TypeAdapter(judges[field], config=ConfigDict(arbitrary_types_allowed=True)).validate_python(body[field])


def attempt_with(request: CompleteRequest, style: ReasoningStyle, **profile: Any) -> Attempt:
    return attempt_of(request, dataclasses.replace(TARGET, profile=Profile(reasoning=style, **profile)))


def body_of(
    request: CompleteRequest, style: ReasoningStyle = ReasoningStyle.UNKNOWN, **profile: Any
) -> tuple[dict[str, Any], list[tuple[NoticeCode, str]]]:
    """Returns the body and the notices."""
    return asked(DIALECT, attempt_with(request, style, **profile))


def refused(request: CompleteRequest, style: ReasoningStyle = ReasoningStyle.UNKNOWN, **profile: Any) -> list[str]:
    return refused_fields(DIALECT, attempt_with(request, style, **profile))


# ---------------------------------------------------------------------------------------------------------------------
# Cap on output tokens
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "most", "sent", "recorded"),
    [(100, 8192, 100, None), (None, 8192, 8192, 8192), (None, None, 4096, 4096), (0, None, 0, None)],
)
def test_a_cap_is_always_sent_and_recorded_where_it_is_ours(
    asked: int | None, most: int | None, sent: int, recorded: int | None
) -> None:
    target = dataclasses.replace(TARGET, profile=Profile(max_output_token_count=most))
    attempt = attempt_of(CompleteRequest("m", [HI], max_output_tokens=asked), target)
    assert json.loads(DIALECT.encode_request(attempt, Quirks()).body)["max_tokens"] == sent
    assert attempt.record.max_output_tokens == recorded


def test_a_count_puts_nothing_out() -> None:
    attempt = attempt_of(CountTokensRequest(CompleteRequest("m", [HI])))
    assert json.loads(DIALECT.encode_request(attempt, Quirks()).body) == {
        "model": "upstream-1",
        "messages": [{"role": "user", "content": "Hi"}],
    }
    assert attempt.record.max_output_tokens is None


# ---------------------------------------------------------------------------------------------------------------------
# Reasoning
# ---------------------------------------------------------------------------------------------------------------------

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


def test_the_vendors_own_tools_do_not_go_with_an_answer_by_tool() -> None:
    own: dict[str, Any] = {"web_search": {}, "code_execution": {}}
    request = CompleteRequest(
        "m", [HI], response_format=ResponseFormat(FormatKind.JSON_OBJECT), provider_options={"anthropic_messages": own}
    )
    assert refused(request) == [
        "provider_options.anthropic_messages.web_search",
        "provider_options.anthropic_messages.code_execution",
    ]


# ---------------------------------------------------------------------------------------------------------------------
# What is refused, dropped or left out
# ---------------------------------------------------------------------------------------------------------------------


def everything_unsupported(*, drop: bool) -> CompleteRequest:
    return CompleteRequest(
        model="m",
        messages=[
            Message(
                Role.USER, [Part(VIDEO), Part(MediaPart("audio/wav", data=b"x")), Part(MediaPart("image/bmp", b"x"))]
            ),
            Message(Role.ASSISTANT, [Part(ToolCallPart("c", "see", "{}")), Part(MediaPart("image/png", data=b"x"))]),
            Message(Role.TOOL, [Part(ToolResultPart("c", "see", [TextPart("x"), VIDEO]))]),
            Message(Role.USER, [Part(MediaPart("text/plain", data=b"\xff")), Part(MediaPart("application/zip", b"x"))]),
            Message(Role.USER, [Part(MediaPart("image/png", uri="http://a/b"))]),
        ],
        temperature=1.5,
        seed=1,
        frequency_penalty=0.5,
        presence_penalty=0.5,
        logprobs_top_count=0,
        service_tier="priority",
        stop=("\n", "END"),
        provider_options={"gemini": {"cached_content": "x"}},
        drop_unsupported=drop,
    )


CONTENT = [
    "messages[0].parts[0].media",
    "messages[0].parts[1].media",
    "messages[0].parts[2].media",
    "messages[1].parts[1].media",
    "messages[2].parts[0].tool_result.content[1].media",
    "messages[3].parts[0].media",
    "messages[3].parts[1].media",
    "messages[4].parts[0].media",
]
OPTIONS = ["seed", "frequency_penalty", "presence_penalty", "logprobs", "service_tier", "temperature", "stop[0]"]


def test_everything_that_cannot_be_said_is_named_at_once() -> None:
    assert sorted(refused(everything_unsupported(drop=False))) == sorted(CONTENT + OPTIONS)


def test_content_is_never_dropped() -> None:
    assert refused(everything_unsupported(drop=True)) == CONTENT


def test_options_are_dropped_with_a_notice_where_that_is_allowed() -> None:
    body, notices = body_of(dataclasses.replace(everything_unsupported(drop=True), messages=[HI]))
    assert body == {
        "model": "upstream-1",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": "Hi"}],
        "stop_sequences": ["END"],
    }
    assert notices == [(NoticeCode.OPTION_DROPPED, path) for path in OPTIONS]


def test_penalties_of_zero_change_nothing() -> None:
    body, notices = body_of(CompleteRequest("m", [HI], frequency_penalty=0.0, presence_penalty=0.0))
    assert body.keys() == {"model", "max_tokens", "messages"}
    assert notices == []


def state(data: bytes, vendor: str = "anthropic") -> ProviderState:
    return ProviderState(vendor, data)


@pytest.mark.parametrize(
    "part",
    [
        Part(TextPart("a"), state(b"{}", "gemini")),
        Part(TextPart("a"), state(b"no json")),
        Part(TextPart("a"), state(b'{"citations":5}')),
        Part(TextPart("a"), state(b'{"citations":["\xff"]}')),
        Part(TextPart("a"), state(b'{"citations":' + b"[" * 100_000)),
        Part(TextPart("a"), state(b'{"block":{"type":"server_tool_use"}}')),
        Part(TextPart("a"), state(b'{"block":{"type":"text","text":"past the guardrails"}}')),
        Part(TextPart("a"), state(b'{"block":{"type":"image"}}')),
        Part(TextPart("a"), state(b'{"block":{"type":5}}')),
        Part(TextPart("a"), state(b'{"block":{}}')),
    ],
)
def test_state_that_is_not_ours_is_left_out_with_a_notice(part: Part) -> None:
    body, notices = body_of(CompleteRequest("m", [HI, Message(Role.ASSISTANT, [part])]))
    assert body["messages"][1] == {"role": "assistant", "content": "a"}
    assert notices == [(NoticeCode.PROVIDER_STATE_DROPPED, "messages[1].parts[0].provider_state")]


@pytest.mark.parametrize(
    ("part", "where"),
    [
        (Part(ReasoningPart("hm")), "reasoning"),
        (Part(ReasoningPart("hm"), state(b"")), "provider_state"),
        (Part(ReasoningPart("hm"), state(b"\xff")), "provider_state"),
        (Part(ReasoningPart("hm"), state(b"sig", "gemini")), "provider_state"),
        (Part(ReasoningPart("", redacted=True), state(b"sig", "openai")), "provider_state"),
    ],
)
def test_reasoning_without_a_signature_is_left_out_with_a_notice(part: Part, where: str) -> None:
    messages = [HI, Message(Role.ASSISTANT, [part, Part(TextPart("a"))])]
    body, notices = body_of(CompleteRequest("m", messages))
    assert body["messages"][1] == {"role": "assistant", "content": "a"}
    assert notices == [(NoticeCode.PROVIDER_STATE_DROPPED, f"messages[1].parts[0].{where}")]


def test_marks_that_cannot_stand_are_left_out_with_a_notice() -> None:
    messages = [
        Message(Role.USER, [Part(TextPart("Hi"), state(b"{}")), Part(TextPart(" "), cache_lifetime="5m")], name="Ann"),
        Message(
            Role.ASSISTANT,
            [
                Part(ReasoningPart("hm"), state(b"sig"), cache_lifetime="1h"),
                Part(ToolCallPart("c", "see", ""), state(b"x")),
            ],
        ),
        Message(Role.TOOL, [Part(ToolResultPart("c", "see", []))]),
        Message(Role.USER, [Part(MediaPart("image/png", uri="https://a/b", detail="low"))]),
        Message(Role.SYSTEM, [Part(TextPart("Be brief."))]),
    ]
    body, notices = body_of(CompleteRequest("m", messages))
    assert [subject for _, subject in notices] == [
        "messages[0].name",
        "messages[0].parts[0].provider_state",
        "messages[0].parts[1].cache_control",
        "messages[1].parts[0].cache_control",
        "messages[1].parts[1].provider_state",
        "messages[3].parts[0].media.detail",
        "messages[4]",
    ]
    assert body["system"] == "Be brief."
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "c"},
        {"type": "image", "source": {"type": "url", "url": "https://a/b"}},
    ]


# ---------------------------------------------------------------------------------------------------------------------
# Smaller things
# ---------------------------------------------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_ids_are_made_fit_and_stay_apart(one: str, other: str) -> None:
    assert set(vendor_id(one)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert vendor_id(one) == vendor_id(one)
    assert (vendor_id(one) == vendor_id(other)) == (one == other)


def test_schemas_and_arguments_are_passed_on_to_the_letter() -> None:
    schema = '{"type": "object", "properties": {"b": {"const": 1.0}, "a": {}}}'
    call = Message(Role.ASSISTANT, [Part(ToolCallPart("c", "t", '{"b": 1.50}'))])
    request = CompleteRequest("m", [HI, call], tools=[Tool("t", "", schema)])
    body = DIALECT.encode_request(attempt_of(request), Quirks()).body
    assert schema.encode() in body
    assert b'{"b": 1.50}' in body


@pytest.mark.parametrize(
    ("media", "by_vendor"),
    [
        (MediaPart("image/png", uri="https://a/b"), True),
        (MediaPart("", uri="https://a/b"), True),
        (MediaPart("", uri="https://a/b.pdf"), True),
        (MediaPart("application/pdf", uri="https://a/b"), True),
        (MediaPart("text/plain", uri="https://a/b"), False),
        (MediaPart("", uri="https://a/b.txt"), False),
        (MediaPart("image/png", uri="http://a/b"), False),
        (MediaPart("image/png", uri="gs://a/b"), False),
        (MediaPart("image/bmp", uri="https://a/b"), False),
        (MediaPart("image/png", data=b"x"), False),
    ],
)
def test_what_the_vendor_fetches(media: MediaPart, by_vendor: bool) -> None:
    assert DIALECT.fetches(media) is by_vendor


def sent_back(part: FoldedPart) -> Content:
    match part.kind:
        case PartKind.REASONING:
            return ReasoningPart(part.said, part.redacted)
        case PartKind.TOOL_CALL:
            return ToolCallPart(part.tool_call_id, part.tool_name, '{"a":[1,{}]}')
        case _:
            return TextPart(part.said)


def test_a_reply_goes_back_as_it_came() -> None:
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x", "n": 1.0}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"encrypted_content": "é"}]}
    cited = {"type": "web_search_result_location", "url": "u", "title": None, "cited_text": "c", "encrypted_index": "e"}
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "data"},
        search,
        found,
        {"type": "text", "text": "It is"},
        {"type": "text", "text": " so", "citations": [cited]},
        {"type": "tool_use", "id": "t", "name": "n", "input": {"a": [1, {}]}},
    ]
    reply = whole({"content": content, "stop_reason": "pause_turn", "container": {"id": "c"}})
    parts = [Part(sent_back(part), part.state) for part in reply.parts]
    body, notices = body_of(CompleteRequest("m", [HI, Message(Role.ASSISTANT, parts)]))
    assert body["messages"][1]["content"] == content
    assert notices == []
