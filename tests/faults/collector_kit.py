"""A collector: a real OTLP/gRPC receiver on loopback, which keeps what it gets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

SERVER, CLIENT = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT


@dataclass(slots=True)
class Seen:
    """A span as it arrived, with its resource."""

    span: Span
    resource: dict[str, Any]
    schema_url: str

    @property
    def name(self) -> str:
        return str(self.span.name)

    @property
    def attributes(self) -> dict[str, Any]:
        return {each.key: value_of(each.value) for each in self.span.attributes}


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps spans, and the metadata and text of every export."""

    address: str = ""
    seen: list[Seen] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    text: str = ""

    def of_kind(self, kind: int) -> list[Seen]:
        return [each for each in self.seen if each.span.kind == kind]

    async def Export(  # noqa: N802  # the name of the method in the protocol
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: Any
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        self.metadata.append({key: str(value) for key, value in context.invocation_metadata()})
        self.text += str(request)
        for group in request.resource_spans:
            resource = {each.key: value_of(each.value) for each in group.resource.attributes}
            for scope in group.scope_spans:
                self.seen += [Seen(span, resource, scope.schema_url) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


def value_of(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    server = grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call,unused-ignore]
    collector.address = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(None)
