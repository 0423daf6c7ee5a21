"""Plays a script as a provider: the same events, figures and failures that a real one brings, without a network."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import (
    EmbeddingsProduced,
    Event,
    Finished,
    FinishReason,
    Started,
    TokensCounted,
    UsageSnapshot,
)
from llmgateway_server.core.money import Price
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Batch, Reply
from llmgateway_server.core.requests import CompleteRequest, CountTokensRequest, EmbedRequest, Operation
from llmgateway_server.core.targets import Model, Target
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.faults import malformed, status_error
from llmgateway_server.providers.simulator.answer import Step, count_input_tokens, steps
from llmgateway_server.providers.simulator.script import Script, parse
from llmgateway_server.providers.vendors import SIMULATOR

PRICE = Price(input_pico_usd=150_000, output_pico_usd=600_000, version="simulator-1")
"""0.15 and 0.60 US dollars per million tokens, so that costs show in a demonstration."""
DIMENSIONS = 64
MAX_VECTOR_NUMBERS = 262_144
"""Most numbers of one answer, all vectors together: above it neither the loop nor a message could carry them."""
TOKENS_PER_TURN = 256
"""After so many tokens in a row others get their turn."""
CAPABILITIES = frozenset({"STREAMING", "TOOLS", "PARALLEL_TOOLS", "JSON_OBJECT", "JSON_SCHEMA", "REASONING"})


class Simulator:
    """The built-in provider.

    Args:
        clock: paces the answers.
        name: as which it is configured.
    """

    vendor = SIMULATOR
    region = ""
    operations = frozenset(Operation)

    def __init__(self, clock: Clock, name: str = SIMULATOR) -> None:
        self.name = name
        self._clock = clock

    def models(self) -> tuple[Model, ...]:
        """Returns `chat` and `embed`, named with the provider's name before them."""
        chat = Model(
            name=f"{self.name}-chat",
            targets=(self._target("chat"),),
            capabilities=CAPABILITIES,
            context_token_count=128_000,
            max_output_token_count=100_000,
            tier="BASIC",
        )
        embed = Model(
            name=f"{self.name}-embed",
            targets=(self._target("embed"),),
            operations=frozenset({Operation.EMBED}),
            capabilities=frozenset({"EMBEDDING"}),
            context_token_count=8192,
            tier="BASIC",
        )
        return chat, embed

    async def aclose(self) -> None:
        """Has nothing to release."""

    @asynccontextmanager
    async def open(self, attempt: Attempt) -> AsyncIterator[Reply]:
        """See `Provider.open`. What a real provider says with its status is raised here, the rest by the reply."""
        script = parse(attempt.target.upstream_model)
        await self._begin(attempt, script)
        yield self._reply(attempt, script)

    def _reply(self, attempt: Attempt, script: Script) -> Reply:
        match attempt.call.request:
            case EmbedRequest() as request:
                if len(request.inputs) * (request.dimensions or DIMENSIONS) > MAX_VECTOR_NUMBERS:
                    raise status_error(413, {}, now_s=self._clock.wall_s(), detail="simulated")
                return _Ready(_embedded(request))
            case CountTokensRequest(completion=completion):
                return _Ready(_counted(completion))
            case CompleteRequest() as request:
                return _Performance(attempt, request, script, self._clock)

    async def _begin(self, attempt: Attempt, script: Script) -> None:
        """Plays what happens up to the head of the answer."""
        match script.fault:
            case "refuse":
                raise UpstreamError(Reason.UPSTREAM_UNREACHABLE, detail="simulated")
            case "tls":
                raise UpstreamError(Reason.UPSTREAM_TLS, detail="simulated")
            case _:
                attempt.request_sent = True
        match script.fault:
            case "reset":
                raise UpstreamError(Reason.UPSTREAM_RESET, detail="simulated")
            case "hang":
                await asyncio.get_running_loop().create_future()
            case "http":
                attempt.record.http_status = script.status
                headers = {"retry-after-ms": str(script.retry_after_ms)} if script.retry_after_ms else {}
                raise status_error(script.status, headers, now_s=self._clock.wall_s(), detail="simulated")
            case _:
                attempt.record.http_status = 200

    def _target(self, upstream_model: str) -> Target:
        return Target(provider=self.name, vendor=SIMULATOR, upstream_model=upstream_model, price=PRICE)


class _Ready:
    """A reply of one batch."""

    def __init__(self, events: list[Event]) -> None:
        self._events: list[Event] | None = events

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        if self._events is None:
            raise StopAsyncIteration
        events, self._events = self._events, None
        return events


class _Performance:
    """A completion, step by step; a unary call gets the same steps in one batch."""

    def __init__(self, attempt: Attempt, request: CompleteRequest, script: Script, clock: Clock) -> None:
        self._script = script
        self._clock = clock
        self._streaming = attempt.call.streaming
        self._steps = steps(request, script)
        self._ahead: Step | None = None
        self._tokens = 0
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        if self._over:
            raise StopAsyncIteration
        batch: Batch = []
        while True:
            step = self._ahead or next(self._steps, None)
            self._ahead = None
            if step is None:
                if batch and self._script.fault in ("no_end", "empty"):
                    return batch
                self._over = True
                await self._end()
                return batch
            if step.is_token:
                fault = self._script.fault
                if fault in MID_STREAM and self._tokens >= self._script.at:
                    self._ahead = step
                    if batch and self._streaming:
                        return batch
                    await self._break(fault)
                    return []
                if self._tokens == 0:
                    await self._clock.sleep(self._script.first_token_ms / 1000)
                elif self._script.pace_ms:
                    if batch and self._streaming:
                        self._ahead = step
                        return batch
                    await self._clock.sleep(self._script.pace_ms / 1000)
                self._tokens += 1
                if self._tokens % TOKENS_PER_TURN == 0:
                    await self._clock.sleep(0)
            batch += step.events
            if step.is_token and self._tokens == 1 and self._streaming:
                return batch
            if step.events and isinstance(step.events[-1], Finished):
                self._over = True
                return batch

    async def _break(self, fault: str) -> None:
        match fault:
            case "cut":
                raise UpstreamError(Reason.UPSTREAM_RESET, detail="simulated")
            case "malformed":
                raise malformed("simulated")
            case "error":
                raise status_error(self._script.status, {}, now_s=self._clock.wall_s(), detail="simulated")
            case "stall":
                await asyncio.get_running_loop().create_future()
            case "ping":
                await self._clock.sleep(0.05)

    async def _end(self) -> None:
        match self._script.fault:
            case "no_end":
                raise UpstreamError(Reason.UPSTREAM_STREAM_INTERRUPTED, detail="simulated")
            case "empty":
                raise malformed("simulated")


MID_STREAM = frozenset({"cut", "malformed", "error", "stall", "ping"})


def _counted(request: CompleteRequest) -> list[Event]:
    tokens = count_input_tokens(request)
    return [Started("", "chat"), TokensCounted(tokens, "VENDOR"), Finished(FinishReason.STOP)]


def _embedded(request: EmbedRequest) -> list[Event]:
    """Makes unit vectors from a hash of each text: equal texts, equal vectors; nothing else is meant by them."""
    vectors = [_vector(text, request.dimensions or DIMENSIONS) for text in request.inputs]
    tokens = sum(len(text.split()) or 1 for text in request.inputs)
    return [
        Started("", "embed"),
        EmbeddingsProduced(vectors),
        UsageSnapshot(Usage(input_token_count=tokens, output_token_count=0)),
        Finished(FinishReason.STOP),
    ]


def _vector(text: str, dimensions: int) -> list[float]:
    raw = hashlib.shake_256(text.encode()).digest(dimensions)
    numbers = [byte - 127.5 for byte in raw]
    length = math.sqrt(sum(number * number for number in numbers))
    return [number / length for number in numbers]
