"""How failures of Anthropic's messages are classified: by status, by type and code, by what a message says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from tests.unit.dialects.anthropic_replies import DIALECT, begin, read_stream, sse, start, whole
from tests.unit.dialects.kit import NOW_S, STATUS, assert_classified, error_bodies

BAD = "invalid_request_error"


def refusal(status: int, kind: str, message: str = "x", code: str | None = None) -> UpstreamError:
    error = {"type": kind, "message": message, "details": code and {"error_code": code}}
    body = json.dumps({"type": "error", "error": error, "request_id": "req_1"}).encode()
    return DIALECT.decode_error(status, {"x-should-retry": "true"}, body, now_s=NOW_S)


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (400, BAD, Reason.UPSTREAM_REJECTED_REQUEST),
        (401, "authentication_error", Reason.PROVIDER_AUTH_FAILED),
        (402, "billing_error", Reason.PROVIDER_QUOTA_EXHAUSTED),
        (403, "billing_error", Reason.PROVIDER_QUOTA_EXHAUSTED),
        (403, "permission_error", Reason.PROVIDER_AUTH_FAILED),
        (404, "not_found_error", Reason.MODEL_NOT_FOUND),
        (409, "conflict_error", Reason.UPSTREAM_CONFLICT),
        (413, "request_too_large", Reason.REQUEST_TOO_LARGE),
        (429, "rate_limit_error", Reason.UPSTREAM_RATE_LIMITED),
        (500, "api_error", Reason.UPSTREAM_ERROR),
        (504, "timeout_error", Reason.UPSTREAM_TIMEOUT),
        (529, "overloaded_error", Reason.UPSTREAM_OVERLOADED),
        (503, "overloaded_error", Reason.UPSTREAM_OVERLOADED),
        (418, "novelty_error", Reason.UPSTREAM_UNCLASSIFIED),
    ],
)
def test_errors_are_classified(status: int, kind: str, reason: Reason) -> None:
    found = refusal(status, kind)
    assert (found.reason, found.http_status) == (reason, status)


@pytest.mark.parametrize(
    ("status", "kind", "code", "reason"),
    [
        (429, "rate_limit_error", "enforced_spend_limit_reached", Reason.PROVIDER_QUOTA_EXHAUSTED),
        (429, "rate_limit_error", "contract_spend_limit_reached", Reason.PROVIDER_QUOTA_EXHAUSTED),
        (429, "rate_limit_error", "ramp_limit_exceeded", Reason.UPSTREAM_RATE_LIMITED),
        (402, "billing_error", "linked_organization_billing_unavailable", Reason.PROVIDER_QUOTA_EXHAUSTED),
        (400, BAD, "organization_on_hold", Reason.PROVIDER_AUTH_FAILED),
        (413, "novelty", "request_body_too_large_after_decoding", Reason.REQUEST_TOO_LARGE),
        (400, BAD, "novelty", Reason.UPSTREAM_REJECTED_REQUEST),
    ],
)
def test_a_code_says_more_than_the_status(status: int, kind: str, code: str, reason: Reason) -> None:
    assert refusal(status, kind, code=code).reason is reason


@pytest.mark.parametrize(
    ("message", "reason", "slots"),
    [
        (
            "prompt is too long: 208310 tokens > 200000 maximum",
            Reason.CONTEXT_LENGTH_EXCEEDED,
            {"requestedTokens": "208310", "maxTokens": "200000"},
        ),
        ("prompt is too long", Reason.CONTEXT_LENGTH_EXCEEDED, {}),
        (
            "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input length",
            Reason.CONTEXT_LENGTH_EXCEEDED,
            {"maxTokens": "200000"},
        ),
        ("Your credit balance is too low to access the API.", Reason.PROVIDER_QUOTA_EXHAUSTED, {}),
        ("You have reached your specified API usage limits.", Reason.PROVIDER_QUOTA_EXHAUSTED, {}),
        ("You have reached your specified workspace API usage limits.", Reason.PROVIDER_QUOTA_EXHAUSTED, {}),
        ("This organization has been disabled.", Reason.PROVIDER_AUTH_FAILED, {}),
        ("Output blocked by content filtering policy", Reason.CONTENT_POLICY, {}),
        ("messages: at least one message is required", Reason.UPSTREAM_REJECTED_REQUEST, {}),
    ],
)
def test_a_message_tells_what_has_no_code(message: str, reason: Reason, slots: dict[str, str]) -> None:
    found = refusal(400, BAD, message)
    assert (found.reason, found.slots) == (reason, slots)


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        ("max_tokens: 100000 > 64000, which is the maximum", ["max_output_tokens"]),
        ("messages.0.content.1: x", ["messages"]),
        ("tools.0.custom.input_schema.type: Field required", ["tools"]),
        ("`temperature` may only be set to 1", ["temperature"]),
        ("thinking.enabled.budget_tokens: x", ["reasoning"]),
        ("secret_of_the_caller: x", []),
        ("temperature", []),
    ],
)
def test_a_message_names_the_field_that_is_at_fault(message: str, fields: list[str]) -> None:
    assert [violation.field for violation in refusal(400, BAD, message).violations] == fields


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, Reason.UPSTREAM_OVERLOADED),
        ({"type": "api_error"}, Reason.UPSTREAM_ERROR),
        ({"type": "rate_limit_error", "details": {"error_code": []}}, Reason.UPSTREAM_RATE_LIMITED),
        ({"type": BAD, "message": "prompt is too long: 2 tokens > 1 maximum"}, Reason.CONTEXT_LENGTH_EXCEEDED),
        ({"type": BAD, "message": 5}, Reason.UPSTREAM_REJECTED_REQUEST),
        ({"type": ["x"]}, Reason.UPSTREAM_ERROR),
        ({}, Reason.UPSTREAM_ERROR),
        ("x", Reason.UPSTREAM_ERROR),
        (None, Reason.UPSTREAM_ERROR),
    ],
)
def test_errors_inside_an_answer_are_classified(error: Any, reason: Reason) -> None:
    with pytest.raises(UpstreamError) as told:
        whole({"type": "error", "error": error})
    with pytest.raises(UpstreamError) as streamed:
        read_stream(sse(start(), {"type": "error", "error": error}))
    assert told.value.reason is streamed.value.reason is reason


def test_the_name_of_an_event_is_enough_for_an_error() -> None:
    with pytest.raises(UpstreamError) as caught:
        read_stream(b'event: error\ndata: {"error":{"type":"overloaded_error"}}\n\n')
    assert caught.value.reason is Reason.UPSTREAM_OVERLOADED


def test_a_pause_is_believed_and_no_word_of_the_vendor_leaves() -> None:
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"sk-ant-secret"}}'
    found = DIALECT.decode_error(429, {"retry-after": "7"}, body, now_s=NOW_S)
    assert found.retry_after_s == 7.0
    assert found.detail == "rate_limit_error"
    with pytest.raises(UpstreamError) as caught:
        read_stream(sse(start(), begin(0, {"type": "text", "text": {"secret": 1}})))
    assert "secret" not in caught.value.detail


FIELDS = ["error", "type", "message", "details"]


@settings(deadline=None)
@given(STATUS, error_bodies(FIELDS, ["error_code", "type", "message"]))
def test_no_error_body_is_too_strange(status: int, body: bytes) -> None:
    assert_classified(DIALECT, status, body)
