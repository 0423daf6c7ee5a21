"""Errors of Responses: refusals, failed responses, errors inside a stream."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from llmgateway_server.core.errors import UpstreamError, Violation
from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.dialects.dialect import Quirks
from tests.unit.dialects.kit import NOW_S, STATUS, Json, assert_classified, assert_told_first, attempt_of, error_bodies
from tests.unit.dialects.openai_responses_replies import (
    DIALECT,
    READER,
    added,
    created,
    delta,
    message,
    read_stream,
    response,
    sse,
)


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (400, {"code": None, "type": "invalid_request_error"}, Reason.UPSTREAM_REJECTED_REQUEST),
        (400, {"code": "model_not_found"}, Reason.MODEL_NOT_FOUND),
        (400, {"code": "context_length_exceeded"}, Reason.CONTEXT_LENGTH_EXCEEDED),
        (400, {"message": "Your input exceeds the context window of this model."}, Reason.CONTEXT_LENGTH_EXCEEDED),
        (400, {"code": "previous_response_not_found"}, Reason.UPSTREAM_REJECTED_REQUEST),
        (401, {"code": "invalid_api_key", "type": "invalid_request_error"}, Reason.PROVIDER_AUTH_FAILED),
        (429, {"code": "rate_limit_exceeded", "type": "tokens"}, Reason.UPSTREAM_RATE_LIMITED),
        (429, {"type": "insufficient_quota", "code": "insufficient_quota"}, Reason.PROVIDER_QUOTA_EXHAUSTED),
        (500, {"type": "server_error", "code": None}, Reason.UPSTREAM_ERROR),
        (503, {"code": "server_is_overloaded"}, Reason.UPSTREAM_OVERLOADED),
        (503, "text", Reason.UPSTREAM_OVERLOADED),
        (404, None, Reason.MODEL_NOT_FOUND),
    ],
)
def test_refusals_are_classified(status: int, error: object, reason: Reason) -> None:
    body = json.dumps({"error": error}).encode()
    found = DIALECT.decode_error(status, {"retry-after": "7"}, body, now_s=NOW_S)
    assert (found.reason, found.http_status, found.retry_after_s) == (reason, status, 7.0)


@pytest.mark.parametrize("body", [b"<html></html>", b"null", b"[]", b'{"detail":"x"}', b'{"output":1,"error":{}}'])
def test_what_is_no_error_object_is_judged_by_its_status(body: bytes) -> None:
    assert DIALECT.decode_error(502, {}, body, now_s=NOW_S).reason is Reason.UPSTREAM_ERROR


@pytest.mark.parametrize(
    ("param", "field"),
    [("input[0].content", "messages"), ("text.format.schema", "response_format"), ("reasoning.effort", "reasoning")],
)
def test_the_field_at_fault_is_named_in_our_words(param: str, field: str) -> None:
    body = json.dumps({"error": {"code": "invalid_value", "param": param}}).encode()
    found = DIALECT.decode_error(400, {}, body, now_s=NOW_S)
    assert found.violations == (Violation(field, "refused by the provider", "upstream_rejected"),)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"code": "server_error", "message": "x"}, Reason.UPSTREAM_ERROR),
        ({"code": "rate_limit_exceeded", "message": "x"}, Reason.UPSTREAM_RATE_LIMITED),
        ({"code": "context_length_exceeded", "message": "x"}, Reason.CONTEXT_LENGTH_EXCEEDED),
        ({"code": "invalid_prompt", "message": "x"}, Reason.UPSTREAM_REJECTED_REQUEST),
        ({"code": "invalid_prompt", "message": "It might be violating our usage policy."}, Reason.CONTENT_POLICY),
        ({"code": "bio_policy", "message": "x"}, Reason.CONTENT_POLICY),
        ({"code": "image_parse_error", "message": "x"}, Reason.UPSTREAM_REJECTED_REQUEST),
        ({"code": "vector_store_timeout", "message": "x"}, Reason.UPSTREAM_TIMEOUT),
        ({"code": "slow_down", "message": "x"}, Reason.UPSTREAM_OVERLOADED),
        ({"code": "never_seen", "message": "x"}, Reason.UPSTREAM_ERROR),
        ({"code": 503}, Reason.UPSTREAM_OVERLOADED),
    ],
)
def test_failures_are_classified_alike_wherever_they_stand(error: dict[str, object], reason: Reason) -> None:
    failed = response(status="failed", error=error)
    streams: list[list[Json]] = [
        [{"type": "response.failed", "response": failed}],
        [{"type": "response.completed", "response": {**failed, "status": "completed"}}],
        [{"type": "error", "error": error}],
        [{"type": "error", "param": None, **error}],
    ]
    found = []
    for body in ({"error": error}, failed):
        with pytest.raises(UpstreamError) as caught:
            DIALECT.decode_reply(attempt_of(), Quirks(), json.dumps(body).encode())
        found.append(caught.value.reason)
    for events in streams:
        with pytest.raises(UpstreamError) as caught:
            read_stream(sse(events))
        found.append(caught.value.reason)
    assert set(found) == {reason}


def test_an_error_object_without_a_type_is_an_error() -> None:
    with pytest.raises(UpstreamError) as caught:
        read_stream(b'data: {"error":{"code":"rate_limit_exceeded"}}\n\n')
    assert caught.value.reason is Reason.UPSTREAM_RATE_LIMITED


@pytest.mark.parametrize("failed", [response(status="failed"), {"status": "failed", "error": "odd", "output": []}])
def test_a_failure_that_says_nothing_is_the_providers(failed: object) -> None:
    with pytest.raises(UpstreamError) as whole:
        DIALECT.decode_reply(attempt_of(), Quirks(), json.dumps(failed).encode())
    with pytest.raises(UpstreamError) as streamed:
        read_stream(sse([{"type": "response.failed", "response": failed}]))
    assert whole.value.reason is streamed.value.reason is Reason.UPSTREAM_ERROR


def test_what_came_before_a_failure_is_handed_out_first() -> None:
    said = [created(response()), added(0, message()), delta(0, "output_text", "a")]
    body = sse([*said, {"type": "error", "code": "server_is_overloaded", "message": "x"}])
    assert_told_first(READER.decoder(), body, Reason.UPSTREAM_OVERLOADED)


FIELDS = ["error", "code", "type", "message", "detail"]


@settings(deadline=None)
@given(STATUS, error_bodies(FIELDS, ["code", "type", "message"]))
def test_no_error_body_is_too_strange(status: int, body: bytes) -> None:
    assert_classified(DIALECT, status, body)
