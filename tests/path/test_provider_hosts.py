"""Models behind Bedrock's InvokeModel and Anthropic's on Vertex, through a whole gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest

from llmgateway.fold import fold
from llmgateway.v1 import completion_pb2, message_pb2, reply_pb2, token_count_pb2, usage_pb2
from llmgateway_server.testing.fake_provider import FakeError, FakeProvider, FakeReply, FakeUsage, cuts
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from tests.recorded.outcome import completed

CLAUDE = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
TARGETS = {
    "claude on bedrock": ("bedrock-anthropic", CLAUDE, ""),
    "claude on vertex": ("vertex-anthropic", "claude-sonnet-4@20250514", ""),
    "llama 2": ("bedrock", "meta.llama2-13b-chat-v1", "bedrock_llama"),
    "llama 3": ("bedrock", "us.meta.llama3-1-70b-instruct-v1:0", "bedrock_llama"),
    "llama 4": ("bedrock", "us.meta.llama4-scout-17b-instruct-v1:0", "bedrock_llama"),
    "older claude": ("bedrock", "anthropic.claude-v2:1", "bedrock_text"),
    "titan": ("bedrock", "amazon.titan-text-express-v1", "bedrock_text"),
    "command": ("bedrock", "cohere.command-text-v14", "bedrock_text"),
    "command r": ("bedrock", "cohere.command-r-plus-v1:0", "bedrock_text"),
    "mistral": ("bedrock", "mistral.mixtral-8x7b-instruct-v0:1", "bedrock_text"),
    "jurassic": ("bedrock", "ai21.j2-ultra-v1", "bedrock_text"),
    "deepseek": ("bedrock", "us.deepseek.r1-v1:0", "bedrock_text"),
}
STREAMED = [name for name in TARGETS if name != "jurassic"]
REPLY = FakeReply.of("Hello, Zürich 😀 ", "and on.", usage=FakeUsage(21, 34))


def asked(*texts: str) -> completion_pb2.CompleteRequest:
    """Returns a request of instructions and what user and model say in turn."""
    messages = [message_pb2.Message(role=message_pb2.ROLE_SYSTEM, parts=[message_pb2.Part(text="Be brief.")])]
    for at, text in enumerate(texts):
        role = message_pb2.ROLE_ASSISTANT if at % 2 else message_pb2.ROLE_USER
        messages.append(message_pb2.Message(role=role, parts=[message_pb2.Part(text=text)]))
    return completion_pb2.CompleteRequest(model="m", messages=messages, max_output_tokens=99)


@asynccontextmanager
async def gateway_for(fake: FakeProvider, name: str) -> AsyncIterator[RunningGateway]:
    vendor, model, dialect = TARGETS[name]
    account = fake.provider(vendor) | {"api_key": "fake"}
    target = {"provider": "fake", "model": model, "dialect": dialect}
    async with running_gateway({"providers": {"fake": account}, "models": {"m": {"targets": [target]}}}) as gateway:
        yield gateway


async def streamed(gateway: RunningGateway, request: completion_pb2.CompleteRequest) -> reply_pb2.CompleteResponse:
    return fold([event async for message in gateway.stub.StreamComplete(request) for event in message.events])


def said(reply: reply_pb2.CompleteResponse) -> tuple[str, int, tuple[int, int, int]]:
    usage = reply.usage
    text = "".join(part.text for part in reply.parts)
    return text, reply.finish_reason, (usage.source, usage.input_token_count, usage.output_token_count)


@pytest.mark.parametrize("name", STREAMED)
async def test_a_conversation_goes_on_whole_and_streamed(name: str) -> None:
    async with FakeProvider() as fake, gateway_for(fake, name) as gateway:
        fake.cut = cuts.seeded(2)
        fake.then(REPLY, REPLY)
        whole = await gateway.stub.Complete(asked("Hi", "Hello!", "What is it?"))
        again = await streamed(gateway, asked("Hi", "Hello!", "What is it?"))
    expected = ("Hello, Zürich 😀 and on.", reply_pb2.FINISH_REASON_STOP, (usage_pb2.USAGE_SOURCE_REPORTED, 21, 34))
    assert said(whole) == said(again) == expected
    assert whole.provider_finish_reason == again.provider_finish_reason


async def test_jurassic_answers_whole() -> None:
    async with FakeProvider() as fake, gateway_for(fake, "jurassic") as gateway:
        fake.then(REPLY)
        whole = await gateway.stub.Complete(asked("Hi"))
    assert said(whole)[2] == (usage_pb2.USAGE_SOURCE_REPORTED, 21, 34)


async def test_only_vertex_is_asked_to_count() -> None:
    for name, count in (("claude on vertex", 42), ("claude on bedrock", None)):
        async with FakeProvider() as fake, gateway_for(fake, name) as gateway:
            fake.input_tokens = 42
            counted = await gateway.stub.CountTokens(token_count_pb2.CountTokensRequest(request=asked("Hi")))
            assert len(fake.requests) == (1 if count else 0)
        assert counted.input_token_count == count or count is None


@pytest.mark.parametrize("name", STREAMED)
async def test_streams_that_fail_are_told_as_the_host_tells(name: str) -> None:
    async with FakeProvider() as fake, gateway_for(fake, name) as gateway:
        fake.then(*[FakeError(429, in_stream_after=0, reply=REPLY)] * 3)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await streamed(gateway, asked("Hi"))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_what_a_text_cannot_say_is_refused_by_name() -> None:
    request = asked("Hi")
    request.tools.add(name="clock")
    for name in ("llama 3", "titan"):
        async with FakeProvider() as fake, gateway_for(fake, name) as gateway:
            outcome = await completed(gateway, request)
            assert fake.requests == []
        assert (outcome.reason, outcome.fields) == ("UNSUPPORTED_OPTION", {"tools"})
