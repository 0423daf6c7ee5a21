"""`llmgateway.v1.LlmGatewayService`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import grpc.aio
from pydantic import BaseModel, ConfigDict, Field

from llmgateway.v1 import model_pb2, status_pb2
from llmgateway_server import __version__
from llmgateway_server.admission.gate import Gate
from llmgateway_server.contract import catalog_out, figures_out, reply_out, requests_in, schema
from llmgateway_server.core.alarm import Alarm, OverdueError
from llmgateway_server.core.calls import Call, CallScope, Deadline, Notice, NoticeCode
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import CallEndedError, RequestError
from llmgateway_server.core.events import Finished
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Gateway
from llmgateway_server.core.requests import CompleteRequest, Operation, Request
from llmgateway_server.observe.figures import FiguresSource
from llmgateway_server.routing.catalog import Catalog
from llmgateway_server.transport.interceptors.step import SCOPE, Context
from llmgateway_server.transport.services.pacing import Pacing


class StreamSettings(BaseModel):
    """How streams are written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    write_stall_s: float = Field(default=60.0, gt=0)
    """A caller that reads nothing for so long is given up: SLOW_CONSUMER."""
    max_messages_per_s: int = Field(default=6000, ge=1)
    """From about so many messages of all streams on, tokens of a stream travel together."""


class LlmGatewayService:
    """See the module and the comments of the service in the protos.

    Args:
        gateway: opens replies.
        catalog: models.
        figures: of the whole gateway.
        gate: whether it drains.
        vendors: vendor per provider name.
        clock: time.
        settings: streams.
    """

    name = "llmgateway.v1.LlmGatewayService"

    def __init__(
        self,
        *,
        gateway: Gateway,
        catalog: Catalog,
        figures: FiguresSource,
        gate: Gate,
        vendors: Mapping[str, str],
        clock: Clock,
        settings: StreamSettings,
    ) -> None:
        self._gateway = gateway
        self._catalog = catalog
        self._figures = figures
        self._gate = gate
        self._vendors = vendors
        self._clock = clock
        self._settings = settings
        self._pacing = Pacing(settings.max_messages_per_s, clock)

    async def complete(self, data: bytes, context: Context) -> bytes:
        """Serves Complete."""
        call = await self._call("CompleteRequest", data, requests_in.complete_request, Operation.COMPLETE)
        async with self._gateway.open(call) as reply:
            return (await reply_out.folded_completion(call, reply)).SerializeToString()

    async def stream_complete(self, data: bytes, context: Context) -> None:
        """Serves StreamComplete. It writes and never yields: a cancel then unwinds in this task."""
        call = await self._call(
            "CompleteRequest", data, requests_in.complete_request, Operation.COMPLETE, streaming=True
        )
        writer = reply_out.EventWriter(call)
        wanted_s = call.request.max_delta_delay_s if isinstance(call.request, CompleteRequest) else 0.0
        alarm, pacing = Alarm(), self._pacing
        pacing.open_streams += 1
        try:
            async with self._gateway.open(call) as reply:
                async for batch in reply:
                    if not batch:
                        continue
                    await self._write(context, alarm, writer.message(batch).SerializeToString())
                    call.scope.last_seq = writer.last_seq
                    rest_s = max(wanted_s, pacing.wrote())
                    if rest_s and not isinstance(
                        batch[-1], Finished
                    ):  # meanwhile what arrives is collected behind the wire's buffer and travels together
                        await self._clock.sleep(rest_s)
        finally:
            pacing.open_streams -= 1
            alarm.close()

    async def embed(self, data: bytes, context: Context) -> bytes:
        """Serves Embed."""
        call = await self._call("EmbedRequest", data, requests_in.embed_request, Operation.EMBED)
        async with self._gateway.open(call) as reply:
            return (await reply_out.folded_embeddings(call, reply)).SerializeToString()

    async def count_tokens(self, data: bytes, context: Context) -> bytes:
        """Serves CountTokens."""
        call = await self._call("CountTokensRequest", data, requests_in.count_tokens_request, Operation.COUNT_TOKENS)
        async with self._gateway.open(call) as reply:
            return (await reply_out.folded_token_count(call, reply)).SerializeToString()

    async def generate_image(self, data: bytes, context: Context) -> None:
        """Refuses GenerateImage, which is not served yet."""
        schema.decode("GenerateImageRequest", data)
        raise RequestError(Reason.NOT_IMPLEMENTED, slots={"method": "GenerateImage"})

    async def health(self, data: bytes, context: Context) -> bytes:
        """Serves Health."""
        request = schema.decode("HealthRequest", data)
        if request.provider and request.provider not in self._vendors:
            raise RequestError(Reason.RESOURCE_NOT_FOUND, slots={"resource": request.provider})
        recent = await self._figures.recent()
        providers = [
            figures_out.provider_health(name, vendor, recent) for name, vendor in sorted(self._vendors.items())
        ]
        return status_pb2.HealthResponse(
            status=figures_out.overall_health(providers, draining=self._gate.draining),
            providers=[each for each in providers if request.provider in ("", each.provider)],
            version=__version__,
            uptime_s=int(recent.uptime_s),
            in_flight_call_count=recent.in_flight,
            draining=self._gate.draining,
        ).SerializeToString()

    async def metrics(self, data: bytes, context: Context) -> bytes:
        """Serves Metrics."""
        request = schema.decode("MetricsRequest", data)
        providers = sorted(self._vendors)
        view = await self._figures.over(figures_out.wanted_period(request, providers))
        return figures_out.metrics_message(request, view, providers, self._clock.wall_s()).SerializeToString()

    async def list_models(self, data: bytes, context: Context) -> bytes:
        """Serves ListModels: only what the caller may use."""
        request = schema.decode("ListModelsRequest", data)
        principal = SCOPE.get().principal
        usable = [model for model in self._catalog.models() if principal.may_use(model.name)]
        return catalog_out.models_page(request, usable).SerializeToString()

    async def get_model(self, data: bytes, context: Context) -> bytes:
        """Serves GetModel."""
        request = schema.decode("GetModelRequest", data)
        model = self._catalog.describe(request.name, SCOPE.get().principal.may_use)
        return model_pb2.GetModelResponse(model=catalog_out.model_message(model)).SerializeToString()

    async def _call(
        self,
        message_name: str,
        data: bytes,
        translate: Callable[[Any], Request],
        operation: Operation,
        *,
        streaming: bool = False,
    ) -> Call:
        """Decodes a request and makes the call of it."""
        scope = SCOPE.get()
        message = schema.parse(message_name, data)
        completion = message.request if operation is Operation.COUNT_TOKENS else message
        if (
            len(data) > requests_in.LARGE_BYTES
            and operation is not Operation.EMBED
            and requests_in.part_count(completion) > requests_in.LARGE_PART_COUNT
        ):
            request = await asyncio.to_thread(self._translate_large, message, completion, translate)
        else:
            schema.refuse(schema.violations(message))
            request = translate(message)
        self._shorten(scope, completion)
        call = Call(scope, operation, streaming, request, model=request.model)
        scope.call = call
        for path in schema.drop_unknown_fields(message, data):
            call.notices.append(Notice(NoticeCode.UNKNOWN_FIELDS, path, f"{path} is newer than this server"))
        return call

    @staticmethod
    def _translate_large(message: Any, completion: Any, translate: Callable[[Any], Request]) -> Request:
        requests_in.check_rules(completion)
        return translate(message)

    def _shorten(self, scope: CallScope, message: Any) -> None:
        cap_s = requests_in.max_latency_s(message)
        if cap_s is not None and scope.started_s + cap_s < scope.deadline.at_s:
            scope.deadline = Deadline(scope.started_s + cap_s, from_client=True)

    async def _write(self, context: Context, alarm: Alarm, data: bytes) -> None:
        try:
            with alarm.within(self._settings.write_stall_s):
                await context.write(data)
        except OverdueError:
            raise CallEndedError(Reason.SLOW_CONSUMER) from None
        except grpc.aio.InternalError:  # how a write ends that waited for a reader who left (docs/reliability.md)
            raise asyncio.CancelledError from None
