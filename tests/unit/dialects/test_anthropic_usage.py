"""What Anthropic says of tokens: used by an answer, and counted beforehand."""

from __future__ import annotations

from typing import Any

import pytest

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Finished, FinishReason, Started, TokensCounted
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, CountTokensRequest
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.dialect import Quirks
from tests.unit.dialects.anthropic_replies import DIALECT, END, reason, sse, start, streamed, whole
from tests.unit.dialects.kit import attempt_of


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        ({"input_tokens": 3, "output_tokens": 4}, Usage(3, 4)),
        (
            {"input_tokens": 3, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 100},
            Usage(113, None, cache_read_token_count=10, cache_write_5m_token_count=100),
        ),
        (
            {
                "input_tokens": 3,
                "cache_creation_input_tokens": 100,
                "cache_creation": {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 60},
            },
            Usage(103, None, cache_write_5m_token_count=40, cache_write_1h_token_count=60),
        ),
        (
            {"input_tokens": 3, "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 6}},
            Usage(13, None, cache_write_5m_token_count=4, cache_write_1h_token_count=6),
        ),
        (
            {
                "input_tokens": 0,
                "cache_creation_input_tokens": 50,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 60},
            },
            Usage(50, None, cache_write_5m_token_count=0, cache_write_1h_token_count=50),
        ),
        (
            {"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 5}},
            Usage(None, 9, reasoning_token_count=5),
        ),
        ({"input_tokens": -1, "output_tokens": 2**53 + 1, "cache_read_input_tokens": True}, Usage()),
        ({"input_tokens": "3", "output_tokens": 1.5, "cache_creation": [], "output_tokens_details": 4}, Usage()),
        ({"input_tokens": None, "service_tier": "standard"}, Usage()),
    ],
)
def test_usage_is_inclusive(reported: dict[str, Any], usage: Usage) -> None:
    assert whole({"content": [], "stop_reason": "end_turn", "usage": reported}).usage == usage


def test_later_usage_replaces_what_came_before() -> None:
    first = {"input_tokens": 2068, "cache_read_input_tokens": 7, "output_tokens": 8}
    body = sse(start(usage=first), reason(None), reason("end_turn", input_tokens=22397, output_tokens=637), END)
    assert streamed(body).usage == Usage(22404, 637, cache_read_token_count=7)
    assert streamed(sse(start(), reason("end_turn"), END)).usage is None


# ---------------------------------------------------------------------------------------------------------------------
# Counting
# ---------------------------------------------------------------------------------------------------------------------


def counted(body: bytes) -> list[Any]:
    return DIALECT.decode_reply(attempt_of(CountTokensRequest(CompleteRequest("m", []))), Quirks(), body)


def test_tokens_are_counted_by_the_vendor() -> None:
    assert counted(b'{"input_tokens": 2095}') == [
        Started("", "upstream-1"),
        TokensCounted(2095, "VENDOR"),
        Finished(FinishReason.STOP),
    ]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"input_tokens":"1"}', b'{"input_tokens":-1}'])
def test_a_count_that_cannot_be_read_is_malformed(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        counted(body)
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


def test_a_count_may_be_an_error() -> None:
    with pytest.raises(UpstreamError) as caught:
        counted(b'{"type":"error","error":{"type":"overloaded_error"}}')
    assert caught.value.reason is Reason.UPSTREAM_OVERLOADED
