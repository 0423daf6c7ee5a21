"""Models behind InvokeModel that are asked as another dialect does: chat completions, and Nova."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.messages import MediaPart, Message, Part, Role, TextPart
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, Tool
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.aws_events import AwsEventDecoder
from llmgateway_server.providers.dialects.bedrock_converse import BedrockConverse
from llmgateway_server.providers.dialects.bedrock_invoke.invoked import CHAT, NOVA, Invoked
from llmgateway_server.providers.dialects.dialect import Quirks
from llmgateway_server.providers.dialects.openai_chat import OpenAiChat
from llmgateway_server.testing.fake_provider import bedrock_converse, openai_chat
from llmgateway_server.testing.fake_provider.frames import compact
from tests.contract.fake_replies import MODEL, REPLIES
from tests.unit.dialects.bedrock_invoke_kit import broken_off, chunk, stream
from tests.unit.dialects.kit import TARGET, Json, Reader, attempt_of, parsed, refused_fields

GPT, JAMBA = "openai.gpt-oss-120b-1:0", "ai21.jamba-1-5-large-v1:0"
NOVA_LITE = "us.amazon.nova-lite-v1:0"
BOTH = pytest.mark.parametrize("dialect", [CHAT, NOVA], ids=["chat", "nova"])
REQUEST: Json = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
SAID = [Message(Role.DEVELOPER, [Part(TextPart("Be brief."))]), Message(Role.USER, [Part(TextPart("Hi"))])]
COUNTED = {"inputTokenCount": 3, "outputTokenCount": 2}


def asking(model: str, *, streaming: bool = False, **options: Any) -> Attempt:
    request = CompleteRequest("m", SAID, **options)
    return attempt_of(request, replace(TARGET, upstream_model=model), streaming=streaming)


def sent(dialect: Invoked, model: str, *, streaming: bool = False, **options: Any) -> tuple[str, Json]:
    request = dialect.encode_request(asking(model, streaming=streaming, **options), Quirks())
    return request.path, json.loads(request.body)


def nova_events(frames: list[bytes]) -> list[Json]:
    """Returns the events of a stream of Converse as Nova names them: by their only key."""
    return [{name.decode(): json.loads(payload)} for name, payload in AwsEventDecoder().feed(b"".join(frames))]


# ---------------------------------------------------------------------------------------------------------------------
# What is asked
# ---------------------------------------------------------------------------------------------------------------------


def test_chat_completions_are_asked_by_their_path() -> None:
    path, body = sent(CHAT, GPT, streaming=True, max_output_tokens=9, temperature=0.5)
    assert path == "/model/openai.gpt-oss-120b-1%3A0/invoke-with-response-stream"
    assert body == {
        "messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "max_completion_tokens": 9,
        "temperature": 0.5,
    }
    _, body = sent(CHAT, JAMBA, max_output_tokens=9)
    assert (body["messages"][0]["role"], body["max_tokens"]) == ("system", 9)


def test_schemas_stay_to_the_letter() -> None:
    schema = '{"type":"object","properties":{"b":{"type":"number","maximum":1.0},"a":{}}}'
    _, body = sent(CHAT, GPT, tools=[Tool("clock", parameters_json_schema=schema)])
    assert json.dumps(body["tools"][0]["function"]["parameters"], separators=(",", ":")) == schema


def test_nova_is_asked_in_its_own_schema() -> None:
    path, body = sent(NOVA, NOVA_LITE, max_output_tokens=9, top_k=5, tools=[Tool("clock")])
    assert path == "/model/us.amazon.nova-lite-v1%3A0/invoke"
    assert body.pop("toolConfig")["tools"][0]["toolSpec"]["name"] == "clock"
    assert body == {
        "schemaVersion": "messages-v1",
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {"maxTokens": 9, "topK": 5},
    }


def test_what_only_converse_takes_is_refused_by_name() -> None:
    own = {"guardrail_id": "g", "guardrail_version": "1", "latency": "optimized"}
    options: Json = {"service_tier": "priority", "end_user_id": "u", "provider_options": {"bedrock_converse": own}}
    assert set(refused_fields(NOVA, asking(NOVA_LITE, **options))) == {
        *("service_tier", "end_user_id"),
        *("provider_options.bedrock_converse.guardrail_id", "provider_options.bedrock_converse.latency"),
    }
    _, body = sent(NOVA, NOVA_LITE, drop_unsupported=True, **options)
    assert body.keys() == {"schemaVersion", "messages", "system"}


@BOTH
def test_nothing_is_fetched_by_the_service(dialect: Invoked) -> None:
    assert not dialect.fetches(MediaPart("image/png", uri="https://example.com/a.png"))


# ---------------------------------------------------------------------------------------------------------------------
# What is answered
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPLIES)
def test_chat_completions_are_the_same_wrapped(name: str) -> None:
    body = compact(openai_chat.body(REPLIES[name], REQUEST)).encode()
    asked = {**REQUEST, "stream": True, "stream_options": {"include_usage": True}}
    frames = [frame.removeprefix(b"data: ").strip() for frame in openai_chat.frames(REPLIES[name], asked)]
    written = [chunk(frame) for frame in frames if frame != b"[DONE]"]
    expected = Reader(OpenAiChat(), parsed).streamed(b"".join(openai_chat.frames(REPLIES[name], asked)))
    reader = Reader(CHAT, parsed)
    assert reader.whole(body) == Reader(OpenAiChat(), parsed).whole(body)
    for bounds in (range(0), itertools.accumulate(map(len, written[:-1]))):
        assert reader.streamed(b"".join(written), bounds) == expected


@pytest.mark.parametrize("name", REPLIES)
def test_replies_of_nova_are_those_of_converse(name: str) -> None:
    body = compact(bedrock_converse.body(REPLIES[name], REQUEST)).encode()
    frames = bedrock_converse.frames(REPLIES[name], REQUEST)
    reader, converse = Reader(NOVA, parsed), Reader(BedrockConverse(), parsed)
    assert reader.whole(body) == converse.whole(body)
    assert reader.streamed(stream(nova_events(frames), COUNTED)) == converse.streamed(b"".join(frames))


def test_chunks_without_usage_have_the_services_counts() -> None:
    chunks: list[Json] = [
        {"id": "i", "model": "m", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]},
        {"id": "i", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None},
    ]
    reader = Reader(CHAT)
    assert reader.streamed(stream(chunks, COUNTED)).usage == Usage(3, 2)
    told = {"prompt_tokens": 7, "completion_tokens": 5}
    assert reader.streamed(stream([chunks[0], {**chunks[1], "usage": told}], COUNTED)).usage == Usage(7, 5)
    assert reader.streamed(stream(chunks, {})).usage in (None, Usage())


@BOTH
@pytest.mark.parametrize("failure", [chunk(b"[]"), chunk(b"{"), broken_off("modelStreamErrorException", "x")])
def test_what_cannot_be_an_event_is_an_error(dialect: Invoked, failure: bytes) -> None:
    with pytest.raises(UpstreamError):
        Reader(dialect).read_stream(failure)


@BOTH
def test_refusals_are_the_services(dialect: Invoked) -> None:
    refused = dialect.decode_error(400, {"x-amzn-errortype": "ThrottlingException"}, b"{}", now_s=0.0)
    assert refused.reason is Reason.UPSTREAM_RATE_LIMITED
