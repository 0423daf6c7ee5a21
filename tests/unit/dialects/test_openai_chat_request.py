"""What chat completions are asked: bodies against golden files, and what is refused or dropped."""

from __future__ import annotations

import json

import pytest

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
from llmgateway_server.core.requests import CompleteRequest, ReasoningOptions, Tool
from llmgateway_server.providers.dialects.dialect import Quirks
from llmgateway_server.providers.wire.port import WireRequest
from tests.unit.dialects.kit import Json, asked, attempt_of, golden_attempt, golden_names, golden_of, refused_fields
from tests.unit.dialects.openai_chat_replies import DIALECT

NAMES = golden_names("openai_chat")
HI = Message(Role.USER, [Part(TextPart("Hi"))])
IMAGE = MediaPart("image/png", data=b"x")
VIDEO = MediaPart("video/mp4", data=b"x")


def encoded(golden: Json) -> WireRequest:
    return DIALECT.encode_request(golden_attempt(golden), Quirks(**golden.get("quirks", {})))


def refused(request: CompleteRequest) -> list[str]:
    return refused_fields(DIALECT, attempt_of(request))


@pytest.mark.parametrize("name", NAMES)
def test_bodies_are_as_written_down(name: str) -> None:
    golden = golden_of("openai_chat", name)
    request = encoded(golden)
    assert json.loads(request.body) == golden["body"]
    assert (request.method, request.path) == ("POST", "/chat/completions")
    accept = "text/event-stream" if golden.get("streaming") else "application/json"
    assert request.headers == (("content-type", "application/json"), ("accept", accept))


def test_golden_files_were_found() -> None:
    assert len(NAMES) >= 15


def test_schemas_are_passed_on_to_the_letter() -> None:
    schema = '{"type": "object", "properties": {"b": {"const": 1.0}, "a": {}}}'
    tool = {"name": "t", "parametersJsonSchema": schema}
    body = encoded({"request": {"model": "m", "messages": [], "tools": [tool]}}).body
    assert schema.encode() in body


def everything_unsupported(*, drop: bool) -> CompleteRequest:
    return CompleteRequest(
        model="m",
        messages=[
            Message(Role.USER, [Part(TextPart("look")), Part(IMAGE), Part(VIDEO)]),
            Message(Role.ASSISTANT, [Part(ToolCallPart("c", "see", "{}")), Part(ReasoningPart("hm")), Part(IMAGE)]),
            Message(Role.TOOL, [Part(ToolResultPart("c", "see", [TextPart("x"), IMAGE]))]),
        ],
        top_k=5,
        reasoning=ReasoningOptions(budget_token_count=100, include_text=True),
        provider_options={"openai_chat": {"web_search": {"max_uses": 1}}, "gemini": {"cached_content": "x"}},
        drop_unsupported=drop,
    )


CONTENT = [
    "messages[0].parts[2].media",
    "messages[1].parts[2].media",
    "messages[2].parts[0].tool_result.content[1].media",
]


def test_everything_that_cannot_be_said_is_named_at_once() -> None:
    assert refused(everything_unsupported(drop=False)) == [
        "top_k",
        "reasoning.budget_token_count",
        "reasoning.include_text",
        "provider_options.openai_chat.web_search.max_uses",
        *CONTENT,
    ]


def test_content_is_never_dropped() -> None:
    assert refused(everything_unsupported(drop=True)) == CONTENT


def test_marks_beside_content_are_left_out_and_never_in_silence() -> None:
    state = ProviderState("anthropic", b"signature")
    request = CompleteRequest(
        "m",
        [
            Message(Role.USER, [Part(TextPart("Hi"), cache_lifetime="5m")]),
            Message(Role.ASSISTANT, [Part(ReasoningPart("hm"), state), Part(ToolCallPart("c", "see", "{}"))]),
            Message(Role.TOOL, [Part(ToolResultPart("c", "see", [TextPart("x")], is_error=True))]),
        ],
        tools=[Tool("see", cache_breakpoint=True)],
    )
    _, notices = asked(DIALECT, attempt_of(request))
    assert notices == [
        (NoticeCode.OPTION_DROPPED, "tools[0].cache_breakpoint"),
        (NoticeCode.OPTION_DROPPED, "messages[0].parts[0].cache_control"),
        (NoticeCode.OPTION_DROPPED, "messages[1].parts[0].reasoning"),
        (NoticeCode.PROVIDER_STATE_DROPPED, "messages[1].parts[0].provider_state"),
        (NoticeCode.OPTION_DROPPED, "messages[2].parts[0].tool_result.is_error"),
    ]


def test_options_are_dropped_with_a_notice_where_that_is_allowed() -> None:
    request = CompleteRequest(
        "m",
        [HI],
        top_k=5,
        reasoning=ReasoningOptions(effort="high", budget_token_count=100, include_text=False),
        drop_unsupported=True,
    )
    body, notices = asked(DIALECT, attempt_of(request))
    assert body == {
        "model": "upstream-1",
        "messages": [{"role": "user", "content": "Hi"}],
        "reasoning_effort": "high",
    }
    assert notices == [
        (NoticeCode.OPTION_DROPPED, path)
        for path in ("top_k", "reasoning.budget_token_count", "reasoning.include_text")
    ]
