"""Both clients against a whole gateway: unary calls and the errors that they end with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from llmgateway import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    GatewayError,
    InvalidRequest,
    NotFound,
    RateLimited,
    Unauthenticated,
    Unsupported,
    UpstreamFailed,
)
from llmgateway.v1 import completion_pb2, message_pb2, status_pb2
from llmgateway_server.admission.keys import new_key
from llmgateway_server.core.secret import Secret
from llmgateway_server.testing.gateway import SIMULATOR_ONLY, RunningGateway, running_gateway

WEATHER = {
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


async def both(gateway: RunningGateway, ask: Callable[[Any], Any]) -> list[Any]:
    """Asks through the blocking client, in a thread, and through the asyncio one."""

    def blocking() -> Any:
        with Client(gateway.address) as client:
            return ask(client)

    async with AsyncClient(gateway.address) as client:
        return [await asyncio.to_thread(blocking), await ask(client)]


async def both_fail(gateway: RunningGateway, ask: Callable[[Any], Any]) -> list[GatewayError]:
    """As `both`, for calls that must fail."""
    found: list[GatewayError] = []

    def blocking() -> None:
        with Client(gateway.address) as client, pytest.raises(GatewayError) as caught:
            ask(client)
        found.append(caught.value)

    await asyncio.to_thread(blocking)
    async with AsyncClient(gateway.address) as client:
        with pytest.raises(GatewayError) as caught:
            await ask(client)
    return [*found, caught.value]


async def test_complete() -> None:
    async with running_gateway() as gateway:
        replies = await both(gateway, lambda client: client.complete("simulator-chat", "hi there"))
    for reply in replies:
        assert reply.text == "You said: hi there"
        assert reply.finish_reason == "STOP"
        assert (reply.usage.input_token_count, reply.usage.output_token_count) == (2, 4)
        assert reply.cost_usd == Decimal(2 * 150 + 4 * 600).scaleb(-9)
        assert reply.request_id
        assert reply.raw.target.provider == "simulator"


async def test_a_conversation_with_a_tool() -> None:
    def ask(client: Client) -> str:
        conversation: list[Any] = ["How is the weather in Oslo?"]
        reply = client.complete("", conversation, system="Be brief.", tools=[WEATHER], tool_choice="weather")
        assert reply.finish_reason == "TOOL_CALLS"
        call = reply.tool_calls[0]
        assert (call.name, set(call.arguments)) == ("weather", {"city"})
        conversation += [reply, call.result("Rain.")]
        return client.complete("simulator/chat?text=It%20rains.", conversation, tools=[WEATHER]).text

    async with running_gateway() as gateway:

        def run() -> str:
            with Client(gateway.address) as client:
                return ask(client)

        assert await asyncio.to_thread(run) == "It rains."


async def test_an_answer_of_a_schema() -> None:
    schema = {"type": "object", "title": "City", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    async with running_gateway() as gateway:
        for reply in await both(gateway, lambda client: client.complete("", "A city?", response_format=schema)):
            assert isinstance(reply.json()["name"], str), json.dumps(schema)


async def test_a_whole_request() -> None:
    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text="hi")])
    request = completion_pb2.CompleteRequest(model="simulator-chat", messages=[message])
    async with running_gateway() as gateway:
        for reply in await both(gateway, lambda client: client.complete(request=request)):
            assert reply.text == "You said: hi"


async def test_other_operations() -> None:
    async with running_gateway() as gateway:
        for found in await both(gateway, lambda client: client.embed("simulator/embed", ["a b", "c"], dimensions=8)):
            assert [len(vector) for vector in found.vectors] == [8, 8]
            assert found.usage.input_token_count == 3
        for found in await both(gateway, lambda client: client.count_tokens("", "one two three")):
            assert found.input_token_count == 3
        for found in await both(gateway, lambda client: client.models()):
            assert [model.name for model in found] == ["simulator-chat", "simulator-embed"]
        for found in await both(gateway, lambda client: client.model("simulator-chat")):
            assert found.name == "simulator-chat"
        for found in await both(gateway, lambda client: client.health(provider="simulator")):
            assert [each.provider for each in found.providers] == ["simulator"]
            assert found.status == status_pb2.HEALTH_STATUS_HEALTHY
        for found in await both(gateway, lambda client: client.metrics(period="hour")):
            assert found.calls.call_count >= 4


async def test_every_page_of_models_is_read() -> None:
    names = {f"m{number:03}" for number in range(150)}
    target = {"provider": "simulator", "model": "chat"}
    document = {
        "providers": {"simulator": {"vendor": "simulator"}},
        "models": {name: {"targets": [target]} for name in names},
    }
    async with running_gateway(document) as gateway:
        for found in await both(gateway, lambda client: client.models()):
            assert names <= {model.name for model in found}
            assert len({model.name for model in found}) == len(found)


@pytest.mark.parametrize(
    ("options", "kind", "reason"),
    [
        ({"model": "nothing"}, NotFound, "MODEL_NOT_FOUND"),
        ({"temperature": 9.0}, InvalidRequest, "INVALID_REQUEST"),
        ({"idempotency_key": "k"}, Unsupported, "FEATURE_NOT_CONFIGURED"),
        ({"model": "simulator/chat?fault=http&status=500"}, UpstreamFailed, "UPSTREAM_ERROR"),
        ({"model": "simulator/chat?fault=http&status=429&retry_after_ms=1500"}, RateLimited, "UPSTREAM_RATE_LIMITED"),
    ],
)
async def test_errors_are_typed(options: dict[str, Any], kind: type[GatewayError], reason: str) -> None:
    async with running_gateway() as gateway:
        for error in await both_fail(gateway, lambda client: client.complete(**{"messages": "hi", **options})):
            assert type(error) is kind
            assert error.reason == reason
            assert error.request_id


async def test_errors_say_what_helps() -> None:
    async with running_gateway({**SIMULATOR_ONLY, "max_attempts": 1}) as gateway:
        for error in await both_fail(gateway, lambda client: client.model("nothing")):
            assert error.alternatives == ("simulator-chat", "simulator-embed")
        for error in await both_fail(gateway, lambda client: client.complete("", "hi", temperature=9.0)):
            assert [each.field for each in error.violations] == ["temperature"]
        limited = "simulator/chat?fault=http&status=429&retry_after_ms=1500"
        for error in await both_fail(gateway, lambda client: client.complete(limited, "hi")):
            assert error.retry_delay_s == pytest.approx(1.5, abs=0.2)
            assert [each.http_status for each in error.attempts] == [429]


async def test_a_timeout() -> None:
    async with running_gateway() as gateway:
        slow = "simulator/chat?first_token_ms=60000"
        for error in await both_fail(gateway, lambda client: client.complete(slow, "hi", timeout=0.2)):
            assert type(error) is DeadlineExceeded


async def test_a_key() -> None:
    key = new_key(Secret(""))
    entry = {"id": key.key_id, "hash": key.key_hash, "tenant": "acme", "roles": ["caller"]}
    document = {"providers": {"simulator": {"vendor": "simulator"}}, "auth": {"keys": [entry]}}
    async with running_gateway(document) as gateway:
        for error in await both_fail(gateway, lambda client: client.complete("", "hi")):
            assert type(error) is Unauthenticated
        async with AsyncClient(gateway.address, api_key=key.key.reveal()) as client:
            assert (await client.complete("", "hi")).text == "You said: hi"


async def test_nobody_listens() -> None:
    async with running_gateway() as gateway:
        pass
    for error in await both_fail(gateway, lambda client: client.complete("", "hi", timeout=10)):
        assert (type(error).__name__, error.reason) == ("Unavailable", "UNSPECIFIED")


async def test_a_closed_client_says_so() -> None:
    blocking, awaited = Client("localhost:1"), AsyncClient("localhost:1")
    blocking.close()
    await awaited.close()
    with pytest.raises(RuntimeError, match="closed"):
        blocking.complete("", "hi")
    with pytest.raises(RuntimeError, match="closed"):
        await awaited.complete("", "hi")


async def test_a_task_that_is_cancelled_stays_cancelled() -> None:
    async with running_gateway() as gateway, AsyncClient(gateway.address) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.complete("simulator/chat?first_token_ms=60000", "hi")
