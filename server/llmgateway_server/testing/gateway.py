"""A whole gateway in this process: real gRPC over loopback, on a free port."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import msgspec

from llmgateway.v1.llm_gateway_service_pb2_grpc import LlmGatewayServiceStub
from llmgateway_server.app import App
from llmgateway_server.config.load import from_document
from llmgateway_server.core.clock import Clock

SIMULATOR_ONLY: dict[str, Any] = {"providers": {"simulator": {"vendor": "simulator"}}}
TRANSPORT = "LLMGATEWAY__SERVER__TRANSPORT"
"""The variable that chooses the transport where the settings do not, as it does for `serve`."""
PATIENT_S = 60.0
"""Loop lag that a test does without."""


@dataclass(slots=True)
class RunningGateway:
    """A gateway that serves, and a channel to it."""

    app: App
    address: str
    channel: grpc.aio.Channel
    stub: Any
    """The generated async stub of LlmGatewayService."""
    _records: io.StringIO = field(repr=False)

    def records(self) -> list[dict[str, Any]]:
        """Returns the records of calls and attempts that were written so far."""
        self.app.parts.records.flush()
        return [msgspec.json.decode(line) for line in self._records.getvalue().splitlines()]

    def record_text(self) -> str:
        """Returns the records as they were written."""
        self.app.parts.records.flush()
        return self._records.getvalue()


@asynccontextmanager
async def running_gateway(
    document: Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    channel_options: tuple[tuple[str, Any], ...] = (("grpc.enable_retries", 0),),
) -> AsyncIterator[RunningGateway]:
    """Starts a gateway and stops it at the end.

    Args:
        document: settings as they would stand in the file; the simulator alone by default. The address is always a
        free port of loopback, and a loop that runs late, because the machine is busy, sheds nothing unless they say so.
        environment: for secret references.
        clock: for everything but asyncio's own timers.
        channel_options: of the client's channel; by default the client itself retries nothing.
    """
    settings = dict(document if document is not None else SIMULATOR_ONLY)
    server = {"grace_s": 1.0, "transport": os.environ.get(TRANSPORT, "grpcio")}
    settings["server"] = {**server, **settings.get("server", {}), "listen": "127.0.0.1:0"}
    settings["gate"] = {"max_loop_lag_s": PATIENT_S, **settings.get("gate", {})}
    records = io.StringIO()
    app = App(from_document(settings, "test"), environment or {}, clock=clock, records_stream=records)
    address = await app.start()
    try:
        async with grpc.aio.insecure_channel(address, options=channel_options) as channel:
            yield RunningGateway(app, address, channel, LlmGatewayServiceStub(channel), records)
    finally:
        await app.stop()
