"""What Responses are asked: bodies against golden files, and what is refused, dropped or sent back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from openai.types.responses.input_token_count_params import InputTokenCountParams
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter

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
from llmgateway_server.core.requests import CompleteRequest, CountTokensRequest, ReasoningOptions, Tool
from llmgateway_server.providers.dialects.dialect import Quirks
from llmgateway_server.providers.wire.port import WireRequest
from tests.unit.dialects.kit import (
    FoldedPart,
    Json,
    asked,
    attempt_of,
    golden_attempt,
    golden_names,
    golden_of,
    refused_fields,
)
from tests.unit.dialects.openai_responses_replies import (
    DIALECT,
    call,
    message,
    output_text,
    reasoning,
    response,
    unary,
)

NAMES = golden_names("openai_responses")
HI = Message(Role.USER, [Part(TextPart("Hi"))])
IMAGE = MediaPart("image/png", data=b"x")
VIDEO = MediaPart("video/mp4", data=b"x")
SOUND = MediaPart("audio/wav", data=b"x")


def encoded(golden: Json) -> WireRequest:
    attempt = golden_attempt(golden, counting=golden.get("count", False))
    return DIALECT.encode_request(attempt, Quirks(**golden.get("quirks", {})))


@pytest.mark.parametrize("name", NAMES)
def test_bodies_are_as_written_down(name: str) -> None:
    golden = golden_of("openai_responses", name)
    request = encoded(golden)
    assert json.loads(request.body) == golden["body"]
    assert (request.method, request.path) == (
        "POST",
        "/responses/input_tokens" if golden.get("count") else "/responses",
    )
    accept = "text/event-stream" if golden.get("streaming") else "application/json"
    assert request.headers == (("content-type", "application/json"), ("accept", accept))


RESPONSES: TypeAdapter[Any] = TypeAdapter(ResponseCreateParamsNonStreaming)
COUNTS: TypeAdapter[Any] = TypeAdapter(InputTokenCountParams)


@pytest.mark.parametrize("name", NAMES)
def test_bodies_are_what_the_vendors_own_client_may_send(name: str) -> None:
    golden = golden_of("openai_responses", name)
    body = {key: value for key, value in golden["body"].items() if key != "stream"}
    for item in body["input"]:
        if item.get("type") == "message":  # the client's types ask for what the service itself does not
            item.update({"id": "msg_1", "status": "completed", **item})
    adapter = COUNTS if golden.get("count") else RESPONSES
    json.loads(adapter.dump_json(adapter.validate_python(body)))  # lists are looked at only when they are written


def test_golden_files_were_found() -> None:
    assert len(NAMES) >= 20


def test_schemas_are_passed_on_to_the_letter() -> None:
    schema = '{"type": "object", "properties": {"b": {"const": 1.0}, "a": {}}}'
    tool = {"name": "t", "parametersJsonSchema": schema}
    body = encoded({"request": {"model": "m", "messages": [], "tools": [tool]}}).body
    assert schema.encode() in body


@pytest.mark.parametrize(
    ("media", "fetches"),
    [
        (MediaPart("", uri="https://a.b/c.png"), True),
        (MediaPart("", uri="http://a.b/c.png"), True),
        (MediaPart("", uri="https://a.b/c.pdf"), True),
        (MediaPart("", uri="http://a.b/c.pdf"), False),
        (MediaPart("application/pdf", uri="gs://a/b"), False),
        (MediaPart("", uri="gs://a/b.png"), False),
        (MediaPart("audio/wav", uri="https://a.b/c"), False),
        (MediaPart("video/mp4", uri="https://a.b/c"), False),
        (MediaPart("image/png", data=b"x"), False),
    ],
)
def test_what_the_vendor_fetches(media: MediaPart, *, fetches: bool) -> None:
    assert DIALECT.fetches(media) is fetches


# --- what cannot be said ---------------------------------------------------------------------------------------------


def written(request: CompleteRequest) -> tuple[Json, list[tuple[NoticeCode, str]]]:
    return asked(DIALECT, attempt_of(request))


def refused(request: CompleteRequest | CountTokensRequest) -> list[str]:
    return refused_fields(DIALECT, attempt_of(request))


def everything_unsupported(*, drop: bool) -> CompleteRequest:
    return CompleteRequest(
        model="m",
        messages=[
            Message(Role.SYSTEM, [Part(IMAGE)]),
            Message(Role.USER, [Part(TextPart("look")), Part(IMAGE), Part(VIDEO), Part(SOUND)]),
            Message(Role.ASSISTANT, [Part(ToolCallPart("c", "see", "{}")), Part(ReasoningPart("hm")), Part(IMAGE)]),
            Message(Role.TOOL, [Part(ToolResultPart("c", "see", [TextPart("x"), IMAGE, SOUND]))]),
        ],
        top_k=5,
        stop=("a",),
        seed=0,
        frequency_penalty=0.0,
        presence_penalty=0.0,
        reasoning=ReasoningOptions(budget_token_count=100, include_text=True),
        provider_options={
            "openai_responses": {"web_search": {"max_uses": 1, "blocked_domains": ["a.b"]}},
            "gemini": {"cached_content": "x"},
        },
        drop_unsupported=drop,
    )


OPTIONS = [
    *("top_k", "stop", "seed", "frequency_penalty", "presence_penalty", "reasoning.budget_token_count"),
    "provider_options.openai_responses.web_search.max_uses",
    "provider_options.openai_responses.web_search.blocked_domains",
]
CONTENT = [
    "messages[0].parts[0].media",
    "messages[1].parts[2].media",
    "messages[1].parts[3].media",
    "messages[2].parts[2].media",
    "messages[3].parts[0].tool_result.content[2].media",
]


def test_everything_that_cannot_be_said_is_named_at_once() -> None:
    assert refused(everything_unsupported(drop=False)) == [*OPTIONS, *CONTENT]
    paths = [f"request.{path}" for path in (*OPTIONS, *CONTENT)]
    assert refused(CountTokensRequest(everything_unsupported(drop=False))) == paths


def test_content_is_never_dropped() -> None:
    assert refused(everything_unsupported(drop=True)) == CONTENT


def test_options_are_dropped_with_a_notice_where_that_is_allowed() -> None:
    request = dataclasses.replace(everything_unsupported(drop=True), messages=[HI])
    body, notices = written(request)
    assert body == {
        "model": "upstream-1",
        "input": [{"role": "user", "content": "Hi"}],
        "store": False,
        "tools": [{"type": "web_search"}],
        "reasoning": {"summary": "auto"},
        "include": ["reasoning.encrypted_content"],
    }
    assert notices == [(NoticeCode.OPTION_DROPPED, path) for path in OPTIONS]


def test_notices_of_a_token_count_reach_its_call() -> None:
    attempt = attempt_of(CountTokensRequest(CompleteRequest("m", [HI], tools=[Tool("see", cache_breakpoint=True)])))
    DIALECT.encode_request(attempt, Quirks())
    assert [notice.subject for notice in attempt.call.notices] == ["request.tools[0].cache_breakpoint"]


def state(**fields: object) -> ProviderState:
    return ProviderState("openai", json.dumps(fields).encode())


def test_marks_beside_content_are_left_out_and_never_in_silence() -> None:
    foreign = ProviderState("anthropic", b"signature")
    request = CompleteRequest(
        "m",
        [
            Message(Role.USER, [Part(TextPart("Hi"), state(id="x"), cache_lifetime="5m")], name="Ann"),
            Message(
                Role.ASSISTANT,
                [
                    Part(ReasoningPart("hm"), foreign),
                    Part(ReasoningPart("hm"), state(id="rs_1", summary=["hm"])),
                    Part(ReasoningPart("hm"), ProviderState("openai", b"no JSON")),
                    Part(ToolCallPart("c", "see", "{}"), cache_lifetime="1h"),
                ],
            ),
            Message(Role.TOOL, [Part(ToolResultPart("c", "see", [TextPart("x")], is_error=True), foreign)]),
        ],
        tools=[Tool("see", cache_breakpoint=True)],
    )
    body, notices = written(request)
    assert [item.get("type", item.get("role")) for item in body["input"]] == [
        *("user", "function_call", "function_call_output")
    ]
    assert notices == [
        ("OPTION_DROPPED", "tools[0].cache_breakpoint"),
        ("OPTION_DROPPED", "messages[0].name"),
        ("OPTION_DROPPED", "messages[0].parts[0].cache_control"),
        ("PROVIDER_STATE_DROPPED", "messages[0].parts[0].provider_state"),
        ("PROVIDER_STATE_DROPPED", "messages[1].parts[0].provider_state"),
        ("PROVIDER_STATE_DROPPED", "messages[1].parts[2].provider_state"),
        ("OPTION_DROPPED", "messages[1].parts[3].cache_control"),
        ("OPTION_DROPPED", "messages[1].parts[0].reasoning"),
        ("OPTION_DROPPED", "messages[1].parts[1].reasoning"),
        ("OPTION_DROPPED", "messages[1].parts[2].reasoning"),
        ("PROVIDER_STATE_DROPPED", "messages[2].parts[0].provider_state"),
        ("OPTION_DROPPED", "messages[2].parts[0].tool_result.is_error"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"id":1}',
        b'{"item":3}',
        b'{"item":{}}',
        b'{"item":{"type":"message","role":"system","content":"x"}}',
        b'{"item":{"type":"function_call_output","call_id":"c","output":"x"}}',
        b'{"item":{"type":"item_reference","id":"msg_of_another"}}',
        b'{"item":{"type":"x","y":"\xff"}}',
        b'{"item":' + b"[" * 100_000,
    ],
)
def test_a_state_that_is_none_of_ours_is_left_out(data: bytes) -> None:
    part = Part(TextPart("a"), ProviderState("openai", data))
    body, notices = written(CompleteRequest("m", [Message(Role.ASSISTANT, [part])]))
    assert body["input"] == [{"role": "assistant", "content": "a"}]
    assert [subject for _, subject in notices] == ["messages[0].parts[0].provider_state"]


def test_what_stands_in_one_part_is_all_said() -> None:
    part = Part(TextPart("a"), state(item={"type": "x"}))
    body, _ = written(CompleteRequest("m", [Message(Role.ASSISTANT, [part])]))
    assert body["input"] == [{"type": "x"}, {"role": "assistant", "content": "a"}]


# --- what goes back --------------------------------------------------------------------------------------------------


def part_of(part: FoldedPart) -> Part:
    contents: dict[PartKind, Content] = {
        PartKind.TEXT: TextPart(part.said),
        PartKind.REFUSAL: RefusalPart(part.said),
        PartKind.REASONING: ReasoningPart(part.said, part.redacted),
        PartKind.TOOL_CALL: ToolCallPart(part.tool_call_id, part.tool_name, part.said),
    }
    return Part(contents[part.kind], part.state, citations=part.citations)


def test_an_answer_goes_back_as_the_items_that_it_was() -> None:
    search = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search"}}
    output = [
        reasoning("One.", "Two.", encrypted_content="a"),
        search,
        message(output_text("I look."), {"type": "refusal", "refusal": "Not there."}, phase="commentary"),
        reasoning(encrypted_content="b", item_id="rs_2"),
        call('{"a":1}'),
        call("{}", "see", "call_2", "fc_2"),
        message(output_text("Done."), item_id="msg_2"),
    ]
    told = Message(Role.ASSISTANT, [part_of(part) for part in unary(response(*output)).parts])
    body, notices = written(CompleteRequest("m", [told]))
    unsaid = ("status", "logprobs")
    assert [without(item, unsaid) for item in body["input"]] == [without(item, unsaid) for item in output]
    assert notices == []


def without(value: Any, names: tuple[str, ...]) -> Any:
    if isinstance(value, list):
        return [without(each, names) for each in value]
    if isinstance(value, dict):
        return {name: without(each, names) for name, each in value.items() if name not in names}
    return value
