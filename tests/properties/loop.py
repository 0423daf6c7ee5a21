"""One gateway for many examples: a loop that stands still between them, and what every refusal must carry."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from llmgateway.v1 import completion_pb2, error_pb2, message_pb2, reply_pb2
from llmgateway_server.testing.gateway import RunningGateway, running_gateway

T = TypeVar("T")
DETAILS_KEY = "grpc-status-details-bin"
MAX_DETAILS_BYTES = 4096
REASONS = {name.removeprefix("ERROR_REASON_") for name in error_pb2.ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118


@dataclass(slots=True)
class Bench:
    """A gateway and the loop that it runs in."""

    gateway: RunningGateway
    runner: asyncio.Runner

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)


@contextmanager
def bench(document: Mapping[str, Any] | None = None, **options: Any) -> Iterator[Bench]:
    """Runs a gateway whose loop turns only while an example runs."""
    settings = dict(document or {"providers": {"simulator": {"vendor": "simulator"}}})
    # A loop that stands still between two examples is not overloaded.
    settings["gate"] = {"max_loop_lag_s": 1e6, **settings.get("gate", {})}
    # Its calls fail on purpose, one after the other: each is to end as if it were alone.
    settings = {"max_attempts": 1, "breakers": {"enabled": False}, **settings}
    with asyncio.Runner() as runner:
        running = running_gateway(settings, **options)
        gateway = runner.run(running.__aenter__())
        try:
            yield Bench(gateway, runner)
        finally:
            runner.run(running.__aexit__(None, None, None))


@dataclass(slots=True)
class Refusal:
    """An error status with its details unpacked."""

    code: grpc.StatusCode
    reason: str
    call_id: str
    partial: error_pb2.PartialReply | None
    attempts: list[error_pb2.AttemptFailure]


def refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """Checks what every error of the contract carries, and returns it."""
    raw = dict(error.trailing_metadata() or ()).get(DETAILS_KEY)
    assert isinstance(raw, bytes), f"{error.code()} {error.details()!r} has no details"
    assert len(raw) <= MAX_DETAILS_BYTES
    status = status_pb2.Status.FromString(raw)
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    info, request, partial = error_details_pb2.ErrorInfo(), error_details_pb2.RequestInfo(), error_pb2.PartialReply()
    attempts = []
    kinds = []
    for detail in status.details:
        kinds.append(detail.type_url.rpartition(".")[2])
        failure = error_pb2.AttemptFailure()
        if detail.Unpack(failure):
            attempts.append(failure)
        for message in (info, request, partial):
            detail.Unpack(message)
    assert kinds.count("ErrorInfo") == kinds.count("RequestInfo") == 1
    assert info.reason in REASONS
    assert info.domain == "llmgateway"
    assert len(request.request_id) == 36
    assert ("x-request-id", request.request_id) in tuple(error.trailing_metadata() or ())
    return Refusal(
        error.code(), info.reason, request.request_id, partial if "PartialReply" in kinds else None, attempts
    )


def ask(text: str = "hi there", model: str = "", **options: Any) -> completion_pb2.CompleteRequest:
    """Returns a request of one message."""
    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text=text)])
    return completion_pb2.CompleteRequest(model=model, messages=[message], **options)


async def read_stream(call: Any) -> tuple[list[reply_pb2.Event], grpc.aio.AioRpcError | None]:
    """Reads a stream to its end, which may be an error."""
    events: list[reply_pb2.Event] = []
    try:
        async for message in call:
            assert message.events, "a message without events"
            events += message.events
    except grpc.aio.AioRpcError as error:
        return events, error
    return events, None
