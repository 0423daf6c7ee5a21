"""Whole calls in process, over real gRPC."""

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from llmgateway.v1 import (
    completion_pb2,
    embedding_pb2,
    image_pb2,
    message_pb2,
    model_pb2,
    reply_pb2,
    status_pb2,
    token_count_pb2,
)
from llmgateway_server.testing.gateway import SIMULATOR_ONLY, running_gateway


def ask(text: str = "hi there", model: str = "", **options: object) -> completion_pb2.CompleteRequest:
    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text=text)])
    return completion_pb2.CompleteRequest(model=model, messages=[message], **options)  # type: ignore[arg-type]


def reason_of(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return str(info.reason)


async def test_complete_says_what_happened() -> None:
    async with running_gateway() as gateway:
        reply = await gateway.stub.Complete(ask())
    assert [part.text for part in reply.parts] == ["You said: hi there"]
    assert reply.finish_reason == reply_pb2.FINISH_REASON_STOP
    assert (reply.usage.input_token_count, reply.usage.output_token_count) == (2, 4)
    assert reply.cost.total.nano_usd == 2 * 150 + 4 * 600
    assert reply.target.provider == "simulator"
    assert [attempt.outcome for attempt in reply.attempts] == [reply_pb2.ATTEMPT_OUTCOME_SUCCEEDED]
    assert reply.timings.total_us > 0


async def test_stream_ends_with_finished() -> None:
    async with running_gateway() as gateway:
        events = [
            event
            async for message in gateway.stub.StreamComplete(ask(model="simulator/chat?tokens=5&pace_ms=1"))
            for event in message.events
        ]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "started"
    assert kinds[-1] == "finished"
    assert kinds.count("finished") == 1
    assert "".join(event.text_delta.text for event in events).split() == ["the", "gateway", "answers", "every", "call"]


async def test_other_operations_take_the_same_path() -> None:
    async with running_gateway() as gateway:
        embedded = await gateway.stub.Embed(embedding_pb2.EmbedRequest(inputs=["a b", "c"], dimensions=8))
        counted = await gateway.stub.CountTokens(token_count_pb2.CountTokensRequest(request=ask("one two three")))
        records = [record for record in gateway.records() if record["record"] == "call"]
    assert [len(vector.values) for vector in embedded.embeddings] == [8, 8]
    assert embedded.usage.input_token_count == 3
    assert counted.input_token_count == 3
    assert counted.method == token_count_pb2.TOKEN_COUNT_METHOD_VENDOR
    assert [record["operation"] for record in records] == ["embed", "count_tokens"]


async def test_state_is_real() -> None:
    async with running_gateway({**SIMULATOR_ONLY, "max_attempts": 1}) as gateway:
        await gateway.stub.Complete(ask())
        with pytest.raises(grpc.aio.AioRpcError):
            await gateway.stub.Complete(ask(model="simulator/chat?fault=http&status=500"))
        metrics = await gateway.stub.Metrics(status_pb2.MetricsRequest())
        health = await gateway.stub.Health(status_pb2.HealthRequest())
    assert (metrics.calls.call_count, metrics.calls.succeeded_count, metrics.calls.failed_count) == (2, 1, 1)
    assert metrics.providers[0].attempt_count == 2
    assert metrics.calls.p95_latency_ms > 0
    assert health.providers[0].status == status_pb2.HEALTH_STATUS_DEGRADED
    assert health.providers[0].consecutive_failure_count == 1


async def test_models_are_listed_and_unknown_ones_answered_with_alternatives() -> None:
    async with running_gateway() as gateway:
        listed = await gateway.stub.ListModels(model_pb2.ListModelsRequest(page_size=1))
        rest = await gateway.stub.ListModels(model_pb2.ListModelsRequest(page_token=listed.next_page_token))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.stub.GetModel(model_pb2.GetModelRequest(name="nothing"))
    assert [model.name for model in (*listed.models, *rest.models)] == ["simulator-chat", "simulator-embed"]
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert reason_of(caught.value) == "MODEL_NOT_FOUND"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"idempotency_key": "k"}, "FEATURE_NOT_CONFIGURED"),
        ({"conversation_id": "c"}, "FEATURE_NOT_CONFIGURED"),
        ({"cache": completion_pb2.CacheOptions(mode=completion_pb2.CACHE_MODE_EXACT)}, "FEATURE_NOT_CONFIGURED"),
        ({"temperature": 9.0}, "INVALID_REQUEST"),
        ({"temperature": float("nan")}, "INVALID_REQUEST"),
        ({"model": "nothing"}, "MODEL_NOT_FOUND"),
    ],
)
async def test_nothing_is_ignored_in_silence(options: dict[str, object], reason: str) -> None:
    async with running_gateway() as gateway:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.stub.Complete(ask(**options))  # type: ignore[arg-type]
    assert reason_of(caught.value) == reason


async def test_an_image_is_not_served_yet_and_says_so() -> None:
    async with running_gateway() as gateway:
        call = gateway.stub.GenerateImage(image_pb2.GenerateImageRequest(prompt="a cat"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert reason_of(caught.value) == "NOT_IMPLEMENTED"
