"""The fake in the manner of Azure, judged by OpenAI's own clients, and asked by a gateway at each of its addresses."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import openai
import pytest

from llmgateway.v1 import completion_pb2, message_pb2
from llmgateway_server.testing import upstream
from llmgateway_server.testing.fake_provider import FakeError, FakeProvider, FakeReply, FakeToolCall
from llmgateway_server.testing.gateway import running_gateway
from tests.contract.fake_replies import ASKED, MODEL, REPLIES
from tests.recorded.outcome import ALONE, Outcome, completed, streamed

VERSION = "2024-10-21"
TEXT = "Grüße aus 東京 🙂"
SAID = FakeReply.of(TEXT, FakeToolCall("call_1", "weather", '{"city":"Zürich"}'))
REQUEST: dict[str, Any] = {"model": MODEL, "messages": ASKED}
SHAPES = {
    "v1": ("/openai/v1", "", "/openai/v1/chat/completions"),
    "bare": ("", "", "/openai/v1/chat/completions"),
    "bare with a version": ("", "2024-02-01", "/openai/deployments/fake-1/chat/completions?api-version=2024-02-01"),
    "deployments": ("/openai/deployments", "", f"/openai/deployments/fake-1/chat/completions?api-version={VERSION}"),
    "models": ("/models", "", "/models/chat/completions?api-version=2024-05-01-preview"),
}
"""How an account says where it is: path of its base URL, version, and where its calls then go."""


@contextlib.asynccontextmanager
async def client(fake: FakeProvider, kind: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """Opens a client; strict validation would refuse the first chunk, as it would refuse Azure's own."""
    http = openai.DefaultAsyncHttpxClient(trust_env=False, verify=False)
    made: openai.AsyncOpenAI
    if kind == "azure":
        made = openai.AsyncAzureOpenAI(
            azure_endpoint=fake.root_url, api_version=VERSION, api_key="k", max_retries=0, http_client=http
        )
    elif kind == "token":
        made = openai.AsyncAzureOpenAI(
            azure_endpoint=fake.root_url, api_version=VERSION, azure_ad_token="t", max_retries=0, http_client=http
        )
    else:
        made = openai.AsyncOpenAI(base_url=f"{fake.root_url}/openai/v1", api_key="k", max_retries=0, http_client=http)
    async with made:
        yield made


@pytest.mark.parametrize("kind", ["azure", "token", "openai"])
async def test_the_sdk_reads_answers_and_streams(kind: str) -> None:
    async with FakeProvider() as fake, client(fake, kind) as sdk:
        fake.then(SAID, SAID)
        whole = await sdk.chat.completions.create(**REQUEST)
        async with sdk.chat.completions.stream(**REQUEST, stream_options={"include_usage": True}) as stream:
            said = await stream.get_final_completion()
    for completion in (whole, said):
        message = completion.choices[0].message
        assert (message.content, completion.model) == (TEXT, MODEL)
        assert message.tool_calls is not None
        assert [call.id for call in message.tool_calls] == ["call_1"]
        assert completion.usage is not None
        assert completion.usage.prompt_tokens == 10
    assert whole.model_extra is not None
    assert whole.model_extra["prompt_filter_results"][0]["prompt_index"] == 0
    first = fake.requests[0]
    assert first.path == ("/openai/v1/chat/completions" if kind == "openai" else SHAPES["deployments"][2])
    assert ("api-key" in first.headers) is (kind == "azure")


async def test_the_first_chunk_is_about_the_prompt_alone() -> None:
    async with FakeProvider() as fake, client(fake, "azure") as sdk:
        fake.then(SAID)
        chunks = [chunk async for chunk in await sdk.chat.completions.create(**REQUEST, stream=True)]
    assert (chunks[0].id, chunks[0].model, chunks[0].choices) == ("", "", [])
    assert chunks[0].model_extra is not None
    assert chunks[0].model_extra["prompt_filter_results"]
    roles = [chunk.choices[0].delta.role for chunk in chunks[1:] if chunk.choices[0].delta.content]
    assert len(roles) > 1
    assert set(roles) == {"assistant"}


async def test_a_filtered_answer_has_no_message() -> None:
    async with FakeProvider() as fake, client(fake, "azure") as sdk:
        fake.then(REPLIES["content filter"])
        raw = await sdk.chat.completions.with_raw_response.create(**REQUEST)
    [choice] = json.loads(raw.content)["choices"]
    assert "message" not in choice
    assert choice["finish_reason"] == "content_filter"


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/openai/deployments/fake-1/chat/completions", {"api-key": "k"}, 404, "404"),
        ("/models/chat/completions", {"api-key": "k"}, 404, "404"),
        (
            f"/openai/deployments/other/chat/completions?api-version={VERSION}",
            {"api-key": "k"},
            404,
            "DeploymentNotFound",
        ),
        ("/openai/v1/chat/completions", {}, 401, "401"),
        ("/openai/v1/chat/completions", {"api-key": "wrong"}, 401, "401"),
        ("/openai/v1/chat/completions", {"authorization": "Bearer wrong"}, 401, "invalid_api_key"),
        ("/openai/v1/chat/completions", {"api-key": "k"}, 200, None),
        ("/openai/v1/chat/completions", {"authorization": "Bearer k"}, 200, None),
    ],
)
async def test_what_azure_refuses(path: str, headers: dict[str, str], status: int, code: str | None) -> None:
    async with (
        FakeProvider(models=(MODEL,), api_key="k") as fake,
        openai.DefaultAsyncHttpxClient(trust_env=False) as http,
    ):
        answer = await http.post(fake.root_url + path, json=REQUEST, headers=headers)
    assert answer.status_code == status
    assert answer.json().get("error", {}).get("code") == code


def asked() -> completion_pb2.CompleteRequest:
    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text="Hi")])
    return completion_pb2.CompleteRequest(model="account/fake-1", messages=[message])


@contextlib.asynccontextmanager
async def asking(fake: FakeProvider, path: str, version: str) -> AsyncIterator[tuple[Any, ...]]:
    account = {"vendor": "azure", "base_url": fake.root_url + path, "api_key": "k", "api_version": version}
    async with running_gateway({"providers": {"account": account}, "records": False, **ALONE}) as gateway:
        yield (gateway,)


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_gateway_asks_at_each_address(shape: str) -> None:
    path, version, target = SHAPES[shape]
    async with FakeProvider(api_key="k") as fake, asking(fake, path, version) as (gateway,):
        fake.then(SAID, SAID)
        outcomes = [await ask(gateway, asked()) for ask in (completed, streamed)]
    for outcome in outcomes:
        assert (outcome.text, outcome.provider_model) == (TEXT, MODEL)
        assert outcome.tool_calls == [("call_1", "weather", '{"city":"Zürich"}')]
    assert [received.path for received in fake.requests] == [target, target]
    assert fake.requests[0].headers["api-key"] == "k"
    assert "authorization" not in fake.requests[0].headers


async def test_a_gateway_tells_what_azure_filtered() -> None:
    filtered = FakeError(400, code="content_filter", param="prompt")
    async with FakeProvider() as fake, asking(fake, "/openai/v1", "") as (gateway,):
        fake.then(filtered, REPLIES["content filter"], REPLIES["content filter"])
        refused: Outcome = await completed(gateway, asked())
        whole: Outcome = await completed(gateway, asked())
        said: Outcome = await streamed(gateway, asked())
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CONTENT_POLICY")
    assert (whole.text, whole.finish_reason) == ("", "content_filter")
    assert (said.text, said.finish_reason) == ("Once", "content_filter")


async def test_a_choice_without_a_delta_is_about_filters_alone() -> None:
    later: dict[str, Any] = {
        "choices": [{"index": 0, "finish_reason": None, "content_filter_results": {}, "content_filter_offsets": {}}]
    }
    written = [
        {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]},
        {"id": "", "model": "", **later},
        {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    chunks = [upstream.chunk(f"data: {json.dumps(each)}\n\n".encode()) for each in written]
    steps = [upstream.STREAM_HEAD, *chunks, upstream.chunk(b"data: [DONE]\n\n"), upstream.END]
    async with FakeProvider() as fake, asking(fake, "/openai/v1", "") as (gateway,):
        fake.then(steps)
        outcome: Outcome = await streamed(gateway, asked())
    assert (outcome.text, outcome.finish_reason, outcome.provider_model) == ("Hi", "stop", "m")
