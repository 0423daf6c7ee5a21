"""`explain` and `breakers`, against a gateway of this process."""

from __future__ import annotations

import json
from typing import Any

from llmgateway.admin.v1 import target_pb2
from llmgateway.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from llmgateway.v1 import routing_pb2
from llmgateway_server.testing.upstream import Upstream, json_answer
from tests.faults.kit import ask, failure_of, settings
from tests.unit.cli.remote_kit import invoke, quiet_gateway

TWO: dict[str, Any] = {
    "providers": {"one": {"vendor": "simulator"}, "two": {"vendor": "simulator"}},
    "models": {"m": {"targets": [{"provider": "one", "model": "chat"}, {"provider": "two", "model": "chat"}]}},
}


async def test_where_a_call_would_go() -> None:
    async with quiet_gateway(TWO) as gateway:
        shown = await invoke(gateway, "explain", "m", "How are you?")
        made = await invoke(gateway, "explain", "m", "--strategy", "weighted", "--json")
        unknown = await invoke(gateway, "explain", "nothing")
        wrong = await invoke(gateway, "explain", "m", "--strategy", "best")
    lines = shown.stdout.splitlines()
    assert lines[0] == "m  priority"
    assert [line.split()[:5] for line in lines[2:]] == [
        ["1", "one/chat", "configured", "order", "closed"],
        ["2", "two/chat", "configured", "order", "closed"],
    ]
    found = json.loads(made.stdout)
    assert found["routing_decision"]["strategy"] == "ROUTING_STRATEGY_WEIGHTED"
    assert [each["health"] for each in found["standings"]] == [1.0, 1.0]
    assert (shown.exit_code, unknown.exit_code, wrong.exit_code) == (0, 3, 2)


async def test_who_is_left_out_and_that_nobody_is_left() -> None:
    async with quiet_gateway(TWO) as gateway:
        stub: Any = AdminServiceStub(gateway.channel)
        await stub.SetTargetEnabled(target_pb2.SetTargetEnabledRequest(provider="one", enabled=False))
        shown = await invoke(gateway, "explain", "m")
        await stub.SetTargetEnabled(target_pb2.SetTargetEnabledRequest(provider="two", enabled=False))
        nobody = await invoke(gateway, "explain", "m")
    rows = shown.stdout.splitlines()[2:]
    assert rows[0].split()[:2] == ["1", "two/chat"]
    assert "one/chat  switched off by an operator" in rows[1]
    assert nobody.exit_code == 0
    assert nobody.stdout.splitlines()[-1] == "the call would be refused: NO_HEALTHY_PROVIDER"


async def test_breakers() -> None:
    failing = json_answer({"error": {}}, 500)
    async with Upstream(failing) as upstream, quiet_gateway(settings(upstream)) as gateway:
        none = await invoke(gateway, "breakers")
        for _ in range(5):
            await failure_of(gateway.stub.Complete(ask(routing=routing_pb2.RoutingOptions(max_attempts=1))))
        shown = await invoke(gateway, "breakers", "--provider", "up")
        made = await invoke(gateway, "breakers", "--json")
        unknown = await invoke(gateway, "breakers", "--provider", "nobody")
        explained = await invoke(gateway, "explain", ask().model)
    assert none.stdout == "no target was used lately: all are closed\n"
    header, row = shown.stdout.splitlines()
    assert header.split()[:2] == ["TARGET", "REGION"]
    assert row.startswith("up/")
    assert row.split()[2] == "open"
    assert row.endswith("UPSTREAM_ERROR")
    [breaker] = json.loads(made.stdout)["circuit_breakers"]
    assert breaker["state"] == "CIRCUIT_STATE_OPEN"
    assert unknown.exit_code == 3
    assert "the call would be refused: CIRCUIT_OPEN, retry in " in explained.stdout


async def test_breakers_that_are_switched_off() -> None:
    async with quiet_gateway({**TWO, "breakers": {"enabled": False}}) as gateway:
        shown = await invoke(gateway, "breakers")
    assert shown.stdout == "breakers are switched off by the configuration\n"
