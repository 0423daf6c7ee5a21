"""The standard services: grpc.health.v1 and, on an open loopback, reflection.

Both take bytes, so that nothing undecodable is answered by the library with an internal error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha.reflection import aio as reflection_aio

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
REFLECTION = reflection.SERVICE_NAME
REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
PUBLIC_METHODS = frozenset(
    {
        f"/{HEALTH}/Check",
        f"/{HEALTH}/Watch",
        f"/{REFLECTION_V1}/ServerReflectionInfo",
        f"/{REFLECTION}/ServerReflectionInfo",
    }
)
"""What the call ring lets pass: it has no secrets and must answer under load. Every other method is guarded."""
MALFORMED = "the request is not a message of this method"


class HealthDoor:
    """`grpc.health.v1.Health`: exempt from keys, limits and the gate; it names no provider.

    Args:
        services: full names; each, and the empty name, has the same state.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = ("", *services)
        self._servicer: Any = health_aio.HealthServicer()

    async def set_serving(self, serving: bool) -> None:
        """Tells probes whether new calls are welcome."""
        state = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in self._services:
            await self._servicer.set(service, state)

    async def shut_down(self) -> None:
        """Says NOT_SERVING for good; later changes are ignored."""
        await self._servicer.enter_graceful_shutdown()

    def handler(self) -> grpc.GenericRpcHandler:
        """Returns the service's handlers."""

        async def check(data: bytes, context: Any) -> Any:
            return await self._servicer.Check(await _decode(health_pb2.HealthCheckRequest, data, context), context)

        async def watch(data: bytes, context: Any) -> Any:
            return await self._servicer.Watch(await _decode(health_pb2.HealthCheckRequest, data, context), context)

        return grpc.method_handlers_generic_handler(
            HEALTH,
            {
                "Check": grpc.unary_unary_rpc_method_handler(
                    check, response_serializer=health_pb2.HealthCheckResponse.SerializeToString
                ),
                "Watch": grpc.unary_stream_rpc_method_handler(
                    watch, response_serializer=health_pb2.HealthCheckResponse.SerializeToString
                ),
            },
        )


def reflection_handlers(services: Iterable[str]) -> tuple[grpc.GenericRpcHandler, ...]:
    """Returns the handlers of server reflection for `services`.

    The library knows v1alpha only; v1 has the same messages under another name, and tools ask for it first.
    """
    servicer: Any = reflection_aio.ReflectionServicer((*services, REFLECTION))

    async def info(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        async def decoded() -> AsyncIterator[Any]:
            async for data in requests:
                yield await _decode(reflection_pb2.ServerReflectionRequest, data, context)

        async for response in servicer.ServerReflectionInfo(decoded(), context):
            yield response

    handler: Any = grpc.stream_stream_rpc_method_handler(
        info, response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString
    )
    return tuple(
        grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})
        for name in (REFLECTION_V1, REFLECTION)
    )


async def _decode(kind: Any, data: bytes, context: Any) -> Any:
    try:
        return kind.FromString(data)
    except (DecodeError, UnicodeDecodeError):
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, MALFORMED)
