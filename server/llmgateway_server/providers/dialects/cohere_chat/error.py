"""Errors of Cohere, as answers and inside streams: a status and words, without a code. See `cohere_chat`.

Source: https://docs.cohere.com/reference/errors
"""

from __future__ import annotations

import re

import msgspec

from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.dialects.dialect import UNREADABLE
from llmgateway_server.providers.dialects.problem import Phrase, Problem, Vocabulary

MONTHLY = "monthly_limit"
DENIED_WORDS = "denied_words"
WORDS = Vocabulary(
    codes={MONTHLY: Reason.PROVIDER_QUOTA_EXHAUSTED, DENIED_WORDS: Reason.CONTENT_POLICY},
    types={"TIMEOUT": Reason.UPSTREAM_TIMEOUT, "ERROR": Reason.UPSTREAM_ERROR},
    phrases=(
        Phrase(
            re.compile(
                r"too many tokens: (?!max.tokens)"
                r"(?:.{0,80}?cannot exceed (?P<maxTokens>\d{1,9}))?(?:.{0,20}?received (?P<requestedTokens>\d{1,9}))?"
            ),
            Reason.CONTEXT_LENGTH_EXCEEDED,
        ),
    ),
)
"""The codes are ours, see `read_problem`; the types are reasons for which an answer ends."""
DENIED = 498
"""Status of a request or an answer with a word on the vendor's list."""
_MONTHLY_LIMIT = re.compile(r"\d+ API calls / month")
"""What tells the end of a trial key's month from a minute with too many calls; both have the status 429."""


class ErrorReply(msgspec.Struct):
    """An answer that is an error."""

    message: object = None


_decode_error_reply = msgspec.json.Decoder(ErrorReply).decode


def read_problem(status: int, body: bytes) -> Problem | None:
    """Returns the error of an answer, with a code where its status or its words are as good as one.

    Returns:
        None where there is none that can be read, and the status says enough.
    """
    try:
        message = _decode_error_reply(body).message
    except UNREADABLE:
        message = None
    if status == DENIED:
        return Problem(code=DENIED_WORDS)
    if not isinstance(message, str):
        return None
    monthly = status == 429 and _MONTHLY_LIMIT.search(message[:2000])
    return Problem(message=message, code=MONTHLY if monthly else None)
