"""What Ollama is asked: bodies against golden files and the types of its own client, and what is refused or dropped."""

from __future__ import annotations

import json

import ollama
import pytest
from ollama._types import ChatRequest

from llmgateway_server.core.calls import NoticeCode
from llmgateway_server.core.messages import (
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
    FormatKind,
    ReasoningOptions,
    ResponseFormat,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from llmgateway_server.core.targets import Profile, ReasoningStyle, Target
from llmgateway_server.providers.dialects.dialect import Quirks
from llmgateway_server.providers.vendors import VENDORS
from tests.unit.dialects.kit import (
    TARGET,
    Json,
    asked,
    attempt_of,
    golden_attempt,
    golden_names,
    golden_of,
    refused_fields,
)
from tests.unit.dialects.ollama_replies import DIALECT

NAMES = golden_names("ollama_chat")
HI = Message(Role.USER, [Part(TextPart("Hi"))])
IMAGE = MediaPart("image/png", data=b"x")
SOUND = MediaPart("audio/wav", data=b"x")


def refused(request: CompleteRequest, target: Target = TARGET) -> list[str]:
    return refused_fields(DIALECT, attempt_of(request, target))


@pytest.mark.parametrize("name", NAMES)
def test_bodies_are_as_written_down(name: str) -> None:
    golden = golden_of("ollama_chat", name)
    request = DIALECT.encode_request(golden_attempt(golden), Quirks())
    assert json.loads(request.body) == golden["body"]
    assert (request.method, request.path) == ("POST", "/api/chat")
    accept = "application/x-ndjson" if golden.get("streaming") else "application/json"
    assert request.headers == (("content-type", "application/json"), ("accept", accept))


def test_golden_files_were_found() -> None:
    assert len(NAMES) >= 20


@pytest.mark.parametrize("name", NAMES)
def test_the_client_of_ollama_knows_all_that_is_sent(name: str) -> None:
    """Nothing is lost on the way through its types, but for ids, which the server knows and the client does not."""
    body = golden_of("ollama_chat", name)["body"]
    known = ChatRequest.model_validate(body).model_dump(exclude_none=True)
    tools, known_tools = body.pop("tools", []), known.pop("tools", [])
    assert known == body
    assert [tool["function"]["name"] for tool in known_tools] == [tool["function"]["name"] for tool in tools]
    for message in body["messages"]:
        images = [ollama.Image(value=image) for image in message.get("images", ())]
        seen = ollama.Message.model_validate({**message, "images": images or None}).model_dump(exclude_none=True)
        assert seen == without_ids(message)


def without_ids(message: Json) -> Json:
    known = {key: value for key, value in message.items() if key != "tool_call_id"}
    if "tool_calls" in known:
        known["tool_calls"] = [{"function": call["function"]} for call in known["tool_calls"]]
    return known


def test_schemas_and_arguments_are_passed_on_to_the_letter() -> None:
    schema, arguments = '{"type": "object", "properties": {"b": {"const": 1.0}}}', '{"b": 1.0, "a": 1e2}'
    request = CompleteRequest(
        "m",
        [HI, Message(Role.ASSISTANT, [Part(ToolCallPart("c", "t", arguments))])],
        tools=[Tool("t", parameters_json_schema=schema)],
        response_format=ResponseFormat(FormatKind.JSON_SCHEMA, schema_json=schema),
    )
    body = DIALECT.encode_request(attempt_of(request), Quirks()).body
    assert body.count(schema.encode()) == 2
    assert arguments.encode() in body


def everything_unsupported(*, drop: bool) -> CompleteRequest:
    return CompleteRequest(
        model="m",
        messages=[
            Message(Role.USER, [Part(TextPart("look")), Part(SOUND), Part(MediaPart("application/pdf", data=b"x"))]),
            Message(Role.ASSISTANT, [Part(ToolCallPart("c", "see", "{}")), Part(IMAGE)]),
            Message(Role.TOOL, [Part(ToolResultPart("c", "see", [TextPart("x"), IMAGE]))]),
        ],
        tools=[Tool("see", strict=True)],
        tool_choice=ToolChoice(ToolChoiceMode.REQUIRED),
        parallel_tool_calls=False,
        reasoning=ReasoningOptions(budget_token_count=100),
        service_tier="flex",
        provider_options={"gemini": {"cached_content": "x"}},
        drop_unsupported=drop,
    )


CONTENT = [
    "messages[0].parts[1].media",
    "messages[0].parts[2].media",
    "messages[1].parts[1].media",
    "messages[2].parts[0].tool_result.content[1].media",
]
OPTIONS = ["tool_choice", "parallel_tool_calls", "service_tier", "tools[0].strict"]


def test_everything_that_cannot_be_said_is_named_at_once() -> None:
    assert refused(everything_unsupported(drop=False)) == [*OPTIONS, *CONTENT, "reasoning.budget_token_count"]


def test_content_is_never_dropped() -> None:
    assert refused(everything_unsupported(drop=True)) == CONTENT


def test_options_are_dropped_with_a_notice_each() -> None:
    request = everything_unsupported(drop=True)
    request.messages = [HI]
    body, notices = asked(DIALECT, attempt_of(request))
    assert notices == [(NoticeCode.OPTION_DROPPED, path) for path in [*OPTIONS, "reasoning.budget_token_count"]]
    assert body == {
        "model": "upstream-1",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
        "tools": [
            {"type": "function", "function": {"name": "see", "parameters": {"type": "object", "properties": {}}}}
        ],
    }


@pytest.mark.parametrize("mode", [ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED])
def test_nothing_makes_a_model_call_a_tool(mode: ToolChoiceMode) -> None:
    choice = ToolChoice(mode, "t" if mode is ToolChoiceMode.NAMED else "")
    assert refused(CompleteRequest("m", [HI], tools=[Tool("t")], tool_choice=choice)) == ["tool_choice"]


def test_a_model_that_does_not_think_is_not_told_how_much_to() -> None:
    target = Target("p", "v", "m", profile=Profile(reasoning=ReasoningStyle.NONE))
    request = CompleteRequest("m", [HI], reasoning=ReasoningOptions("high", 100, include_text=True))
    assert refused(request, target) == ["reasoning.budget_token_count", "reasoning.effort"]
    request.drop_unsupported = True
    body, notices = asked(DIALECT, attempt_of(request, target))
    assert "think" not in body
    assert [path for _, path in notices] == [
        "reasoning.budget_token_count",
        "reasoning.effort",
        "reasoning.include_text",
    ]


def test_what_changes_no_meaning_is_left_out_with_a_notice() -> None:
    detailed = MediaPart("image/png", data=b"x", detail="low")
    request = CompleteRequest(
        "m",
        [
            Message(Role.USER, [Part(TextPart("a"), cache_lifetime="5m"), Part(detailed)], name="ada"),
            Message(Role.ASSISTANT, [Part(ToolCallPart("c", "t", ""))]),
            Message(Role.TOOL, [Part(ToolResultPart("c", "t", [TextPart("x")], is_error=True))]),
        ],
        tools=[Tool("t", cache_breakpoint=True)],
        end_user_id="u",
        reasoning=ReasoningOptions(include_text=False),
        response_format=ResponseFormat(FormatKind.JSON_SCHEMA, description="d", schema_json="{}"),
    )
    _, notices = asked(DIALECT, attempt_of(request))
    assert notices == [
        (NoticeCode.OPTION_DROPPED, path)
        for path in (
            "end_user_id",
            "tools[0].cache_breakpoint",
            "messages[0].name",
            "messages[0].parts[0].cache_control",
            "messages[0].parts[1].media.detail",
            "messages[2].parts[0].tool_result.is_error",
            "reasoning.include_text",
            "response_format.json_schema.description",
        )
    ]


def test_state_of_others_is_left_out_with_a_notice() -> None:
    state = ProviderState("anthropic", b"signature")
    parts = [
        Part(ReasoningPart("Hm."), state),
        Part(ReasoningPart("", redacted=True), state),
        Part(ReasoningPart("", redacted=True)),
        Part(TextPart("Yes."), state),
    ]
    body, notices = asked(DIALECT, attempt_of(CompleteRequest("m", [HI, Message(Role.ASSISTANT, parts)])))
    assert notices == [
        (NoticeCode.PROVIDER_STATE_DROPPED, f"messages[1].parts[{p}].{what}")
        for p, what in enumerate(("provider_state", "provider_state", "reasoning", "provider_state"))
    ]
    assert body["messages"][1] == {"role": "assistant", "content": "Yes.", "thinking": "Hm."}


def test_media_are_sent_as_their_bytes() -> None:
    assert not DIALECT.fetches(MediaPart("image/png", uri="https://example.com/a.png"))


@pytest.mark.parametrize(
    ("prefix", "path", "target"),
    [
        ("", "/api/chat", "/api/chat"),
        ("", "/chat/completions", "/v1/chat/completions"),
        ("/v1", "/api/chat", "/api/chat"),
        ("/v1", "/chat/completions", "/v1/chat/completions"),
        ("/behind/a", "/api/tags", "/behind/a/api/tags"),
        ("/behind/a", "/chat/completions", "/behind/a/v1/chat/completions"),
    ],
)
def test_its_two_apis_have_two_addresses(prefix: str, path: str, target: str) -> None:
    assert VENDORS["ollama"].locate(prefix, "")(path, "m") == target
