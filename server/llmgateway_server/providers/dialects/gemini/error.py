"""Error objects of Google, as answers and inside streams.

An answer without a stream's events holds them in an array. How long to wait stands in the details, not in a header.

Sources: https://ai.google.dev/gemini-api/docs/troubleshooting, https://docs.cloud.google.com/apis/design/errors and
https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.dialects.dialect import UNREADABLE
from llmgateway_server.providers.dialects.problem import Phrase, Problem, Vocabulary, refusal
from llmgateway_server.providers.faults import MAX_RETRY_AFTER_S

WORDS = Vocabulary(
    codes={
        "API_KEY_INVALID": Reason.PROVIDER_AUTH_FAILED,
        "API_KEY_EXPIRED": Reason.PROVIDER_AUTH_FAILED,
        "BILLING_DISABLED": Reason.PROVIDER_QUOTA_EXHAUSTED,
    },
    types={
        "INVALID_ARGUMENT": Reason.UPSTREAM_REJECTED_REQUEST,
        "FAILED_PRECONDITION": Reason.UPSTREAM_REJECTED_REQUEST,
        "OUT_OF_RANGE": Reason.UPSTREAM_REJECTED_REQUEST,
        "UNAUTHENTICATED": Reason.PROVIDER_AUTH_FAILED,
        "PERMISSION_DENIED": Reason.PROVIDER_AUTH_FAILED,
        "NOT_FOUND": Reason.MODEL_NOT_FOUND,
        "RESOURCE_EXHAUSTED": Reason.UPSTREAM_RATE_LIMITED,
        "ABORTED": Reason.UPSTREAM_CONFLICT,
        "DEADLINE_EXCEEDED": Reason.UPSTREAM_TIMEOUT,
        "INTERNAL": Reason.UPSTREAM_ERROR,
        "UNAVAILABLE": Reason.UPSTREAM_OVERLOADED,
    },
    phrases=(
        Phrase(
            re.compile(
                r"input token count(?: \((?P<requestedTokens>\d{1,9})\))? exceeds the maximum number of tokens allowed"
                r"(?: \(?(?P<maxTokens>\d{1,9}))?"
            ),
            Reason.CONTEXT_LENGTH_EXCEEDED,
        ),
        Phrase(
            re.compile(
                r"input token count is (?P<requestedTokens>\d{1,9}) but (?:the )?model only supports up to "
                r"(?P<maxTokens>\d{1,9})"
            ),
            Reason.CONTEXT_LENGTH_EXCEEDED,
        ),
        Phrase(re.compile("API key (?:not valid|expired)"), Reason.PROVIDER_AUTH_FAILED),
        Phrase(re.compile("[Rr]equest payload size exceeds the limit"), Reason.REQUEST_TOO_LARGE),
    ),
)
"""Most errors have a word that says no more than their status. `codes` are reasons of the error's details."""
FIELDS = {
    "contents": "messages",
    "system_instruction": "messages",
    "tools": "tools",
    "tool_config": "tool_choice",
    "max_output_tokens": "max_output_tokens",
    "stop_sequences": "stop",
    "response_mime_type": "response_format",
    "response_schema": "response_format",
    "response_json_schema": "response_format",
    "thinking_config": "reasoning",
    "response_logprobs": "logprobs",
    **{name: name for name in ("temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty")},
}
"""Fields of a body, and what they are in problems of all dialects."""
_FIELD = re.compile(
    rf"(?:GenerateContentRequest\.|at '|generation_config\.)(?:generation_config\.)?({'|'.join(FIELDS)})\b"
)
_DELAY = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s", re.ASCII)

_decode_any = msgspec.json.Decoder().decode


def read_problem(body: bytes) -> tuple[Problem | None, float | None]:
    """Returns the error object of an answer and the wait that it asks for; None for what is not there."""
    try:
        answer = _decode_any(body)
    except UNREADABLE:
        return None, None
    if isinstance(answer, list):
        answer = answer[0] if answer else None
    error = answer.get("error") if isinstance(answer, dict) else None
    return (problem_of(error), delay_in(error)) if isinstance(error, dict) else (None, None)


def decode_error(status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> UpstreamError:
    """Classifies an answer whose status is not 200. Never raises."""
    problem, delay_s = read_problem(body)
    error = refusal(problem, WORDS, status, headers, now_s=now_s)
    if error.retry_after_s is None:
        error.retry_after_s = delay_s
    return error


def error_within(error: object) -> UpstreamError:
    """Returns the error for an error object inside an answer whose status was 200."""
    return problem_of(error).error(WORDS, None, delay_in(error))


def problem_of(error: object) -> Problem:
    """Translates an error object; whatever is not one says nothing."""
    said: dict[str, Any] = error if isinstance(error, dict) else {}
    message = said.get("message")
    reasons = [each["reason"] for each in _details(said) if str(each.get("reason")) in WORDS.codes]
    field = _FIELD.search(message[:2000]) if isinstance(message, str) else None
    return Problem(
        message=message,
        type=reasons[0] if reasons else said.get("status"),
        code=said.get("code"),
        param=FIELDS[field.group(1)] if field else None,
    )


def delay_in(error: object) -> float | None:
    """Returns the wait that the details of an error ask for, in seconds; None where it is absent or absurd."""
    for each in _details(error):
        written = each.get("retryDelay")
        found = _DELAY.fullmatch(written) if isinstance(written, str) else None
        if found and 0 < (seconds := float(found.group(1))) <= MAX_RETRY_AFTER_S:
            return seconds
    return None


def _details(error: object) -> Iterator[dict[str, Any]]:
    details = error.get("details") if isinstance(error, dict) else None
    for each in details if isinstance(details, list) else ():
        if isinstance(each, dict):
            yield each
