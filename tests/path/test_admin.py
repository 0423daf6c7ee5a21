"""Operators' RPCs over the wire: what they do, what they cost, what they leave in the log."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import grpc.aio
import httpx
import pytest
import structlog.testing
from google.rpc import error_details_pb2

from llmgateway import AdminClient, AsyncAdminClient, RateLimited
from llmgateway.admin.v1 import metrics_pb2, provider_test_pb2
from llmgateway.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from llmgateway.v1 import error_pb2, status_pb2
from llmgateway_server.admission.keys import new_key
from llmgateway_server.core.secret import Secret
from llmgateway_server.operators.examination import MAX_OUTPUT_TOKENS, REST_S
from llmgateway_server.testing.clock import ManualClock
from llmgateway_server.testing.gateway import SIMULATOR_ONLY, RunningGateway, running_gateway
from llmgateway_server.testing.upstream import Upstream, answer, hang, json_answer, stream, wait
from tests.faults.kit import ask, bad_fields_of, detail_of, failure_of, reason_of, settings
from tests.path.door_kit import key_entry

ALL = status_pb2.METRICS_PERIOD_UNSPECIFIED
CHAT = "simulator-chat"
SECRET = "sk-canary-0123456789"
UNARY, STREAMED = provider_test_pb2.PROVIDER_CHECK_KIND_UNARY, provider_test_pb2.PROVIDER_CHECK_KIND_STREAMED


def admin(gateway: RunningGateway) -> Any:
    return AdminServiceStub(gateway.channel)


async def metrics(
    gateway: RunningGateway, period: status_pb2.MetricsPeriod.ValueType = ALL
) -> status_pb2.MetricsResponse:
    found: status_pb2.MetricsResponse = await gateway.stub.Metrics(status_pb2.MetricsRequest(period=period))
    return found


def examined(provider: str = "up", model: str = "") -> provider_test_pb2.TestProviderRequest:
    return provider_test_pb2.TestProviderRequest(provider=provider, model=model)


async def test_figures_begin_anew() -> None:
    clock = ManualClock()
    async with running_gateway(clock=clock) as gateway:
        for _ in range(3):
            await gateway.stub.Complete(ask(model=CHAT))
        clock.advance(7200)
        await gateway.stub.Complete(ask(model=CHAT))
        before = await metrics(gateway)
        reset = await admin(gateway).ResetMetrics(metrics_pb2.ResetMetricsRequest())
        after = {period: await metrics(gateway, period) for period in status_pb2.MetricsPeriod.values()}
        await gateway.stub.Complete(ask(model=CHAT))
        again = await metrics(gateway)
    assert before.calls.call_count == reset.forgotten_call_count == 4
    assert reset.counted_since == before.window_start
    assert reset.reset_at.seconds == int(clock.wall_s()) == reset.counted_since.seconds + 7200
    for found in after.values():
        assert (found.calls.call_count, list(found.top_models), found.providers[0].attempt_count) == (0, [], 0)
    assert after[ALL].window_start == reset.reset_at
    assert after[ALL].uptime_s == before.uptime_s == 7200
    assert again.calls.call_count == 1


async def test_health_knows_nothing_after_a_reset() -> None:
    async with Upstream(json_answer({"error": {}}, 500)) as upstream, running_gateway(settings(upstream)) as gateway:
        await failure_of(gateway.stub.Complete(ask()))
        before = await gateway.stub.Health(status_pb2.HealthRequest(provider="up"))
        await admin(gateway).ResetMetrics(metrics_pb2.ResetMetricsRequest())
        after = await gateway.stub.Health(status_pb2.HealthRequest(provider="up"))
    assert before.providers[0].consecutive_failure_count > 0
    assert (after.providers[0].consecutive_failure_count, after.providers[0].attempt_count) == (0, 0)
    assert after.providers[0].status == status_pb2.HEALTH_STATUS_UNSPECIFIED


async def test_counters_for_prometheus_do_not_fall() -> None:
    document = {**SIMULATOR_ONLY, "http": {"listen": "127.0.0.1:0"}}
    async with running_gateway(document) as gateway, httpx.AsyncClient(trust_env=False) as browser:

        async def counted() -> float:
            page = (await browser.get(f"http://{gateway.app.http_address}/metrics")).text
            lines = [line for line in page.splitlines() if line.startswith("llm_gateway_requests_total{")]
            return sum(float(line.rpartition(" ")[2]) for line in lines)

        await gateway.stub.Complete(ask(model=CHAT))
        before = await counted()
        await admin(gateway).ResetMetrics(metrics_pb2.ResetMetricsRequest())
        assert await counted() == before == 1


async def test_who_did_it_is_in_the_log() -> None:
    key = new_key(Secret(""))
    document = {**SIMULATOR_ONLY, "auth": {"keys": [key_entry(key, roles=["operator"])]}}
    metadata = (("x-api-key", key.key.reveal()),)
    with structlog.testing.capture_logs() as log:
        async with running_gateway(document) as gateway:
            call = admin(gateway).ResetMetrics(metrics_pb2.ResetMetricsRequest(), metadata=metadata)
            await call
            call_id = dict(await call.trailing_metadata())["x-request-id"]
            await admin(gateway).TestProvider(examined("simulator"), metadata=metadata)
    lines = {line["event"]: line for line in log if line.get("room") == "audit"}
    assert set(lines) == {"metrics_reset", "provider_tested"}
    assert all((line["key_id"], line["tenant"]) == (key.key_id, "acme") for line in lines.values())
    assert lines["metrics_reset"]["call_id"] == call_id
    assert lines["provider_tested"]["provider"] == "simulator"
    assert lines["provider_tested"]["reason"] is None
    assert key.key.reveal() not in str(log)


async def test_a_provider_that_works() -> None:
    async with Upstream() as upstream, running_gateway(settings(upstream)) as gateway:
        upstream.then(answer("OK"), stream("O", "K"))
        address = upstream.base_url
        verdict = await admin(gateway).TestProvider(examined(model="m-1"))
        records = gateway.records()
        counted = await metrics(gateway)
    assert (verdict.ok, verdict.provider, verdict.vendor, verdict.model) == (True, "up", "openai-compatible", "m-1")
    assert verdict.address == address
    assert verdict.hint == ""
    assert [(check.kind, check.ok, check.reason) for check in verdict.checks] == [(UNARY, True, 0), (STREAMED, True, 0)]
    assert [check.timings.HasField("time_to_first_token_us") for check in verdict.checks] == [False, True]
    assert all(
        check.usage.input_token_count and check.timings.total_us and check.cost.unpriced for check in verdict.checks
    )
    assert [request.body["max_tokens"] for request in upstream.requests] == [MAX_OUTPUT_TOKENS] * 2
    # Recorded, counted and charged as every call is, to who asked.
    assert [(each["record"], each["outcome"]) for each in records] == [
        ("attempt", "succeeded"),
        ("call", "succeeded"),
    ] * 2
    assert {each["method"] for each in records if each["record"] == "call"} == {
        "/llmgateway.admin.v1.AdminService/TestProvider"
    }
    assert len({each["call_id"] for each in records}) == 1
    assert (counted.calls.call_count, counted.providers[1].attempt_count) == (2, 2)


async def test_the_cheapest_model_of_the_catalogue_is_asked() -> None:
    async with running_gateway() as gateway:
        verdict = await admin(gateway).TestProvider(examined("simulator"))
    assert verdict.ok
    assert verdict.model == "chat"
    assert all(check.cost.total.nano_usd > 0 for check in verdict.checks)


async def test_what_is_wrong_is_an_answer() -> None:
    refused = json_answer({"error": {"code": "invalid_api_key", "message": f"{SECRET} is wrong"}}, 401)
    async with Upstream(refused) as upstream, running_gateway(settings(upstream)) as gateway:
        call = admin(gateway).TestProvider(examined(model="m-1"))
        verdict = await call
        text = str(verdict) + gateway.record_text()
    assert not verdict.ok
    assert {check.reason for check in verdict.checks} == {error_pb2.ERROR_REASON_PROVIDER_AUTH_FAILED}
    assert not any(check.HasField("cost") or check.HasField("usage") for check in verdict.checks)
    assert verdict.hint == "the key was refused: check providers.up.api_key and whether the key may use this model"
    assert SECRET not in text


async def test_a_script_of_the_simulator_is_a_model_like_any_other() -> None:
    async with running_gateway() as gateway:
        verdict = await admin(gateway).TestProvider(examined("simulator", "chat?fault=http&status=503"))
    assert {check.reason for check in verdict.checks} == {error_pb2.ERROR_REASON_UPSTREAM_OVERLOADED}
    assert "overloaded" in verdict.hint


@pytest.mark.parametrize(
    ("request_", "code", "reason", "field"),
    [
        (examined("nobody"), grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND", ""),
        (examined(""), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "provider"),
        (examined("up", "a\x00b"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "model"),
        (examined("up", "m" * 200), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "model"),
        (examined("up"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "model"),
    ],
)
async def test_a_request_that_cannot_be_costs_nothing(
    request_: Any, code: grpc.StatusCode, reason: str, field: str
) -> None:
    async with Upstream(answer("OK")) as upstream, running_gateway(settings(upstream)) as gateway:
        error = await failure_of(admin(gateway).TestProvider(request_))
        # It took no turn either.
        assert (await admin(gateway).TestProvider(examined(model="m-1"))).checks[0].ok
    assert (error.code(), reason_of(error)) == (code, reason)
    assert bad_fields_of(error) == ([field] if field else [])


async def test_the_models_of_a_key_bind_its_tests() -> None:
    key = new_key(Secret(""))
    document = {**SIMULATOR_ONLY, "auth": {"keys": [key_entry(key, roles=["operator"], models=["simulator/embed"])]}}
    async with running_gateway(document) as gateway:
        error = await failure_of(
            admin(gateway).TestProvider(examined("simulator"), metadata=(("x-api-key", key.key.reveal()),))
        )
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.PERMISSION_DENIED, "MODEL_NOT_ALLOWED")


async def test_bytes_that_are_no_message() -> None:
    async with running_gateway() as gateway:
        for method in ("ResetMetrics", "TestProvider"):
            call: Any = gateway.channel.unary_unary(f"/llmgateway.admin.v1.AdminService/{method}")
            assert reason_of(await failure_of(call(b"\xff\xff"))) == "MALFORMED_REQUEST"


async def test_one_test_of_a_provider_at_a_time() -> None:
    go_on = asyncio.Event()
    async with Upstream() as upstream, running_gateway(settings(upstream)) as gateway:
        upstream.then([wait(go_on), answer("OK")], stream("OK"))
        first = asyncio.ensure_future(admin(gateway).TestProvider(examined(model="m-1")))
        await upstream.request()
        error = await failure_of(admin(gateway).TestProvider(examined(model="m-2")))
        other = await admin(gateway).TestProvider(examined("simulator"))
        go_on.set()
        verdict = await first
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED_CONCURRENCY")
    assert other.ok
    assert verdict.ok


@pytest.mark.parametrize("step", [answer("OK"), json_answer({"error": {}}, 401)])
async def test_the_next_test_waits(step: Any) -> None:
    clock = ManualClock()
    async with Upstream(step) as upstream, running_gateway(settings(upstream), clock=clock) as gateway:
        await admin(gateway).TestProvider(examined(model="m-1"))
        clock.advance(REST_S - 5)
        spent = len(upstream.requests)
        error = await failure_of(admin(gateway).TestProvider(examined(model="m-2")))
        assert len(upstream.requests) == spent
        clock.advance(5)
        await admin(gateway).TestProvider(examined(model="m-1"))
        assert len(upstream.requests) == 2 * spent
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED_RPM")
    assert detail_of(error, error_details_pb2.RetryInfo).retry_delay.seconds in (4, 5)


async def test_who_leaves_gives_the_turn_back() -> None:
    clock = ManualClock()
    async with Upstream() as upstream, running_gateway(settings(upstream), clock=clock) as gateway:
        upstream.then(hang, answer("OK"), stream("OK"))
        call = admin(gateway).TestProvider(examined(model="m-1"))
        left = await upstream.request()
        call.cancel()
        await left.gone.wait()
        resting = await failure_of(admin(gateway).TestProvider(examined(model="m-1")))
        clock.advance(REST_S)
        verdict = await admin(gateway).TestProvider(examined(model="m-1"))
    assert reason_of(resting) == "RATE_LIMITED_RPM"
    assert verdict.ok


async def test_a_deadline_that_is_too_short_is_the_operators() -> None:
    async with Upstream(hang) as upstream, running_gateway(settings(upstream)) as gateway:
        error = await failure_of(admin(gateway).TestProvider(examined(model="m-1"), timeout=0.3))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(upstream.requests) == 1


async def test_names_that_callers_invent_are_not_in_the_figures() -> None:
    unknown = json_answer({"error": {"code": "model_not_found"}}, 404)
    async with Upstream(unknown) as upstream, running_gateway(settings(upstream)) as gateway:
        for model in ("gpt-99", "the-name-of-somebody", "up/invented", CHAT):
            with suppress(grpc.aio.AioRpcError):
                await gateway.stub.Complete(ask(model=model))
        found = await metrics(gateway)
    assert [(each.model, each.call_count) for each in found.top_models] == [("unknown", 3), (CHAT, 1)]
    assert found.calls.call_count == 4


async def test_the_python_clients() -> None:
    async with running_gateway() as gateway:
        await gateway.stub.Complete(ask(model=CHAT))

        def blocking() -> tuple[int, bool]:
            with AdminClient(gateway.address, api_key="") as client:
                return client.reset_metrics().forgotten_call_count, client.test_provider("simulator").ok

        assert await asyncio.to_thread(blocking) == (1, True)
        async with AsyncAdminClient(gateway.address, api_key="") as client:
            assert (await client.reset_metrics()).forgotten_call_count == 2
            with pytest.raises(RateLimited):
                await client.test_provider("simulator", model="chat")
            assert (await client.metrics()).calls.shed_count == 1
        with pytest.raises(RuntimeError, match="closed"):
            await client.reset_metrics()
