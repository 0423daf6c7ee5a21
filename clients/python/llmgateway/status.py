"""Reads a failed call: gRPC status, `google.rpc` details and metadata become one `GatewayError`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from llmgateway.errors import UNSPECIFIED, GatewayError, Violation, error_class
from llmgateway.v1 import error_pb2

DOMAIN = "llmgateway"
DETAILS_KEY = "grpc-status-details-bin"
REQUEST_ID_KEY = "x-request-id"

Metadata = Iterable[tuple[str, str | bytes]]
Found = dict[str, Any]
"""Arguments of `GatewayError`."""


class FailedCall(Protocol):
    """What errors of `grpc` and of `grpc.aio` have in common."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def initial_metadata(self) -> Metadata | None: ...
    def trailing_metadata(self) -> Metadata | None: ...


def _error_info(found: Found, info: Any) -> None:
    if info.domain == DOMAIN:
        found["reason"], found["metadata"] = info.reason, dict(info.metadata)


def _request_info(found: Found, info: Any) -> None:
    found["request_id"] = info.request_id


def _retry_info(found: Found, info: Any) -> None:
    found["retry_delay_s"] = info.retry_delay.seconds + info.retry_delay.nanos / 1e9


def _bad_request(found: Found, bad: Any) -> None:
    found["violations"] = tuple(Violation(each.field, each.description, each.reason) for each in bad.field_violations)


def _alternatives(found: Found, alternatives: Any) -> None:
    found["alternatives"] = tuple(alternatives.models)


def _attempt(found: Found, attempt: Any) -> None:
    found["attempts"] = (*found.get("attempts", ()), attempt)


def _partial(found: Found, partial: Any) -> None:
    found["partial"] = partial


_READERS: tuple[tuple[Any, Callable[[Found, Any], None]], ...] = (
    (error_details_pb2.ErrorInfo, _error_info),
    (error_details_pb2.RequestInfo, _request_info),
    (error_details_pb2.RetryInfo, _retry_info),
    (error_details_pb2.BadRequest, _bad_request),
    (error_pb2.ModelAlternatives, _alternatives),
    (error_pb2.AttemptFailure, _attempt),
    (error_pb2.PartialReply, _partial),
)


def read_error(code: grpc.StatusCode, message: str, metadata: Metadata) -> GatewayError:
    """Builds the error of a status.

    Args:
        metadata: initial and trailing. Details that cannot be read are passed over.
    """
    values = dict(metadata)
    found: Found = {"request_id": _text(values.get(REQUEST_ID_KEY, ""))}
    for detail in _details(values.get(DETAILS_KEY, b"")):
        for kind, read in _READERS:
            if detail.Is(kind.DESCRIPTOR):
                try:
                    read(found, kind.FromString(detail.value))
                except DecodeError:
                    continue
    return error_class(found.get("reason", UNSPECIFIED), code)(message, code=code, **found)


def error_of(failed: grpc.RpcError) -> GatewayError:
    """Builds the error of a call that failed, of `grpc` or `grpc.aio`."""
    call = cast("FailedCall", failed)
    metadata = [*(call.initial_metadata() or ()), *(call.trailing_metadata() or ())]
    return read_error(call.code(), call.details() or "", metadata)


@contextmanager
def translated() -> Iterator[None]:
    """Turns errors of the library inside the block into `GatewayError`s."""
    try:
        yield
    except grpc.RpcError as failed:
        raise error_of(failed) from None


def _details(packed: str | bytes) -> list[Any]:
    if not isinstance(packed, bytes):
        return []
    try:
        return list(status_pb2.Status.FromString(packed).details)
    except DecodeError:
        return []


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
