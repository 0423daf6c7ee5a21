"""What the rows of vendors and models decide: the dialect of a call, who counts its tokens, which media are fetched."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from llmgateway.v1 import completion_pb2, message_pb2, token_count_pb2, tool_pb2
from llmgateway_server.testing.fake_provider import FakeProvider
from llmgateway_server.testing.gateway import running_gateway
from tests.faults.kit import ask, detail_of, failure_of, reason_of

TOOL = tool_pb2.Tool(name="look", parameters_json_schema='{"type":"object"}')


def account(fake: FakeProvider, vendor: str) -> dict[str, Any]:
    return {"providers": {"up": fake.provider(vendor) | {"api_key": "k"}}}


@pytest.mark.parametrize(
    ("model", "tools", "path"),
    [
        ("gpt-4o", [TOOL], "/v1/chat/completions"),
        ("gpt-5.4", [], "/v1/chat/completions"),
        ("gpt-5.4", [TOOL], "/v1/responses"),
        ("gpt-5-codex", [], "/v1/responses"),
        ("a-model-of-tomorrow", [TOOL], "/v1/chat/completions"),
    ],
)
async def test_the_dialect_is_chosen_by_model_and_tools(model: str, tools: list[tool_pb2.Tool], path: str) -> None:
    async with FakeProvider() as fake, running_gateway(account(fake, "openai")) as gateway:
        await gateway.stub.Complete(ask(model=f"up/{model}", tools=tools))
    assert [received.path for received in fake.requests] == [path]


@pytest.mark.parametrize(
    ("vendor", "model", "method", "path"),
    [
        ("anthropic", "claude-haiku-4-5", "VENDOR", "/v1/messages/count_tokens"),
        ("openai", "gpt-4o", "VENDOR", "/v1/responses/input_tokens"),
        ("openai", "gpt-5-codex", "VENDOR", "/v1/responses/input_tokens"),
        ("openai-compatible", "llama-4", "ESTIMATE", None),
    ],
)
async def test_tokens_are_counted_by_who_can(vendor: str, model: str, method: str, path: str | None) -> None:
    async with FakeProvider() as fake, running_gateway(account(fake, vendor)) as gateway:
        fake.input_tokens = 7
        question = token_count_pb2.CountTokensRequest(request=ask("How many?", f"up/{model}"))
        counted = await gateway.stub.CountTokens(question)
    assert token_count_pb2.TokenCountMethod.Name(counted.method) == f"TOKEN_COUNT_METHOD_{method}"
    assert [received.path for received in fake.requests] == ([path] if path else [])
    assert counted.input_token_count == 7 if path else counted.input_token_count > 0
    assert counted.HasField("cost_estimate") == (model != "llama-4")


async def test_an_address_that_nobody_may_fetch_is_named() -> None:
    """Chat completions fetch images and no documents, so the gateway would have to."""
    media = message_pb2.Media(uri="https://10.0.0.1/secret.pdf")
    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(media=media)])
    request = completion_pb2.CompleteRequest(model="up/gpt-4o", messages=[message])
    async with FakeProvider() as fake, running_gateway(account(fake, "openai")) as gateway:
        error = await failure_of(gateway.stub.Complete(request))
        request.messages[0].parts[0].media.uri = "https://example.com/cat.png"
        await gateway.stub.Complete(request)  # the vendor's own business
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "EGRESS_REFUSED")
    metadata = detail_of(error, error_details_pb2.ErrorInfo).metadata
    assert dict(metadata) == {"field": "messages[0].parts[0].media.uri", "cause": "address"}
    assert len(fake.requests) == 1
