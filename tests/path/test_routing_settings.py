"""What the configuration says about targets reaches the plan, and the reply says what was decided."""

from __future__ import annotations

from typing import Any

import grpc.aio
import pytest

from llmgateway.v1 import routing_pb2
from llmgateway_server.testing.fake_provider import FakeProvider
from llmgateway_server.testing.gateway import running_gateway
from tests.properties.loop import ask, refusal


def document(*targets: dict[str, Any], **model: Any) -> dict[str, Any]:
    return {
        "providers": {name: {"vendor": "simulator"} for name in ("a", "b", "c")},
        "models": {"m": {"targets": [{"model": "chat", **target} for target in targets], **model}},
    }


async def decided(settings: dict[str, Any], **routing: Any) -> routing_pb2.RoutingDecision:
    async with running_gateway(settings) as gateway:
        reply = await gateway.stub.Complete(ask(model="m", routing=routing_pb2.RoutingOptions(**routing)))
    decision: routing_pb2.RoutingDecision = reply.routing_decision
    return decision


def names(decision: routing_pb2.RoutingDecision, *, eligible: bool = True) -> list[str]:
    return [each.target.provider for each in decision.candidates if each.eligible is eligible]


async def test_priority_and_enabled() -> None:
    settings = document(
        {"provider": "a", "priority": 2}, {"provider": "b", "enabled": False}, {"provider": "c", "priority": 1}
    )
    decision = await decided(settings)
    assert decision.strategy == routing_pb2.ROUTING_STRATEGY_PRIORITY
    assert names(decision) == ["c", "a"]
    assert [(each.target.provider, each.reason) for each in decision.candidates if not each.eligible] == [
        ("b", "disabled")
    ]


async def test_tags_and_capabilities() -> None:
    settings = document({"provider": "a"}, {"provider": "b", "tags": ["eu", "fast"]}, {"provider": "c", "tags": ["eu"]})
    assert names(await decided(settings, tags=["eu"])) == ["b", "c"]
    assert names(await decided(settings, tags=["eu", "fast"])) == ["b"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await decided(settings, tags=["mars"])
    assert refusal(caught.value).reason == "INVALID_REQUEST"


@pytest.mark.parametrize("where", ["model", "gateway", "call"])
async def test_who_chooses_the_strategy(where: str) -> None:
    settings = document({"provider": "a", "quality_score": 0.2}, {"provider": "b", "quality_score": 0.9})
    wish: dict[str, Any] = {}
    if where == "model":
        settings["models"]["m"]["strategy"] = "quality_optimized"
    elif where == "gateway":
        settings["routing"] = {"strategy": "quality_optimized"}
    else:
        wish["strategy"] = routing_pb2.ROUTING_STRATEGY_QUALITY_OPTIMIZED
    decision = await decided(settings, **wish)
    assert decision.strategy == routing_pb2.ROUTING_STRATEGY_QUALITY_OPTIMIZED
    assert names(decision) == ["b", "a"]
    assert decision.reason == decision.candidates[0].reason == "best quality: 0.90"


async def test_turns_are_taken() -> None:
    settings = document({"provider": "a"}, {"provider": "b"}, {"provider": "c"}, strategy="round_robin")
    async with running_gateway(settings) as gateway:
        served = [(await gateway.stub.Complete(ask(model="m"))).target.provider for _ in range(9)]
    assert {name: served.count(name) for name in "abc"} == {"a": 3, "b": 3, "c": 3}


async def test_all_are_disabled() -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await decided(document({"provider": "a", "enabled": False}))
    assert refusal(caught.value).reason == "NO_HEALTHY_PROVIDER"
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_targets_say_where_their_account_is() -> None:
    async with FakeProvider() as fake:
        account = {**fake.provider("bedrock"), "api_key": "k", "region": "eu-central-1"}
        models = {"m": {"targets": [{"provider": "aws", "model": "amazon.nova-lite-v1:0"}]}}
        async with running_gateway({"providers": {"aws": account}, "models": models}) as gateway:
            for name in ("m", "aws/amazon.nova-pro-v1:0"):
                reply = await gateway.stub.Complete(ask(model=name))
                assert reply.attempts[0].target.region == "eu-central-1"
