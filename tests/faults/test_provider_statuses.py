"""Providers that refuse, by status: P15 to P22 and P25, for a target without another candidate."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from llmgateway.v1 import error_pb2
from llmgateway_server.testing.upstream import Exchange, Script, Step, Upstream, answer, stream
from tests.faults.provider_answers import OTHER_KEY, Answered, answered, keyed, problem, refusal
from tests.faults.provider_kit import BOTH, FAILED_PRECONDITION, PROVIDER_KEY, UNAVAILABLE, WORDS, by_kind

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
HELLO = by_kind(stream("hello", figures={"prompt_tokens": 3, "completion_tokens": 2}), answer("hello"))
TOO_LONG = (
    "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (8900 in the messages, "
    "100 in the completion)."
)


def assert_no_hint(ended: Answered) -> None:
    """Holds that nobody is told to try the same again."""
    assert ended.retry_after_s is None
    assert ended.detail(error_details_pb2.BadRequest) is None
    assert ended.precondition is None


# --- P15, P21, P22: the request is at fault ----------------------------------------------------------------------


@pytest.mark.parametrize("status", [pytest.param(400, id="p15"), pytest.param(422, id="p22")])
@pytest.mark.parametrize(
    ("parameter", "fields"),
    [
        ("max_completion_tokens", ["max_output_tokens"]),
        ("messages[0].content", ["messages"]),
        ("temperature", ["temperature"]),
        (WORDS, []),
        (7, []),
        (None, []),
    ],
)
@BOTH
async def test_p15_and_p22_the_request_is_refused(
    streaming: bool, status: int, parameter: Any, fields: list[str]
) -> None:
    script = refusal(status, problem(type="invalid_request_error", param=parameter, code=WORDS))
    ended = await answered(script, streaming=streaming)
    ended.assert_refused(INVALID_ARGUMENT, "UPSTREAM_REJECTED_REQUEST", status)
    assert ended.bad_fields == fields
    assert (ended.retry_after_s, ended.precondition) == (None, None)


@pytest.mark.parametrize(
    "body",
    [b"", WORDS.encode(), b"{", b"[]", b'{"error": null}', b'{"error": "x"}', b"\xff\xfe", b"[" * 50_000],
    ids=["empty", "words", "cut", "list", "null", "text", "bytes", "deep"],
)
@pytest.mark.parametrize("status", [400, 422])
@BOTH
async def test_p15_and_p22_without_a_readable_error_the_status_says_it(
    streaming: bool, status: int, body: bytes
) -> None:
    ended = await answered(refusal(status, body), streaming=streaming)
    ended.assert_refused(INVALID_ARGUMENT, "UPSTREAM_REJECTED_REQUEST", status)
    assert_no_hint(ended)


@pytest.mark.parametrize(
    ("code", "message", "figures"),
    [
        ("context_length_exceeded", TOO_LONG, {"maxTokens": "8192", "requestedTokens": "9000"}),
        (None, TOO_LONG, {"maxTokens": "8192", "requestedTokens": "9000"}),
        (None, "the maximum context length is 4096 tokens", {"maxTokens": "4096"}),
        ("context_length_exceeded", "too long", {}),
    ],
)
@pytest.mark.parametrize("status", [pytest.param(400, id="p15"), pytest.param(422, id="p22")])
@BOTH
async def test_p15_context_length(
    streaming: bool, status: int, code: str | None, message: str, figures: dict[str, str]
) -> None:
    ended = await answered(refusal(status, problem(message, code=code, param="messages")), streaming=streaming)
    ended.assert_refused(INVALID_ARGUMENT, "CONTEXT_LENGTH_EXCEEDED", status)
    assert ended.slots == {"provider": "up", "model": "fake-1"} | figures
    assert_no_hint(ended)


@pytest.mark.parametrize("code", ["content_filter", "content_policy_violation"])
@BOTH
async def test_p15_content_policy(streaming: bool, code: str) -> None:
    ended = await answered(refusal(400, problem(code=code, param="prompt")), streaming=streaming)
    ended.assert_refused(INVALID_ARGUMENT, "CONTENT_POLICY", 400)
    assert_no_hint(ended)


@BOTH
async def test_p21_the_request_is_too_large(streaming: bool) -> None:
    ended = await answered(refusal(413), streaming=streaming)
    ended.assert_refused(INVALID_ARGUMENT, "REQUEST_TOO_LARGE", 413)
    assert_no_hint(ended)


# --- P16, P17: the key is at fault -------------------------------------------------------------------------------

BY_KEY = [
    pytest.param(401, {}, "PROVIDER_AUTH_FAILED", id="p16-401"),
    pytest.param(401, {"code": "invalid_api_key"}, "PROVIDER_AUTH_FAILED", id="p16-invalid-key"),
    pytest.param(403, {}, "PROVIDER_AUTH_FAILED", id="p16-403"),
    pytest.param(402, {}, "PROVIDER_QUOTA_EXHAUSTED", id="p17-402"),
    pytest.param(429, {"code": "insufficient_quota"}, "PROVIDER_QUOTA_EXHAUSTED", id="p17-quota"),
    pytest.param(429, {"type": "insufficient_quota"}, "PROVIDER_QUOTA_EXHAUSTED", id="p17-quota-by-type"),
    pytest.param(429, {"type": "credit_balance_exhausted"}, "PROVIDER_QUOTA_EXHAUSTED", id="p17-credit"),
    pytest.param(429, {"code": "billing_hard_limit_reached"}, "PROVIDER_QUOTA_EXHAUSTED", id="p17-spend-limit"),
]


def refusing(*keys: str, script: Script) -> Step:
    """Refuses these keys and welcomes the others."""

    async def step(exchange: Exchange) -> None:
        refused = exchange.received.headers["authorization"].removeprefix("Bearer ") in keys
        each = script if refused else HELLO
        for part in [each] if callable(each) else each:
            await part(exchange)

    return step


@pytest.mark.parametrize(("status", "fields", "reason"), BY_KEY)
@BOTH
async def test_p16_and_p17_the_only_key_is_refused(
    streaming: bool, status: int, fields: dict[str, str], reason: str
) -> None:
    """Never UNAUTHENTICATED: the caller's own credentials are good."""
    ended = await answered(refusal(status, problem(**fields)), streaming=streaming)
    ended.assert_refused(FAILED_PRECONDITION, reason, status)
    assert ended.precondition == (reason, "up")
    assert ended.retry_after_s is None
    assert ended.attempts[0]["key_id"] == "key-1"


@pytest.mark.parametrize(("status", "fields", "reason"), BY_KEY)
@BOTH
async def test_p16_and_p17_another_key_is_used_at_once_and_goes_first_from_then_on(
    streaming: bool, status: int, fields: dict[str, str], reason: str
) -> None:
    script = refusing(PROVIDER_KEY, script=refusal(status, problem(**fields)))
    async with Upstream(script) as upstream, keyed(upstream, keys=2, max_attempts=2) as it:
        first = await it.call(streaming=streaming)
        later = [await it.call(streaming=streaming) for _ in range(2)]
        [line] = it.logged("key set aside")
    assert [ended.text for ended in (first, *later)] == ["hello"] * 3
    assert first.charges == [("failed", reason, status, "C0"), ("succeeded", None, 200, "CU")]
    assert [each["key_id"] for each in first.attempts] == ["key-1", "key-2"]
    assert len(first.summary.attempts) == 2
    assert [[each["key_id"] for each in ended.attempts] for ended in later] == [["key-2"]] * 2
    sent = [received.headers["authorization"] for received in upstream.requests]
    assert sent == [f"Bearer {PROVIDER_KEY}", *[f"Bearer {OTHER_KEY}"] * 3]
    assert (line["level"], line["provider"], line["key_id"], line["reason"]) == ("error", "up", "key-1", reason)


@pytest.mark.parametrize(("status", "fields", "reason"), BY_KEY)
@BOTH
async def test_p16_and_p17_all_keys_are_refused(
    streaming: bool, status: int, fields: dict[str, str], reason: str
) -> None:
    async with Upstream(refusal(status, problem(**fields))) as upstream, keyed(upstream, keys=2, max_attempts=2) as it:
        ended = await it.call(streaming=streaming)
        again = await it.call(streaming=streaming)
        assert [line["key_id"] for line in it.logged("key set aside")] == ["key-1", "key-2", "key-1"]
    ended.assert_refused(FAILED_PRECONDITION, reason, status, attempts=2)
    again.assert_refused(FAILED_PRECONDITION, reason, status)  # one is tried: the refusal may be over
    assert (ended.precondition, ended.retry_after_s) == ((reason, "up"), None)
    assert len(upstream.requests) == 3


@BOTH
async def test_p17_a_pause_is_passed_on_where_the_vendor_names_one(streaming: bool) -> None:
    script = refusal(429, problem(code="insufficient_quota"), retry_after="30")
    ended = await answered(script, streaming=streaming)
    ended.assert_refused(FAILED_PRECONDITION, "PROVIDER_QUOTA_EXHAUSTED", 429)
    assert ended.retry_after_s == 30.0


# --- P18: the model is unknown -----------------------------------------------------------------------------------

UNKNOWN = "model of the catalogue is unknown to its provider"
CATALOGUE: dict[str, Any] = {
    "models": {"fake-model": {"targets": [{"provider": "up", "model": "fake-1"}], "aliases": ["fake"]}}
}


@pytest.mark.parametrize("fields", [{}, {"code": "model_not_found"}])
@BOTH
async def test_p18_a_model_that_the_caller_named_is_unknown(streaming: bool, fields: dict[str, str]) -> None:
    async with Upstream(refusal(404, problem(**fields))) as upstream, keyed(upstream) as it:
        ended = await it.call(streaming=streaming)
        assert it.logged(UNKNOWN) == []
        assert len(upstream.requests) == 1
    ended.assert_refused(grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", 404)
    assert_no_hint(ended)
    resource = ended.detail(error_details_pb2.ResourceInfo)
    assert (resource.resource_type, resource.resource_name) == ("model", "fake-1")
    assert list(ended.detail(error_pb2.ModelAlternatives).models) == ["simulator-chat"]


@pytest.mark.parametrize("model", ["fake-model", "fake", "up/fake-1"])
@BOTH
async def test_p18_a_model_of_the_catalogue_is_unknown(streaming: bool, model: str) -> None:
    async with Upstream(refusal(404)) as upstream, keyed(upstream, **CATALOGUE) as it:
        ended = await it.call(streaming=streaming, model=model)
        [line] = it.logged(UNKNOWN)
        assert len(upstream.requests) == 1
    ended.assert_refused(grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", 404)
    assert list(ended.detail(error_pb2.ModelAlternatives).models) == ["simulator-chat"]
    assert (line["level"], line["provider"], line["model"]) == ("warning", "up", "fake-1")


async def test_p18_the_alarm_is_raised_even_where_another_target_answers() -> None:
    targets = [{"provider": "up", "model": "gone"}, {"provider": "up", "model": "fake-1"}]
    async with Upstream(HELLO) as upstream, keyed(upstream, models={"m": {"targets": targets}}, max_attempts=2) as it:
        upstream.then(refusal(404))
        ended = await it.call(streaming=True, model="m")
        assert [line["model"] for line in it.logged(UNKNOWN)] == ["gone"]
    assert ended.text == "hello"
    assert [each["outcome"] for each in ended.attempts] == ["failed", "succeeded"]


# --- P19, P20, P25: the provider is at fault ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        pytest.param(408, UNAVAILABLE, "UPSTREAM_TIMEOUT", id="p19-408"),
        pytest.param(409, grpc.StatusCode.ABORTED, "UPSTREAM_CONFLICT", id="p20-409"),
        pytest.param(500, UNAVAILABLE, "UPSTREAM_ERROR", id="p25-500"),
        pytest.param(502, UNAVAILABLE, "UPSTREAM_ERROR", id="p25-502"),
        pytest.param(503, UNAVAILABLE, "UPSTREAM_OVERLOADED", id="p25-503"),
        pytest.param(504, UNAVAILABLE, "UPSTREAM_TIMEOUT", id="p25-504"),
        pytest.param(529, UNAVAILABLE, "UPSTREAM_OVERLOADED", id="p25-529"),
    ],
)
@pytest.mark.parametrize("body", [problem(type=WORDS, code=WORDS), b"<html>" + problem()], ids=["json", "html"])
@BOTH
async def test_p19_p20_and_p25_the_provider_fails(
    streaming: bool, status: int, code: grpc.StatusCode, reason: str, body: bytes
) -> None:
    ended = await answered(refusal(status, body), streaming=streaming)
    ended.assert_refused(code, reason, status)
    assert_no_hint(ended)


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504, 529])
@BOTH
async def test_p25_a_pause_is_passed_on_where_the_provider_names_one(streaming: bool, status: int) -> None:
    ended = await answered(refusal(status, retry_after="7"), streaming=streaming)
    assert ended.retry_after_s == 7.0
