"""Checks of targets that failed, by a whole gateway at a provider on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from llmgateway.v1 import status_pb2
from llmgateway_server.attempts.breaker import State
from llmgateway_server.attempts.breakers import BreakerView
from llmgateway_server.observe.statistics import Period
from llmgateway_server.routing import checks
from llmgateway_server.testing.clock import ManualClock
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from llmgateway_server.testing.upstream import (
    MODEL,
    Exchange,
    Received,
    Step,
    Upstream,
    answer,
    hang,
    json_answer,
    stream,
)
from tests.faults.kit import ask, settings, until

DOWN = json_answer({"error": {"message": "down"}}, 500)
LIST = json_answer({"object": "list", "data": []})
OPEN_S = 30.0
SERVED = {"models": {"served": {"targets": [{"provider": "up", "model": MODEL}]}}}


@dataclass(slots=True)
class Answers:
    """What the provider says to callers and to checks, until it is told otherwise."""

    callers: Step
    page: Step = LIST

    async def __call__(self, exchange: Exchange) -> None:
        received = exchange.received
        if received.method == "GET":
            return await self.page(exchange)
        if self.callers is HELLO and received.body.get("stream"):
            for step in stream("h"):
                await step(exchange)
            return None
        return await self.callers(exchange)


HELLO = answer("h")


@dataclass(slots=True)
class Watched:
    """A gateway, its provider and its time."""

    gateway: RunningGateway
    upstream: Upstream
    says: Answers
    clock: ManualClock

    async def fail(self, times: int = 5) -> None:
        self.says.callers = DOWN
        for _ in range(times):
            with pytest.raises(grpc.aio.AioRpcError):
                await self.gateway.stub.Complete(ask(model="served"))

    async def round(self) -> list[Received]:
        """Runs a round of checks and returns what the provider was asked."""
        before = len(self.upstream.requests)
        await self.gateway.app.checks.round()
        return self.upstream.requests[before:]

    def breaker(self) -> BreakerView:
        (view,) = self.gateway.app.parts.routes.breakers.views()
        return view

    def counted(self) -> dict[str, int]:
        """Returns the checks by outcome, as the page of metrics has them."""
        lines = self.gateway.app.exposition.text().decode().splitlines()
        found = [line for line in lines if line.startswith("llm_gateway_health_checks_total{")]
        return {line.partition('outcome="')[2].partition('"')[0]: int(line.rpartition(" ")[2]) for line in found}

    async def status(self) -> int:
        health = await self.gateway.stub.Health(status_pb2.HealthRequest(provider="up"))
        return int(health.providers[0].status)


@asynccontextmanager
async def watched(
    sections: Mapping[str, Any] | None = None, account: Mapping[str, Any] | None = None
) -> AsyncIterator[Watched]:
    says, clock = Answers(HELLO), ManualClock()
    async with Upstream(says) as upstream:
        usual = {"breakers": {"open_s": OPEN_S}, "health_checks": {"interval_s": 3600}}  # rounds are those of the test
        document = settings(upstream, **SERVED, **{**usual, **(sections or {})})
        document["providers"]["up"] = {**document["providers"]["up"], **(account or {})}
        async with running_gateway(document, clock=clock) as gateway:
            yield Watched(gateway, upstream, says, clock)


async def test_a_target_that_works_again_comes_back_without_a_caller() -> None:
    async with watched(account={"api_key": "sk-check"}) as it:
        await it.fail()
        assert it.breaker().state is State.OPEN
        it.says.callers = HELLO
        it.clock.advance(OPEN_S * 1.2)
        asked = await it.round()
        records, figures = it.gateway.records(), it.gateway.app.parts.statistics.over(Period.ALL)
        assert it.breaker().state is State.CLOSED
        assert it.counted() == {"succeeded": 2}
    assert [(each.method, each.path) for each in asked] == [
        ("GET", "/v1/models"),
        ("POST", "/v1/chat/completions"),
    ] * 2
    assert {each.headers["authorization"] for each in asked} == {"Bearer sk-check"}
    assert {each.body["max_tokens"] for each in asked if each.method == "POST"} == {1}
    assert len([each for each in records if each["record"] == "attempt"]) == 5
    assert figures.providers["up"].count == figures.calls.count == 5


async def test_while_it_is_down_nothing_is_spent_and_the_pauses_grow() -> None:
    async with watched() as it:
        await it.fail()
        it.says.page = json_answer({"error": {}}, 503)
        for opens in (2, 3):
            it.clock.advance(OPEN_S * opens)
            asked = await it.round()
            assert [each.method for each in asked] == ["GET"]
            assert (it.breaker().state, it.breaker().opens) == (State.OPEN, opens)
        assert it.counted() == {"failed": 2}


@pytest.mark.parametrize("status", [401, 404, 405, 500])
async def test_an_account_without_that_page_is_asked_for_a_token(status: int) -> None:
    async with watched() as it:
        await it.fail()
        it.says.callers, it.says.page = HELLO, json_answer({"error": {}}, status)
        it.clock.advance(OPEN_S * 1.2)
        await it.round()
        assert it.breaker().state is State.CLOSED


async def test_a_key_that_may_not_see_the_page_is_not_set_aside() -> None:
    async with watched(account={"api_keys": ["sk-1", "sk-2"]}) as it:
        await it.fail()
        it.says.callers, it.says.page = HELLO, json_answer({"error": {}}, 403)
        it.clock.advance(OPEN_S * 1.2)
        await it.round()
        for _ in range(4):
            await it.gateway.stub.Complete(ask(model="served"))
        used = [each.headers["authorization"] for each in it.upstream.requests[-4:]]
    assert set(used) == {"Bearer sk-1", "Bearer sk-2"}


async def test_a_page_that_answers_does_not_speak_for_a_model_that_fails() -> None:
    async with watched() as it:
        await it.fail()
        it.clock.advance(OPEN_S * 1.2)
        assert [each.method for each in await it.round()] == ["GET", "POST"]
        assert (it.breaker().state, it.breaker().opens) == (State.OPEN, 2)


async def test_a_refusal_that_the_request_caused_is_a_success() -> None:
    async with watched() as it:
        await it.fail()
        it.says.callers = json_answer({"error": {"message": "too few tokens"}}, 400)
        it.clock.advance(OPEN_S * 1.2)
        await it.round()
        assert it.breaker().state is State.CLOSED


async def test_a_limit_decides_nothing_and_is_respected() -> None:
    async with watched() as it:
        await it.fail()
        it.says.page = json_answer({"error": {}}, 429, retry_after="20")
        it.clock.advance(OPEN_S * 1.2)
        assert [each.method for each in await it.round()] == ["GET"]
        assert (it.breaker().state, it.counted()) == (State.HALF_OPEN, {"undecided": 1})
        it.clock.advance(10)
        assert await it.round() == []
        it.clock.advance(20)
        assert len(await it.round()) == 1


async def test_a_check_that_takes_too_long_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CHECK_S", 0.1)
    async with watched() as it:
        await it.fail()
        it.says.page = hang
        it.clock.advance(OPEN_S * 1.2)
        asked = await it.round()
        assert (it.breaker().state, it.breaker().opens) == (State.OPEN, 2)
        await until(asked[0].gone.is_set)


async def test_who_is_well_is_waited_for_or_is_switched_off_is_not_asked() -> None:
    async with watched() as it:
        await it.gateway.stub.Complete(ask(model="served"))
        assert await it.round() == []
        await it.fail()
        assert await it.round() == []
        it.clock.advance(OPEN_S * 1.2)
        it.gateway.app.parts.routes.switches.turn("up", "", on=False)
        assert await it.round() == []


async def test_one_that_fails_often_and_is_left_alone_is_asked() -> None:
    async with watched({"breakers": {"enabled": False}}) as it:
        await it.fail(2)
        it.says.callers = HELLO
        assert await it.round() == []  # it was used since the last round, for all that is known
        await it.gateway.stub.Complete(ask(model="served"))
        assert await it.round() == []  # used again
        asked = await it.round()
        assert [each.method for each in asked] == ["GET", "POST"]
        again = await it.round()
        assert [each.method for each in again] == ["GET", "POST"]
        it.clock.advance(200)
        assert await it.round() == []


async def test_rounds_begin_by_themselves() -> None:
    async with watched({"health_checks": {"interval_s": 50}}) as it:
        await it.fail()
        it.says.callers = HELLO
        it.clock.advance(44)
        assert len(it.upstream.requests) == 5
        it.clock.advance(12)
        await until(lambda: it.breaker().state is State.CLOSED)


async def test_none_begin_where_they_are_switched_off() -> None:
    async with watched({"health_checks": {"interval_s": 0}}) as it:
        await it.fail()
        it.clock.advance(7200)
        await it.gateway.stub.Health(status_pb2.HealthRequest())
        assert len(it.upstream.requests) == 5


@pytest.mark.parametrize(("wanted", "state"), [(False, State.OPEN), (True, State.CLOSED)])
async def test_simulators_are_asked_only_where_that_is_set(wanted: bool, state: State) -> None:
    clock = ManualClock()
    document = {**settings(), "health_checks": {"simulator": wanted, "interval_s": 3600}}
    async with running_gateway(document, clock=clock) as gateway:
        for _ in range(5):
            with pytest.raises(grpc.aio.AioRpcError):
                await gateway.stub.Complete(ask(model="simulator/chat?fault=http&status=500"))
        clock.advance(40)
        await gateway.app.checks.round()
        (view,) = gateway.app.parts.routes.breakers.views()
    assert view.state is state


async def test_health_follows_the_circuits_and_never_the_probe() -> None:
    async with watched() as it:
        probe: Any = health_pb2_grpc.HealthStub(it.gateway.channel)

        async def probed() -> int:
            return int((await probe.Check(health_pb2.HealthCheckRequest())).status)

        assert await it.status() == status_pb2.HEALTH_STATUS_UNSPECIFIED
        for _ in range(60):
            await it.gateway.stub.Complete(ask(model="served"))
        assert await it.status() == status_pb2.HEALTH_STATUS_HEALTHY
        await it.fail()
        assert await it.status() == status_pb2.HEALTH_STATUS_UNHEALTHY
        assert await probed() == health_pb2.HealthCheckResponse.SERVING
        it.clock.advance(OPEN_S * 1.2)
        it.says.page = json_answer({"error": {}}, 429)
        await it.round()
        assert await it.status() == status_pb2.HEALTH_STATUS_DEGRADED
        it.clock.advance(60)
        it.says.callers, it.says.page = HELLO, LIST
        await it.round()
        assert await it.status() == status_pb2.HEALTH_STATUS_HEALTHY
        assert await probed() == health_pb2.HealthCheckResponse.SERVING
