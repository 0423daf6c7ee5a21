"""Decodes and validates operators' requests, with the rules of the same descriptor image as callers' requests."""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import message_factory
from google.protobuf.message import DecodeError, Message

from llmgateway_server.contract import schema
from llmgateway_server.core.errors import RequestError
from llmgateway_server.core.reasons import Reason

PACKAGE = "llmgateway.admin.v1"
REQUESTS = ("ResetMetricsRequest", "TestProviderRequest")


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
    try:
        message = message_class(name).FromString(data)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestError(Reason.MALFORMED_REQUEST, slots={"message": name}) from None
    schema.refuse(schema.violations(message))
    return message


def warm_up() -> None:
    """Compiles the rules of every request message, so that the first call does not pay for it."""
    for name in REQUESTS:
        schema.violations(message_class(name)())
