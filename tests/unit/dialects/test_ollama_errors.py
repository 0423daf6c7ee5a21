"""How failures of Ollama are classified: by status, and inside a stream by what they say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from tests.unit.dialects.kit import NOW_S, STATUS, assert_classified, error_bodies
from tests.unit.dialects.ollama_replies import DIALECT, READER

SECRET = "canary-4711"


def refusal(status: int, error: Any, **headers: str) -> UpstreamError:
    return DIALECT.decode_error(status, headers, json.dumps({"error": error}).encode(), now_s=NOW_S)


@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        (400, "model is required", Reason.UPSTREAM_REJECTED_REQUEST),
        (400, '"llama3" does not support thinking', Reason.UPSTREAM_REJECTED_REQUEST),
        (400, "registry.ollama.ai/library/a does not support tools", Reason.UPSTREAM_REJECTED_REQUEST),
        (401, "unauthorized", Reason.PROVIDER_AUTH_FAILED),
        (403, "remote inference is unavailable", Reason.PROVIDER_AUTH_FAILED),
        (404, "model 'a' not found", Reason.MODEL_NOT_FOUND),
        (404, 'model "a" not found, try pulling it first', Reason.MODEL_NOT_FOUND),
        (429, "too many requests", Reason.UPSTREAM_RATE_LIMITED),
        (499, "request canceled", Reason.UPSTREAM_UNCLASSIFIED),
        (500, "model requires more system memory (8.4 GiB) than is available (3.1 GiB)", Reason.UPSTREAM_ERROR),
        (502, "bad gateway", Reason.UPSTREAM_ERROR),
        (503, "server busy, please try again.  maximum pending requests exceeded", Reason.UPSTREAM_OVERLOADED),
        (
            400,
            "the prompt is longer than the context length currently available to the model; shorten the prompt",
            Reason.CONTEXT_LENGTH_EXCEEDED,
        ),
        (400, "the input length exceeds the context length", Reason.CONTEXT_LENGTH_EXCEEDED),
    ],
)
def test_errors_are_classified(status: int, message: str, reason: Reason) -> None:
    found = refusal(status, message)
    assert (found.reason, found.http_status) == (reason, status)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("server busy, please try again.  maximum pending requests exceeded", Reason.UPSTREAM_OVERLOADED),
        ("input after truncation exceeds maximum context length", Reason.CONTEXT_LENGTH_EXCEEDED),
        ("request (9000 tokens) exceeds the available context size", Reason.CONTEXT_LENGTH_EXCEEDED),
        ("an error was encountered while running the model", Reason.UPSTREAM_ERROR),
    ],
)
def test_inside_a_stream_the_words_tell(message: str, reason: Reason) -> None:
    with pytest.raises(UpstreamError) as caught:
        READER.read_stream(json.dumps({"error": message}).encode())
    assert (caught.value.reason, caught.value.http_status) == (reason, None)


def test_a_proxy_may_answer_as_openai_does() -> None:
    found = refusal(401, {"message": SECRET, "type": "api_error", "param": None, "code": None})
    assert (found.reason, found.detail) == (Reason.PROVIDER_AUTH_FAILED, "api_error")
    assert refusal(400, {"message": "exceeds the context length"}).reason is Reason.CONTEXT_LENGTH_EXCEEDED


def test_a_pause_is_taken_from_the_header() -> None:
    assert refusal(429, "slow down", **{"retry-after": "3"}).retry_after_s == 3


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"null", b'"error"', b'{"error":null}', b'{"error":""}'])
def test_whatever_else_came_is_judged_by_its_status(body: bytes) -> None:
    assert DIALECT.decode_error(502, {}, body, now_s=NOW_S).reason is Reason.UPSTREAM_ERROR


def test_no_word_of_it_goes_on() -> None:
    found = refusal(400, f"exceeds the context length {SECRET}")
    assert SECRET not in f"{found} {found.detail} {found.slots} {found.violations}"


@settings(deadline=None)
@given(STATUS, error_bodies(["error", "message"], ["message", "type", "code", "param"]))
def test_every_body_is_classified(status: int, body: bytes) -> None:
    assert_classified(DIALECT, status, body)
