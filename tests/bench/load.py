"""Loads: callers that send the same bytes and look at what comes back only as far as to know that it is whole."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc.aio

from llmgateway_server.providers.wire.http1 import Http1Wire
from llmgateway_server.providers.wire.port import Origin, WireProgress, WireRequest
from tests.bench import payloads
from tests.bench.processes import Child

TIMEOUT_S = 30.0
WORD = payloads.WORD.encode()
EXPECTED = {"once": payloads.TOKENS, "pieces": payloads.TOKENS, "paced": payloads.PACED_TOKENS}


class CallFailedError(Exception):
    """A call did not bring what it had to; a figure that includes it would mean nothing."""


@dataclass(slots=True)
class Stream:
    """What one streamed call brought."""

    first_token_s: float = 0.0
    messages: int = 0
    tokens: int = 0


@dataclass(slots=True)
class Result:
    """What a load cost and brought."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    calls: int = 0
    tokens: int = 0
    messages: int = 0
    latencies_s: list[float] = field(default_factory=list)
    first_token_s: list[float] = field(default_factory=list)

    def add(self, stream: Stream) -> None:
        self.tokens += stream.tokens
        self.messages += stream.messages
        self.first_token_s.append(stream.first_token_s)


class GrpcCaller:
    """Calls a contestant."""

    def __init__(self, child: Child) -> None:
        self._channel = grpc.aio.insecure_channel(child.address, options=(("grpc.enable_retries", 0),))
        self._unary: Any = self._channel.unary_unary(f"{payloads.SERVICE}Complete")
        self._stream: Any = self._channel.unary_stream(f"{payloads.SERVICE}StreamComplete")
        self._requests = {kind: payloads.request(kind) for kind in payloads.KINDS}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def unary(self) -> None:
        reply = await self._unary(self._requests["unary"], timeout=TIMEOUT_S)
        if len(reply) < 1000:
            raise CallFailedError("a reply is too short")

    async def stream(self, kind: str) -> Stream:
        got = Stream()
        began = time.perf_counter()
        call = self._stream(self._requests[kind], timeout=TIMEOUT_S)
        while (message := await call.read()) is not grpc.aio.EOF:
            tokens = message.count(WORD)
            if tokens and not got.tokens:
                got.first_token_s = time.perf_counter() - began
            got.tokens += tokens
            got.messages += 1
        return _whole(kind, got)


class DirectCaller:
    """Calls the provider itself, with the gateway's wire."""

    def __init__(self, provider: Child) -> None:
        host, _, port = provider.address.rpartition(":")
        self._wire = Http1Wire(Origin("http", host, int(port)))
        self._bodies = {kind: payloads.upstream_body(stream=kind != "unary") for kind in payloads.KINDS}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._wire.aclose()

    async def unary(self) -> None:
        async with self._wire.exchange(self._request("unary"), WireProgress()) as response:
            size = 0
            while data := await response.read():
                size += len(data)
        if size < 1000:
            raise CallFailedError("an answer is too short")

    async def stream(self, kind: str) -> Stream:
        got = Stream()
        began = time.perf_counter()
        async with self._wire.exchange(self._request(kind), WireProgress()) as response:
            while data := await response.read():
                tokens = data.count(WORD)
                if tokens and not got.tokens:
                    got.first_token_s = time.perf_counter() - began
                got.tokens += tokens
                got.messages += 1
        return _whole(kind, got)

    def _request(self, kind: str) -> WireRequest:
        headers = (("content-type", "application/json"),)
        return WireRequest("POST", f"/{kind}/v1/chat/completions", headers, self._bodies[kind])


Caller = GrpcCaller | DirectCaller


def _whole(kind: str, got: Stream) -> Stream:
    if got.tokens != EXPECTED[kind]:
        raise CallFailedError(f"a stream brought {got.tokens} of {EXPECTED[kind]} tokens")
    return got


async def unary_closed(child: Child, caller: Caller, *, in_flight: int, seconds: float) -> Result:
    """Calls again and again, `in_flight` at a time."""
    result = Result()

    async def once() -> None:
        await caller.unary()
        result.calls += 1

    await _closed(child, result, once, in_flight, seconds)
    return result


async def stream_closed(child: Child, caller: Caller, kind: str, *, in_flight: int, seconds: float) -> Result:
    """Streams again and again, `in_flight` at a time."""
    result = Result()

    async def once() -> None:
        result.add(await caller.stream(kind))
        result.calls += 1

    await _closed(child, result, once, in_flight, seconds)
    return result


async def _closed(
    child: Child, result: Result, once: Callable[[], Awaitable[None]], in_flight: int, seconds: float
) -> None:
    began, cpu = time.perf_counter(), child.cpu_s()

    async def work() -> None:
        while time.perf_counter() - began < seconds:
            await once()

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work())
    result.cpu_s = child.cpu_s() - cpu
    result.seconds = time.perf_counter() - began


async def unary_open(child: Child, caller: Caller, *, rate: float, seconds: float) -> Result:
    """Calls at a rate, whether or not earlier calls are back: the latencies are those that a caller would see."""
    result = Result()

    async def once(_number: int) -> None:
        began = time.perf_counter()
        await caller.unary()
        result.latencies_s.append(time.perf_counter() - began)
        result.calls += 1

    await _open(child, result, once, round(rate * seconds), 1 / rate)
    return result


async def paced_streams(child: Child, caller: Caller, *, streams: int) -> Result:
    """Opens streams one after another within the time between two tokens, and reads them to their ends."""
    result = Result()

    async def once(_number: int) -> None:
        result.add(await caller.stream("paced"))
        result.calls += 1

    await _open(child, result, once, streams, payloads.PACE_S * payloads.PACED_TOKENS / 2 / streams)
    return result


async def _open(
    child: Child, result: Result, once: Callable[[int], Coroutine[Any, Any, None]], count: int, interval_s: float
) -> None:
    began, cpu = time.perf_counter(), child.cpu_s()
    async with asyncio.TaskGroup() as group:
        for i in range(count):
            pause_s = began + i * interval_s - time.perf_counter()
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            group.create_task(once(i))
    result.cpu_s = child.cpu_s() - cpu
    result.seconds = time.perf_counter() - began
