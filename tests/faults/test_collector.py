"""Row I23: the collector of spans is down, silent, slow or refusing. It costs spans, never a call."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from llmgateway_server.observe.otlp import BATCH, STOP_S, SpanQueue
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from tests.faults.collector_kit import collecting
from tests.faults.kit import BUSY, Proxy, ask, child_gateway, settings, until

CALLS = 200


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """A listener that lets everybody connect and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@asynccontextmanager
async def refusing() -> AsyncIterator[str]:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def speaking_http() -> AsyncIterator[str]:
    """A server of another protocol."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


FAULTS = {"silent": silent, "refusing": refusing, "other protocol": speaking_http}


def telling(endpoint: str, **more: Any) -> dict[str, Any]:
    return settings(telemetry={"traces": "otlp", "endpoint": endpoint, **more})


async def quickest_s(gateway: RunningGateway) -> float:
    """Returns the time of the quickest of many calls: what a call takes when the machine lets it."""
    best_s = float("inf")
    for _ in range(CALLS):
        began_s = time.perf_counter()
        await gateway.stub.Complete(ask(model="simulator/chat"))
        best_s = min(best_s, time.perf_counter() - began_s)
    return best_s


def dropped(gateway: RunningGateway) -> int:
    page = gateway.app.exposition.text().decode()
    (line,) = [each for each in page.splitlines() if each.startswith("llm_gateway_spans_dropped_total ")]
    return int(line.split()[1])


@pytest.mark.parametrize("fault", list(FAULTS))
async def test_a_collector_that_does_not_work_costs_no_call(fault: str) -> None:
    async with running_gateway(settings()) as gateway:
        without_s = await quickest_s(gateway)
    async with FAULTS[fault]() as endpoint:
        began_s = time.monotonic()
        async with running_gateway(telling(endpoint)) as gateway:
            assert time.monotonic() - began_s < 1.0 * BUSY  # the start does not wait for it either
            with_s = await quickest_s(gateway)
            app = gateway.app
            began_s = time.monotonic()
        assert time.monotonic() - began_s < STOP_S * 1.1 + 1.0 * BUSY
    assert with_s < without_s + 0.005
    assert app._export is not None
    assert app._export.queue.dropped_count == 2 * CALLS
    assert dropped(gateway) == 2 * CALLS


async def test_a_gateway_with_a_silent_collector_ends_by_itself_and_cleanly() -> None:
    async with silent() as endpoint, child_gateway(telling(endpoint)) as child:
        await child.stub.Complete(ask(model="simulator/chat"))
        began_s = time.monotonic()
        child.send(signal.SIGINT)
        assert await child.exit_code() == 0
        assert time.monotonic() - began_s < STOP_S * 1.1 + 1.0 * BUSY
    told = [line for line in child.stderr if "spans were dropped" in line]
    assert len(told) == 1
    assert '"count":2' in told[0].replace(" ", "")
    assert not any("Traceback" in line or "otel" in line.lower() for line in child.stderr)


async def test_what_waits_is_sent_at_the_end() -> None:
    async with collecting() as collector, child_gateway(telling(collector.address)) as child:
        for _ in range(20):
            await child.stub.Complete(ask(model="simulator/chat"))
        child.send(signal.SIGINT)
        assert await child.exit_code() == 0
    assert len(collector.seen) == 40
    assert not any("dropped" in line for line in child.stderr)


async def test_a_collector_that_falls_silent_loses_spans_until_it_works_again() -> None:
    async with collecting() as collector, Proxy(collector.address.removeprefix("http://")) as proxy:
        async with running_gateway(telling(f"http://{proxy.address}")) as gateway:
            await gateway.stub.Complete(ask(model="simulator/chat"))
            await until(lambda: len(collector.seen) == 2)
            proxy.reset()
            await gateway.stub.Complete(ask(model="simulator/chat"))
            await until(lambda: len(collector.seen) + dropped(gateway) >= 4)
            await gateway.stub.Complete(ask(model="simulator/chat"))
            await until(lambda: len(collector.seen) + dropped(gateway) == 6)
        assert len(collector.seen) >= 4


class Stuck(SpanExporter):
    """Exports nothing until it is shut down."""

    def __init__(self) -> None:
        import threading

        self.batches: list[int] = []
        self._over = threading.Event()

    def export(self, spans: Any) -> SpanExportResult:
        self.batches.append(len(spans))
        self._over.wait()
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self._over.set()


def spans(queue: SpanQueue, count: int) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(queue)
    tracer = provider.get_tracer("test")
    for _ in range(count):
        tracer.start_span("s").end()


def test_the_queue_is_bounded_and_counts_what_it_drops() -> None:
    stuck = Stuck()
    queue = SpanQueue(lambda: stuck, interval_s=0.01, max_waiting=200)
    queue.start()
    spans(queue, BATCH)
    while not stuck.batches:  # the first batch is on its way
        time.sleep(0.001)
    spans(queue, 300)
    assert sum(stuck.batches) + 200 + queue.dropped_count == BATCH + 300
    began_s = time.monotonic()
    queue.stop(0.2)
    assert time.monotonic() - began_s < 0.2 + 1.0 * BUSY
    assert queue.dropped_count == BATCH + 300
    spans(queue, 1)
    queue.stop()
    assert queue.dropped_count == BATCH + 301


class Raising(SpanExporter):
    def export(self, spans: Any) -> SpanExportResult:
        raise RuntimeError("canary")

    def shutdown(self) -> None:
        """Has nothing to do."""


def test_an_exporter_that_raises_costs_its_batch() -> None:
    queue = SpanQueue(Raising, interval_s=0.01)
    queue.start()
    spans(queue, 3)
    queue.stop()
    assert queue.dropped_count == 3


def test_a_queue_that_was_not_started_stops_at_once() -> None:
    queue = SpanQueue(Raising)
    queue.on_end(ReadableSpan("s"))
    queue.stop()
    assert queue.dropped_count == 1
