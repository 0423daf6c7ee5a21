"""What Cohere is asked: bodies against golden files and the types of its own client, and what is refused or dropped."""

from __future__ import annotations

import inspect
import json
from typing import Any

import cohere
import pydantic
import pytest
from cohere.v2.client import AsyncV2Client

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
from tests.unit.dialects.cohere_replies import DIALECT
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

NAMES = golden_names("cohere_chat")
HI = Message(Role.USER, [Part(TextPart("Hi"))])
IMAGE = MediaPart("image/png", data=b"x")
SOUND = MediaPart("audio/wav", data=b"x")
TYPES: dict[str, Any] = {
    "messages": list[cohere.ChatMessageV2],
    "tools": list[cohere.ToolV2],
    "response_format": cohere.ResponseFormatV2,
    "thinking": cohere.Thinking,
    "citation_options": cohere.CitationOptions,
}
"""The client's own types of what is no plain value."""
PARAMETERS = set(inspect.signature(AsyncV2Client.chat).parameters) | {"stream"}


def refused(request: CompleteRequest, target: Target = TARGET) -> list[str]:
    return refused_fields(DIALECT, attempt_of(request, target))


def body_of(request: CompleteRequest, target: Target = TARGET) -> tuple[Json, list[tuple[NoticeCode, str]]]:
    return asked(DIALECT, attempt_of(request, target))


@pytest.mark.parametrize("name", NAMES)
def test_bodies_are_as_written_down(name: str) -> None:
    golden = golden_of("cohere_chat", name)
    request = DIALECT.encode_request(golden_attempt(golden), Quirks())
    assert json.loads(request.body) == golden["body"]
    assert (request.method, request.path) == ("POST", "/v2/chat")
    accept = "text/event-stream" if golden.get("streaming") else "application/json"
    assert request.headers == (("content-type", "application/json"), ("accept", accept))


def test_golden_files_were_found() -> None:
    assert len(NAMES) >= 25


@pytest.mark.parametrize("name", NAMES)
def test_the_client_of_cohere_knows_all_that_is_sent(name: str) -> None:
    """It takes each value as one of its types, and nothing of it is lost on the way through."""
    body = golden_of("cohere_chat", name)["body"]
    assert body.keys() <= PARAMETERS
    for field in body.keys() & TYPES.keys():
        adapter = pydantic.TypeAdapter(TYPES[field])
        assert adapter.dump_python(adapter.validate_python(body[field]), exclude_unset=True) == body[field]


def everything_unsupported(*, drop: bool) -> CompleteRequest:
    return CompleteRequest(
        model="m",
        messages=[
            Message(Role.USER, [Part(TextPart("look")), Part(SOUND), Part(MediaPart("application/pdf", data=b"x"))]),
            Message(Role.ASSISTANT, [Part(ToolCallPart("c", "see", "{}")), Part(IMAGE)]),
            Message(Role.TOOL, [Part(ToolResultPart("c", "see", [TextPart("x"), IMAGE]))]),
        ],
        tools=[Tool("see")],
        parallel_tool_calls=False,
        logprobs_top_count=2,
        service_tier="flex",
        stop=tuple("abcdefg"),
        top_k=501,
        seed=-1,
        frequency_penalty=-0.5,
        presence_penalty=1.5,
        drop_unsupported=drop,
    )


CONTENT = [
    "messages[0].parts[1].media",
    "messages[0].parts[2].media",
    "messages[1].parts[1].media",
    "messages[2].parts[0].tool_result.content[1].media",
]
OPTIONS = [
    *("parallel_tool_calls", "logprobs.top_count", "service_tier"),
    *("stop[5]", "stop[6]", "top_k", "seed", "frequency_penalty", "presence_penalty"),
]


def test_everything_that_cannot_be_said_is_named_at_once() -> None:
    assert refused(everything_unsupported(drop=False)) == [*CONTENT, *OPTIONS]


def test_content_is_never_dropped() -> None:
    assert refused(everything_unsupported(drop=True)) == CONTENT


def test_options_are_dropped_with_a_notice_each() -> None:
    request = everything_unsupported(drop=True)
    request.messages, request.tools, request.parallel_tool_calls = [HI], [], None
    body, notices = body_of(request)
    assert notices == [(NoticeCode.OPTION_DROPPED, path) for path in OPTIONS[1:]]
    assert body == {
        "model": "upstream-1",
        "messages": [{"role": "user", "content": "Hi"}],
        "stop_sequences": list("abcde"),
        "logprobs": True,
    }


@pytest.mark.parametrize(("top_p", "sent"), [(1.0, 0.99), (0.0, 0.01), (0.99, None), (0.01, None)])
def test_top_p_is_moved_to_what_the_vendor_takes(top_p: float, sent: float | None) -> None:
    body, notices = body_of(CompleteRequest("m", [HI], top_p=top_p))
    assert body["p"] == (top_p if sent is None else sent)
    assert notices == ([] if sent is None else [(NoticeCode.OPTION_DROPPED, "top_p")])


def test_strict_tools_are_all_strict() -> None:
    tools = [Tool("a", strict=True), Tool("b", strict=False), Tool("c")]
    body, notices = body_of(CompleteRequest("m", [HI], tools=tools))
    assert body["strict_tools"] is True
    assert notices == [(NoticeCode.OPTION_DROPPED, "tools[1].strict")]
    assert "strict_tools" not in body_of(CompleteRequest("m", [HI], tools=[Tool("b", strict=False)]))[0]


def test_a_named_tool_is_offered_alone_also_beside_an_answer_by_tool() -> None:
    request = CompleteRequest(
        "m",
        [HI],
        tools=[Tool("a"), Tool("b")],
        tool_choice=ToolChoice(ToolChoiceMode.NAMED, "b"),
        response_format=ResponseFormat(FormatKind.JSON_SCHEMA, "s", schema_json="{}"),
    )
    body, _ = body_of(request)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["b"]
    assert body["tool_choice"] == "REQUIRED"
    assert "response_format" not in body


def test_a_model_that_does_not_think_is_not_told_how_much_to() -> None:
    target = Target("p", "v", "m", profile=Profile(reasoning=ReasoningStyle.NONE))
    request = CompleteRequest("m", [HI], reasoning=ReasoningOptions("high", 100, include_text=True))
    assert refused(request, target) == ["reasoning.effort", "reasoning.budget_token_count"]
    request.drop_unsupported = True
    body, notices = body_of(request, target)
    assert "thinking" not in body
    assert [path for _, path in notices] == [
        "reasoning.effort",
        "reasoning.budget_token_count",
        "reasoning.include_text",
    ]


@pytest.mark.parametrize(
    ("wanted", "thinking", "given_way"),
    [
        (ReasoningOptions("high", 100), {"type": "enabled", "token_budget": 100}, True),
        (ReasoningOptions("none", 100), {"type": "enabled", "token_budget": 100}, True),
        (ReasoningOptions("low", 0), {"type": "disabled"}, True),
        (ReasoningOptions("none", 0), {"type": "disabled"}, False),
    ],
)
def test_a_budget_is_more_exact_than_an_effort(
    wanted: ReasoningOptions, thinking: dict[str, Any], given_way: bool
) -> None:
    body, notices = body_of(CompleteRequest("m", [HI], reasoning=wanted))
    assert body["thinking"] == thinking
    assert notices == ([(NoticeCode.OPTION_DROPPED, "reasoning.effort")] if given_way else [])


def test_what_changes_no_meaning_is_left_out_with_a_notice() -> None:
    request = CompleteRequest(
        "m",
        [
            Message(Role.USER, [Part(TextPart("a"), cache_lifetime="5m")], name="ada"),
            Message(Role.ASSISTANT, [Part(ToolCallPart("c", "t", ""))]),
            Message(Role.TOOL, [Part(ToolResultPart("c", "t", [TextPart("x")], is_error=True))]),
        ],
        end_user_id="u",
        reasoning=ReasoningOptions(include_text=False),
        response_format=ResponseFormat(FormatKind.JSON_SCHEMA, description="d", schema_json="{}"),
    )
    _, notices = body_of(request)
    assert notices == [
        (NoticeCode.OPTION_DROPPED, path)
        for path in (
            "messages[0].name",
            "messages[0].parts[0].cache_control",
            "messages[2].parts[0].tool_result.is_error",
            "end_user_id",
            "response_format.json_schema.description",
            "reasoning.include_text",
        )
    ]
    request.tools, request.response_format = [Tool("t", cache_breakpoint=True)], None
    assert (NoticeCode.OPTION_DROPPED, "tools[0].cache_breakpoint") in body_of(request)[1]


def test_reasoning_of_others_is_left_out_with_a_notice() -> None:
    parts = [
        Part(ReasoningPart("Hm."), ProviderState("anthropic", b"signature")),
        Part(ReasoningPart("Hm.")),
        Part(ReasoningPart("Hm."), ProviderState("cohere", b"novelty")),
        Part(TextPart("Yes."), ProviderState("openai", b"{}")),
        Part(ReasoningPart("My plan"), ProviderState("cohere", b"tool_plan")),
    ]
    body, notices = body_of(CompleteRequest("m", [HI, Message(Role.ASSISTANT, parts)]))
    assert sorted(notices) == sorted(
        [
            (NoticeCode.PROVIDER_STATE_DROPPED, "messages[1].parts[0].provider_state"),
            (NoticeCode.PROVIDER_STATE_DROPPED, "messages[1].parts[1].reasoning"),
            (NoticeCode.PROVIDER_STATE_DROPPED, "messages[1].parts[2].provider_state"),
            (NoticeCode.PROVIDER_STATE_DROPPED, "messages[1].parts[3].provider_state"),
            (NoticeCode.OPTION_DROPPED, "messages[1].reasoning"),  # a plan without the calls that it was for
        ]
    )
    assert body["messages"][1] == {"role": "assistant", "content": "Yes."}


def test_images_are_fetched_by_the_vendor() -> None:
    assert DIALECT.fetches(MediaPart("image/png", uri="https://example.com/a.png"))
    assert not DIALECT.fetches(MediaPart("image/png", uri="gs://a/b.png"))
    assert not DIALECT.fetches(MediaPart("application/pdf", uri="https://example.com/a.pdf"))
