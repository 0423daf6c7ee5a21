"""What operators ask about routing over the wire: where a call would go, how breakers are, what is switched off."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog.testing

from llmgateway import AdminClient, AsyncAdminClient
from llmgateway.admin.v1 import circuit_breaker_pb2, route_pb2, target_pb2
from llmgateway.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from llmgateway.v1 import completion_pb2, embedding_pb2, error_pb2, message_pb2, routing_pb2, status_pb2
from llmgateway_server.admission.keys import new_key
from llmgateway_server.core.secret import Secret
from llmgateway_server.testing.clock import ManualClock
from llmgateway_server.testing.gateway import SIMULATOR_ONLY, RunningGateway, running_gateway
from llmgateway_server.testing.upstream import Upstream, answer, json_answer
from tests.faults.kit import ask, bad_fields_of, failure_of, reason_of, settings
from tests.path.door_kit import key_entry

CLOSED, OPEN = circuit_breaker_pb2.CIRCUIT_STATE_CLOSED, circuit_breaker_pb2.CIRCUIT_STATE_OPEN
TWO: dict[str, Any] = {
    "providers": {"one": {"vendor": "simulator"}, "two": {"vendor": "simulator"}},
    "models": {"m": {"targets": [{"provider": "one", "model": "chat"}, {"provider": "two", "model": "chat"}]}},
}


def admin(gateway: RunningGateway) -> Any:
    return AdminServiceStub(gateway.channel)


def explained(model: str = "m", **options: Any) -> route_pb2.ExplainRouteRequest:
    return route_pb2.ExplainRouteRequest(complete=ask(model=model, **options))


def places(found: route_pb2.ExplainRouteResponse) -> list[tuple[str, bool, str]]:
    return [(each.target.provider, each.eligible, each.reason) for each in found.routing_decision.candidates]


def switch(provider: str, upstream_model: str = "", *, enabled: bool = False) -> target_pb2.SetTargetEnabledRequest:
    return target_pb2.SetTargetEnabledRequest(provider=provider, upstream_model=upstream_model, enabled=enabled)


async def fail(gateway: RunningGateway, times: int) -> None:
    """Fails calls at the targets of `up`, one attempt each."""
    for _ in range(times):
        await failure_of(gateway.stub.Complete(ask(routing=routing_pb2.RoutingOptions(max_attempts=1))))


async def test_where_a_call_would_go_is_where_it_goes() -> None:
    async with running_gateway(TWO) as gateway:
        found = await admin(gateway).ExplainRoute(explained())
        reply = await gateway.stub.Complete(ask(model="m"))
        used = await admin(gateway).ExplainRoute(explained())
    assert found.model == "m"
    assert found.routing_decision.strategy == routing_pb2.ROUTING_STRATEGY_PRIORITY
    assert places(found) == [("one", True, "configured order"), ("two", True, "configured order")]
    assert found.routing_decision == reply.routing_decision
    assert [each.target for each in found.standings] == [each.target for each in found.routing_decision.candidates]
    assert (found.refusal, found.worker_count, found.HasField("retry_after_ms")) == (0, 1, False)
    assert [(each.health, each.circuit_state, each.sample_weight) for each in found.standings] == [
        (1.0, CLOSED, 0.0)
    ] * 2
    assert reply.target.provider == "one"
    assert used.standings[0].output_tokens_per_second != found.standings[0].output_tokens_per_second


async def test_nobody_is_called_and_nothing_is_counted() -> None:
    async with Upstream(answer("OK")) as upstream, running_gateway(settings(upstream)) as gateway:
        round_robin = explained("up/m-1", routing={"strategy": "ROUTING_STRATEGY_ROUND_ROBIN"})
        first = await admin(gateway).ExplainRoute(round_robin)
        assert await admin(gateway).ExplainRoute(round_robin) == first
        counted = await gateway.stub.Metrics(status_pb2.MetricsRequest())
        assert upstream.requests == []
        assert gateway.records() == []
    assert counted.calls.call_count == 0


async def test_strategies_wishes_and_those_left_out() -> None:
    async with running_gateway(TWO) as gateway:
        wishes = {"strategy": "ROUTING_STRATEGY_WEIGHTED", "excluded_providers": ["one"]}
        found = await admin(gateway).ExplainRoute(explained(routing=wishes))
        nobody = await admin(gateway).ExplainRoute(explained(routing={"excluded_providers": ["one", "two"]}))
    assert found.routing_decision.strategy == routing_pb2.ROUTING_STRATEGY_WEIGHTED
    assert [(provider, eligible) for provider, eligible, _ in places(found)] == [("two", True), ("one", False)]
    assert nobody.refusal == error_pb2.ERROR_REASON_INVALID_REQUEST
    assert places(nobody) == [(provider, False, "excluded by the request") for provider in ("one", "two")]
    assert nobody.routing_decision.reason == ""
    assert len(nobody.standings) == 2


async def test_embeddings_are_explained_too() -> None:
    async with running_gateway() as gateway:
        wanted = embedding_pb2.EmbedRequest(model="simulator/embed", inputs=["a"])
        found = await admin(gateway).ExplainRoute(route_pb2.ExplainRouteRequest(embed=wanted))
        error = await failure_of(admin(gateway).ExplainRoute(explained("simulator/embed")))
    assert found.routing_decision.candidates[0].target.upstream_model == "embed"
    assert reason_of(error) == "UNSUPPORTED_OPTION"


async def test_a_call_that_could_not_be_made_is_refused_as_it_would_be() -> None:
    many = [message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text="a")]) for _ in range(600)]
    async with running_gateway() as gateway:
        empty = await failure_of(admin(gateway).ExplainRoute(route_pb2.ExplainRouteRequest()))
        unknown = await failure_of(admin(gateway).ExplainRoute(explained("nothing")))
        bare = completion_pb2.CompleteRequest(model="simulator-chat")
        bad = await failure_of(admin(gateway).ExplainRoute(route_pb2.ExplainRouteRequest(complete=bare)))
        bare.messages.extend(many)
        large = await admin(gateway).ExplainRoute(route_pb2.ExplainRouteRequest(complete=bare))
        bare.messages[300].ClearField("role")
        wrong = await failure_of(admin(gateway).ExplainRoute(route_pb2.ExplainRouteRequest(complete=bare)))
    assert (reason_of(empty), reason_of(unknown), reason_of(bad)) == (
        "INVALID_REQUEST",
        "MODEL_NOT_FOUND",
        "INVALID_REQUEST",
    )
    assert bad_fields_of(bad) == ["complete.messages"]
    assert large.routing_decision.candidates[0].eligible
    assert bad_fields_of(wrong) == ["messages[300].role"]


async def test_the_models_of_a_key_bind_what_it_explains_and_switches() -> None:
    key = new_key(Secret(""))
    document = {**SIMULATOR_ONLY, "auth": {"keys": [key_entry(key, roles=["operator"], models=["simulator/embed"])]}}
    metadata = (("x-api-key", key.key.reveal()),)
    async with running_gateway(document) as gateway:
        for call in (
            admin(gateway).ExplainRoute(explained("simulator/chat"), metadata=metadata),
            admin(gateway).SetTargetEnabled(switch("simulator", "chat"), metadata=metadata),
            admin(gateway).SetTargetEnabled(switch("simulator"), metadata=metadata),
        ):
            error = await failure_of(call)
            assert (error.code(), reason_of(error)) == (grpc.StatusCode.PERMISSION_DENIED, "MODEL_NOT_ALLOWED")
        assert gateway.app.parts.routes.switches.off() == []


async def test_an_open_breaker_is_seen_everywhere() -> None:
    clock = ManualClock()
    failing = json_answer({"error": {}}, 500)
    async with Upstream(failing) as upstream, running_gateway(settings(upstream), clock=clock) as gateway:
        model = ask().model
        nothing = await admin(gateway).GetCircuitBreaker(circuit_breaker_pb2.GetCircuitBreakerRequest())
        await fail(gateway, 5)
        clock.advance(10)
        found = await admin(gateway).GetCircuitBreaker(circuit_breaker_pb2.GetCircuitBreakerRequest(provider="up"))
        other = await admin(gateway).GetCircuitBreaker(
            circuit_breaker_pb2.GetCircuitBreakerRequest(provider="up", upstream_model="another")
        )
        explanation = await admin(gateway).ExplainRoute(explained(model))
        page = gateway.app.exposition.text().decode()
        spent = len(upstream.requests)
    assert (list(nothing.circuit_breakers), nothing.enabled, nothing.worker_count) == ([], True, 1)
    [breaker] = found.circuit_breakers
    assert list(other.circuit_breakers) == []
    assert (breaker.provider, breaker.state, breaker.cause) == (
        "up",
        OPEN,
        circuit_breaker_pb2.CIRCUIT_CAUSE_CONSECUTIVE_FAILURES,
    )
    assert (breaker.state_age_ms, breaker.consecutive_failure_count, breaker.open_count) == (10_000, 5, 1)
    assert 16_000 < breaker.retry_in_ms < 24_000
    assert breaker.last_failure_reason == error_pb2.ERROR_REASON_UPSTREAM_ERROR
    assert explanation.refusal == error_pb2.ERROR_REASON_CIRCUIT_OPEN
    assert places(explanation) == [("up", False, "circuit open")]
    [standing] = explanation.standings
    assert standing.circuit_state == OPEN
    assert standing.circuit_retry_in_ms == breaker.retry_in_ms == explanation.retry_after_ms
    assert standing.health < 0.5
    assert spent == 5
    assert 'llm_gateway_circuit_breaker_state{provider="up"} 2\n' in page
    assert 'llm_gateway_circuit_breaker_transitions_total{provider="up",state="open"} 1\n' in page


async def test_breakers_of_nobody() -> None:
    async with running_gateway() as gateway:
        wanted = circuit_breaker_pb2.GetCircuitBreakerRequest(provider="nobody")
        error = await failure_of(admin(gateway).GetCircuitBreaker(wanted))
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")


async def test_a_target_that_is_switched_off_gets_no_calls() -> None:
    with structlog.testing.capture_logs() as log:
        async with running_gateway(TWO) as gateway:
            off = await admin(gateway).SetTargetEnabled(switch("one", "chat"))
            again = await admin(gateway).SetTargetEnabled(switch("one", "chat"))
            elsewhere = await gateway.stub.Complete(ask(model="m"))
            explanation = await admin(gateway).ExplainRoute(explained())
            whole = await admin(gateway).SetTargetEnabled(switch("two"))
            refused = await failure_of(gateway.stub.Complete(ask(model="m")))
            nowhere = await admin(gateway).ExplainRoute(explained())
            await admin(gateway).SetTargetEnabled(switch("two", enabled=True))
            on = await admin(gateway).SetTargetEnabled(switch("one", "chat", enabled=True))
            back = await gateway.stub.Complete(ask(model="m"))
    assert (off.changed, again.changed, on.changed) == (True, False, True)
    assert [(each.provider, each.upstream_model) for each in off.switched_off] == [("one", "chat")]
    assert "m" in off.models
    assert [(each.provider, each.upstream_model) for each in whole.switched_off] == [("one", "chat"), ("two", "")]
    assert list(on.switched_off) == []
    assert (elsewhere.target.provider, back.target.provider) == ("two", "one")
    assert places(explanation)[1] == ("one", False, "switched off by an operator")
    assert explanation.standings[1].switched_off
    assert reason_of(refused) == "NO_HEALTHY_PROVIDER"
    assert nowhere.refusal == error_pb2.ERROR_REASON_NO_HEALTHY_PROVIDER
    lines = [line for line in log if line.get("room") == "audit"]
    assert [(each["event"], each["provider"], each["enabled"], each["changed"]) for each in lines][:2] == [
        ("target_switched", "one", False, True),
        ("target_switched", "one", False, False),
    ]
    assert all(each["key_id"] and each["call_id"] for each in lines)


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (switch("nobody"), "RESOURCE_NOT_FOUND", ""),
        (switch("one", "chaat"), "RESOURCE_NOT_FOUND", ""),
        (switch(""), "INVALID_REQUEST", "provider"),
        (switch("one", "a\x00"), "INVALID_REQUEST", "upstream_model"),
        (target_pb2.SetTargetEnabledRequest(provider="one"), "INVALID_REQUEST", "enabled"),
    ],
)
async def test_what_cannot_be_switched(request_: Any, reason: str, field: str) -> None:
    async with running_gateway(TWO) as gateway:
        error = await failure_of(admin(gateway).SetTargetEnabled(request_))
        assert gateway.app.parts.routes.switches.off() == []
    assert (reason_of(error), bad_fields_of(error)) == (reason, [field] if field else [])


async def test_the_python_clients() -> None:
    async with running_gateway(TWO) as gateway:

        def blocking() -> tuple[str, bool, int]:
            with AdminClient(gateway.address, api_key="") as client:
                found = client.explain_route("m", "Hi", max_output_tokens=5)
                changed = client.set_target_enabled("one", "chat", enabled=False).changed
                return found.model, changed, len(client.circuit_breakers("one").circuit_breakers)

        assert await asyncio.to_thread(blocking) == ("m", True, 0)
        async with AsyncAdminClient(gateway.address, api_key="") as client:
            whole = embedding_pb2.EmbedRequest(model="one/embed", inputs=["a"])
            assert (await client.explain_route(request=whole)).model == "one/embed"
            assert (await client.explain_route("m", "Hi")).routing_decision.candidates[0].target.provider == "two"
            assert (await client.set_target_enabled("one", "chat", enabled=True)).changed
            assert (await client.circuit_breakers()).enabled
            with pytest.raises(ValueError, match="whole request"):
                await client.explain_route("m", request=whole)
