"""Usage, cost and timings into the contract's messages.

What every reply has is filled where it stands: a message made apart and copied there costs twice.
"""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter

from llmgateway.v1 import usage_pb2
from llmgateway_server.core.events import Timings
from llmgateway_server.core.money import Cost, usd_text
from llmgateway_server.core.usage import Usage, UsageSource

_COUNTS = tuple(field.name for field in fields(Usage) if field.name != "source")
_counts_of = attrgetter(*_COUNTS)
_SOURCES = {
    UsageSource.REPORTED: usage_pb2.USAGE_SOURCE_REPORTED,
    UsageSource.ESTIMATED: usage_pb2.USAGE_SOURCE_ESTIMATED,
}


def usage_message(usage: Usage) -> usage_pb2.Usage:
    """Translates a usage; what is None stays absent."""
    message = usage_pb2.Usage()
    fill_usage(message, usage)
    return message


def fill_usage(message: usage_pb2.Usage, usage: Usage) -> None:
    """Does the same in an empty message."""
    message.source = _SOURCES[usage.source]
    for name, count in zip(_COUNTS, _counts_of(usage), strict=True):
        if count is not None:
            setattr(message, name, count)


def money_message(nano_usd: int) -> usage_pb2.Money:
    """Translates an amount, with its text for people."""
    message = usage_pb2.Money()
    fill_money(message, nano_usd)
    return message


def fill_money(message: usage_pb2.Money, nano_usd: int) -> None:
    """Does the same in an empty message."""
    message.nano_usd, message.usd = nano_usd, usd_text(nano_usd)


def cost_message(cost: Cost | None) -> usage_pb2.Cost:
    """Translates a cost; None is an unknown one, and a bucket without money is left out."""
    message = usage_pb2.Cost()
    fill_cost(message, cost)
    return message


def fill_cost(message: usage_pb2.Cost, cost: Cost | None) -> None:
    """Does the same in an empty message."""
    if cost is None:
        message.unpriced = True
        return
    fill_money(message.total, cost.total_nano_usd)
    message.price_version = cost.price_version
    for bucket, nano_usd in (
        ("input", cost.input_nano_usd),
        ("cache_read", cost.cache_read_nano_usd),
        ("cache_write", cost.cache_write_nano_usd),
        ("output", cost.output_nano_usd),
    ):
        if nano_usd:
            fill_money(getattr(message, bucket), nano_usd)


def timings_message(timings: Timings, usage: Usage | None) -> usage_pb2.Timings:
    """Translates timings; the pace is output tokens over the time between the first token and the end."""
    message = usage_pb2.Timings()
    fill_timings(message, timings, usage)
    return message


def fill_timings(message: usage_pb2.Timings, timings: Timings, usage: Usage | None) -> None:
    """Does the same in an empty message."""
    message.total_us, message.provider_us = _us(timings.total_s), _us(timings.provider_s)
    first = timings.time_to_first_token_s
    if first is not None:
        message.time_to_first_token_us = _us(first)
        rest = timings.total_s - first
        if usage is not None and usage.output_token_count and rest > 0.001:
            message.output_tokens_per_second = usage.output_token_count / rest


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
