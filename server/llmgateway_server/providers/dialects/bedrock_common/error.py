"""Exceptions of AWS Bedrock: what their names and phrases mean, as answers and inside streams.

The name of an exception stands in the header `x-amzn-errortype`, or in the body's `__type`, with or without more around
it. The body says only a message. Inside a stream the name begins with a small letter.

Sources: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors,
https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html, and recorded traffic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.dialects.aws_events import FAILED
from llmgateway_server.providers.dialects.dialect import UNREADABLE
from llmgateway_server.providers.dialects.problem import Phrase, Problem, Vocabulary, refusal

WORDS = Vocabulary(
    codes={
        "ValidationException": Reason.UPSTREAM_REJECTED_REQUEST,
        "ThrottlingException": Reason.UPSTREAM_RATE_LIMITED,
        "Throttling": Reason.UPSTREAM_RATE_LIMITED,
        "TooManyRequestsException": Reason.UPSTREAM_RATE_LIMITED,
        "ServiceQuotaExceededException": Reason.UPSTREAM_RATE_LIMITED,
        "ModelNotReadyException": Reason.UPSTREAM_RATE_LIMITED,
        "ResourceNotFoundException": Reason.MODEL_NOT_FOUND,
        "ConflictException": Reason.UPSTREAM_CONFLICT,
        "ModelTimeoutException": Reason.UPSTREAM_TIMEOUT,
        "ModelErrorException": Reason.UPSTREAM_ERROR,
        "ModelStreamErrorException": Reason.UPSTREAM_ERROR,
        "InternalServerException": Reason.UPSTREAM_ERROR,
        "InternalFailure": Reason.UPSTREAM_ERROR,
        "ServiceUnavailableException": Reason.UPSTREAM_OVERLOADED,
        "ServiceUnavailable": Reason.UPSTREAM_OVERLOADED,
        **dict.fromkeys(
            (
                *("AccessDeniedException", "AccessDenied", "NotAuthorized", "OptInRequired"),
                *("UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException"),
                *("SignatureDoesNotMatch", "IncompleteSignature", "IncompleteSignatureException"),
                *("MissingAuthenticationToken", "MissingAuthenticationTokenException"),
                *("ExpiredTokenException", "ExpiredToken", "RequestExpired", "InvalidTokenException"),
            ),
            Reason.PROVIDER_AUTH_FAILED,
        ),
    },
    phrases=(
        Phrase(
            re.compile(
                r"prompt is too long(?:: (?P<requestedTokens>\d{1,9}) tokens > (?P<maxTokens>\d{1,9}) maximum)?"
            ),
            Reason.CONTEXT_LENGTH_EXCEEDED,
        ),
        Phrase(
            re.compile(
                r"maximum context length(?: is|:)? (?P<maxTokens>\d{1,9}) tokens"
                r"(?:.{0,80}?(?:resulted in|requested|contains) (?:at least )?(?P<requestedTokens>\d{1,9}))?"
            ),
            Reason.CONTEXT_LENGTH_EXCEEDED,
        ),
        Phrase(
            re.compile(
                "input is too long|input tokens exceeded|number of input tokens exceeds"
                "|too many input tokens|exceeds? (?:the )?(?:model'?s? )?(?:maximum )?context (?:limit|length|window)"
                "|maximum context length|prompt contains [0-9]+ tokens.{0,80}maximum"
                "|total number of tokens in the prompt exceeds|#/(?:prompt|inputText|message): expected maxLength",
                re.IGNORECASE,
            ),
            Reason.CONTEXT_LENGTH_EXCEEDED,
        ),
        Phrase(re.compile("blocked by (?:our )?content filter"), Reason.CONTENT_POLICY),
    ),
)
"""An exception says more than its status: some statuses stand for several. A `ValidationException` may be anything, and
only its message tells that the input was too long; the models behind the service word that each in their own way."""
NAME = re.compile("[A-Za-z]{1,60}", re.ASCII)
UNKNOWN_MODEL = re.compile("model identifier|model ID", re.IGNORECASE)
"""What the message names of a request whose model does not exist, or cannot be called by this name."""


class _Said(msgspec.Struct, rename={"kind": "__type", "upper": "Message"}):
    kind: object = None
    message: object = None
    upper: object = None


_decode_said = msgspec.json.Decoder(_Said).decode


def aws_error(status: int, headers: Mapping[str, str], body: bytes, now_s: float) -> UpstreamError:
    """Classifies an answer whose status is not 2xx. Never raises.

    Args:
        status: of the answer.
        headers: with names in lower case.
        body: whatever came of it.
        now_s: wall time, for `retry-after` as a date.
    """
    said = _read(body)
    name = _name(headers.get("x-amzn-errortype")) or _name(said.kind)
    problem = _problem(name, said) if name or said.message is not None or said.upper is not None else None
    return refusal(problem, WORDS, status, headers, now_s=now_s)


def aws_exception(name: bytes, payload: bytes) -> UpstreamError:
    """Classifies an exception inside a stream. Never raises.

    Args:
        name: of the event as `aws_events` tells it, with or without the mark of a failure.
        payload: of the event.
    """
    word = name.removeprefix(FAILED).decode("ascii", "replace")
    return _problem(_name(word[:1].upper() + word[1:]), _read(payload)).error(WORDS, None, None)


def is_failure(name: bytes) -> bool:
    """Tells whether an event of a stream is an exception."""
    return name.startswith(FAILED)


def _read(body: bytes) -> _Said:
    try:
        return _decode_said(body)
    except UNREADABLE:
        return _Said()


def _problem(name: str, said: _Said) -> Problem:
    message = said.message if said.message is not None else said.upper
    names_model = isinstance(message, str) and UNKNOWN_MODEL.search(message[:2000])
    return Problem(message=message, type=name or None, param="model" if names_model else None)


def _name(written: object) -> str:
    """Returns the name alone: behind a namespace and `#`, before `:` and the address that may follow."""
    if not isinstance(written, str):
        return ""
    found = NAME.match(written.rpartition("#")[2].strip())
    return found.group() if found else ""
