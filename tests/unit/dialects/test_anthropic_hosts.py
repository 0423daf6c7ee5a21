"""Anthropic's messages at other hosts: what they are asked, what they lack, and how they answer and fail."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.messages import MediaPart, Message, Part, ProviderState, ReasoningPart, Role, TextPart
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, CountTokensRequest, Operation
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.anthropic_messages import AnthropicMessages
from llmgateway_server.providers.dialects.anthropic_messages.hosting import BEDROCK, VERTEX
from llmgateway_server.providers.dialects.dialect import Quirks
from llmgateway_server.providers.wire.port import WireRequest
from llmgateway_server.testing.fake_provider import FakeReply, anthropic_hosts, anthropic_messages
from llmgateway_server.testing.fake_provider.frames import compact
from tests.contract.fake_replies import REPLIES, REQUESTS
from tests.unit.dialects.bedrock_invoke_kit import broken_off, chunk, stream
from tests.unit.dialects.kit import (
    TARGET,
    Json,
    Reader,
    assert_classified,
    attempt_of,
    error_bodies,
    parsed,
    refused_fields,
)

HERE, ON_BEDROCK, ON_VERTEX = AnthropicMessages(), AnthropicMessages(BEDROCK), AnthropicMessages(VERTEX)
HOSTED = {"bedrock": ON_BEDROCK, "vertex": ON_VERTEX}
HOSTS = pytest.mark.parametrize("dialect", HOSTED.values(), ids=HOSTED)
CLAUDE = {"bedrock": "us.anthropic.claude-haiku-4-5-20251001-v1:0", "vertex": "claude-sonnet-4@20250514"}
HI = [Message(Role.USER, [Part(TextPart("Hi"))])]
OWN = "provider_options.anthropic_messages"
REQUEST = REQUESTS["anthropic_messages"]


def asking(host: str, *, streaming: bool = False, counting: bool = False, **options: Any) -> Attempt:
    request = CompleteRequest("m", options.pop("messages", HI), **options)
    target = replace(TARGET, upstream_model=CLAUDE[host])
    return attempt_of(CountTokensRequest(request) if counting else request, target, streaming=streaming)


def sent(host: str, **asked: Any) -> tuple[WireRequest, Json]:
    request = HOSTED[host].encode_request(asking(host, **asked), Quirks())
    return request, json.loads(request.body)


def betas(*names: str) -> Json:
    return {"anthropic_messages": {"betas": list(names)}}


# ---------------------------------------------------------------------------------------------------------------------
# What is asked
# ---------------------------------------------------------------------------------------------------------------------

BODY = {"max_tokens": 4096, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize("streaming", [False, True])
def test_bedrock_is_asked_by_its_path(*, streaming: bool) -> None:
    request, body = sent("bedrock", streaming=streaming, provider_options=betas("a-1", "b-2"))
    assert body == {**BODY, "anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["a-1", "b-2"]}
    action = "invoke-with-response-stream" if streaming else "invoke"
    assert request.path == f"/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/{action}"
    accept = "application/vnd.amazon.eventstream" if streaming else "application/json"
    assert dict(request.headers) == {"content-type": "application/json", "accept": accept}


@pytest.mark.parametrize("streaming", [False, True])
def test_vertex_is_asked_by_its_path(*, streaming: bool) -> None:
    request, body = sent("vertex", streaming=streaming, provider_options=betas("a-1", "b-2"))
    assert body == {**BODY, "anthropic_version": "vertex-2023-10-16", **({"stream": True} if streaming else {})}
    action = "streamRawPredict" if streaming else "rawPredict"
    assert request.path == f"/models/claude-sonnet-4@20250514:{action}"
    accept = "text/event-stream" if streaming else "application/json"
    assert dict(request.headers) == {"content-type": "application/json", "accept": accept, "anthropic-beta": "a-1,b-2"}


def test_vertex_counts_tokens_and_bedrock_does_not() -> None:
    request, body = sent("vertex", counting=True)
    assert request.path == "/models/count-tokens:rawPredict"
    assert body == {
        "model": CLAUDE["vertex"],
        "messages": BODY["messages"],
        "anthropic_version": "vertex-2023-10-16",
    }
    assert ON_VERTEX.operations == HERE.operations == {Operation.COMPLETE, Operation.COUNT_TOKENS}
    assert ON_BEDROCK.operations == {Operation.COMPLETE}


@pytest.mark.parametrize(
    ("host", "lacking"),
    [("bedrock", {"web_search", "code_execution", "container_id"}), ("vertex", {"code_execution", "container_id"})],
)
def test_what_a_host_lacks_is_refused_by_name(host: str, lacking: set[str]) -> None:
    own = {"web_search": {}, "code_execution": {}, "container_id": "c", "betas": ["a"]}
    options: dict[str, Any] = {"service_tier": "auto", "provider_options": {"anthropic_messages": own}}
    assert set(refused_fields(HOSTED[host], asking(host, **options))) == {
        "service_tier",
        *(f"{OWN}.{name}" for name in lacking),
    }
    attempt = asking(host, drop_unsupported=True, **options)
    body = json.loads(HOSTED[host].encode_request(attempt, Quirks()).body)
    assert not body.keys() & {"service_tier", "container"}
    assert len(body.get("tools", [])) == 2 - len(lacking - {"container_id"})
    assert {notice.subject for notice in attempt.call.notices} == {
        "service_tier",
        *(f"{OWN}.{name}" for name in lacking),
    }


@HOSTS
def test_addresses_are_fetched_for_hosts_that_do_not(dialect: AnthropicMessages) -> None:
    image = MediaPart("image/png", uri="https://example.com/a.png")
    assert HERE.fetches(image)
    assert not dialect.fetches(image)


@pytest.mark.parametrize("host", HOSTED)
def test_a_conversation_goes_on_at_another_host(host: str) -> None:
    thought = Part(ReasoningPart("hm"), ProviderState("anthropic", b"c2ln"))
    _, body = sent(host, messages=[*HI, Message(Role.ASSISTANT, [thought, Part(TextPart("Yes."))]), *HI])
    assert body["messages"][1]["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    assert HOSTED[host].state_vendor == HERE.state_vendor


# ---------------------------------------------------------------------------------------------------------------------
# What is answered
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_is_the_same_at_every_host(name: str) -> None:
    reply = REPLIES[name]
    body = compact(anthropic_messages.body(reply, REQUEST)).encode()
    expected = Reader(HERE, parsed).whole(body)
    on_bedrock, on_vertex = Reader(ON_BEDROCK, parsed), Reader(ON_VERTEX, parsed)
    frames = anthropic_hosts.bedrock_frames(reply, REQUEST)
    assert on_bedrock.whole(body) == on_vertex.whole(body) == expected
    for bounds in (range(0), itertools.accumulate(map(len, frames[:-1]))):
        assert on_bedrock.streamed(b"".join(frames), bounds) == expected
    assert on_vertex.streamed(b"".join(anthropic_messages.frames(reply, REQUEST))) == expected


def test_a_stream_of_bedrock_that_breaks_off_is_no_answer() -> None:
    written = b"".join(anthropic_hosts.bedrock_frames(FakeReply.of("Hi"), REQUEST))
    for stop in range(0, len(written), 7):
        with pytest.raises(UpstreamError) as caught:
            Reader(ON_BEDROCK).read_stream(written[:stop])
        assert caught.value.reason in (Reason.UPSTREAM_STREAM_INTERRUPTED, Reason.UPSTREAM_MALFORMED)


# ---------------------------------------------------------------------------------------------------------------------
# How it fails
# ---------------------------------------------------------------------------------------------------------------------

STARTED = {"type": "message_start", "message": {"id": "i", "model": "m", "usage": {"input_tokens": 1}}}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (chunk(OVERLOADED), Reason.UPSTREAM_OVERLOADED),
        (broken_off("throttlingException", "x"), Reason.UPSTREAM_RATE_LIMITED),
        (broken_off("modelStreamErrorException", "x"), Reason.UPSTREAM_ERROR),
        (broken_off("validationException", "prompt is too long: 9 tokens > 8 maximum"), Reason.CONTEXT_LENGTH_EXCEEDED),
    ],
)
def test_streams_of_bedrock_fail_by_the_model_and_by_the_service(failure: bytes, reason: Reason) -> None:
    with pytest.raises(UpstreamError) as caught:
        Reader(ON_BEDROCK).read_stream(chunk(STARTED) + failure)
    assert caught.value.reason is reason


def test_counts_of_the_service_beside_the_last_event_change_nothing() -> None:
    events = [
        STARTED,
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]
    counted = Reader(ON_BEDROCK).streamed(stream(events, {"inputTokenCount": 9, "outputTokenCount": 9}))
    assert counted == Reader(ON_BEDROCK).streamed(stream(events))
    assert counted.usage == Usage(1, 2)


@pytest.mark.parametrize(
    ("status", "headers", "body", "reason"),
    [
        (403, {"x-amzn-errortype": "ExpiredTokenException:http://x/"}, b'{"message":"x"}', Reason.PROVIDER_AUTH_FAILED),
        (
            400,
            {"x-amzn-errortype": "ValidationException"},
            b'{"message":"prompt is too long: 9 tokens > 8 maximum"}',
            Reason.CONTEXT_LENGTH_EXCEEDED,
        ),
        (429, {}, b"<html>", Reason.UPSTREAM_RATE_LIMITED),
    ],
)
def test_refusals_of_bedrock(status: int, headers: dict[str, str], body: bytes, reason: Reason) -> None:
    assert ON_BEDROCK.decode_error(status, headers, body, now_s=0.0).reason is reason


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (
            400,
            b'{"error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8 maximum"}}',
            Reason.CONTEXT_LENGTH_EXCEEDED,
        ),
        (404, b'{"error":{"code":404,"message":"x","status":"NOT_FOUND","details":[{}]}}', Reason.MODEL_NOT_FOUND),
        (403, b'[{"error":{"code":403,"status":"PERMISSION_DENIED"}}]', Reason.PROVIDER_AUTH_FAILED),
        (429, b'{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}', Reason.UPSTREAM_RATE_LIMITED),
    ],
)
def test_refusals_of_vertex_are_the_models_or_googles(status: int, body: bytes, reason: Reason) -> None:
    assert ON_VERTEX.decode_error(status, {}, body, now_s=0.0).reason is reason


@HOSTS
@given(status=st.integers(100, 999), body=error_bodies(["type", "error", "message"], ["type", "message", "code"]))
def test_any_refusal_can_be_told(dialect: AnthropicMessages, status: int, body: bytes) -> None:
    assert_classified(dialect, status, body)
