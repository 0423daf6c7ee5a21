"""How failures of chat completions are classified: by status, by code, by what came inside an answer."""

from __future__ import annotations

import json
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.faults import retry_after_s
from tests.unit.dialects.kit import NOW_S, STATUS, assert_classified, error_bodies
from tests.unit.dialects.openai_chat_replies import DIALECT, read_stream, sse, whole


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (400, {"code": None}, Reason.UPSTREAM_REJECTED_REQUEST),
        (400, {"code": "context_length_exceeded"}, Reason.CONTEXT_LENGTH_EXCEEDED),
        (400, {"message": "the maximum context length is 8"}, Reason.CONTEXT_LENGTH_EXCEEDED),
        (500, {"message": "the maximum context length is 8"}, Reason.UPSTREAM_ERROR),
        (400, {"code": "content_filter", "innererror": {"code": "x"}}, Reason.CONTENT_POLICY),
        (400, {"code": "model_not_found"}, Reason.MODEL_NOT_FOUND),
        (401, {"code": "invalid_api_key", "type": "invalid_request_error"}, Reason.PROVIDER_AUTH_FAILED),
        (401, {"code": "401"}, Reason.PROVIDER_AUTH_FAILED),
        (429, {"code": "rate_limit_exceeded"}, Reason.UPSTREAM_RATE_LIMITED),
        (429, {"type": "insufficient_quota", "code": "insufficient_quota"}, Reason.PROVIDER_QUOTA_EXHAUSTED),
        (429, {"type": "insufficient_quota"}, Reason.PROVIDER_QUOTA_EXHAUSTED),
        (429, {"code": "RateLimitReached", "details": "text"}, Reason.UPSTREAM_RATE_LIMITED),
        (429, "text", Reason.UPSTREAM_RATE_LIMITED),
        (500, {"type": "server_error"}, Reason.UPSTREAM_ERROR),
        (529, None, Reason.UPSTREAM_OVERLOADED),
        (302, None, Reason.UPSTREAM_REDIRECT),
        (418, {"code": 418}, Reason.UPSTREAM_UNCLASSIFIED),
        (201, None, Reason.UPSTREAM_UNCLASSIFIED),
    ],
)
def test_errors_are_classified(status: int, error: object, reason: Reason) -> None:
    found = DIALECT.decode_error(status, {}, json.dumps({"error": error}).encode(), now_s=NOW_S)
    assert (found.reason, found.http_status) == (reason, status)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"code": 429}, Reason.UPSTREAM_RATE_LIMITED),
        ({"code": "503", "type": "invalid_request_error"}, Reason.UPSTREAM_OVERLOADED),
        ({"code": 400, "message": "maximum context length"}, Reason.CONTEXT_LENGTH_EXCEEDED),
        ({"code": "tool_use_failed", "type": "invalid_request_error"}, Reason.UPSTREAM_REJECTED_REQUEST),
        ({"code": "²²²"}, Reason.UPSTREAM_ERROR),
        ({"code": "٤٢٩"}, Reason.UPSTREAM_ERROR),
        ({"code": -42}, Reason.UPSTREAM_ERROR),
        ({}, Reason.UPSTREAM_ERROR),
    ],
)
def test_errors_inside_an_answer_are_classified(error: object, reason: Reason) -> None:
    with pytest.raises(UpstreamError) as told:
        whole({"error": error})
    with pytest.raises(UpstreamError) as streamed:
        read_stream(sse({"error": error}))
    assert told.value.reason is streamed.value.reason is reason


FIELDS = ["error", "code", "type", "message", "detail"]
PAUSES = st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms"]), st.text(max_size=40))


@settings(deadline=None)
@given(STATUS, error_bodies(FIELDS, ["code", "type", "message"]), PAUSES)
def test_no_error_body_is_too_strange(status: int, body: bytes, headers: dict[str, str]) -> None:
    assert_classified(DIALECT, status, body, headers)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e400"}, None),
        ({"retry-after": "3600"}, 3600.0),
        ({"retry-after": "3601"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "1, 2"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "0", "retry-after": "1"}, 1.0),
        ({"retry-after-ms": "x", "retry-after": "1"}, 1.0),
        ({"retry-after": formatdate(NOW_S + 30, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(NOW_S + 30, usegmt=True).removesuffix(" GMT")}, 30.0),
        ({"retry-after": formatdate(NOW_S - 30, usegmt=True)}, None),
        ({"retry-after": formatdate(NOW_S + 86_400, usegmt=True)}, None),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 99999 07:28:00 GMT"}, None),
    ],
)
def test_pauses_are_believed_within_reason(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, now_s=NOW_S) == seconds
