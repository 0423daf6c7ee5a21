"""OpenTelemetry's own instrumentation of grpc around the clients: their spans and the gateway's are one trace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

import llmgateway_server.app as app_module
from llmgateway import AsyncClient, Client, Reply
from llmgateway_server.observe.trace import OtelTracing
from llmgateway_server.testing.gateway import running_gateway

instrumentation = pytest.importorskip("opentelemetry.instrumentation.grpc")


class Traced:
    """A gateway that makes spans, and where they and the clients' go."""

    def __init__(self, address: str, spans: InMemorySpanExporter) -> None:
        self.address = address
        self._spans = spans

    def of_rpc(self, method: str) -> dict[SpanKind, ReadableSpan]:
        """Returns the client's and the gateway's span of the only call of a method."""
        found = {span.kind: span for span in self._spans.get_finished_spans() if span.name.endswith(f"/{method}")}
        self._spans.clear()
        return found


@asynccontextmanager
async def traced(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Traced]:
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    # the blocking instrumentation takes no provider but the global one, which a process can set only once
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(app_module, "tracing_from_environment", lambda: OtelTracing(provider.get_tracer("gateway")))
    async with running_gateway() as gateway:
        instrumentors = (instrumentation.GrpcInstrumentorClient(), instrumentation.GrpcAioInstrumentorClient())
        for each in instrumentors:
            each.instrument()
        try:
            yield Traced(gateway.address, spans)
        finally:
            for each in instrumentors:
                each.uninstrument()
            provider.shutdown()


def check_joined(found: dict[SpanKind, ReadableSpan], reply: Reply) -> None:
    ours, theirs = found[SpanKind.CLIENT], found[SpanKind.SERVER]
    assert ours.context is not None
    assert theirs.context is not None
    assert theirs.parent is not None
    assert theirs.parent.span_id == ours.context.span_id
    assert theirs.context.trace_id == ours.context.trace_id
    assert reply.raw.trace.trace_id == format(ours.context.trace_id, "032x")


async def test_one_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(monkeypatch) as gateway:

        def unary() -> Reply:
            with Client(gateway.address) as client:
                return client.complete("", "hi")

        def streamed() -> Reply:
            with Client(gateway.address) as client, client.stream("", "hi") as stream:
                return stream.reply()

        reply = await asyncio.to_thread(unary)
        check_joined(gateway.of_rpc("Complete"), reply)
        reply = await asyncio.to_thread(streamed)
        check_joined(gateway.of_rpc("StreamComplete"), reply)


async def test_one_trace_in_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(monkeypatch) as gateway, AsyncClient(gateway.address) as client:
        reply = await client.complete("", "hi")
        check_joined(gateway.of_rpc("Complete"), reply)
        async with client.stream("", "hi") as stream:
            reply = await stream.reply()
        check_joined(gateway.of_rpc("StreamComplete"), reply)


async def test_leaving_works_under_instrumentation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interceptors put plain generators in the place of calls, which have no `cancel`."""
    slow = "simulator/chat?tokens=1000&pace_ms=50"

    async with traced(monkeypatch) as gateway, AsyncClient(gateway.address) as client:

        def leave() -> None:
            with Client(gateway.address) as blocking:
                for _ in blocking.stream(slow, "hi").text:
                    break

        await asyncio.to_thread(leave)
        async for _ in client.stream(slow, "hi").text:
            break
        async with asyncio.timeout(5):
            while (await client.metrics()).calls.cancelled_count < 2:
                await asyncio.sleep(0.01)
