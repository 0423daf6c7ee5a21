"""The types that callers see. Nothing here runs: mypy fails where one is lost, or where a wrong call is let through."""

from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any, assert_never, assert_type

from pydantic import BaseModel

from llmgateway import AsyncClient, AsyncStream, Client, Embeddings, GatewayError, Reply, Stream, ToolCall, Violation
from llmgateway.events import (
    Finished,
    GuardrailVerdict,
    Heartbeat,
    MediaDelta,
    PartFinished,
    PartStarted,
    ReasoningDelta,
    Started,
    StreamEvent,
    TargetSwitched,
    TextDelta,
    ToolArgumentsDelta,
    UsageSnapshot,
)
from llmgateway.v1.error_pb2 import AttemptFailure, PartialReply
from llmgateway.v1.message_pb2 import Message
from llmgateway.v1.model_pb2 import Model
from llmgateway.v1.reply_pb2 import CompleteResponse
from llmgateway.v1.status_pb2 import HealthResponse, MetricsResponse
from llmgateway.v1.token_count_pb2 import CountTokensResponse


class City(BaseModel):
    name: str


def blocking(client: Client) -> None:
    reply = client.complete("m", "Hi", temperature=0.5, response_format=City, tools=[{"name": "t"}], reasoning="low")
    assert_type(reply, Reply)
    assert_type(reply.text, str)
    assert_type(reply.cost_usd, Decimal | None)
    assert_type(reply.tool_calls, tuple[ToolCall, ...])
    assert_type(reply.tool_calls[0].arguments, dict[str, Any])
    assert_type(reply.message, Message)
    assert_type(reply.raw, CompleteResponse)
    client.complete("m", [("user", "Hi"), reply, {"role": "user", "content": "Hi"}, Message()])
    client.complete("m", "Hi", temprature=0.5)  # type: ignore[call-arg]
    client.complete("m", "Hi", temperature="hot")  # type: ignore[arg-type]
    client.complete("m", 7)  # type: ignore[arg-type]
    client.complete("m", "Hi", reasoning="hard")  # type: ignore[arg-type]
    with client.stream("m", "Hi") as stream:
        assert_type(stream, Stream)
        assert_type(stream.text, Iterator[str])
        for event in stream:
            assert_type(event, StreamEvent)
        assert_type(stream.reply(), Reply)
    assert_type(client.embed("m", ["a"]), Embeddings)
    assert_type(client.embed("m", "a").vectors, list[list[float]])
    assert_type(client.count_tokens("m", "Hi"), CountTokensResponse)
    assert_type(client.models(), list[Model])
    assert_type(client.model("m"), Model)
    assert_type(client.health(), HealthResponse)
    assert_type(client.metrics(period="day"), MetricsResponse)


async def awaited(client: AsyncClient) -> None:
    assert_type(await client.complete("m", "Hi"), Reply)
    async with client.stream("m", "Hi") as stream:
        assert_type(stream, AsyncStream)
        assert_type(stream.text, AsyncIterator[str])
        async for event in stream:
            assert_type(event, StreamEvent)
        assert_type(await stream.reply(), Reply)
    assert_type(await client.embed("m", ["a"]), Embeddings)
    assert_type(await client.models(), list[Model])


def failed(error: GatewayError) -> None:
    assert_type(error.reason, str)
    assert_type(error.retry_delay_s, float | None)
    assert_type(error.violations, tuple[Violation, ...])
    assert_type(error.alternatives, tuple[str, ...])
    assert_type(error.attempts, tuple[AttemptFailure, ...])
    assert_type(error.partial, PartialReply | None)


def every_event(event: StreamEvent) -> str:
    match event:
        case TextDelta(text=text) | ReasoningDelta(text=text):
            return text
        case ToolArgumentsDelta() | MediaDelta() | PartStarted() | PartFinished() | Started() | Finished():
            return ""
        case UsageSnapshot() | GuardrailVerdict() | TargetSwitched() | Heartbeat():
            return ""
    assert_never(event)
