"""Decodes and validates operators' requests, with the rules of the same descriptor image as callers' requests."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from google.protobuf import message_factory
from google.protobuf.message import DecodeError, Message

from llmgateway_server.contract import requests_in, schema
from llmgateway_server.core.errors import RequestError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import Operation, Request

PACKAGE = "llmgateway.admin.v1"
REQUESTS = (
    "ExplainRouteRequest",
    "GetCircuitBreakerRequest",
    "ResetMetricsRequest",
    "SetTargetEnabledRequest",
    "TestProviderRequest",
    "WatchEventsRequest",
)
COMPLETE = "complete."
"""Where the completion stands in an ExplainRouteRequest."""


@cache
def message_class(name: str) -> type[Message]:
    """Returns the class of a message of operators' package, rules included."""
    pool: Any = schema.message_class(schema.REQUESTS[0]).DESCRIPTOR.file.pool
    found: type[Message] = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
    return found


def decode(name: str, data: bytes) -> Any:
    """Decodes a request message and checks its rules.

    Raises:
        RequestError: MALFORMED_REQUEST, the bytes are not the message; INVALID_REQUEST with every field that breaks
            its rule.
    """
    message = _parse(name, data)
    schema.refuse(schema.violations(message))
    return message


async def call_to_explain(data: bytes) -> tuple[Request, Operation]:
    """Decodes an ExplainRouteRequest and translates the call in it; a large one beside the event loop, as callers' are.

    Raises:
        RequestError: as `decode`, and what the call itself would be refused with before it is planned.
    """
    message = _parse("ExplainRouteRequest", data)
    if not message.HasField("complete"):
        schema.refuse(schema.violations(message))
        return requests_in.embed_request(message.embed), Operation.EMBED
    completion = message.complete
    if requests_in.part_count(completion) > requests_in.LARGE_PART_COUNT:
        request = await asyncio.to_thread(_translated_in_pieces, completion)
    else:
        schema.refuse(schema.violations(message))
        request = requests_in.complete_request(completion, COMPLETE)
    return request, Operation.COMPLETE


def _parse(name: str, data: bytes) -> Any:
    try:
        return message_class(name).FromString(data)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestError(Reason.MALFORMED_REQUEST, slots={"message": name}) from None


def _translated_in_pieces(completion: Any) -> Request:
    requests_in.check_rules(completion)
    return requests_in.complete_request(completion, COMPLETE)


def warm_up() -> None:
    """Compiles the rules of every request message, so that the first call does not pay for it."""
    for name in REQUESTS:
        schema.violations(message_class(name)())
