"""Usage, cost and timings into the contract's messages."""

from __future__ import annotations

from dataclasses import fields

from llmgateway.v1 import usage_pb2
from llmgateway_server.core.events import Timings
from llmgateway_server.core.money import Cost, usd_text
from llmgateway_server.core.usage import Usage, UsageSource

_COUNTS = tuple(field.name for field in fields(Usage) if field.name != "source")
_SOURCES = {
    UsageSource.REPORTED: usage_pb2.USAGE_SOURCE_REPORTED,
    UsageSource.ESTIMATED: usage_pb2.USAGE_SOURCE_ESTIMATED,
}


def usage_message(usage: Usage) -> usage_pb2.Usage:
    """Translates a usage; what is None stays absent."""
    message = usage_pb2.Usage(source=_SOURCES[usage.source])
    for name in _COUNTS:
        count = getattr(usage, name)
        if count is not None:
            setattr(message, name, count)
    return message


def money_message(nano_usd: int) -> usage_pb2.Money:
    """Translates an amount, with its text for people."""
    return usage_pb2.Money(nano_usd=nano_usd, usd=usd_text(nano_usd))


def cost_message(cost: Cost | None) -> usage_pb2.Cost:
    """Translates a cost; None is an unknown one, and a bucket without money is left out."""
    if cost is None:
        return usage_pb2.Cost(unpriced=True)
    message = usage_pb2.Cost(total=money_message(cost.total_nano_usd), price_version=cost.price_version)
    for bucket, nano_usd in (
        (message.input, cost.input_nano_usd),
        (message.cache_read, cost.cache_read_nano_usd),
        (message.cache_write, cost.cache_write_nano_usd),
        (message.output, cost.output_nano_usd),
    ):
        if nano_usd:
            bucket.nano_usd, bucket.usd = nano_usd, usd_text(nano_usd)
    return message


def timings_message(timings: Timings, usage: Usage | None) -> usage_pb2.Timings:
    """Translates timings; the pace is output tokens over the time between the first token and the end."""
    message = usage_pb2.Timings(total_us=_us(timings.total_s), provider_us=_us(timings.provider_s))
    first = timings.time_to_first_token_s
    if first is not None:
        message.time_to_first_token_us = _us(first)
        rest = timings.total_s - first
        if usage is not None and usage.output_token_count and rest > 0.001:
            message.output_tokens_per_second = usage.output_token_count / rest
    return message


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
