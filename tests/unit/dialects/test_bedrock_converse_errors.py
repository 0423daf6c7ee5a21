"""How failures of Bedrock are classified: by the exception's name, by what it says, by status; in streams as well."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.dialects.bedrock_common.address import model_path
from llmgateway_server.providers.dialects.bedrock_common.error import aws_exception
from tests.unit.dialects.bedrock_converse_replies import START, read_stream, stream
from tests.unit.dialects.bedrock_converse_requests import DIALECT, PROFILE_ARN, SERVICE
from tests.unit.dialects.kit import NOW_S, STATUS, assert_classified, error_bodies

SUFFIX = ":http://internal.amazon.com/coral/com.amazon.bedrock/"
TOO_LONG = "The model returned the following errors: "


def refusal(status: int, name: str, message: Any = "x", **headers: str) -> UpstreamError:
    told = {"x-amzn-errortype": name + SUFFIX, **{key.replace("_", "-"): value for key, value in headers.items()}}
    return DIALECT.decode_error(status, told, json.dumps({"message": message}).encode(), now_s=NOW_S)


ROWS = [
    (400, "ValidationException", Reason.UPSTREAM_REJECTED_REQUEST),
    (400, "ServiceQuotaExceededException", Reason.UPSTREAM_RATE_LIMITED),
    (403, "AccessDeniedException", Reason.PROVIDER_AUTH_FAILED),
    (403, "UnrecognizedClientException", Reason.PROVIDER_AUTH_FAILED),
    (403, "ExpiredTokenException", Reason.PROVIDER_AUTH_FAILED),
    (403, "InvalidSignatureException", Reason.PROVIDER_AUTH_FAILED),
    (403, "MissingAuthenticationTokenException", Reason.PROVIDER_AUTH_FAILED),
    (403, "IncompleteSignatureException", Reason.PROVIDER_AUTH_FAILED),
    (400, "ExpiredTokenException", Reason.PROVIDER_AUTH_FAILED),
    (404, "ResourceNotFoundException", Reason.MODEL_NOT_FOUND),
    (404, "UnknownOperationException", Reason.MODEL_NOT_FOUND),
    (408, "ModelTimeoutException", Reason.UPSTREAM_TIMEOUT),
    (400, "ConflictException", Reason.UPSTREAM_CONFLICT),
    (424, "ModelErrorException", Reason.UPSTREAM_ERROR),
    (424, "ModelStreamErrorException", Reason.UPSTREAM_ERROR),
    (429, "ThrottlingException", Reason.UPSTREAM_RATE_LIMITED),
    (429, "ModelNotReadyException", Reason.UPSTREAM_RATE_LIMITED),
    (500, "InternalServerException", Reason.UPSTREAM_ERROR),
    (503, "ServiceUnavailableException", Reason.UPSTREAM_OVERLOADED),
    (413, "NoveltyException", Reason.REQUEST_TOO_LARGE),
    (418, "NoveltyException", Reason.UPSTREAM_UNCLASSIFIED),
]


@pytest.mark.parametrize(("status", "name", "reason"), ROWS)
def test_errors_are_classified(status: int, name: str, reason: Reason) -> None:
    found = refusal(status, name)
    assert (found.reason, found.http_status, found.detail) == (reason, status, name)


def test_every_error_of_the_service_has_a_row() -> None:
    told = {(shape.metadata["error"]["httpStatusCode"], shape.name) for shape in SERVICE.error_shapes}
    assert told <= {(status, name) for status, name, _ in ROWS}


@pytest.mark.parametrize(
    ("message", "slots"),
    [
        (TOO_LONG + "Input Tokens Exceeded: Number of input tokens exceeds maximum length. Please update.", {}),
        (TOO_LONG + "Input is too long for requested model.", {}),
        ("Input is too long for requested model.", {}),
        (
            TOO_LONG + "prompt is too long: 200049 tokens > 200000 maximum",
            {"requestedTokens": "200049", "maxTokens": "200000"},
        ),
        ("Malformed input request: #/inputText: expected maxLength: 50000, actual: 60000, please reformat", {}),
        (TOO_LONG + "Too many input tokens. Max input tokens: 8192, request input token count: 9000", {}),
        (TOO_LONG + "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000", {}),
        (
            "This model's maximum context length is 8192 tokens. Please reduce the length of the prompt",
            {"maxTokens": "8192"},
        ),
        (
            "This model's maximum context length is 131072 tokens. However, you requested 140000 tokens",
            {"maxTokens": "131072", "requestedTokens": "140000"},
        ),
    ],
)
def test_only_the_message_tells_that_the_input_was_too_long(message: str, slots: dict[str, str]) -> None:
    found = refusal(400, "ValidationException", message)
    assert (found.reason, found.slots) == (Reason.CONTEXT_LENGTH_EXCEEDED, slots)
    in_stream = aws_exception(b"!validationException", json.dumps({"message": message}).encode())
    assert (in_stream.reason, in_stream.slots) == (found.reason, slots)


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        ("The provided model identifier is invalid.", ["model"]),
        ("Invocation of model ID anthropic.x with on-demand throughput isn’t supported. Retry.", ["model"]),
        ("Malformed input request: #/messages/2: extraneous key [toolResult] is not permitted", []),
        ("Malformed input request: #/stop/0: expected maxLength: 10, actual: 60, please reformat", []),
        ("The maximum tokens you requested exceeds the model limit of 4096.", []),
        (None, []),
        (["model identifier"], []),
    ],
)
def test_a_rejected_model_is_named(message: Any, fields: list[str]) -> None:
    found = refusal(400, "ValidationException", message)
    assert found.reason is Reason.UPSTREAM_REJECTED_REQUEST
    assert [violation.field for violation in found.violations] == fields


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"x-amzn-errortype": "ThrottlingException"}, b""),
        ({"x-amzn-errortype": "com.amazon.coral.availability#ThrottlingException:http://x/"}, b"<html>"),
        ({}, b'{"__type":"com.amazon.bedrock#ThrottlingException","Message":"slow"}'),
        ({}, b'{"__type":"ThrottlingException"}'),
        ({"x-amzn-errortype": ""}, b'{"__type":"ThrottlingException:x","message":null}'),
    ],
)
def test_the_name_stands_in_a_header_or_in_the_body(headers: dict[str, str], body: bytes) -> None:
    found = DIALECT.decode_error(400, headers, body, now_s=NOW_S)
    assert (found.reason, found.detail) == (Reason.UPSTREAM_RATE_LIMITED, "ThrottlingException")


@pytest.mark.parametrize("key", ["message", "Message"])
def test_a_message_without_a_name_is_judged_by_status_and_phrase(key: str) -> None:
    body = json.dumps({key: "Input is too long for requested model."}).encode()
    assert DIALECT.decode_error(400, {}, body, now_s=NOW_S).reason is Reason.CONTEXT_LENGTH_EXCEEDED
    assert DIALECT.decode_error(403, {}, body, now_s=NOW_S).reason is Reason.PROVIDER_AUTH_FAILED
    assert DIALECT.decode_error(502, {}, b"<html>", now_s=NOW_S).reason is Reason.UPSTREAM_ERROR


def test_a_wish_for_a_pause_is_kept() -> None:
    assert refusal(429, "ThrottlingException", retry_after="7").retry_after_s == 7


def test_no_word_of_the_service_is_told() -> None:
    found = refusal(400, "ValidationException", "secret prompt")
    assert "secret" not in f"{found} {found.detail} {found.slots} {found.violations}"
    assert DIALECT.decode_error(400, {"x-amzn-errortype": "sécret words"}, b"", now_s=NOW_S).detail != "sécret words"


# ---------------------------------------------------------------------------------------------------------------------
# Inside a stream
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("throttlingException", Reason.UPSTREAM_RATE_LIMITED),
        ("modelStreamErrorException", Reason.UPSTREAM_ERROR),
        ("validationException", Reason.UPSTREAM_REJECTED_REQUEST),
        ("serviceUnavailableException", Reason.UPSTREAM_OVERLOADED),
        ("internalServerException", Reason.UPSTREAM_ERROR),
        ("modelTimeoutException", Reason.UPSTREAM_TIMEOUT),
        ("accessDeniedException", Reason.PROVIDER_AUTH_FAILED),
        ("noveltyException", Reason.UPSTREAM_ERROR),
    ],
)
@pytest.mark.parametrize("began", [False, True])
def test_exceptions_are_classified_like_their_statuses(name: str, reason: Reason, began: bool) -> None:
    body = stream(*([START] if began else []), (f"!{name}", {"message": "x", "originalStatusCode": 500}))
    with pytest.raises(UpstreamError) as caught:
        read_stream(body)
    assert caught.value.reason is reason
    assert caught.value.http_status is None


def test_all_exceptions_of_the_services_stream_are_known() -> None:
    shape = SERVICE.operation_model("ConverseStream").output_shape.members["stream"]
    names = [name for name, member in shape.members.items() if member.metadata.get("exception")]
    assert names
    for name in names:
        expected = {status_reason for _, known, status_reason in ROWS if known == name[:1].upper() + name[1:]}
        assert {aws_exception(name.encode(), b"{}").reason} == expected


# ---------------------------------------------------------------------------------------------------------------------
# Noise
# ---------------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(STATUS, error_bodies(["message", "Message", "__type"], ["x"]), st.text(max_size=20))
def test_whatever_comes_is_classified(status: int, body: bytes, name: str) -> None:
    assert_classified(DIALECT, status, body, {"x-amzn-errortype": name})


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_whatever_a_failure_is_called_it_is_one(name: bytes, payload: bytes) -> None:
    assert isinstance(aws_exception(b"!" + name, payload), UpstreamError)


def test_a_models_name_is_one_segment_of_the_path() -> None:
    path = model_path(PROFILE_ARN, "converse")
    assert path.count("/") == 3
    assert path.startswith("/model/arn%3Aaws%3Abedrock%3A")
    assert path.endswith("application-inference-profile%2Fa1b2c3d4e5f6/converse")
