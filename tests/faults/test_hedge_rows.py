"""Hedging on real sockets: a slow target gets company, one answer is read, the other exchange is let go, both are told.

That hedges keep their terms is in `tests/path/test_hedging.py`; here is what becomes of the two exchanges.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llmgateway_server.testing.upstream import STREAM_HEAD, Script, Step, chunk, delta, event, hang, pause, stream
from tests.faults.faulty import cut_after, for_ever
from tests.faults.kit import BACKSTOP_S, ask, until
from tests.faults.provider_answers import refusal
from tests.faults.provider_kit import BOTH, UNAVAILABLE, by_kind, said
from tests.faults.targets_kit import HELLO, PUBLIC, several, told_way_of, way_of

HEDGE: dict[str, Any] = {"hedge": {"delay_ms": 50}}
SLOW: dict[str, Script] = {
    "p5 no head": hang,
    "p6 pings": by_kind([STREAM_HEAD, for_ever(chunk(b": ping\n\n"))], hang),
}


@pytest.mark.parametrize("slow", list(SLOW))
@BOTH
async def test_the_second_answers_and_the_first_is_let_go(streaming: bool, slow: str) -> None:
    async with several(SLOW[slow], HELLO) as it:
        ended = await it.call(streaming=streaming, routing=HEDGE)
        [loser] = it.upstreams["one"].requests
        async with asyncio.timeout(BACKSTOP_S):
            await loser.gone.wait()
        assert (it.verdict("one"), it.verdict("two")) == ("neutral", "success")
        assert {view.in_flight for view in it.breakers().values()} == {0}
    assert ended.text == "hello"
    assert way_of(ended) == [("one", "CANCELLED", "CI"), ("two", None, "CU")]
    assert told_way_of(ended) == [("one", "cancelled", True), ("two", "succeeded", True)]
    assert all(each.cost.nano_usd > 0 for each in ended.summary.attempts)


@BOTH
async def test_the_first_answers_and_the_second_is_let_go(streaming: bool) -> None:
    late: list[Step] = [pause(0.4)]
    async with several(by_kind([*late, *stream("hello")], [*late, HELLO]), hang) as it:
        ended = await it.call(streaming=streaming, routing=HEDGE)
        async with asyncio.timeout(BACKSTOP_S):
            await it.upstreams["two"].requests[0].gone.wait()
    assert ended.text == "hello"
    assert [each["provider"] for each in ended.attempts] == ["one", "two"]
    assert [each["outcome"] for each in ended.attempts] == ["succeeded", "cancelled"]


@BOTH
async def test_a_quick_target_gets_no_company(streaming: bool) -> None:
    async with several(HELLO, HELLO) as it:
        await it.call(streaming=streaming)  # the first call of a process imports and compiles
        ended = await it.call(streaming=streaming, routing={"hedge": {"delay_ms": 5000}})
        assert it.asked() == {"one": 2, "two": 0}
    assert ended.text == "hello"


@BOTH
async def test_company_that_fails_harms_nobody(streaming: bool) -> None:
    late: list[Step] = [pause(0.4)]
    async with several(by_kind([*late, *stream("hello")], [*late, HELLO]), refusal(503)) as it:
        ended = await it.call(streaming=streaming, routing=HEDGE)
        assert it.verdict("two") == "failure"
    assert ended.text == "hello"
    assert [each["outcome"] for each in ended.attempts] == ["succeeded", "failed"]


@BOTH
async def test_where_both_fail_the_third_answers(streaming: bool) -> None:
    async with several([pause(0.3), *refusal(502)], [pause(0.1), *refusal(503)], HELLO) as it:
        ended = await it.call(streaming=streaming, routing=HEDGE)
    assert ended.text == "hello"
    assert [each[0] for each in way_of(ended)] == ["one", "two", "three"]


async def test_p7_a_winner_that_breaks_is_not_replaced_by_the_loser() -> None:
    async with several(hang, cut_after("once "), HELLO) as it:
        ended = await it.call(streaming=True, routing=HEDGE)
        assert it.asked()["three"] == 0
    assert (ended.code, ended.text) == (UNAVAILABLE, "once ")
    assert way_of(ended) == [("one", "CANCELLED", "CI"), ("two", "UPSTREAM_STREAM_INTERRUPTED", "CP")]


@BOTH
async def test_c1_who_leaves_a_race_lets_both_go(streaming: bool) -> None:
    async with several(hang, hang, HELLO) as it:
        stub = it.keyed.gateway.stub
        request = ask(model=PUBLIC, routing=HEDGE)
        call = (stub.StreamComplete if streaming else stub.Complete)(request)
        async with asyncio.timeout(BACKSTOP_S):
            exchanges = [await it.upstreams[name].request() for name in ("one", "two")]
            call.cancel()
            for received in exchanges:
                await received.gone.wait()
        await until(lambda: it.keyed.gateway.app.parts.gate.in_flight == 0)
        attempts = [each for each in it.keyed.gateway.records() if each["record"] == "attempt"]
        assert it.asked()["three"] == 0
    assert [(each["outcome"], each["charge"]) for each in attempts] == [("cancelled", "CI")] * 2


async def test_c2_who_leaves_a_winner_is_charged_for_what_it_has() -> None:
    script = [*said("some text"), hang]
    async with several(hang, script) as it:
        call = it.keyed.gateway.stub.StreamComplete(ask(model=PUBLIC, routing=HEDGE))
        await call.read()
        call.cancel()
        async with asyncio.timeout(BACKSTOP_S):
            await it.upstreams["two"].requests[0].gone.wait()
        await until(lambda: it.keyed.gateway.app.parts.gate.in_flight == 0)
        attempts = [each for each in it.keyed.gateway.records() if each["record"] == "attempt"]
    assert [each["charge"] for each in attempts] == ["CI", "CP"]


async def test_a_slow_reader_holds_the_winner_back() -> None:
    """What a caller does not read must pile up nowhere, though the winner runs in a task of its own."""
    piece = event(delta("x" * 16_000))

    async def endless(exchange: Any) -> None:
        while True:
            await piece(exchange)

    async with several(hang, [STREAM_HEAD, endless]) as it:
        call = it.keyed.gateway.stub.StreamComplete(ask(model=PUBLIC, routing=HEDGE, max_output_tokens=1_000_000))
        await call.read()
        exchange = it.upstreams["two"].exchanges[0]
        sent = -1
        async with asyncio.timeout(BACKSTOP_S):
            while sent != exchange.sent_bytes:
                sent = exchange.sent_bytes
                await asyncio.sleep(0.3)
        call.cancel()
    assert sent < 32 * 1024 * 1024
