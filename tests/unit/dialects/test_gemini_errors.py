"""How failures of Google are classified: by status, by the reasons in their details, by what a message says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from tests.unit.dialects.gemini_replies import DIALECT, read_stream, sse, whole
from tests.unit.dialects.kit import NOW_S, STATUS, assert_classified, error_bodies

INFO = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "domain": "googleapis.com"}
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo"}


def error_of(code: int, word: str, message: str = "x", *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": word, "details": list(details)}}


def refusal(status: int, word: str, message: str = "x", *details: dict[str, Any], **headers: str) -> UpstreamError:
    body = json.dumps(error_of(status, word, message, *details)).encode()
    return DIALECT.decode_error(status, headers, body, now_s=NOW_S)


TABLE = [
    (400, "INVALID_ARGUMENT", Reason.UPSTREAM_REJECTED_REQUEST),
    (400, "FAILED_PRECONDITION", Reason.UPSTREAM_REJECTED_REQUEST),
    (401, "UNAUTHENTICATED", Reason.PROVIDER_AUTH_FAILED),
    (403, "PERMISSION_DENIED", Reason.PROVIDER_AUTH_FAILED),
    (404, "NOT_FOUND", Reason.MODEL_NOT_FOUND),
    (409, "ABORTED", Reason.UPSTREAM_CONFLICT),
    (429, "RESOURCE_EXHAUSTED", Reason.UPSTREAM_RATE_LIMITED),
    (500, "INTERNAL", Reason.UPSTREAM_ERROR),
    (503, "UNAVAILABLE", Reason.UPSTREAM_OVERLOADED),
    (504, "DEADLINE_EXCEEDED", Reason.UPSTREAM_TIMEOUT),
]


@pytest.mark.parametrize(("status", "word", "reason"), [*TABLE, (418, "NOVELTY", Reason.UPSTREAM_UNCLASSIFIED)])
def test_errors_are_classified(status: int, word: str, reason: Reason) -> None:
    found = refusal(status, word)
    assert (found.reason, found.http_status) == (reason, status)
    body = json.dumps([error_of(status, word)]).encode()
    assert DIALECT.decode_error(status, {}, body, now_s=NOW_S).reason is reason


@pytest.mark.parametrize(("status", "word", "reason"), TABLE)
def test_errors_inside_an_answer_are_classified(status: int, word: str, reason: Reason) -> None:
    for error in (error_of(status, word), {"error": {"status": word}}, {"error": {"code": status}}):
        with pytest.raises(UpstreamError) as caught:
            read_stream(sse(error))
        assert caught.value.reason is reason
        with pytest.raises(UpstreamError) as caught:
            whole(error)
        assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("status", "word", "given", "reason"),
    [
        (400, "INVALID_ARGUMENT", "API_KEY_INVALID", Reason.PROVIDER_AUTH_FAILED),
        (403, "PERMISSION_DENIED", "BILLING_DISABLED", Reason.PROVIDER_QUOTA_EXHAUSTED),
        (403, "PERMISSION_DENIED", "SERVICE_DISABLED", Reason.PROVIDER_AUTH_FAILED),
        (429, "RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED", Reason.UPSTREAM_RATE_LIMITED),
        (400, "INVALID_ARGUMENT", "NOVELTY", Reason.UPSTREAM_REJECTED_REQUEST),
    ],
)
def test_details_say_more_than_a_status(status: int, word: str, given: str, reason: Reason) -> None:
    assert refusal(status, word, "x", {"@type": "other"}, INFO | {"reason": given}).reason is reason


@pytest.mark.parametrize(
    ("message", "reason", "slots"),
    [
        (
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            Reason.CONTEXT_LENGTH_EXCEEDED,
            {"requestedTokens": "1200000", "maxTokens": "1048576"},
        ),
        (
            "The input token count exceeds the maximum number of tokens allowed 1048576.",
            Reason.CONTEXT_LENGTH_EXCEEDED,
            {"maxTokens": "1048576"},
        ),
        (
            "Unable to submit request because the input token count is 40000 but model only supports up to 32768.",
            Reason.CONTEXT_LENGTH_EXCEEDED,
            {"requestedTokens": "40000", "maxTokens": "32768"},
        ),
        ("API key not valid. Please pass a valid API key.", Reason.PROVIDER_AUTH_FAILED, {}),
        ("API key expired. Please renew the API key.", Reason.PROVIDER_AUTH_FAILED, {}),
        ("Request payload size exceeds the limit: 20971520 bytes.", Reason.REQUEST_TOO_LARGE, {}),
        ("Please use a valid role: user, model.", Reason.UPSTREAM_REJECTED_REQUEST, {}),
    ],
)
def test_messages_tell_what_has_no_word(message: str, reason: Reason, slots: dict[str, str]) -> None:
    found = refusal(400, "INVALID_ARGUMENT", message)
    assert (found.reason, found.slots) == (reason, slots)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("* GenerateContentRequest.contents: contents is not specified", "messages"),
        ("* GenerateContentRequest.generation_config.temperature: must be in the range [0.0, 2.0].", "temperature"),
        ("Invalid value at 'generation_config.stop_sequences' (x)", "stop"),
        ("Invalid JSON payload received. Unknown name \"a\" at 'tools[0].function_declarations[0]'", "tools"),
        ("Invalid value at 'system_instruction'", "messages"),
    ],
)
def test_the_field_at_fault_is_named(message: str, field: str) -> None:
    found = refusal(400, "INVALID_ARGUMENT", message)
    assert [violation.field for violation in found.violations] == [field]


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        ("34.4s", 34.4),
        ("7s", 7.0),
        ("0s", None),
        ("-1s", None),
        ("1e3s", None),
        ("99999s", None),
        (5, None),
        ("²s", None),
    ],
)
def test_the_wait_stands_in_the_details(delay: Any, seconds: float | None) -> None:
    assert refusal(429, "RESOURCE_EXHAUSTED", "x", RETRY | {"retryDelay": delay}).retry_after_s == seconds
    error = error_of(429, "RESOURCE_EXHAUSTED", "x", RETRY | {"retryDelay": delay})
    with pytest.raises(UpstreamError) as caught:
        read_stream(sse(error))
    assert caught.value.retry_after_s == seconds


def test_a_header_says_how_long_to_wait_first() -> None:
    found = refusal(429, "RESOURCE_EXHAUSTED", "x", RETRY | {"retryDelay": "34s"}, **{"retry-after": "5"})
    assert found.retry_after_s == 5.0


def test_no_words_of_the_vendor_leave() -> None:
    found = refusal(400, "secret word", "secret", {"reason": "secret reason"})
    assert "secret" not in repr((found.slots, found.violations, found.detail))


FIELDS = ["error", "code", "status", "message", "details"]


@settings(deadline=None)
@given(STATUS, error_bodies(FIELDS, ["reason", "retryDelay", "@type"]))
def test_any_body_is_classified(status: int, body: bytes) -> None:
    assert_classified(DIALECT, status, body)


@settings(deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["reason", "retryDelay"]), st.integers() | st.text(max_size=5)) | st.none()
    )
)
def test_any_details_are_read(details: list[Any]) -> None:
    body = json.dumps([{"error": {"code": 429, "details": details}}]).encode()
    assert DIALECT.decode_error(429, {}, body, now_s=NOW_S).reason is Reason.UPSTREAM_RATE_LIMITED
