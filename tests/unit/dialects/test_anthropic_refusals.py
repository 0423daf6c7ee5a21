"""What Anthropic's messages cannot say: refused, dropped, or left out with a notice."""

from __future__ import annotations

import dataclasses
from typing import Any

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
from llmgateway_server.core.requests import CompleteRequest, FormatKind, ResponseFormat
from tests.unit.dialects.anthropic_requests import HI, body_of, refused

VIDEO = MediaPart("video/mp4", data=b"x")
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

# ---------------------------------------------------------------------------------------------------------------------
# Refused or dropped
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
# Left out with a notice
# ---------------------------------------------------------------------------------------------------------------------


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
