"""The gRPC server: options, services, start, drain, stop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc.aio
from pydantic import BaseModel, ConfigDict, Field

from llmgateway_server.transport import methods
from llmgateway_server.transport.interceptors.status import Status
from llmgateway_server.transport.services.standard import HealthDoor, reflection_handlers

STREAM_HEADROOM = 100
"""Streams that the library lets in beyond our gate, so that callers meet our refusal and its reason."""
END_STREAMS_BEFORE_S = 2.0
"""How long before the end of the grace we end what still runs ourselves (docs/reliability.md)."""


class ServerSettings(BaseModel):
    """The gRPC door."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: str = "127.0.0.1:50051"
    """Address and port; port 0 picks a free one. Beyond loopback, keys are required."""
    reflection: bool | None = None
    """Server reflection. None: on an open loopback only."""
    max_message_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    max_connection_idle_s: float = Field(default=300.0, gt=0)
    max_connection_age_s: float = Field(default=3600.0, gt=0)
    drain_delay_s: float = Field(default=5.0, ge=0)
    """After SIGTERM: how long load balancers get to look elsewhere before calls are refused."""
    grace_s: float = Field(default=30.0, ge=0)
    """How long calls in flight may go on after that."""

    @property
    def host(self) -> str:
        """The address without its port."""
        return self.listen.rpartition(":")[0].strip("[]")


def options(settings: ServerSettings, max_in_flight: int) -> list[tuple[str, Any]]:
    """Returns the channel arguments: every limit is set, none is left to the library."""
    return [
        ("grpc.max_concurrent_streams", max_in_flight + STREAM_HEADROOM),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_metadata_size", 8 * 1024),
        ("grpc.absolute_max_metadata_size", 16 * 1024),
        ("grpc.max_connection_idle_ms", round(settings.max_connection_idle_s * 1000)),
        ("grpc.max_connection_age_ms", round(settings.max_connection_age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", 600_000),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),  # the library waits this long for a keepalive's answer, 60 s if unset
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.so_reuseport", 0),
    ]


class Server:
    """The door.

    Args:
        settings: address and limits.
        call_ring: the interceptors, outermost first; the first is the status step.
        service: of our package.
        max_in_flight: what the gate lets in.
        reflection: whether to serve it.
    """

    def __init__(
        self, settings: ServerSettings, call_ring: Sequence[Any], service: Any, max_in_flight: int, *, reflection: bool
    ) -> None:
        self._settings = settings
        self._status: Status = call_ring[0]
        self._server = grpc.aio.server(interceptors=tuple(call_ring), options=options(settings, max_in_flight))
        self._health = HealthDoor((service.name,))
        handlers = [methods.handler(service), self._health.handler()]
        if reflection:
            handlers += reflection_handlers((service.name, "grpc.health.v1.Health"))
        self._server.add_generic_rpc_handlers(tuple(handlers))

    async def start(self) -> str:
        """Binds and serves.

        Returns:
            The address with the port that was bound.

        Raises:
            OSError: the address cannot be bound.
        """
        try:
            port = self._server.add_insecure_port(self._settings.listen)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._settings.listen}") from error
        await self._server.start()
        await self._health.set_serving(True)
        host = self._settings.listen.rpartition(":")[0]
        return f"{host}:{port}"

    async def drain(self, *, delay_s: float) -> None:
        """Says NOT_SERVING, waits for load balancers, refuses new calls, lets running ones end, then ends the rest."""
        await self._health.shut_down()
        await asyncio.sleep(delay_s)
        self._status.refuse_new_calls()
        grace_s = self._settings.grace_s
        stopping = asyncio.create_task(self._server.stop(grace_s))
        done, _ = await asyncio.wait({stopping}, timeout=max(0.0, grace_s - END_STREAMS_BEFORE_S))
        if not done:
            self._status.end_calls()
        await stopping

    async def stop(self) -> None:
        """Ends everything now."""
        await self._server.stop(0)
