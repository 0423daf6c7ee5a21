"""What the tests of providers' failures share: a gateway with planted canaries, and all that one failed call left.

Leaving the gateway's context looks for the canaries, so every row does.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from llmgateway.v1 import error_pb2
from llmgateway_server.providers.dialects.aws_events import AwsEventDecoder
from llmgateway_server.providers.vendors import VENDORS
from llmgateway_server.providers.wire.port import Wire
from llmgateway_server.testing.fake_provider import (
    FORMATS,
    FakeReply,
    bedrock_converse,
    bedrock_converse_frames,
    cohere_chat,
)
from llmgateway_server.testing.fake_provider.endpoints import ENDPOINTS, MANNERS, Endpoint, endpoint_for
from llmgateway_server.testing.fake_provider.frames import compact
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from llmgateway_server.testing.upstream import (
    MODEL,
    Exchange,
    Received,
    Script,
    Step,
    Upstream,
    delta,
    event,
    head,
)
from tests.faults.canary import Outputs
from tests.faults.kit import BUSY, LoopLag, ask, detail_of, quiet, reason_of, settings

PROVIDER_KEY = "sk-canary-provider-key-51cc"
PROMPT = "canary-prompt-9e21 says hello"
WORDS = "canary-provider-text-6a6a"
"""What providers say in heads, errors and bodies that cannot be read; where it is content it may reach the caller."""
CANARIES = {"provider key": PROVIDER_KEY, "prompt": PROMPT, "provider's words": WORDS}

WRAPPED = frozenset({"bedrock_llama"})
"""Dialects whose events are wrapped, so that no test can look into them or change them."""
SPOKEN: dict[str, str] = {
    dialect.name: vendor.name
    for vendor in reversed(list(VENDORS.values()))
    for dialect in vendor.dialects
    if dialect.name in FORMATS and dialect.name not in WRAPPED
}
"""Dialects that the fake provider speaks, and the first vendor of each."""
BOTH = pytest.mark.parametrize("streaming", [True, False], ids=["stream", "unary"])
UNAVAILABLE, FAILED_PRECONDITION = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION
UNREAD = {"cohere_chat": cohere_chat.DONE}
"""What a stream has behind its last event, and nobody waits for."""
OWN_WORK_S = 0.05
"""What the gateway may add to a provider's time (docs/reliability.md)."""

JSON_HEAD = {"content-type": "application/json"}
EVENTS_HEAD = {"content-type": "text/event-stream"}


async def stream_head(exchange: Exchange) -> None:
    """Begins a stream of the type that the path of the request is known for."""
    path = exchange.received.path.partition("?")[0]
    known = endpoint_for(path) or endpoint_for(path.removeprefix("/v1"))
    stream_type = MANNERS[known[0].format].stream_type if known else EVENTS_HEAD["content-type"]
    framing = {"content-type": stream_type, "transfer-encoding": "chunked"}
    await head(200, {**framing, "x-words": WORDS})(exchange)


STREAM_HEAD: Step = stream_head


@dataclass(slots=True)
class Ended:
    """What the caller of one call got, and what is recorded of its only attempt."""

    text: str
    tool_arguments: str
    code: grpc.StatusCode
    reason: str
    partial: error_pb2.PartialReply | None
    pushback: str | None
    """What the caller's own retries are told."""
    took_s: float
    late_s: float
    """For how long the loop, on which everything runs, was not given the processor."""
    attempt: dict[str, Any]
    record: dict[str, Any]

    def assert_refused(self, reason: str, code: grpc.StatusCode = UNAVAILABLE, charge: str = "C0") -> None:
        """Holds what every failure before the first token has in common; nothing of it is charged."""
        assert (self.text, self.tool_arguments, self.partial) == ("", "", None)
        self._assert_failed(reason, code, charge)
        assert (self.attempt["input_tokens"], self.attempt["output_tokens"]) == (None, None)

    def assert_broken(self, reason: str, text: str, code: grpc.StatusCode = UNAVAILABLE) -> None:
        """Holds what every failure after the first token has in common: what was delivered, and its charge."""
        assert self.text == text
        assert self.partial is not None
        assert self.partial.last_seq > 0
        self._assert_failed(reason, code, "CP")
        tokens = -(-len((self.text + self.tool_arguments).encode()) // 4)
        assert self.partial.usage.output_token_count == self.attempt["output_tokens"] == tokens
        assert self.attempt["usage_source"] == "ESTIMATED"

    def assert_within(self, limit_s: float, at_least_s: float = 0.0) -> None:
        """Holds a bound of time, with the tolerance of a machine that others use too."""
        assert self.took_s >= at_least_s
        assert self.took_s <= limit_s + OWN_WORK_S * BUSY + self.late_s, (self.took_s, self.late_s)

    def _assert_failed(self, reason: str, code: grpc.StatusCode, charge: str) -> None:
        assert (self.reason, self.code, self.pushback) == (reason, code, "-1")
        assert [self.attempt[name] for name in ("outcome", "reason", "charge")] == ["failed", reason, charge]
        assert [self.record[name] for name in ("outcome", "reason", "attempts")] == ["failed", reason, 1]


class Planted:
    """A gateway whose secrets are canaries.

    Args:
        gateway: it.
        outputs: where the canaries are looked for.
    """

    def __init__(self, gateway: RunningGateway, outputs: Outputs) -> None:
        self.gateway = gateway
        self.outputs = outputs
        self._records_read = 0

    async def call(self, *, streaming: bool, **options: Any) -> Ended:
        """Makes one call with one attempt and reads it to its end, which may be OK."""
        texts: list[str] = []
        arguments: list[str] = []
        failure: grpc.aio.AioRpcError | None = None
        began_s = time.monotonic()
        async with LoopLag() as lag:
            try:
                if streaming:
                    async for message in self.gateway.stub.StreamComplete(ask(PROMPT, MODEL, **options)):
                        texts += [each.text_delta.text for each in message.events]
                        arguments += [each.tool_arguments_delta.arguments_json for each in message.events]
                else:
                    reply = await self.gateway.stub.Complete(ask(PROMPT, MODEL, **options))
                    texts += [each.text for each in reply.parts]
                    arguments += [each.tool_call.arguments_json for each in reply.parts]
            except grpc.aio.AioRpcError as error:
                failure = error
                self.outputs.failed(error)
            took_s = time.monotonic() - began_s
        await quiet(self.gateway)
        attempt, record = self._new_records()
        return Ended(
            text="".join(texts),
            tool_arguments="".join(arguments),
            code=failure.code() if failure else grpc.StatusCode.OK,
            reason=reason_of(failure) if failure else "",
            partial=detail_of(failure, error_pb2.PartialReply) if failure else None,
            pushback=_pushback(failure) if failure else None,
            took_s=took_s,
            late_s=lag.worst_s,
            attempt=attempt,
            record=record,
        )

    def use(self, wire: Wire) -> None:
        """Gives the provider `up` another wire, which is closed with the gateway."""
        provider: Any = self.gateway.app._providers["up"]
        provider._wire = wire

    def _new_records(self) -> list[dict[str, Any]]:
        """Returns what was recorded since the last time: of one attempt and of its call."""
        text = self.gateway.record_text()
        lines, self._records_read = text[self._records_read :].splitlines(), len(text)
        records = [json.loads(line) for line in lines]
        assert [record["record"] for record in records] == ["attempt", "call"]
        return records


def _pushback(error: grpc.aio.AioRpcError) -> str | None:
    found = [str(value) for key, value in error.trailing_metadata() or () if key == "grpc-retry-pushback-ms"]
    return found[0] if found else None


@asynccontextmanager
async def planted(upstream: Upstream | str, *, dialect: str = "openai_chat", **sections: Any) -> AsyncIterator[Planted]:
    """Runs a gateway with `up`, a provider or a base URL, and looks for the canaries at the end.

    It has no breakers unless a section says so: a test here may fail the same target hundreds of times.
    """
    url = upstream if isinstance(upstream, str) else upstream.base_url
    target = {"provider": "up", "model": MODEL, "dialect": dialect}
    document = settings(**{"models": {MODEL: {"targets": [target]}}, "breakers": {"enabled": False}, **sections})
    document["providers"]["up"] = {"vendor": SPOKEN[dialect], "base_url": url, "api_key": "env:UP"}
    with Outputs(CANARIES) as outputs:
        async with running_gateway(document, environment={"UP": PROVIDER_KEY}) as gateway:
            yield Planted(gateway, outputs)
        outputs.check(gateway)


def assert_planted(received: Received) -> None:
    """Holds that the canaries did go up, without which their absence would show nothing."""
    sent = (received.headers.get(name, "") for name in ("authorization", "x-api-key", "x-goog-api-key"))
    assert PROVIDER_KEY in "".join(sent)
    assert PROMPT in str(received.body)


# --- scripts -----------------------------------------------------------------------------------------------------


def by_kind(stream: Script, unary: Script) -> Step:
    """Plays one script for streams and another for unary calls."""

    async def step(exchange: Exchange) -> None:
        asks = exchange.received.body.get("stream") or "stream" in exchange.received.path  # Google's says it there
        script = stream if asks else unary
        for each in [script] if callable(script) else script:
            await each(exchange)

    return step


def whole(body: bytes, headers: Mapping[str, str], status: int = 200) -> list[Step]:
    """Sends an answer whose length is announced."""
    length = {"content-length": str(len(body))}
    return [head(status, {**headers, **length, "x-words": WORDS}), _raw(body)]


def _raw(body: bytes) -> Step:
    return lambda exchange: exchange.send(body)


async def bytes_of(script: Sequence[Step]) -> bytes:
    """Returns what a script sends."""
    taped = _Tape()
    for step in script:
        await step(cast("Exchange", taped))
    return bytes(taped.sent)


class _Tape:
    def __init__(self) -> None:
        self.sent = bytearray()

    async def send(self, data: bytes) -> None:
        self.sent += data


def frames_of(dialect: str, reply: FakeReply) -> list[bytes]:
    """Returns a stream of the dialect, one event each."""
    frames = _endpoint(dialect).frames(reply, {"model": MODEL, "stream_options": {"include_usage": True}})
    return [frame for frame in frames if frame != UNREAD.get(dialect)]


def rewritten(dialect: str, frame: bytes, said: bytes, instead: bytes) -> bytes:
    """Returns an event that says something else; a binary one gets its length and checksums anew."""
    if MANNERS[_endpoint(dialect).format].stream_type != bedrock_converse.EVENT_STREAM:
        return frame.replace(said, instead)
    [(name, payload)] = AwsEventDecoder().feed(frame)
    return bedrock_converse_frames.event(name.decode(), payload.replace(said, instead))


def body_of(dialect: str, reply: FakeReply) -> bytes:
    """Returns a unary answer of the dialect."""
    return compact(_endpoint(dialect).body(reply, {"model": MODEL})).encode()


def _endpoint(dialect: str) -> Endpoint:
    return next(each for each in ENDPOINTS.values() if each.format == dialect)


def said(*texts: str) -> list[Step]:
    """Begins a stream and says some texts."""
    return [STREAM_HEAD, *(event(delta(text)) for text in texts)]


def echo(exchange: Exchange) -> str:
    """Returns all that a provider was told, as those who complain about it quote it."""
    headers = "; ".join(f"{name}: {value}" for name, value in exchange.received.headers.items())
    return f"{WORDS} {headers} {exchange.received.body}"


def only(items: Sequence[Received]) -> Received:
    """Returns the only request that arrived."""
    assert len(items) == 1
    return items[0]
