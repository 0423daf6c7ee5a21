"""Models behind Bedrock's InvokeModel and on Vertex, judged by the clients of Anthropic and of Amazon."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from llmgateway_server.testing.fake_provider import (
    FakeError,
    FakeProvider,
    FakeReply,
    FakeUsage,
    anthropic_messages,
    cuts,
)
from tests.contract.fake_replies import ASKED, MODEL, REPLIES

CLAUDE = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
LLAMA = "meta.llama3-8b-instruct-v1:0"
PROMPT = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
TEXT_BODIES: dict[str, dict[str, Any]] = {
    "anthropic.claude-v2:1": {"prompt": "\n\nHuman: Hi\n\nAssistant:", "max_tokens_to_sample": 9},
    "amazon.titan-text-express-v1": {"inputText": "Hi", "textGenerationConfig": {"maxTokenCount": 9}},
    "cohere.command-text-v14": {"prompt": "Hi", "max_tokens": 9},
    "cohere.command-r-v1:0": {"message": "Hi", "max_tokens": 9},
    "ai21.j2-ultra-v1": {"prompt": "Hi", "maxTokens": 9},
    "mistral.mixtral-8x7b-instruct-v0:1": {"prompt": "<s>[INST] Hi [/INST]", "max_tokens": 9},
    "us.deepseek.r1-v1:0": {"prompt": "Hi", "max_tokens": 9},
}
REPLY = FakeReply.of("Hello, Zürich 😀", usage=FakeUsage(11, 7))
HostedClient = anthropic.AsyncAnthropicBedrock | anthropic.AsyncAnthropicVertex


@contextlib.asynccontextmanager
async def bedrock_client(fake: FakeProvider) -> AsyncIterator[anthropic.AsyncAnthropicBedrock]:
    """Opens Anthropic's own client for Bedrock, which signs its requests."""
    async with anthropic.AsyncAnthropicBedrock(
        base_url=fake.root_url,
        aws_access_key="AKIAFAKE",
        aws_secret_key="fake",
        aws_region="us-east-1",
        max_retries=0,
        http_client=anthropic.DefaultAsyncHttpxClient(trust_env=False),
        _strict_response_validation=True,
    ) as client:
        yield client


@contextlib.asynccontextmanager
async def vertex_client(fake: FakeProvider) -> AsyncIterator[anthropic.AsyncAnthropicVertex]:
    """Opens Anthropic's own client for Vertex."""
    async with anthropic.AsyncAnthropicVertex(
        base_url=fake.base_url,
        access_token="fake",
        region="us-east5",
        project_id="p",
        max_retries=0,
        http_client=anthropic.DefaultAsyncHttpxClient(trust_env=False),
        _strict_response_validation=True,
    ) as client:
        yield client


CLIENTS: dict[str, tuple[Any, str]] = {
    "bedrock": (bedrock_client, CLAUDE),
    "vertex": (vertex_client, "claude-sonnet-4@20250514"),
}


def runtime(fake: FakeProvider) -> Any:
    """Returns Amazon's own client, which signs its requests and holds the checksums of streams."""
    session = boto3.Session(aws_access_key_id="AKIAFAKE", aws_secret_access_key="fake", region_name="us-east-1")
    config = Config(retries={"max_attempts": 0}, proxies={})
    return session.client("bedrock-runtime", endpoint_url=fake.root_url, config=config)


# ---------------------------------------------------------------------------------------------------------------------
# Anthropic's messages
# ---------------------------------------------------------------------------------------------------------------------


def view(message: Any) -> dict[str, Any]:
    seen: dict[str, Any] = message.model_dump(warnings=False)
    for block in seen["content"]:
        block.pop("parsed_output", None)
    return seen


@pytest.mark.parametrize("host", CLIENTS)
@pytest.mark.parametrize("name", REPLIES)
async def test_stream_and_unary_agree(host: str, name: str) -> None:
    opened, model = CLIENTS[host]
    request: dict[str, Any] = {"model": model, "max_tokens": 4096, "messages": ASKED}
    async with FakeProvider() as fake, opened(fake) as client:
        fake.cut = cuts.seeded(3)
        fake.then(REPLIES[name], REPLIES[name])
        unary = await client.messages.create(**request)
        async with client.messages.stream(**request) as stream:
            streamed = await stream.get_final_message()
    assert view(unary) == view(streamed)
    assert unary.stop_reason == anthropic_messages.FINISHES[REPLIES[name].ends]
    assert unary.model == (REPLIES[name].model or model)


async def test_vertex_counts_tokens() -> None:
    async with FakeProvider() as fake, vertex_client(fake) as client:
        fake.input_tokens = 42
        counted = await client.messages.count_tokens(model="claude-sonnet-4@20250514", messages=ASKED)
    assert counted.input_tokens == 42


async def test_hosts_refuse_what_they_do_not_have() -> None:
    async with FakeProvider() as fake, bedrock_client(fake) as client:
        with pytest.raises(anthropic.BadRequestError):
            await client.messages.create(model=CLAUDE, max_tokens=9, messages=ASKED, service_tier="auto")
        image: Any = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
        with pytest.raises(anthropic.BadRequestError):
            await client.messages.create(model=CLAUDE, max_tokens=9, messages=[{"role": "user", "content": [image]}])
    async with FakeProvider(api_key="another") as fake, vertex_client(fake) as vertex:
        with pytest.raises(anthropic.AuthenticationError):
            await vertex.messages.create(model="claude-sonnet-4", max_tokens=9, messages=ASKED)


@pytest.mark.parametrize("host", CLIENTS)
@pytest.mark.parametrize("after", [0, 3])
async def test_streams_of_messages_fail_as_the_host_does(host: str, after: int) -> None:
    opened, model = CLIENTS[host]
    async with FakeProvider() as fake, opened(fake) as client:
        fake.then(FakeError(529, "overloaded_error", in_stream_after=after, reply=REPLY))
        with pytest.raises(anthropic.APIStatusError):
            async with client.messages.stream(model=model, max_tokens=9, messages=ASKED) as stream:
                await stream.get_final_message()


# ---------------------------------------------------------------------------------------------------------------------
# Models of text
# ---------------------------------------------------------------------------------------------------------------------


def invoke(fake: FakeProvider, model: str, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    answer = runtime(fake).invoke_model(modelId=model, body=json.dumps(body))
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    return json.loads(answer["body"].read()), headers


def invoke_stream(fake: FakeProvider, model: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = runtime(fake).invoke_model_with_response_stream(modelId=model, body=json.dumps(body))
    return [json.loads(each["chunk"]["bytes"]) for each in answer["body"]]


@pytest.mark.parametrize("model", [LLAMA, MODEL])
async def test_llama_answers_whole_and_in_chunks(model: str) -> None:
    async with FakeProvider() as fake:
        fake.then(REPLY, REPLY)
        whole, headers = await asyncio.to_thread(invoke, fake, model, {"prompt": PROMPT, "max_gen_len": 9})
        fake.cut = cuts.seeded(5)
        chunks = await asyncio.to_thread(invoke_stream, fake, model, {"prompt": PROMPT})
    assert whole == {
        "generation": "Hello, Zürich 😀",
        "prompt_token_count": 11,
        "generation_token_count": 7,
        "stop_reason": "stop",
    }
    assert headers["x-amzn-bedrock-input-token-count"] == "11"
    assert "".join(chunk["generation"] for chunk in chunks) == whole["generation"]
    assert [chunk["prompt_token_count"] for chunk in chunks] == [11, *[None] * (len(chunks) - 1)]
    assert [chunk["stop_reason"] for chunk in chunks] == [*[None] * (len(chunks) - 1), "stop"]
    counted = chunks[-1]["amazon-bedrock-invocationMetrics"]
    assert (counted["inputTokenCount"], counted["outputTokenCount"]) == (11, 7)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": 7},
        {"prompt": PROMPT, "top_k": 3},
        {"prompt": PROMPT, "temperature": 2},
        {"prompt": PROMPT.replace("<|eot_id|>", "<|image|><|eot_id|>")},
    ],
)
async def test_llama_refuses_what_it_does_not_read(body: dict[str, Any]) -> None:
    async with FakeProvider() as fake:
        with pytest.raises(ClientError) as caught:
            await asyncio.to_thread(invoke, fake, LLAMA, body)
    assert caught.value.response["Error"]["Code"] == "ValidationException"


@pytest.mark.parametrize("after", [0, 2])
async def test_streams_of_text_fail_as_the_service_does(after: int) -> None:
    async with FakeProvider() as fake:
        fake.then(FakeError(429, in_stream_after=after, reply=REPLY))
        with pytest.raises(EventStreamError) as caught:
            await asyncio.to_thread(invoke_stream, fake, LLAMA, {"prompt": PROMPT})
    assert caught.value.response["Error"]["Code"] == "throttlingException"


@pytest.mark.parametrize("model", TEXT_BODIES)
async def test_text_models_answer_in_their_own_names(model: str) -> None:
    async with FakeProvider() as fake:
        fake.then(REPLY, REPLY)
        whole, headers = await asyncio.to_thread(invoke, fake, model, TEXT_BODIES[model])
        chunks = await asyncio.to_thread(invoke_stream, fake, model, TEXT_BODIES[model])
    assert "Hello, Zürich 😀" in json.dumps(whole, ensure_ascii=False)
    assert headers["x-amzn-bedrock-output-token-count"] == "7"
    assert chunks[-1]["amazon-bedrock-invocationMetrics"]["inputTokenCount"] == 11


@pytest.mark.parametrize("model", TEXT_BODIES)
async def test_text_models_refuse_fields_that_they_do_not_have(model: str) -> None:
    async with FakeProvider() as fake:
        with pytest.raises(ClientError):
            await asyncio.to_thread(invoke, fake, model, {**TEXT_BODIES[model], "messages": []})
