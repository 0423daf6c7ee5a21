"""Decodes and validates requests. Rules live in the protos.

Client stubs are free of them, so requests are decoded with classes made from the descriptor image that ships with the
server.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import protovalidate
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from llmgateway_server.contract.quick_check import QuickCheck
from llmgateway_server.core.errors import RequestError, Violation
from llmgateway_server.core.reasons import Reason

PACKAGE = "llmgateway.v1"
MAX_VIOLATIONS = 50
"""Bad fields that one refusal names."""
MAX_UNKNOWN_FIELDS = 20
"""Newer fields that one reply names; a request of a few megabytes can hold millions of them."""


def _load_pool() -> descriptor_pool.DescriptorPool:
    image = resources.files("llmgateway_server.contract").joinpath("descriptors.binpb").read_bytes()
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(image).file:  # in dependency order
        pool.Add(file)
    return pool


_POOL = _load_pool()
# Rules are cached by a message's name: with the module-level validator another user's rule-free class would switch
# ours off.
_VALIDATOR = protovalidate.Validator()
_QUICK_CHECK = QuickCheck(_POOL)


@cache
def message_class(name: str) -> type[Message]:
    """Returns the class of a message of our package, rules included."""
    found: type[Message] = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
    return found


def parse(name: str, data: bytes) -> Any:
    """Decodes a request message without looking at its rules.

    Raises:
        RequestError: MALFORMED_REQUEST, the bytes are not the message.
    """
    try:
        return message_class(name).FromString(data)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestError(Reason.MALFORMED_REQUEST, slots={"message": name}) from None


def decode(name: str, data: bytes) -> Any:
    """Decodes a request message and checks its rules.

    Raises:
        RequestError: MALFORMED_REQUEST as `parse`; INVALID_REQUEST with every field that breaks its rule.
    """
    message = parse(name, data)
    refuse(violations(message))
    return message


def violations(message: Message) -> list[Violation]:
    """Returns the broken rules of a message."""
    if _QUICK_CHECK.passes(message):
        return []
    found = _VALIDATOR.collect_violations(message)
    return [
        Violation(_path(each.proto.field), each.proto.message or "breaks its rule", each.proto.rule_id)
        for each in found[:MAX_VIOLATIONS]
    ]


def refuse(found: list[Violation]) -> None:
    """Raises INVALID_REQUEST if anything was found."""
    if found:
        raise RequestError(Reason.INVALID_REQUEST, violations=tuple(found[:MAX_VIOLATIONS]))


def warm_up() -> None:
    """Compiles the rules of every request message, so that the first call does not pay for it."""
    for name in REQUESTS:
        empty = message_class(name)()
        _QUICK_CHECK.passes(empty)
        _VALIDATOR.collect_violations(empty)


def drop_unknown_fields(message: Message, data: bytes) -> list[str]:
    """Drops the fields of a request that are newer than this server, and names them as far as they can be.

    Args:
        message: decoded from `data`.
        data: as it came.

    Returns:
        `field N` for each number at the top, cut at twenty; `a nested field` when they are all deeper.
    """
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() == size:
        return []
    fields: Any = UnknownFieldSet(type(message).FromString(data))
    numbers = sorted({field.field_number for field in fields})
    return [f"field {number}" for number in numbers[:MAX_UNKNOWN_FIELDS]] or ["a nested field"]


REQUESTS = (
    "CompleteRequest",
    "EmbedRequest",
    "CountTokensRequest",
    "GenerateImageRequest",
    "HealthRequest",
    "MetricsRequest",
    "ListModelsRequest",
    "GetModelRequest",
)


def _path(path: Any) -> str:
    """Writes protovalidate's path as `messages[0].parts[1].text` or `metadata.tags["a"]`."""
    written = []
    for element in path.elements if path is not None else ():
        subscript = element.subscript
        if subscript is None:
            suffix = ""
        elif subscript.field == "string_key":
            suffix = f'["{subscript.value[:64]}"]'
        else:
            suffix = f"[{subscript.value}]"
        written.append(element.field_name + suffix)
    return ".".join(written)
