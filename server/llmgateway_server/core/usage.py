"""Tokens: inclusive totals with optional details inside them. Absent (None) is not zero."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class UsageSource(StrEnum):
    """Where a count comes from."""

    REPORTED = "REPORTED"
    ESTIMATED = "ESTIMATED"


@dataclass(slots=True)
class Usage:
    """Tokens of one reply or attempt; the meaning of each field stands in `usage.proto`."""

    input_token_count: int | None = None
    output_token_count: int | None = None
    cache_read_token_count: int | None = None
    cache_write_5m_token_count: int | None = None
    cache_write_1h_token_count: int | None = None
    reasoning_token_count: int | None = None
    input_audio_token_count: int | None = None
    output_audio_token_count: int | None = None
    input_image_token_count: int | None = None
    output_image_token_count: int | None = None
    tool_use_token_count: int | None = None
    accepted_prediction_token_count: int | None = None
    rejected_prediction_token_count: int | None = None
    source: UsageSource = UsageSource.REPORTED


BYTES_PER_TOKEN = 4
"""UTF-8 bytes that one token stands for on average in English; other scripts come out higher, never lower by much."""


def estimate_token_count(utf8_byte_count: int) -> int:
    """Estimates tokens as ⌈bytes ÷ 4⌉, in constant time. A stand-in where nobody reports a count; marked ESTIMATED."""
    return -(-utf8_byte_count // BYTES_PER_TOKEN)
