"""What Converse is asked: bodies against golden files and the service's own model, refusals, replies that go back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.calls import NoticeCode
from llmgateway_server.core.events import PartKind
from llmgateway_server.core.messages import (
    Content,
    MediaPart,
    Message,
    Part,
    ProviderState,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
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
from llmgateway_server.providers.dialects.bedrock_converse.conversation import service_id
from llmgateway_server.providers.dialects.bedrock_converse.families import UNKNOWN, family_of
from llmgateway_server.providers.dialects.bedrock_converse.media import LONGEST_NAME, DocumentNames
from llmgateway_server.providers.dialects.dialect import Quirks
from tests.unit.dialects.bedrock_converse_replies import answer, whole
from tests.unit.dialects.bedrock_converse_requests import (
    CALLED,
    CLAUDE_4,
    CLAUDE_4_5,
    CLAUDE_5,
    DIALECT,
    HI,
    NOVA,
    NOVA_2,
    PROFILE_ARN,
    assert_taken,
    body_of,
    refused,
)
from tests.unit.dialects.kit import FoldedPart, golden_attempt, golden_names, golden_of

NAMES = golden_names("bedrock_converse")
LLAMA, COHERE, MISTRAL = "meta.llama3-1-8b-instruct-v1:0", "cohere.command-r-v1:0", "mistral.mistral-large-2402-v1:0"
SCHEMA = ResponseFormat(FormatKind.JSON_SCHEMA, "answer", schema_json='{"type":"object"}')
NAMED, REQUIRED = ToolChoice(ToolChoiceMode.NAMED, "now"), ToolChoice(ToolChoiceMode.REQUIRED)
NOW, LATER = Tool("now"), Tool("later")


def hi(**options: Any) -> CompleteRequest:
    return CompleteRequest("m", options.pop("messages", [HI]), **options)


# ---------------------------------------------------------------------------------------------------------------------
# Bodies that are written down
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_bodies_are_as_written_down(name: str) -> None:
    golden = golden_of("bedrock_converse", name)
    attempt = golden_attempt(golden)
    attempt.target = dataclasses.replace(attempt.target, upstream_model=golden["model"])
    request = DIALECT.encode_request(attempt, Quirks())
    assert json.loads(request.body) == golden["body"]
    assert (request.method, request.path) == ("POST", golden["path"])
    accept = "application/vnd.amazon.eventstream" if golden.get("streaming") else "application/json"
    assert dict(request.headers) == {"content-type": "application/json", "accept": accept}
    assert [notice.subject for notice in attempt.call.notices] == golden.get("notices", [])


@pytest.mark.parametrize("name", NAMES)
def test_bodies_are_what_the_service_takes(name: str) -> None:
    golden = golden_of("bedrock_converse", name)
    assert_taken(golden["model"], golden["body"])


# ---------------------------------------------------------------------------------------------------------------------
# What is refused
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "options", "fields"),
    [
        (NOVA, {"temperature": 1.5}, ["temperature"]),
        (NOVA, {"top_p": 1.01}, ["top_p"]),
        (NOVA, {"seed": 0}, ["seed"]),
        (NOVA, {"frequency_penalty": 0.5, "presence_penalty": 0.5}, ["frequency_penalty", "presence_penalty"]),
        (NOVA, {"frequency_penalty": 0.0, "logprobs_top_count": 0}, ["logprobs"]),
        (NOVA, {"parallel_tool_calls": False, "tools": [NOW]}, ["parallel_tool_calls"]),
        (NOVA, {"service_tier": "scale"}, ["service_tier"]),
        (LLAMA, {"top_k": 5}, ["top_k"]),
        (PROFILE_ARN, {"top_k": 5}, ["top_k"]),
        (CLAUDE_4, {"stop": ("\n", "a")}, ["stop[0]"]),
        (LLAMA, {"tools": [NOW], "tool_choice": REQUIRED}, ["tool_choice"]),
        (COHERE, {"tools": [NOW], "tool_choice": NAMED}, ["tool_choice"]),
        (MISTRAL, {"tools": [NOW, LATER], "tool_choice": NAMED}, ["tool_choice"]),
        (NOVA, {"messages": CALLED, "tools": [NOW], "tool_choice": ToolChoice(ToolChoiceMode.NONE)}, ["tool_choice"]),
        (LLAMA, {"response_format": SCHEMA}, ["response_format", "tool_choice"]),
        (
            MISTRAL,
            {"response_format": SCHEMA, "tools": [NOW], "tool_choice": NAMED},
            ["response_format", "tool_choice"],
        ),
        (LLAMA, {"reasoning": ReasoningOptions("high", 5)}, ["reasoning.effort", "reasoning.budget_token_count"]),
        (PROFILE_ARN, {"reasoning": ReasoningOptions("low")}, ["reasoning.effort"]),
        (NOVA_2, {"reasoning": ReasoningOptions(budget_token_count=5)}, ["reasoning.budget_token_count"]),
        (
            NOVA_2,
            {"reasoning": ReasoningOptions("high"), "max_output_tokens": 5, "temperature": 0.5, "top_p": 0.5},
            ["max_output_tokens", "temperature", "top_p"],
        ),
        ("openai.gpt-oss-20b-1:0", {"reasoning": ReasoningOptions("none")}, ["reasoning.effort"]),
        ("openai.gpt-oss-20b-1:0", {"reasoning": ReasoningOptions(None, 0)}, ["reasoning.budget_token_count"]),
        ("qwen.qwen3-32b-v1:0", {"reasoning": ReasoningOptions("none")}, ["reasoning.effort"]),
        ("deepseek.r1-v1:0", {"reasoning": ReasoningOptions("low")}, ["reasoning.effort"]),
        (
            CLAUDE_4,
            {"reasoning": ReasoningOptions(None, 1024), "temperature": 0.5, "top_p": 0.5, "top_k": 5},
            ["temperature", "top_p", "top_k"],
        ),
        (
            CLAUDE_4,
            {"reasoning": ReasoningOptions(None, 1024), "tools": [NOW], "tool_choice": REQUIRED},
            ["tool_choice"],
        ),
        (CLAUDE_4, {"reasoning": ReasoningOptions(None, 1024), "response_format": SCHEMA}, ["reasoning"]),
    ],
)
def test_what_cannot_be_said_is_refused(model: str, options: dict[str, Any], fields: list[str]) -> None:
    assert refused(model, hi(**options)) == fields


def test_own_fields_have_to_be_an_object() -> None:
    own = {"bedrock_converse": {"additional_model_fields_json": "[]"}}
    path = "provider_options.bedrock_converse.additional_model_fields_json"
    assert refused(NOVA, hi(provider_options=own)) == [path]
    assert refused(NOVA, hi(provider_options=own, drop_unsupported=True)) == [path]


@pytest.mark.parametrize(
    ("role", "content", "path"),
    [
        (Role.USER, MediaPart("image/tiff", b"x"), "media"),
        (Role.USER, MediaPart("application/zip", b"x"), "media"),
        (Role.USER, MediaPart("audio/midi", b"x"), "media"),
        (Role.USER, MediaPart("video/ogg", b"x"), "media"),
        (Role.USER, MediaPart("", uri="s3://bucket-1/unknown"), "media"),
        (Role.USER, MediaPart("image/png", uri="s3://B/x"), "media"),
        (Role.USER, MediaPart("image/png", uri="gs://bucket-1/x"), "media"),
        (Role.ASSISTANT, MediaPart("image/png", b"x"), "media"),
        (Role.SYSTEM, MediaPart("image/png", b"x"), "media"),
        (Role.TOOL, ToolResultPart("t", "n", [MediaPart("audio/mpeg", b"x")]), "tool_result.content[0].media"),
    ],
)
def test_media_that_the_service_does_not_take_are_refused(role: Role, content: Content, path: str) -> None:
    request = hi(messages=[HI, Message(role, [Part(content)])], drop_unsupported=True)
    assert refused(NOVA, request) == [f"messages[1].parts[0].{path}"]


@pytest.mark.parametrize(
    ("media", "fetched"),
    [
        (MediaPart("image/png", uri="s3://bucket-1/a.png"), True),
        (MediaPart("image/png", uri="https://example.com/a.png"), False),
        (MediaPart("image/png", b"x"), False),
    ],
)
def test_what_lies_in_s3_is_fetched_by_the_service(media: MediaPart, fetched: bool) -> None:
    assert DIALECT.fetches(media) is fetched


# ---------------------------------------------------------------------------------------------------------------------
# What changes by the model
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "like"),
    [
        (CLAUDE_4, "anthropic.claude-3-haiku-20240307-v1:0"),
        ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-v1:0", CLAUDE_4),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0", NOVA),
        ("US.AMAZON.NOVA-2-LITE-V1:0", NOVA_2),
    ],
)
def test_families_are_known_by_name(model: str, like: str) -> None:
    assert family_of(model) is family_of(like)
    assert family_of(model) is not UNKNOWN


@pytest.mark.parametrize("model", [PROFILE_ARN, "fake-1", "arn:aws:bedrock:us-east-1:1:imported-model/abcdef123456"])
def test_other_names_tell_nothing(model: str) -> None:
    assert family_of(model) is UNKNOWN


def test_what_nobody_knows_is_passed_on() -> None:
    body, _ = body_of(PROFILE_ARN, hi(tools=[NOW, LATER], tool_choice=NAMED, response_format=None))
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": "now"}}
    body, _ = body_of(PROFILE_ARN, hi(response_format=SCHEMA))
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": "answer"}}


def test_a_schema_is_by_tool_where_the_profile_says_so() -> None:
    assert "outputConfig" in body_of(CLAUDE_4_5, hi(response_format=SCHEMA))[0]
    body, _ = body_of(CLAUDE_4_5, hi(response_format=SCHEMA), native_json_schema=False)
    assert "outputConfig" not in body
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": "answer"}}


def test_reasoning_that_is_dropped_leaves_the_form_of_the_answer() -> None:
    request = hi(response_format=SCHEMA, reasoning=ReasoningOptions("high"), drop_unsupported=True)
    body, notices = body_of(CLAUDE_5, request)
    assert body["additionalModelRequestFields"] == {"thinking": {"type": "disabled"}}
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": "answer"}}
    assert notices == [(NoticeCode.OPTION_DROPPED, "reasoning")]


def test_a_choice_that_is_dropped_leaves_the_reasoning() -> None:
    request = hi(tools=[NOW], tool_choice=REQUIRED, reasoning=ReasoningOptions(None, 2048), drop_unsupported=True)
    body, notices = body_of(CLAUDE_4, request)
    assert body["additionalModelRequestFields"]["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert "toolChoice" not in body["toolConfig"]
    assert notices == [(NoticeCode.OPTION_DROPPED, "tool_choice")]


def test_none_that_is_dropped_leaves_the_tools() -> None:
    request = hi(messages=CALLED, tool_choice=ToolChoice(ToolChoiceMode.NONE), drop_unsupported=True)
    body, notices = body_of(NOVA, request)
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["clock"]
    assert [subject for _, subject in notices] == ["tool_choice", "tools"]


def test_tools_that_only_a_result_names_are_offered() -> None:
    result = Message(Role.TOOL, [Part(ToolResultPart("t", "", [TextPart("1")]))])
    body, _ = body_of(NOVA, hi(messages=[HI, result]))
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["tool"]


def test_a_budget_is_within_the_cap() -> None:
    body, _ = body_of(CLAUDE_4, hi(max_output_tokens=2000, reasoning=ReasoningOptions(None, 9000)))
    assert body["additionalModelRequestFields"]["thinking"] == {"type": "enabled", "budget_tokens": 1999}
    assert body["inferenceConfig"] == {"maxTokens": 2000}


def test_the_profile_of_the_target_counts_first() -> None:
    request = hi(reasoning=ReasoningOptions("low"))
    body, _ = body_of(CLAUDE_4, request, reasoning=ReasoningStyle.ADAPTIVE)
    assert body["additionalModelRequestFields"] == {"thinking": {"type": "adaptive"}}
    assert body["outputConfig"] == {"effort": "low"}


def test_a_filled_place_is_not_filled_again() -> None:
    own = {"bedrock_converse": {"additional_model_fields_json": '{"inferenceConfig": 5}'}}
    body, _ = body_of(NOVA, hi(top_k=3, provider_options=own))
    assert body["additionalModelRequestFields"] == {"inferenceConfig": 5}


def test_what_stands_beside_other_parts_is_told() -> None:
    state = ProviderState("openai", b"x")
    turn = Message(Role.ASSISTANT, [Part(ToolCallPart("t", "now", "{}"), state), Part(RefusalPart("No."))], name="bot")
    body, notices = body_of(NOVA, hi(messages=[HI, turn], tools=[NOW]))
    assert [list(block) for block in body["messages"][1]["content"]] == [["toolUse"], ["text"]]
    assert notices == [
        (NoticeCode.OPTION_DROPPED, "messages[1].name"),
        (NoticeCode.PROVIDER_STATE_DROPPED, "messages[1].parts[0].provider_state"),
    ]


@pytest.mark.parametrize("data", [b"\xff", b"", b"nothing", b"[]", b'{"citations":5}', b'{"block":{"toolUse":{}}}'])
def test_state_that_cannot_be_ours_is_dropped(data: bytes) -> None:
    state = ProviderState("bedrock", data)
    parts = [Part(TextPart("Said."), state), Part(ReasoningPart("Hm"), ProviderState("bedrock", b"\xff"))]
    body, notices = body_of(CLAUDE_4, hi(messages=[HI, Message(Role.ASSISTANT, parts)]))
    assert body["messages"][1]["content"] == [{"text": "Said."}]
    assert {subject for _, subject in notices} == {
        "messages[1].parts[0].provider_state",
        "messages[1].parts[1].provider_state",
    }


@pytest.mark.parametrize("model", [NOVA_2, "openai.gpt-oss-20b-1:0"])
def test_to_be_shown_asks_for_nothing_where_no_model_hides_it(model: str) -> None:
    body, notices = body_of(model, hi(reasoning=ReasoningOptions(include_text=True)))
    assert "additionalModelRequestFields" not in body
    assert notices == [(NoticeCode.OPTION_DROPPED, "reasoning.include_text")]


# ---------------------------------------------------------------------------------------------------------------------
# Ids and names
# ---------------------------------------------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_ids_are_mapped_one_to_one(one: str, other: str) -> None:
    for call_id in (one, other):
        assert service_id(call_id) == service_id(service_id(call_id))
        assert 1 <= len(service_id(call_id)) <= 64
    assert (service_id(one) == service_id(other)) is (one == other)


def test_ids_that_are_taken_stay() -> None:
    assert service_id("tooluse_-hxBEEwGRc") == "tooluse_-hxBEEwGRc"
    assert service_id("x" * 65) != service_id("x" * 66)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=255), max_size=8))
def test_documents_have_names_of_their_own(filenames: list[str]) -> None:
    names = DocumentNames()
    given_names = [names.of(filename) for filename in filenames]
    assert len(set(given_names)) == len(filenames)
    for name in given_names:
        assert 1 <= len(name) <= LONGEST_NAME
        assert all(char.isascii() and (char.isalnum() or char in " ()[]-") for char in name)
        assert "  " not in name
        assert name.strip() == name


def test_the_longest_names_differ_too() -> None:
    names = DocumentNames()
    assert [len(names.of("x" * 255 + ".pdf")) for _ in range(2)] == [LONGEST_NAME, LONGEST_NAME]


# ---------------------------------------------------------------------------------------------------------------------
# Replies that go back
# ---------------------------------------------------------------------------------------------------------------------


def part_of(said: FoldedPart) -> Part:
    """Returns a part of a reply as a caller sends it back."""
    content: Content = TextPart(said.said)
    if said.kind is PartKind.REASONING:
        content = ReasoningPart(said.said, redacted=said.redacted)
    if said.kind is PartKind.TOOL_CALL:
        content = ToolCallPart(said.tool_call_id, said.tool_name, json.dumps(said.said))
    return Part(content, said.state)


def test_a_reply_goes_back_as_it_came() -> None:
    citations = [{"title": "Handbook", "sourceContent": [{"text": "Be kind."}], "location": {"web": {"url": "u"}}}]
    content = [
        {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "c2VjcmV0"}},
        {"text": "Well."},
        {"citationsContent": {"content": [{"text": "As it says."}], "citations": citations}},
        {"toolUse": {"toolUseId": "s1", "name": "code", "type": "server_tool_use", "input": {}}},
        {"toolUse": {"toolUseId": "t1", "name": "clock", "input": {"zone": "UTC"}}},
    ]
    reply = whole(answer(*content, stop_reason="tool_use"))
    turn = Message(Role.ASSISTANT, [part_of(part) for part in reply.parts])
    body, notices = body_of(CLAUDE_4, hi(messages=[HI, turn], tools=[Tool("clock")]))
    assert body["messages"][1]["content"] == content
    assert notices == []
