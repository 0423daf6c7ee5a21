"""What operators watch over the wire, and that a watch is never what a drain waits for."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from llmgateway import AdminClient, AsyncAdminClient, RateLimited
from llmgateway.admin.v1 import circuit_breaker_pb2, event_pb2, metrics_pb2, target_pb2
from llmgateway.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from llmgateway.v1 import error_pb2, routing_pb2
from llmgateway_server.core.reasons import Reason
from llmgateway_server.observe.events import MAX_WAITING, MAX_WATCHERS, KeySetAside
from llmgateway_server.testing.clock import ManualClock
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from llmgateway_server.testing.upstream import Upstream, json_answer
from tests.faults.kit import BACKSTOP_S, ask, failure_of, reason_of, settings

ONCE = routing_pb2.RoutingOptions(max_attempts=1)
SMALL_WINDOW = (("grpc.enable_retries", 0), ("grpc.http2.lookahead_bytes", 65536), ("grpc.http2.bdp_probe", 0))
PATIENT = {"providers": {"s": {"vendor": "simulator"}}, "server": {"grace_s": 60.0}}


def admin(gateway: RunningGateway) -> Any:
    return AdminServiceStub(gateway.channel)


def with_key(upstream: Upstream) -> dict[str, Any]:
    document = settings(upstream)
    document["providers"]["up"]["api_key"] = "sk-canary"
    return document


class Watching:
    """A watch that has begun."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self._ready: list[event_pb2.GatewayEvent] = []

    @classmethod
    async def begun(cls, gateway: RunningGateway) -> Watching:
        watching = cls(admin(gateway).WatchEvents(event_pb2.WatchEventsRequest()))
        first = await watching.next()
        assert (first.WhichOneof("event"), first.watch_begun.worker_count) == ("watch_begun", 1)
        return watching

    async def next(self) -> event_pb2.GatewayEvent:
        async with asyncio.timeout(BACKSTOP_S):
            while not self._ready:
                message = await self.call.read()
                assert message is not grpc.aio.EOF
                self._ready += message.events
        return self._ready.pop(0)

    async def ended(self) -> bool:
        """Waits for the end and tells whether it is a good one."""
        async with asyncio.timeout(BACKSTOP_S):
            assert await self.call.read() is grpc.aio.EOF
            return await self.call.code() is grpc.StatusCode.OK


async def test_what_operators_and_providers_do_is_told() -> None:
    clock = ManualClock()
    refused, failed = json_answer({"error": {"code": "invalid_api_key"}}, 401), json_answer({"error": {}}, 500)
    async with Upstream() as upstream, running_gateway(with_key(upstream), clock=clock) as gateway:
        upstream.then(refused, *[failed] * 5)
        watching = await Watching.begun(gateway)
        await failure_of(gateway.stub.Complete(ask(routing=ONCE)))
        key = await watching.next()
        for _ in range(5):
            await failure_of(gateway.stub.Complete(ask(routing=ONCE)))
        breaker = await watching.next()
        await admin(gateway).SetTargetEnabled(target_pb2.SetTargetEnabledRequest(provider="up", enabled=False))
        switched = await watching.next()
        await admin(gateway).SetTargetEnabled(target_pb2.SetTargetEnabledRequest(provider="up", enabled=False))
        await admin(gateway).ResetMetrics(metrics_pb2.ResetMetricsRequest())
        reset = await watching.next()
        watching.call.cancel()
    assert key.key_set_aside == event_pb2.KeySetAside(
        provider="up", key_id="key-1", reason=error_pb2.ERROR_REASON_PROVIDER_AUTH_FAILED, duration_ms=300_000
    )
    changed = breaker.circuit_breaker_changed
    assert (changed.provider, changed.state, changed.cause, changed.last_failure_reason) == (
        "up",
        circuit_breaker_pb2.CIRCUIT_STATE_OPEN,
        circuit_breaker_pb2.CIRCUIT_CAUSE_CONSECUTIVE_FAILURES,
        error_pb2.ERROR_REASON_UPSTREAM_ERROR,
    )
    assert changed.retry_in_ms > 20_000
    assert switched.target_enabled_changed == event_pb2.TargetEnabledChanged(provider="up", enabled=False)
    assert reset.WhichOneof("event") == "metrics_reset"
    assert {each.time.seconds for each in (key, breaker, switched, reset)} == {int(clock.wall_s())}


async def test_a_watch_is_no_call_in_the_figures_and_gives_its_place_back() -> None:
    async with running_gateway() as gateway:
        watches = [await Watching.begun(gateway) for _ in range(MAX_WATCHERS)]
        error = await failure_of(admin(gateway).WatchEvents(event_pb2.WatchEventsRequest()).read())
        assert gateway.app.parts.gate.in_flight == MAX_WATCHERS
        for watching in watches:
            watching.call.cancel()
        async with asyncio.timeout(BACKSTOP_S):
            while gateway.app.parts.gate.in_flight:
                await asyncio.sleep(0.005)
        (await Watching.begun(gateway)).call.cancel()
        records = gateway.records()
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED_CONCURRENCY")
    assert [record["reason"] for record in records] == ["RATE_LIMITED_CONCURRENCY"]


async def test_the_drain_does_not_wait_for_watchers() -> None:
    loop = asyncio.get_running_loop()
    async with running_gateway(PATIENT) as gateway:
        watching = await Watching.begun(gateway)
        began_s = loop.time()
        draining = asyncio.create_task(gateway.app.drain(delay_s=0.0))
        last = await watching.next()
        assert last.WhichOneof("event") == "drain_begun"
        assert await watching.ended()
        await draining
        assert loop.time() - began_s < 30


async def test_a_watch_that_begins_in_the_drains_delay_ends_too() -> None:
    async with running_gateway() as gateway:
        first = await Watching.begun(gateway)
        draining = asyncio.create_task(gateway.app.drain(delay_s=2.0))
        assert (await first.next()).WhichOneof("event") == "drain_begun"
        late = await Watching.begun(gateway)
        assert (await late.next()).WhichOneof("event") == "drain_begun"
        assert await late.ended()
        await draining


async def test_a_watcher_that_reads_nothing_holds_up_no_event_and_gives_its_place_back() -> None:
    document = {**PATIENT, "server": {"grace_s": 4.0}}
    async with running_gateway(document, channel_options=SMALL_WINDOW) as gateway:
        watching = await Watching.begun(gateway)
        events = gateway.app._events
        [watch] = events._watches
        async with asyncio.timeout(BACKSTOP_S):
            while watch._dropped < 20 * MAX_WAITING:  # its write is stuck: nothing was taken for twenty rounds
                for _ in range(MAX_WAITING):
                    events.tell(KeySetAside("s", "key-1" * 20, Reason.PROVIDER_AUTH_FAILED, 1.0))
                await asyncio.sleep(0.005)
        draining = asyncio.create_task(gateway.app.drain(delay_s=0.0))
        async with asyncio.timeout(BACKSTOP_S):
            while events.watcher_count:
                await asyncio.sleep(0.005)
            # The library keeps what was not read until the grace is over, whatever we do.
            await draining
        watching.call.cancel()


async def test_bytes_that_are_no_message() -> None:
    async with running_gateway() as gateway:
        call: Any = gateway.channel.unary_stream("/llmgateway.admin.v1.AdminService/WatchEvents")
        assert reason_of(await failure_of(call(b"\xff\xff").read())) == "MALFORMED_REQUEST"


async def test_the_python_clients() -> None:
    async with running_gateway(PATIENT) as gateway:

        def blocking() -> list[str]:
            with AdminClient(gateway.address, api_key="") as client, client.watch_events(timeout=60) as watch:
                found = [next(watch)]
                client.reset_metrics()
                found.append(next(watch))
                watch.close()
                return [*(str(each.WhichOneof("event")) for each in found), *(str(each) for each in watch)]

        assert await asyncio.to_thread(blocking) == ["watch_begun", "metrics_reset"]
        async with AsyncAdminClient(gateway.address, api_key="") as client:
            async with client.watch_events() as watch:
                assert (await anext(watch)).WhichOneof("event") == "watch_begun"
                await client.set_target_enabled("s", enabled=False)
                assert (await anext(watch)).target_enabled_changed.provider == "s"
                draining = asyncio.create_task(gateway.app.drain(delay_s=0.0))
                assert [event.WhichOneof("event") async for event in watch] == ["drain_begun"]
                await draining
            assert [event async for event in watch] == []


async def test_too_many_watchers_are_told_by_the_client() -> None:
    async with running_gateway() as gateway:
        watches = [await Watching.begun(gateway) for _ in range(MAX_WATCHERS)]
        async with AsyncAdminClient(gateway.address, api_key="") as client:
            with pytest.raises(RateLimited):
                await anext(client.watch_events(timeout=BACKSTOP_S))
        for watching in watches:
            watching.call.cancel()
