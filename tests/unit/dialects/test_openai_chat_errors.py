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


TOO_LONG = Reason.CONTEXT_LENGTH_EXCEEDED
NO_MODEL = Reason.MODEL_NOT_FOUND
NO_KEY = Reason.PROVIDER_AUTH_FAILED
NO_MONEY = Reason.PROVIDER_QUOTA_EXHAUSTED
TOO_OFTEN = Reason.UPSTREAM_RATE_LIMITED
REFUSED = Reason.UPSTREAM_REJECTED_REQUEST
FILTERED = Reason.CONTENT_POLICY

VENDORS_ERRORS = [
    ("azure", 401, {"error": {"code": "401", "message": "Access denied"}}, NO_KEY),
    ("azure", 401, {"statusCode": 401, "message": "Unauthorized."}, NO_KEY),
    ("azure", 404, {"error": {"code": "DeploymentNotFound", "message": "x"}}, NO_MODEL),
    ("azure", 400, {"error": {"code": "unknown_model", "message": "x"}}, NO_MODEL),
    ("azure", 429, {"error": {"code": "RateLimitReached", "message": "x", "details": "x"}}, TOO_OFTEN),
    ("azure", 400, {"error": {"code": "content_filter", "param": "prompt", "innererror": {"code": "x"}}}, FILTERED),
    ("azure", 413, {"error": {"code": "tokens_limit_reached", "message": "x"}}, TOO_LONG),
    ("groq", 400, {"error": {"type": "invalid_request_error", "code": "model_decommissioned"}}, NO_MODEL),
    ("groq", 400, {"error": {"code": "tool_use_failed", "failed_generation": "x"}}, REFUSED),
    ("groq", 400, {"error": {"message": "Please reduce the length of the messages or completion."}}, TOO_LONG),
    ("groq", 413, {"error": {"type": "tokens", "code": "rate_limit_exceeded"}}, TOO_OFTEN),
    ("mistral", 401, {"detail": "Unauthorized"}, NO_KEY),
    ("mistral", 422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "x"}]}, REFUSED),
    (
        "mistral",
        400,
        {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"},
        NO_MODEL,
    ),
    (
        "mistral",
        429,
        {"object": "error", "message": "x", "type": "service_tier_capacity_exceeded", "code": "3505"},
        TOO_OFTEN,
    ),
    (
        "mistral",
        400,
        {"object": "error", "message": "Prompt contains 9 tokens, too large for model with 8 maximum context length"},
        TOO_LONG,
    ),
    ("deepseek", 401, {"error": {"type": "authentication_error", "code": "invalid_request_error"}}, NO_KEY),
    ("deepseek", 402, {"error": {"message": "Insufficient Balance", "type": "unknown_error"}}, NO_MONEY),
    ("deepseek", 400, {"error": {"message": "Model Not Exist", "type": "invalid_request_error"}}, NO_MODEL),
    ("xai", 400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: x"}, NO_KEY),
    ("xai", 404, {"code": "Some requested entity was not found", "error": "The model x does not exist"}, NO_MODEL),
    (
        "xai",
        400,
        {"code": "x", "error": "This model's maximum prompt length is 8 but the request contains 9 tokens."},
        TOO_LONG,
    ),
    ("openrouter", 401, {"error": {"message": "No cookie auth credentials found", "code": 401}}, NO_KEY),
    ("openrouter", 402, {"error": {"message": "x", "code": 402}}, NO_MONEY),
    ("openrouter", 403, {"error": {"code": 403, "metadata": {"reasons": ["x"], "flagged_input": "x"}}}, FILTERED),
    ("openrouter", 403, {"error": {"code": 403, "metadata": {"provider_name": None}}}, NO_KEY),
    ("openrouter", 404, {"error": {"message": "No endpoints found for x", "code": 404}}, NO_MODEL),
    ("openrouter", 400, {"error": {"message": "x is not a valid model ID", "code": 400}}, NO_MODEL),
    ("openrouter", 400, {"error": {"message": "prompt is too long: 9 tokens > 8 maximum", "code": 400}}, TOO_LONG),
    ("openrouter", 400, {"error": {"message": "The input token count (9) exceeds the maximum of 8"}}, TOO_LONG),
    ("together", 401, {"id": "x", "error": {"type": "invalid_request_error", "code": "invalid_api_key"}}, NO_KEY),
    ("together", 400, {"error": {"type": "invalid_request_error", "code": "model_not_available"}}, NO_MODEL),
    ("fireworks", 404, {"error": {"object": "error", "type": "invalid_request_error", "code": "NOT_FOUND"}}, NO_MODEL),
    ("perplexity", 401, {"error": {"type": "invalid_api_key", "code": 401}}, NO_KEY),
    ("perplexity", 400, {"error": {"message": "x", "type": "invalid_model", "code": 400}}, NO_MODEL),
    ("perplexity", 401, {"error": {"type": "insufficient_quota", "code": 401}}, NO_MONEY),
    (
        "cerebras",
        401,
        {"message": "x", "type": "invalid_request_error", "param": "api_key", "code": "wrong_api_key"},
        NO_KEY,
    ),
    (
        "cerebras",
        404,
        {"message": "x", "type": "not_found_error", "param": "model", "code": "model_not_found"},
        NO_MODEL,
    ),
    ("huggingface", 401, {"error": "Invalid username or password."}, NO_KEY),
    ("huggingface", 400, {"error": {"code": "model_not_supported", "param": "model"}}, NO_MODEL),
    ("vllm", 404, {"object": "error", "message": "x", "type": "NotFoundError", "param": None, "code": 404}, NO_MODEL),
    (
        "vllm",
        400,
        {"error": {"message": "maximum context length is 8 tokens. However, you requested 9 tokens", "code": 400}},
        TOO_LONG,
    ),
    ("llama.cpp", 400, {"error": {"code": 400, "type": "exceed_context_size_error", "n_ctx": 8}}, TOO_LONG),
    (
        "llama.cpp",
        503,
        {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
        Reason.UPSTREAM_OVERLOADED,
    ),
    ("lm-studio", 400, {"error": "the model is loaded with context length of only 8 tokens"}, TOO_LONG),
    (
        "lm-studio",
        404,
        {"error": {"message": "x", "type": "invalid_request_error", "code": "model_not_found"}},
        NO_MODEL,
    ),
    ("google", 400, [{"error": {"code": 400, "message": "x", "status": "INVALID_ARGUMENT"}}], REFUSED),
]
"""How vendors say no: status, body, and what is made of it."""


@pytest.mark.parametrize(("vendor", "status", "body", "reason"), VENDORS_ERRORS)
def test_each_vendors_errors_are_classified(vendor: str, status: int, body: object, reason: Reason) -> None:
    found = DIALECT.decode_error(status, {}, json.dumps(body).encode(), now_s=NOW_S)
    assert (found.reason, found.http_status) == (reason, status), vendor


@pytest.mark.parametrize("status", [401, 502])
def test_a_web_page_is_judged_by_its_status(status: int) -> None:
    page = b"<html><head><title>401 Authorization Required</title></head></html>"
    assert (
        DIALECT.decode_error(status, {}, page, now_s=NOW_S).reason is {401: NO_KEY, 502: Reason.UPSTREAM_ERROR}[status]
    )


def test_figures_of_a_prompt_that_is_too_long() -> None:
    message = "This endpoint's maximum context length is 200000 tokens. However, you requested about 2500021 tokens"
    for error in ({"error": {"message": message}}, {"error": message}, {"object": "error", "message": message}):
        found = DIALECT.decode_error(400, {}, json.dumps(error).encode(), now_s=NOW_S)
        assert found.slots == {"maxTokens": "200000", "requestedTokens": "2500021"}


def test_the_field_at_fault_is_named() -> None:
    body = {"detail": [{"type": "x", "loc": ["body", "temperature"], "msg": "x"}]}
    found = DIALECT.decode_error(422, {}, json.dumps(body).encode(), now_s=NOW_S)
    assert [violation.field for violation in found.violations] == ["temperature"]
    elsewhere = {"detail": {"message": "x", "loc": "nowhere"}}
    assert DIALECT.decode_error(422, {}, json.dumps(elsewhere).encode(), now_s=NOW_S).violations == ()
