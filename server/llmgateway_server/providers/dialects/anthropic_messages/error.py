"""Error objects of Anthropic, as answers and inside streams.

Sources: https://platform.claude.com/docs/en/api/errors, and the error codes of the vendor's Python client.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.dialects.dialect import UNREADABLE
from llmgateway_server.providers.dialects.problem import Phrase, Problem, Vocabulary

WORDS = Vocabulary(
    codes={
        "billing_error": Reason.PROVIDER_QUOTA_EXHAUSTED,
        "enforced_spend_limit_reached": Reason.PROVIDER_QUOTA_EXHAUSTED,
        "contract_spend_limit_reached": Reason.PROVIDER_QUOTA_EXHAUSTED,
        "linked_organization_spend_limit_reached": Reason.PROVIDER_QUOTA_EXHAUSTED,
        "linked_organization_billing_unavailable": Reason.PROVIDER_QUOTA_EXHAUSTED,
        "organization_on_hold": Reason.PROVIDER_AUTH_FAILED,
        "request_too_large": Reason.REQUEST_TOO_LARGE,
        "timeout_error": Reason.UPSTREAM_TIMEOUT,
        "overloaded_error": Reason.UPSTREAM_OVERLOADED,
    },
    types={
        "invalid_request_error": Reason.UPSTREAM_REJECTED_REQUEST,
        "authentication_error": Reason.PROVIDER_AUTH_FAILED,
        "permission_error": Reason.PROVIDER_AUTH_FAILED,
        "not_found_error": Reason.MODEL_NOT_FOUND,
        "rate_limit_error": Reason.UPSTREAM_RATE_LIMITED,
        "api_error": Reason.UPSTREAM_ERROR,
    },
    phrases=(
        Phrase(
            re.compile(
                r"prompt is too long(?:: (?P<requestedTokens>\d{1,9}) tokens > (?P<maxTokens>\d{1,9}) maximum)?"
            ),
            Reason.CONTEXT_LENGTH_EXCEEDED,
        ),
        Phrase(
            re.compile(r"exceed context limit(?:: \d{1,9} \+ \d{1,9} > (?P<maxTokens>\d{1,9}))?"),
            Reason.CONTEXT_LENGTH_EXCEEDED,
        ),
        Phrase(
            re.compile("credit balance is too low|reached your specified (?:workspace )?API usage limits"),
            Reason.PROVIDER_QUOTA_EXHAUSTED,
        ),
        Phrase(re.compile("organization has been disabled"), Reason.PROVIDER_AUTH_FAILED),
        Phrase(re.compile("blocked by content filtering policy"), Reason.CONTENT_POLICY),
    ),
)
"""What has no code is told by the message alone, always with the type `invalid_request_error` and status 400."""
_FIELD = re.compile("`?([a-z_]{1,40})(?=[`.:])")
"""How messages begin that name a field: `max_tokens: …`, `messages.0.content: …`, `` `temperature` may … ``."""


class ErrorReply(msgspec.Struct):
    """An answer, or an event, that is an error."""

    error: object = None


_decode_error_reply = msgspec.json.Decoder(ErrorReply).decode


def read_problem(body: bytes) -> Problem | None:
    """Returns the error object of an answer; None where there is none that can be read."""
    try:
        error = _decode_error_reply(body).error
    except UNREADABLE:
        return None
    return problem_of(error) if isinstance(error, dict) else None


def problem_of(error: object) -> Problem:
    """Translates an error object; whatever is not one says nothing."""
    said: dict[str, Any] = error if isinstance(error, dict) else {}
    message, details = said.get("message"), said.get("details")
    field = _FIELD.match(message) if isinstance(message, str) else None
    return Problem(
        message=message,
        type=said.get("type"),
        code=details.get("error_code") if isinstance(details, dict) else None,
        param=field.group(1) if field else None,
    )
