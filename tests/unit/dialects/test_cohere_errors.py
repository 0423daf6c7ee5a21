"""How failures of Cohere are classified: by status, and by what a message says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from tests.unit.dialects.cohere_replies import DIALECT
from tests.unit.dialects.kit import NOW_S, STATUS, assert_classified, error_bodies

TRIAL = "You are using a Trial key, which is limited to 1000 API calls / month. You can continue to use it"


def refusal(status: int, message: Any = "x", **headers: str) -> UpstreamError:
    body = json.dumps({"id": "1", "message": message}).encode()
    return DIALECT.decode_error(status, headers, body, now_s=NOW_S)


@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        (400, "invalid request: list of documents must not be empty", Reason.UPSTREAM_REJECTED_REQUEST),
        (401, "invalid api token", Reason.PROVIDER_AUTH_FAILED),
        (402, "Please add or update your payment method", Reason.PROVIDER_QUOTA_EXHAUSTED),
        (403, "forbidden", Reason.PROVIDER_AUTH_FAILED),
        (404, "model 'a' not found, make sure the correct model ID was used", Reason.MODEL_NOT_FOUND),
        (422, "unknown field: parameter a is not a valid field", Reason.UPSTREAM_REJECTED_REQUEST),
        (429, "You are using a Trial key, which is limited to 20 API calls / minute", Reason.UPSTREAM_RATE_LIMITED),
        (429, TRIAL, Reason.PROVIDER_QUOTA_EXHAUSTED),
        (498, "invalid token", Reason.CONTENT_POLICY),
        (499, "request cancelled by user", Reason.UPSTREAM_UNCLASSIFIED),
        (500, "internal server error", Reason.UPSTREAM_ERROR),
        (501, "not implemented", Reason.UPSTREAM_UNCLASSIFIED),
        (503, "service unavailable", Reason.UPSTREAM_OVERLOADED),
        (504, "gateway timeout", Reason.UPSTREAM_TIMEOUT),
    ],
)
def test_errors_are_classified(status: int, message: str, reason: Reason) -> None:
    found = refusal(status, message)
    assert (found.reason, found.http_status) == (reason, status)


@pytest.mark.parametrize(
    ("message", "reason", "slots"),
    [
        (
            "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292. Shorten it",
            Reason.CONTEXT_LENGTH_EXCEEDED,
            {"maxTokens": "4081", "requestedTokens": "4292"},
        ),
        (
            "too many tokens: size limit exceeded by 11326 tokens. Try less",
            Reason.CONTEXT_LENGTH_EXCEEDED,
            {},
        ),
        (
            "too many tokens: max tokens must be less than or equal to 4096, the maximum output - received 8192.",
            Reason.UPSTREAM_REJECTED_REQUEST,
            {},
        ),
    ],
)
def test_a_message_tells_of_a_prompt_that_is_too_long(message: str, reason: Reason, slots: dict[str, str]) -> None:
    found = refusal(400, message)
    assert (found.reason, found.slots) == (reason, slots)


def test_a_pause_is_taken_from_the_header() -> None:
    assert refusal(429, "slow down", **{"retry-after": "3"}).retry_after_s == 3


@pytest.mark.parametrize("body", [b"", b"<html>503</html>", b"null", b'"message"', b'{"message":[]}', b"{}"])
def test_whatever_else_came_is_judged_by_its_status(body: bytes) -> None:
    assert DIALECT.decode_error(503, {}, body, now_s=NOW_S).reason is Reason.UPSTREAM_OVERLOADED
    assert DIALECT.decode_error(498, {}, body, now_s=NOW_S).reason is Reason.CONTENT_POLICY


def test_no_word_of_it_goes_on() -> None:
    for status in (400, 429, 498):
        found = refusal(status, f"too many tokens: canary-4711 {TRIAL}")
        assert "canary" not in f"{found} {found.detail} {found.slots} {found.violations}"


@settings(deadline=None)
@given(STATUS, error_bodies(["message", "id", "error"], ["message", "code"]))
def test_every_body_is_classified(status: int, body: bytes) -> None:
    assert_classified(DIALECT, status, body)
