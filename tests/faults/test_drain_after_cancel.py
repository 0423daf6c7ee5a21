"""C2 at vendors that bill the whole answer after a disconnect: the stream is read on, within bounds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
import pytest
import structlog

from llmgateway.v1 import routing_pb2
from llmgateway_server.providers.vendors import VENDORS
from llmgateway_server.testing.fake_provider import FakeReply, FakeUsage
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from llmgateway_server.testing.upstream import (
    END,
    MODEL,
    STREAM_HEAD,
    Script,
    Step,
    Upstream,
    chunk,
    delta,
    event,
    hang,
    reset,
    usage,
    wait,
)
from tests.faults.kit import BUSY, CLOSE_P99_S, LoopLag, ask, quiet, records_of, settings, until
from tests.faults.provider_kit import SPOKEN, frames_of, stream_head

RACING = {"served": {"targets": [{"provider": "up", "model": MODEL}, {"provider": "simulator", "model": "chat"}]}}
PRICE = {"input_usd": "1", "output_usd": "2"}
SERVED = {"models": {"served": {"targets": [{"provider": "up", "model": MODEL, "price": PRICE}]}}}
FIRST = [STREAM_HEAD, event(delta("word "))]


def rest(**figures: int) -> list[Step]:
    last = [event({**delta(), "choices": [], "usage": usage(**figures)})] if figures else []
    return [event(delta("more words here ")), event(delta(finish_reason="stop")), *last, event("[DONE]"), END]


@dataclass(slots=True)
class Watched:
    gateway: RunningGateway
    upstream: Upstream
    log: list[MutableMapping[str, Any]]

    @property
    def in_flight(self) -> int:
        lines = self.gateway.app.exposition.text().decode().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("llm_gateway_drains_in_flight "))

    def counted(self) -> dict[str, int]:
        lines = self.gateway.app.exposition.text().decode().splitlines()
        found = [line for line in lines if line.startswith("llm_gateway_drains_total{")]
        return {line.partition('outcome="')[2].partition('"')[0]: int(line.rpartition(" ")[2]) for line in found}

    def corrections(self) -> list[MutableMapping[str, Any]]:
        return [line for line in self.log if line["event"] == "attempt_drained"]

    async def leave(self) -> None:
        """Makes a call, reads its first message and leaves."""
        call = self.gateway.stub.StreamComplete(ask(model="served"))
        assert await call.read() is not grpc.aio.EOF
        call.cancel()
        await quiet(self.gateway)


@asynccontextmanager
async def watched(
    script: Script, account: dict[str, Any] | None = None, bounds: dict[str, Any] | None = None, **sections: Any
) -> AsyncIterator[Watched]:
    async with Upstream(script) as upstream:
        document = settings(upstream, **{**SERVED, **sections}, after_cancel=bounds or {})
        document["providers"]["up"] |= {"drain_on_cancel": True} if account is None else account
        with structlog.testing.capture_logs() as log:
            async with running_gateway(document) as gateway:
                yield Watched(gateway, upstream, log)


async def test_the_call_ends_at_once_and_the_figures_come_after_it() -> None:
    told = asyncio.Event()
    script = [*FIRST, wait(told), *rest(input_tokens=11, output_tokens=7)]
    async with watched(script) as it, LoopLag() as lag:
        call = it.gateway.stub.StreamComplete(ask(model="served"))
        await call.read()
        left_at_s = time.monotonic()
        call.cancel()
        await quiet(it.gateway)
        ended_after_s = time.monotonic() - left_at_s
        (attempt,) = records_of(it.gateway, "attempt")
        assert (it.in_flight, it.corrections()) == (1, [])
        assert not it.upstream.requests[0].gone.is_set()
        told.set()
        await until(lambda: it.in_flight == 0)
        (correction,) = it.corrections()
        counted = it.counted()
        await it.gateway.stub.StreamComplete(ask(model="served")).read()
        gone = it.upstream.requests[0].gone.is_set()
    assert ended_after_s <= CLOSE_P99_S * BUSY + lag.worst_s
    assert (attempt["outcome"], attempt["charge"], attempt["output_tokens"]) == ("cancelled", "CP", 2)
    assert (correction["call_id"], correction["attempt"]) == (attempt["call_id"], 1)
    assert (correction["charge"], correction["usage_source"]) == ("CU", "REPORTED")
    assert (correction["input_tokens"], correction["output_tokens"]) == (11, 7)
    assert correction["cost_nano_usd"] == 11 * 1000 + 7 * 2000
    assert counted == {"finished": 1}
    assert not gone, "a connection that was read to its end is used again"


async def test_one_that_left_before_the_first_token_is_read_on_too() -> None:
    told = asyncio.Event()
    script = [STREAM_HEAD, chunk(b": ping\n\n"), wait(told), *rest(input_tokens=11, output_tokens=7)]
    async with watched(script) as it:
        turns = 0
        while not it.in_flight:  # callers see nothing of a head; who leaves a little later each time leaves after it
            turns += 10
            call = it.gateway.stub.StreamComplete(ask(model="served"))
            await it.upstream.request(len(records_of(it.gateway, "attempt")) + 1)
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await quiet(it.gateway)
        attempt = records_of(it.gateway, "attempt")[-1]
        told.set()
        await until(lambda: it.in_flight == 0)
        (correction,) = it.corrections()
    assert (attempt["charge"], attempt["output_tokens"]) == ("CI", 0)
    assert (correction["charge"], correction["output_tokens"]) == ("CU", 7)


@pytest.mark.parametrize(
    ("figures", "output_tokens"),
    [
        pytest.param({}, 6, id="missing"),
        pytest.param({"input_tokens": 5, "output_tokens": 900_000_000}, 6, id="unbelievable"),
    ],
)
async def test_without_figures_that_can_be_all_output_is_estimated(figures: dict[str, int], output_tokens: int) -> None:
    told = asyncio.Event()
    async with watched([*FIRST, wait(told), *rest(**figures)]) as it:
        await it.leave()
        told.set()
        await until(lambda: it.in_flight == 0)
        (correction,) = it.corrections()
    assert (correction["charge"], correction["usage_source"]) == ("CP", "ESTIMATED")
    assert correction["output_tokens"] == output_tokens


async def test_the_loser_of_a_race_is_read_on_too() -> None:
    told = asyncio.Event()
    slow = [STREAM_HEAD, chunk(b": ping\n\n"), wait(told), *rest(input_tokens=11, output_tokens=7)]
    hedge = routing_pb2.RoutingOptions(hedge=routing_pb2.HedgePolicy(delay_ms=300))
    async with watched(slow, models=RACING, max_attempts=2) as it:
        call = it.gateway.stub.StreamComplete(ask(model="served", routing=hedge))
        async for _ in call:
            pass
        await quiet(it.gateway)
        assert it.in_flight == 1
        told.set()
        await until(lambda: it.in_flight == 0)
        (correction,) = it.corrections()
    assert (correction["attempt"], correction["charge"], correction["output_tokens"]) == (1, "CU", 7)


async def test_one_that_takes_too_long_is_cut() -> None:
    async with watched([*FIRST, hang], bounds={"drain_s": 0.2}) as it:
        await it.leave()
        await until(it.upstream.requests[0].gone.is_set)
        await until(lambda: it.in_flight == 0)
        assert (it.counted(), it.corrections()) == ({"overdue": 1}, [])


async def test_one_that_breaks_off_corrects_nothing() -> None:
    told = asyncio.Event()
    async with watched([*FIRST, wait(told), reset]) as it:
        await it.leave()
        told.set()
        await until(lambda: it.in_flight == 0)
        assert (it.counted(), it.corrections()) == ({"broken": 1}, [])


async def test_more_than_there_may_be_are_cut_at_once() -> None:
    async with watched([*FIRST, hang], bounds={"max_drains": 2}) as it, LoopLag() as lag:
        for _ in range(2):
            await it.leave()
        assert it.in_flight == 2
        left_at_s = time.monotonic()
        await it.leave()
        await until(it.upstream.requests[2].gone.is_set)
        took_s = it.upstream.requests[2].gone_at_s - left_at_s
        assert [each.gone.is_set() for each in it.upstream.requests] == [False, False, True]
        assert (it.in_flight, it.counted()) == (2, {"refused": 1})
    assert took_s <= CLOSE_P99_S * BUSY + lag.worst_s + 0.1  # the call itself is in it


async def test_stopping_cuts_what_is_read_on() -> None:
    async with watched([*FIRST, hang], bounds={"drain_s": 60}) as it:
        await it.leave()
        await it.gateway.app.stop()
        await until(it.upstream.requests[0].gone.is_set)
        assert (it.in_flight, it.counted()) == (0, {"cut": 1})


@pytest.mark.parametrize("account", [{}, {"drain_on_cancel": False}], ids=["by-default", "switched-off"])
async def test_other_accounts_are_left_at_once(account: dict[str, Any]) -> None:
    async with watched([*FIRST, hang], account) as it:
        await it.leave()
        await until(it.upstream.requests[0].gone.is_set)
        assert (it.in_flight, it.counted()) == (0, {})


async def test_a_reply_that_was_read_to_its_end_needs_no_drain() -> None:
    async with watched([*FIRST, *rest(input_tokens=11, output_tokens=7)]) as it:
        call = it.gateway.stub.StreamComplete(ask(model="served"))
        async for _ in call:
            pass
        await quiet(it.gateway)
        assert (it.in_flight, it.counted()) == (0, {})


@pytest.mark.parametrize("dialect", sorted(SPOKEN))
async def test_every_dialect_tells_its_figures_to_the_end(dialect: str) -> None:
    told = asyncio.Event()
    frames = frames_of(dialect, FakeReply.of("one, two, three, four", usage=FakeUsage(21, 34)))
    at = next(i for i, frame in enumerate(frames) if b"one, " in frame) + 1
    before, after = [chunk(each) for each in frames[:at]], [chunk(each) for each in frames[at:]]
    script = [stream_head, *before, wait(told), *after, END]
    target = {"provider": "up", "model": MODEL, "dialect": dialect}
    async with Upstream(script) as upstream:
        account: dict[str, Any] = {"vendor": SPOKEN[dialect], "base_url": upstream.base_url}
        if not VENDORS[SPOKEN[dialect]].bills_on_abort:  # one that does is read on unasked
            account["drain_on_cancel"] = True
        document = {**settings(), "models": {"served": {"targets": [target]}}}
        document["providers"]["up"] = account
        with structlog.testing.capture_logs() as log:
            async with running_gateway(document) as gateway:
                it = Watched(gateway, upstream, log)
                await it.leave()
                told.set()
                await until(lambda: it.in_flight == 0)
    (correction,) = it.corrections()
    assert (correction["charge"], correction["input_tokens"], correction["output_tokens"]) == ("CU", 21, 34)
