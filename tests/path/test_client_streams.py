"""Streams of both clients: events, text, the reply in the end, and leaving early."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from llmgateway import AsyncClient, BrokenStream, Cancelled, Client, DeadlineExceeded, GatewayError, StreamInterrupted
from llmgateway.events import Finished, PartStarted, Started, TextDelta
from llmgateway.v1 import reply_pb2
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from tests.unit.client.kit import served

MODEL = "simulator/chat?tokens=5&pace_ms=1"
TEXT = "the gateway answers every call "
LONG = "simulator/chat?tokens=1000&pace_ms=50"
CUT = "simulator/chat?tokens=40&fault=cut&at=10"


async def in_thread(gateway: RunningGateway, run: Callable[[Client], Any]) -> Any:
    def blocking() -> Any:
        with Client(gateway.address) as client:
            return run(client)

    return await asyncio.to_thread(blocking)


async def outcomes(gateway: RunningGateway, count: int = 1) -> list[str]:
    """Returns how calls ended, once that many did."""
    async with asyncio.timeout(5):
        while True:
            found = [record["outcome"] for record in gateway.records() if record["record"] == "call"]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)


async def test_events_text_and_reply() -> None:
    def run(client: Client) -> None:
        with client.stream(MODEL, "hi") as stream:
            events = list(stream)
            reply = stream.reply()
        assert [type(events[0]), type(events[1]), type(events[-1])] == [Started, PartStarted, Finished]
        assert "".join(event.text for event in events if isinstance(event, TextDelta)) == TEXT == reply.text
        assert "".join(client.stream(MODEL, "hi").text) == TEXT
        assert client.stream(MODEL, "hi").reply().usage.output_token_count == 5

    async with running_gateway() as gateway:
        await in_thread(gateway, run)
        async with AsyncClient(gateway.address) as client:
            async with client.stream(MODEL, "hi") as stream:
                events = [event async for event in stream]
                reply = await stream.reply()
            assert [type(events[0]), type(events[-1])] == [Started, Finished]
            assert "".join([piece async for piece in client.stream(MODEL, "hi").text]) == TEXT == reply.text
            assert (await client.stream(MODEL, "hi").reply()).usage.output_token_count == 5


async def test_the_reply_is_the_one_that_complete_gives() -> None:
    async with running_gateway() as gateway, AsyncClient(gateway.address) as client:
        unary = await client.complete(MODEL, "hi")
        streamed = await client.stream(MODEL, "hi").reply()
    assert streamed.message == unary.message
    assert (streamed.usage, streamed.cost_usd, streamed.finish_reason) == (
        unary.usage,
        unary.cost_usd,
        unary.finish_reason,
    )


async def test_leaving_the_loop_cancels() -> None:
    def run(client: Client) -> None:
        stream = client.stream(LONG, "hi")
        for _ in stream.text:
            break
        with pytest.raises(Cancelled, match="left"):
            stream.reply()
        assert stream.so_far().text

    async with running_gateway() as gateway:
        await in_thread(gateway, run)
        assert await outcomes(gateway) == ["cancelled"]


async def test_leaving_the_loop_cancels_in_asyncio() -> None:
    async with running_gateway() as gateway, AsyncClient(gateway.address) as client:
        stream = client.stream(LONG, "hi")
        async for _ in stream.text:
            break
        assert await outcomes(gateway) == ["cancelled"]
        with pytest.raises(Cancelled, match="left"):
            await stream.reply()
        assert stream.so_far().text


async def test_leaving_the_block_cancels() -> None:
    def run(client: Client) -> None:
        with client.stream(LONG, "hi") as stream:
            assert isinstance(stream.next_event(), Started)
        with pytest.raises(Cancelled):
            stream.next_event()

    async with running_gateway() as gateway, AsyncClient(gateway.address) as client:
        await in_thread(gateway, run)
        async with client.stream(LONG, "hi") as stream:
            assert isinstance(await stream.next_event(), Started)
        assert await outcomes(gateway, 2) == ["cancelled", "cancelled"]


async def test_a_task_that_is_cancelled_cancels_its_stream() -> None:
    async with running_gateway() as gateway, AsyncClient(gateway.address) as client:
        begun = asyncio.Event()

        async def read() -> None:
            async for _ in client.stream(LONG, "hi"):
                begun.set()

        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await outcomes(gateway) == ["cancelled"]


async def test_closing_the_client_ends_its_streams() -> None:
    async with running_gateway() as gateway:
        client = AsyncClient(gateway.address)
        stream = client.stream(LONG, "hi")
        assert await stream.next_event()
        reading = asyncio.create_task(stream.reply())
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(Cancelled):
            await reading


async def test_looking_at_text_without_a_loop_leaves_nothing() -> None:
    async with running_gateway() as gateway, AsyncClient(gateway.address) as client:
        stream = client.stream(MODEL, "hi")
        _ = stream.text
        assert (await stream.reply()).text == TEXT


def check_cut(error: GatewayError) -> None:
    assert type(error) is StreamInterrupted
    assert error.reason == "UPSTREAM_STREAM_INTERRUPTED"
    assert error.partial is not None
    assert error.partial.last_seq > 2
    assert error.partial.cost.total.nano_usd > 0


async def test_a_stream_that_breaks_says_how_far_it_came() -> None:
    def run(client: Client) -> None:
        stream = client.stream(CUT, "hi")
        pieces: list[str] = []
        with pytest.raises(StreamInterrupted) as caught:
            pieces.extend(stream.text)
        check_cut(caught.value)
        assert len(stream.so_far().text.split()) == 10
        with pytest.raises(StreamInterrupted):
            stream.reply()

    async with running_gateway() as gateway, AsyncClient(gateway.address) as client:
        await in_thread(gateway, run)
        stream = client.stream(CUT, "hi")
        with pytest.raises(StreamInterrupted) as caught:
            await stream.reply()
        check_cut(caught.value)
        assert len(stream.so_far().text.split()) == 10


async def test_a_timeout_of_a_stream() -> None:
    def run(client: Client) -> None:
        with pytest.raises(DeadlineExceeded):
            client.stream(LONG, "hi", timeout=0.2).reply()

    async with running_gateway() as gateway, AsyncClient(gateway.address) as client:
        await in_thread(gateway, run)
        with pytest.raises(DeadlineExceeded):
            await client.stream(LONG, "hi", timeout=0.2).reply()


async def test_a_stream_that_ends_with_ok_but_not_with_its_last_event() -> None:
    def half(request: object, context: grpc.ServicerContext) -> Any:
        yield reply_pb2.StreamCompleteResponse(events=[reply_pb2.Event(seq=1, started=reply_pb2.Started())])

    with served(stream=half) as target:
        with Client(target) as client, pytest.raises(BrokenStream, match="did not finish"):
            list(client.stream("", "hi"))
        async with AsyncClient(target) as awaited:
            with pytest.raises(BrokenStream, match="did not finish"):
                await awaited.stream("", "hi").reply()


async def test_a_server_that_cancels_is_no_cancelled_task() -> None:
    def cancels(request: object, context: grpc.ServicerContext) -> Any:
        yield reply_pb2.StreamCompleteResponse(events=[reply_pb2.Event(seq=1, started=reply_pb2.Started())])
        context.abort(grpc.StatusCode.CANCELLED, "over")

    with served(stream=cancels) as target:
        with Client(target) as client, pytest.raises(Cancelled, match="over"):
            list(client.stream("", "hi"))
        async with AsyncClient(target) as awaited:
            with pytest.raises(Cancelled):
                await awaited.stream("", "hi").reply()
