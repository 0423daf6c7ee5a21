"""Callers: they send the same bytes and look at what comes back only as far as to know that it is whole."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import grpc.aio

from llmgateway_server.providers.wire.http1 import Http1Wire
from llmgateway_server.providers.wire.port import Origin, WireError, WireLimits, WireProgress, WireRequest
from tests.bench import payloads
from tests.bench.payloads import Kind

TIMEOUT_S = 60.0
WORD = payloads.WORD.encode()
MIN_ANSWER_BYTES = 1000


class CallFailedError(Exception):
    """A call did not bring what it had to; a figure that includes it would mean nothing."""


FAILED = (CallFailedError, WireError, grpc.aio.AioRpcError, TimeoutError, OSError)
"""What a failed call raises."""


@dataclass(slots=True)
class Stream:
    """What one streamed call brought, and when."""

    began: float = 0.0
    first_token_s: float = 0.0
    last: float = 0.0
    worst_gap_s: float = 0.0
    """Longest time between two messages that brought tokens."""
    messages: int = 0
    tokens: int = 0

    def note(self, tokens: int) -> None:
        """Takes in one message."""
        self.messages += 1
        if not tokens:
            return
        now = time.perf_counter()
        if self.tokens:
            self.worst_gap_s = max(self.worst_gap_s, now - self.last)
        else:
            self.first_token_s = now - self.began
        self.last = now
        self.tokens += tokens


class Caller(Protocol):
    """Makes one call."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def unary(self) -> None:
        """Makes a unary call.

        Raises:
            CallFailedError: the answer is not whole; see also `FAILED`.
        """
        ...

    async def stream(self, kind: Kind) -> Stream:
        """Makes a streamed call and reads it to its end.

        Raises:
            CallFailedError: tokens are missing; see also `FAILED`.
        """
        ...


def pinned(kind: Kind) -> str:
    """Returns the model's name as `account/model`."""
    return f"{kind.name}/{payloads.MODEL}"


class GrpcCaller:
    """Calls a contestant that speaks our contract.

    Args:
        address: where it serves.
        key: an API key; empty: none is sent.
        model: name of the model that answers in this way.
        prompt_chars: of unary calls.
    """

    def __init__(
        self,
        address: str,
        *,
        key: str = "",
        model: Callable[[Kind], str] = pinned,
        prompt_chars: int = payloads.PROMPT_CHARS,
    ) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=(("grpc.enable_retries", 0),))
        self._unary: Any = self._channel.unary_unary(f"{payloads.SERVICE}Complete")
        self._stream: Any = self._channel.unary_stream(f"{payloads.SERVICE}StreamComplete")
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self._question = payloads.request(model(payloads.UNARY), prompt_chars=prompt_chars)
        self._requests = {kind.name: payloads.request(model(kind)) for kind in payloads.KINDS.values()}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def unary(self) -> None:
        reply = await self._unary(self._question, timeout=TIMEOUT_S, metadata=self._metadata)
        if len(reply) < MIN_ANSWER_BYTES:
            raise CallFailedError("a reply is too short")

    async def stream(self, kind: Kind) -> Stream:
        got = Stream(began=time.perf_counter())
        call = self._stream(self._requests[kind.name], timeout=TIMEOUT_S, metadata=self._metadata)
        while (message := await call.read()) is not grpc.aio.EOF:
            got.note(message.count(WORD))
        return _whole(kind, got)


class HttpCaller:
    """Calls the provider itself, or a gateway that speaks the same dialect, with the gateway's wire.

    Args:
        address: where it serves.
        path: that a kind of answer is asked for at.
        model: name of the model that answers in this way.
        key: an API key; empty: none is sent.
    """

    def __init__(
        self, address: str, *, path: Callable[[Kind], str], model: Callable[[Kind], str], key: str = ""
    ) -> None:
        host, _, port = address.rpartition(":")
        self._wire = Http1Wire(
            Origin("http", host, int(port)), limits=WireLimits(max_connections=payloads.CALLS_AT_ONCE)
        )
        headers = (("content-type", "application/json"), *((("authorization", f"Bearer {key}"),) if key else ()))
        self._requests = {
            kind.name: WireRequest(
                "POST", path(kind), headers, payloads.http_body(model(kind), stream=kind is not payloads.UNARY)
            )
            for kind in payloads.KINDS.values()
        }

    @classmethod
    def direct(cls, provider: str) -> Self:
        """Returns a caller of the provider itself."""
        return cls(provider, path=lambda kind: f"/{kind.name}/v1/chat/completions", model=lambda _kind: payloads.MODEL)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._wire.aclose()

    async def unary(self) -> None:
        size = 0
        async with (
            asyncio.timeout(TIMEOUT_S),
            self._wire.exchange(self._requests["unary"], WireProgress()) as response,
        ):
            while data := await response.read():
                size += len(data)
        if response.status != 200 or size < MIN_ANSWER_BYTES:
            raise CallFailedError(f"an answer has status {response.status} and {size} bytes")

    async def stream(self, kind: Kind) -> Stream:
        got = Stream(began=time.perf_counter())
        rest = b""
        async with (
            asyncio.timeout(TIMEOUT_S),
            self._wire.exchange(self._requests[kind.name], WireProgress()) as response,
        ):
            while data := await response.read():
                got.note((rest + data).count(WORD))
                rest = data[1 - len(WORD) :]  # a read may end inside a word, and is too short to hold it twice
        return _whole(kind, got)


def _whole(kind: Kind, got: Stream) -> Stream:
    if got.tokens != kind.tokens:
        raise CallFailedError(f"a stream brought {got.tokens} of {kind.tokens} tokens")
    return got
