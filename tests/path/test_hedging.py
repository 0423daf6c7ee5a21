"""A slow first attempt gets company; whichever brings content first is the reply."""

from __future__ import annotations

from typing import Any

import pytest

from llmgateway.v1 import reply_pb2, routing_pb2
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from tests.properties.loop import ask, read_stream, refusal

SLOW, QUICK = "chat?first_token_ms=5000&tokens=3", "chat?tokens=3"
HEDGE = routing_pb2.HedgePolicy(delay_ms=50)


def document(first: str, second: str) -> dict[str, Any]:
    return {
        "providers": {"a": {"vendor": "simulator"}, "b": {"vendor": "simulator"}},
        "models": {"m": {"targets": [{"provider": "a", "model": first}, {"provider": "b", "model": second}]}},
    }


def request(hedge: routing_pb2.HedgePolicy = HEDGE) -> Any:
    return ask(model="m", routing=routing_pb2.RoutingOptions(hedge=hedge), max_output_tokens=10)


def outcomes(attempts: Any) -> list[tuple[str, int]]:
    return [(each.target.provider, each.outcome) for each in attempts]


async def unary_and_streamed(gateway: RunningGateway) -> list[Any]:
    whole = await gateway.stub.Complete(request())
    events, error = await read_stream(gateway.stub.StreamComplete(request()))
    assert error is None
    started, finished = events[0].started, events[-1].finished
    assert whole.target.provider == started.target.provider
    return [whole.attempts, finished.attempts]


async def test_the_second_wins_and_the_first_is_cancelled() -> None:
    async with running_gateway(document(SLOW, QUICK)) as gateway:
        for attempts in await unary_and_streamed(gateway):
            assert outcomes(attempts) == [
                ("a", reply_pb2.ATTEMPT_OUTCOME_CANCELLED),
                ("b", reply_pb2.ATTEMPT_OUTCOME_SUCCEEDED),
            ]
        standings = gateway.app.parts.routes.standings.figures()
        assert [figures.in_flight for figures in standings.values()] == [0, 0]


async def test_a_quick_first_stays_alone() -> None:
    async with running_gateway(document(QUICK, QUICK)) as gateway:
        for attempts in await unary_and_streamed(gateway):
            assert outcomes(attempts) == [("a", reply_pb2.ATTEMPT_OUTCOME_SUCCEEDED)]


async def test_the_first_wins_a_race_against_a_slower_second() -> None:
    first, second = "chat?first_token_ms=300&tokens=3", SLOW
    async with running_gateway(document(first, second)) as gateway:
        for attempts in await unary_and_streamed(gateway):
            assert outcomes(attempts) == [
                ("a", reply_pb2.ATTEMPT_OUTCOME_SUCCEEDED),
                ("b", reply_pb2.ATTEMPT_OUTCOME_CANCELLED),
            ]


async def test_one_fails_and_the_other_answers() -> None:
    first = "chat?first_token_ms=300&tokens=3"
    async with running_gateway(document(first, "chat?fault=reset")) as gateway:
        for attempts in await unary_and_streamed(gateway):
            assert ("a", reply_pb2.ATTEMPT_OUTCOME_SUCCEEDED) in outcomes(attempts)


async def test_what_the_request_caused_ends_the_race() -> None:
    async with running_gateway(document("chat?fault=hang", "chat?fault=http&status=400")) as gateway:
        _, error = await read_stream(gateway.stub.StreamComplete(request(), timeout=20))
        outcomes = [each["outcome"] for each in gateway.records() if each["record"] == "attempt"]
    assert error is not None
    assert refusal(error).reason == "UPSTREAM_REJECTED_REQUEST"
    assert outcomes == ["cancelled", "failed"]


async def test_both_fail() -> None:
    slow_failure = "chat?first_token_ms=300&fault=error&at=0&status=503"
    async with running_gateway(document(slow_failure, "chat?fault=http&status=503")) as gateway:
        _, error = await read_stream(gateway.stub.StreamComplete(request(), timeout=20))
    assert error is not None
    assert {each.target.provider for each in refusal(error).attempts} >= {"a", "b"}


@pytest.mark.parametrize(("cap", "attempts"), [(0, 1), (10**12, 2)])
async def test_the_second_costs_no_more_than_it_may(cap: int, attempts: int) -> None:
    first = "chat?first_token_ms=400&tokens=3"
    settings = document(first, QUICK)
    settings["models"]["m"]["targets"][1]["price"] = {"input_usd": 1, "output_usd": 2}
    hedge = routing_pb2.HedgePolicy(delay_ms=50, max_extra_cost_nano_usd=cap)
    async with running_gateway(settings) as gateway:
        reply = await gateway.stub.Complete(request(hedge))
    assert len(reply.attempts) == attempts


async def test_a_caller_who_leaves_ends_both() -> None:
    async with running_gateway(document(SLOW, SLOW)) as gateway:
        _, error = await read_stream(gateway.stub.StreamComplete(request(), timeout=0.4))
        assert error is not None
        await gateway.stub.Complete(ask(model="b/chat"))
        figures = gateway.app.parts.routes.standings.figures()
        assert [each.in_flight for each in figures.values()] == [0] * len(figures)
