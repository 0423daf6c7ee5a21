"""The caller leaves: C1 before the first token, C2 in the middle, C8 without a word."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import grpc.aio
import pytest

from llmgateway.v1.llm_gateway_service_pb2_grpc import LlmGatewayServiceStub
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from llmgateway_server.testing.upstream import (
    STREAM_HEAD,
    Script,
    Upstream,
    chunk,
    delta,
    endless,
    event,
    hang,
    head,
)
from tests.contract.raw_server import black_hole
from tests.faults.kit import (
    BACKSTOP_S,
    LoopLag,
    Proxy,
    ask,
    assert_closes_in_time,
    quiet,
    records_of,
    settings,
    stalled,
    until,
)

CANCELS = 50

SILENT: Script = hang
AFTER_HEAD: Script = [STREAM_HEAD, hang]
UNARY_HEAD: Script = [head(200, {"content-type": "application/json", "content-length": "999"}), hang]


def start(gateway: RunningGateway, *, streaming: bool, **options: Any) -> Any:
    method = gateway.stub.StreamComplete if streaming else gateway.stub.Complete
    return method(ask(), **options)


async def cancel_and_measure(call: Any, upstream: Upstream, number: int) -> float:
    """Cancels a call and returns how long its upstream connection outlived it."""
    received = await upstream.request(number)
    cancelled_at_s = time.monotonic()
    assert call.cancel()
    async with asyncio.timeout(BACKSTOP_S):
        await received.gone.wait()
    return received.gone_at_s - cancelled_at_s


@pytest.mark.parametrize(
    ("streaming", "script"),
    [
        pytest.param(True, SILENT, id="stream-before-the-head"),
        pytest.param(True, AFTER_HEAD, id="stream-after-the-head"),
        pytest.param(True, [STREAM_HEAD, chunk(b": ping\n\n"), hang], id="stream-after-a-ping"),
        pytest.param(False, SILENT, id="unary-before-the-head"),
        pytest.param(False, UNARY_HEAD, id="unary-after-the-head"),
    ],
)
async def test_c1_cancel_before_first_token(streaming: bool, script: Script) -> None:
    async with Upstream(script) as upstream, running_gateway(settings(upstream)) as gateway, LoopLag() as lag:
        delays_s = [
            await cancel_and_measure(start(gateway, streaming=streaming), upstream, number)
            for number in range(1, CANCELS + 1)
        ]
        await quiet(gateway)
        attempts, calls = records_of(gateway, "attempt"), records_of(gateway, "call")
    assert_closes_in_time(delays_s, lag)
    assert [(each["outcome"], each["reason"], each["charge"]) for each in attempts] == [
        ("cancelled", "CANCELLED", "CI")
    ] * CANCELS
    assert {each["output_tokens"] for each in attempts} == {0}
    assert [(each["outcome"], each["reason"]) for each in calls] == [("cancelled", "CANCELLED")] * CANCELS


async def test_c1_cancel_before_anything_was_sent_costs_nothing() -> None:
    held, port = await black_hole()
    account = {"vendor": "openai-compatible", "base_url": f"http://127.0.0.1:{port}/v1"}
    async with running_gateway({"providers": {"up": account}}) as gateway:
        for streaming in (True, False):
            call = start(gateway, streaming=streaming)
            await until(lambda: gateway.app.parts.gate.in_flight == 1)
            call.cancel()
            await quiet(gateway)
        attempts = records_of(gateway, "attempt")
    for sock in held:
        sock.close()
    assert [(each["outcome"], each["charge"]) for each in attempts] == [("cancelled", "C0")] * 2


@pytest.mark.parametrize("at", [1, 2, 5, 9])
async def test_c2_cancel_mid_stream(at: int) -> None:
    words = [f"word{i:02} " for i in range(at)]
    script: Script = [STREAM_HEAD, *(event(delta(word)) for word in words), hang]
    cancels = 20
    async with Upstream(script) as upstream, running_gateway(settings(upstream)) as gateway, LoopLag() as lag:
        delays_s = []
        for number in range(1, cancels + 1):
            call = start(gateway, streaming=True)
            text = ""
            while len(text) < len("".join(words)):
                text += "".join(each.text_delta.text for each in (await call.read()).events)
            delays_s.append(await cancel_and_measure(call, upstream, number))
        await quiet(gateway)
        attempts, calls = records_of(gateway, "attempt"), records_of(gateway, "call")
    assert_closes_in_time(delays_s, lag)
    delivered_tokens = -(-len("".join(words)) // 4)
    assert [(each["outcome"], each["reason"], each["charge"], each["output_tokens"]) for each in attempts] == [
        ("cancelled", "CANCELLED", "CP", delivered_tokens)
    ] * cancels
    assert {each["usage_source"] for each in attempts} == {"ESTIMATED"}
    assert [(each["outcome"], each["reason"]) for each in calls] == [("cancelled", "CANCELLED")] * cancels


async def test_c2_cancel_while_a_write_waits_for_the_reader() -> None:
    """A blocked write ends with an error of the library's own, which is no defect of ours (§1.2 fact 10)."""
    async with (
        Upstream([STREAM_HEAD, endless(delta("x" * 4096))]) as upstream,
        running_gateway(settings(upstream)) as gateway,
        LoopLag() as lag,
    ):
        delays_s = []
        for number in range(1, 6):
            call = start(gateway, streaming=True)
            await call.read()
            await upstream.request(number)
            await stalled(upstream.exchanges[number - 1])
            delays_s.append(await cancel_and_measure(call, upstream, number))
        await quiet(gateway)
        attempts, calls = records_of(gateway, "attempt"), records_of(gateway, "call")
    assert_closes_in_time(delays_s, lag)
    assert [(each["outcome"], each["reason"], each["charge"]) for each in attempts] == [
        ("cancelled", "CANCELLED", "CP")
    ] * 5
    assert [(each["outcome"], each["reason"]) for each in calls] == [("cancelled", "CANCELLED")] * 5


@pytest.mark.parametrize(("streaming", "charge"), [(True, "CP"), (False, "CI")], ids=["stream", "unary"])
async def test_c8_abrupt_disconnect(streaming: bool, charge: str) -> None:
    script: Script = [STREAM_HEAD, event(delta("word")), hang] if streaming else hang
    resets = 10
    async with Upstream(script) as upstream, running_gateway(settings(upstream)) as gateway, LoopLag() as lag:
        delays_s = []
        for number in range(1, resets + 1):
            async with (
                Proxy(gateway.address) as proxy,
                grpc.aio.insecure_channel(proxy.address, options=(("grpc.enable_retries", 0),)) as channel,
            ):
                stub: Any = LlmGatewayServiceStub(channel)
                call = stub.StreamComplete(ask()) if streaming else stub.Complete(ask())
                received = await upstream.request(number)
                if streaming:
                    assert await call.read()
                reset_at_s = time.monotonic()
                proxy.reset()
                async with asyncio.timeout(BACKSTOP_S):
                    await received.gone.wait()
                delays_s.append(received.gone_at_s - reset_at_s)
                assert await call.code() is grpc.StatusCode.UNAVAILABLE
        await quiet(gateway)
        attempts = records_of(gateway, "attempt")
    assert_closes_in_time(delays_s, lag)
    assert [(each["outcome"], each["charge"]) for each in attempts] == [("cancelled", charge)] * resets
