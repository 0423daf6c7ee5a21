"""The gRPC server: options, services, start, drain, stop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from llmgateway_server.transport import methods
from llmgateway_server.transport.grpcio import GrpcioTransport
from llmgateway_server.transport.interceptors.status import Status
from llmgateway_server.transport.listen import UNIX, ListenError, UnixSocket, check, is_local
from llmgateway_server.transport.services.standard import HealthDoor, reflection_handlers
from llmgateway_server.transport.tls import TlsSettings

STREAM_HEADROOM = 100
"""Streams that a transport lets in beyond our gate, so that callers meet our refusal and its reason."""
END_STREAMS_BEFORE_S = 2.0
"""How long before the end of the grace we end what still runs ourselves (docs/reliability.md)."""


class ServerSettings(BaseModel):
    """The gRPC door."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: str = "127.0.0.1:50051"
    """`HOST:PORT`, or `unix:/PATH`; port 0 picks a free one.

    Beyond loopback keys or certificates are required, and TLS or `insecure`.
    """
    transport: Literal["grpcio", "http2"] = "grpcio"
    """What speaks gRPC: the gRPC library, or HTTP/2 on the event loop, for about half the CPU per call."""
    socket_mode: str = Field(default="0660", pattern="^0?[0-7]{3}$")
    """Permissions of a Unix socket, octal."""
    tls: TlsSettings | None = None
    """Certificate and key. Without it the door speaks plaintext."""
    insecure: bool = False
    """Allows plaintext beyond loopback, where everybody on the way reads keys and prompts."""
    reflection: bool | None = None
    """Server reflection. None: on an open loopback only."""
    max_message_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    """Largest message in either direction; its text is held to 8 MiB besides."""
    max_connection_idle_s: float = Field(default=300.0, gt=0)
    """A connection without a call for this long is closed."""
    max_connection_age_s: float = Field(default=3600.0, gt=0)
    """An older connection takes no new calls, so that callers spread over new replicas; running ones go on."""
    drain_delay_s: float = Field(default=5.0, ge=0)
    """After SIGTERM: how long load balancers get to look elsewhere before calls are refused."""
    grace_s: float = Field(default=30.0, ge=0)
    """How long calls in flight may go on after that."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that serve the address together; more than one needs Linux and an address with a port."""

    @field_validator("listen")
    @classmethod
    def _known_form(cls, listen: str) -> str:
        return check(listen)

    @field_validator("workers")
    @classmethod
    def _can_share(cls, workers: int, info: ValidationInfo) -> int:
        if workers > 1 and info.data.get("listen", "").startswith(UNIX):
            raise ValueError("several workers cannot share a Unix socket: listen on an address and a port")
        if workers > 1 and sys.platform != "linux":
            raise ValueError("several workers need Linux, where the kernel spreads connections over them")
        return workers

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the address."""
        return is_local(self.listen)

    @property
    def exposed(self) -> bool:
        """Whether plaintext can be read on the way."""
        return self.tls is None and not self.local


class Transport(Protocol):
    """What speaks gRPC on the wire."""

    async def start(self, listen: str) -> int:
        """Binds and serves; returns the port, of a Unix socket any number.

        Raises:
            OSError: the address cannot be bound.
        """

    async def stop(self, grace_s: float) -> None:
        """Accepts nothing more, lets calls go on for so long, then ends the rest."""


def transport(
    settings: ServerSettings, call_ring: Sequence[Any], handlers: Sequence[Any], max_in_flight: int
) -> Transport:
    """Returns the transport of the settings.

    Raises:
        TlsError: the files of `settings.tls` cannot be used.
    """
    max_streams = max_in_flight + STREAM_HEADROOM
    if settings.transport == "grpcio":
        return GrpcioTransport(settings, call_ring, handlers, max_streams)
    from llmgateway_server.transport.http2.listener import Http2Transport

    return Http2Transport(settings, call_ring, handlers, max_streams)


class Server:
    """The door.

    Args:
        settings: address and limits.
        call_ring: the interceptors, outermost first; the first is the status step.
        services: of our packages; callers and probes find each by its name.
        max_in_flight: what the gate lets in.
        reflection: whether to serve it.

    Raises:
        TlsError: the files of `settings.tls` cannot be used.
    """

    def __init__(
        self,
        settings: ServerSettings,
        call_ring: Sequence[Any],
        services: Sequence[Any],
        max_in_flight: int,
        *,
        reflection: bool,
    ) -> None:
        self._settings = settings
        self._status: Status = call_ring[0]
        self._socket: UnixSocket | None = None
        if settings.listen.startswith(UNIX):
            self._socket = UnixSocket(settings.listen, int(settings.socket_mode, 8))
        names = tuple(service.name for service in services)
        self._health = HealthDoor(names)
        handlers = [*map(methods.handler, services), self._health.handler()]
        if reflection:
            handlers += reflection_handlers((*names, "grpc.health.v1.Health"))
        self._transport = transport(settings, call_ring, handlers, max_in_flight)

    async def start(self) -> str:
        """Binds and serves.

        Returns:
            The address with the port that was bound.

        Raises:
            ListenError: the address cannot be bound.
        """
        listen = self._settings.listen
        try:
            with self._socket.binding() if self._socket is not None else nullcontext():
                port = await self._transport.start(listen)
        except ListenError:
            raise
        except OSError as error:
            raise ListenError(listen, error.strerror or str(error)) from error
        await self._health.set_serving(True)
        return listen if self._socket is not None else f"{listen.rpartition(':')[0]}:{port}"

    async def drain(self, *, delay_s: float) -> None:
        """Says NOT_SERVING, waits for load balancers, refuses new calls, lets running ones end, then ends the rest."""
        await self._health.shut_down()
        await asyncio.sleep(delay_s)
        self._status.refuse_new_calls()
        grace_s = self._settings.grace_s
        stopping = asyncio.create_task(self._transport.stop(grace_s))
        done, _ = await asyncio.wait({stopping}, timeout=max(0.0, grace_s - END_STREAMS_BEFORE_S))
        if not done:
            self._status.end_calls()
        await stopping
        self._remove_socket()

    async def stop(self) -> None:
        """Ends everything now."""
        await self._transport.stop(0)
        self._remove_socket()

    def _remove_socket(self) -> None:
        if self._socket is not None:
            self._socket.remove()
