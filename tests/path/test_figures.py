"""Figures and health by RPC, of calls that were really made."""

from __future__ import annotations

from typing import Any

import grpc.aio
import pytest

from llmgateway.v1 import embedding_pb2, status_pb2
from llmgateway_server.testing.clock import ManualClock
from llmgateway_server.testing.gateway import SIMULATOR_ONLY, RunningGateway, running_gateway
from llmgateway_server.testing.upstream import Upstream, json_answer
from tests.faults.kit import ask, settings

CHAT = "simulator-chat"
BROKEN = "simulator/chat?fault=http&status=500"


async def failing(gateway: RunningGateway, **request: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await gateway.stub.Complete(ask(**request))


async def test_figures_by_period() -> None:
    clock = ManualClock()
    hour, day, week, month, everything = (
        status_pb2.METRICS_PERIOD_HOUR,
        status_pb2.METRICS_PERIOD_DAY,
        status_pb2.METRICS_PERIOD_WEEK,
        status_pb2.METRICS_PERIOD_MONTH,
        status_pb2.METRICS_PERIOD_UNSPECIFIED,
    )
    async with running_gateway(clock=clock) as gateway:

        async def counts() -> dict[int, int]:
            answers = [
                await gateway.stub.Metrics(status_pb2.MetricsRequest(period=each))
                for each in (hour, day, week, month, everything)
            ]
            for each in answers:
                assert each.window_end.seconds == int(clock.wall_s())
                assert each.calls.call_count == each.providers[0].attempt_count
            return dict(
                zip((hour, day, week, month, everything), (each.calls.call_count for each in answers), strict=True)
            )

        for age_s in (40 * 86400, 10 * 86400, 3 * 86400, 5 * 3600, 0):
            await gateway.stub.Complete(ask(model=CHAT))
            before = {40 * 86400: 30, 10 * 86400: 7, 3 * 86400: 2.75, 5 * 3600: 5 / 24}.get(age_s, 0)
            clock.advance(before * 86400)
        found = await counts()
        named = await gateway.stub.Metrics(status_pb2.MetricsRequest(provider="simulator", period=day))
        with pytest.raises(grpc.aio.AioRpcError):
            await gateway.stub.Metrics(status_pb2.MetricsRequest(provider="nobody"))
    assert found[everything] == 5
    assert found[hour] < found[day] < found[week] < found[month] < found[everything]
    assert (named.HasField("calls"), len(named.top_models), named.providers[0].attempt_count) == (False, 0, found[day])


async def test_top_models_have_all_their_figures() -> None:
    async with running_gateway() as gateway:
        for _ in range(3):
            await gateway.stub.Complete(ask("a b", model=CHAT))
        await gateway.stub.Embed(embedding_pb2.EmbedRequest(inputs=["a"], dimensions=8))
        await failing(gateway, model=BROKEN)
        metrics = await gateway.stub.Metrics(status_pb2.MetricsRequest())
    top = metrics.top_models[0]
    assert [each.model for each in metrics.top_models] == [CHAT, "simulator-embed", "simulator/chat"]
    assert (top.call_count, top.success_rate, top.input_token_count) == (3, 1.0, 6)
    assert top.output_token_count > 0
    assert top.cost.nano_usd > 0
    assert metrics.top_models[2].success_rate == 0.0
    assert metrics.calls.average_latency_ms > 0
    assert metrics.calls.average_time_to_first_token_ms > 0


async def test_top_models_name_none_that_callers_invent() -> None:
    refused = json_answer({"error": {"message": "invalid model ID", "code": "model_not_supported"}}, 400)
    async with Upstream(refused) as upstream, running_gateway(settings(upstream)) as gateway:
        for number in range(20):
            await failing(gateway, model=f"up/invented-{number}")
        await gateway.stub.Complete(ask(model=CHAT))
        metrics = await gateway.stub.Metrics(status_pb2.MetricsRequest())
    assert [(each.model, each.call_count) for each in metrics.top_models] == [("unknown", 20), (CHAT, 1)]


@pytest.mark.parametrize(
    ("failures", "status"),
    [
        (0, status_pb2.HEALTH_STATUS_HEALTHY),
        (1, status_pb2.HEALTH_STATUS_HEALTHY),
        (2, status_pb2.HEALTH_STATUS_DEGRADED),
    ],
)
async def test_more_than_one_error_in_ten_is_degraded(failures: int, status: int) -> None:
    clock = ManualClock()
    async with running_gateway({**SIMULATOR_ONLY, "max_attempts": 1}, clock=clock) as gateway:
        for _ in range(failures):
            await failing(gateway, model=BROKEN)
        for _ in range(10 - failures):
            await gateway.stub.Complete(ask(model=CHAT))
        health = await gateway.stub.Health(status_pb2.HealthRequest())
        clock.advance(400)
        later = await gateway.stub.Health(status_pb2.HealthRequest())
    provider = health.providers[0]
    assert (health.status, provider.status) == (status, status)
    assert (provider.attempt_count, provider.error_rate) == (10, pytest.approx(failures / 10))
    assert provider.success_rate + provider.error_rate == pytest.approx(1)
    assert later.providers[0].attempt_count == 0
    assert not later.providers[0].HasField("error_rate")
    assert later.providers[0].status == status_pb2.HEALTH_STATUS_UNSPECIFIED
    assert later.status == status_pb2.HEALTH_STATUS_HEALTHY


async def test_the_whole_is_judged_by_all_providers_whichever_is_asked_for() -> None:
    async with (
        Upstream(json_answer({"error": {}}, 500)) as upstream,
        running_gateway(settings(upstream)) as gateway,
    ):
        await failing(gateway)
        await gateway.stub.Complete(ask(model=CHAT))
        alone = await gateway.stub.Health(status_pb2.HealthRequest(provider="simulator"))
        whole = await gateway.stub.Health(status_pb2.HealthRequest())
    assert [(each.provider, each.status) for each in alone.providers] == [
        ("simulator", status_pb2.HEALTH_STATUS_HEALTHY)
    ]
    assert alone.status == whole.status == status_pb2.HEALTH_STATUS_DEGRADED
    assert [each.status for each in whole.providers] == [
        status_pb2.HEALTH_STATUS_HEALTHY,
        status_pb2.HEALTH_STATUS_UNHEALTHY,
    ]
