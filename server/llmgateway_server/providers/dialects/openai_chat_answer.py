"""What chat completions answer, as far as it is used; everything else passes by unread. See `openai_chat`."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Logprob
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.faults import status_reason

CODE_REASONS = {
    "context_length_exceeded": Reason.CONTEXT_LENGTH_EXCEEDED,
    "insufficient_quota": Reason.PROVIDER_QUOTA_EXHAUSTED,
    "billing_hard_limit_reached": Reason.PROVIDER_QUOTA_EXHAUSTED,
    "credit_balance_exhausted": Reason.PROVIDER_QUOTA_EXHAUSTED,
    "content_filter": Reason.CONTENT_POLICY,
    "content_policy_violation": Reason.CONTENT_POLICY,
    "model_not_found": Reason.MODEL_NOT_FOUND,
    "rate_limit_exceeded": Reason.UPSTREAM_RATE_LIMITED,
    "invalid_api_key": Reason.PROVIDER_AUTH_FAILED,
}
"""What an error's `code` says more exactly than its status."""

TYPE_REASONS = {
    "invalid_request_error": Reason.UPSTREAM_REJECTED_REQUEST,
    "authentication_error": Reason.PROVIDER_AUTH_FAILED,
    "insufficient_quota": Reason.PROVIDER_QUOTA_EXHAUSTED,
    "rate_limit_error": Reason.UPSTREAM_RATE_LIMITED,
    "server_error": Reason.UPSTREAM_ERROR,
    "overloaded_error": Reason.UPSTREAM_OVERLOADED,
}
"""What an in-stream error's `type` says; used only where neither code nor status does."""


CODE_WORD = re.compile("[A-Za-z_]{1,40}|[0-9]{3}")

MAX_TOKEN_COUNT = 2**53
"""No answer has more tokens; a larger count is noise."""


class Function(msgspec.Struct):
    """What is called, or a piece of its arguments."""

    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct):
    """A call, or a piece of one; only streams have the index."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Said(msgspec.Struct):
    """A message, or the part of it that a chunk brings; `function_call` is what tool calls were called before."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None


Octets = list[Annotated[int, msgspec.Meta(ge=0, le=255)]]


class TopLogprob(msgspec.Struct):
    """A token that might have been."""

    token: str
    logprob: float
    bytes: Octets | None = None


class TokenLogprob(msgspec.Struct):
    """A token that was chosen."""

    token: str
    logprob: float
    bytes: Octets | None = None
    top_logprobs: list[TopLogprob] | None = None


class Logprobs(msgspec.Struct):
    """Tokens of the text and of the refusal."""

    content: list[TokenLogprob] | None = None
    refusal: list[TokenLogprob] | None = None


class Choice(msgspec.Struct):
    """One answer: streams bring `delta`, the others `message`, a filtered answer neither."""

    index: int | None = None
    delta: Said | None = None
    message: Said | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class InputDetails(msgspec.Struct):
    """Parts of the prompt's tokens."""

    cached_tokens: int | None = None
    audio_tokens: int | None = None


class OutputDetails(msgspec.Struct):
    """Parts of the completion's tokens."""

    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


class ReportedUsage(msgspec.Struct):
    """Tokens as they are reported; null and absent are the same."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None

    def normalised(self) -> Usage:
        """OpenAI's totals are inclusive already; reasoning is part of the completion."""
        taken = self.prompt_tokens_details or InputDetails()
        given = self.completion_tokens_details or OutputDetails()
        return Usage(
            input_token_count=_count(self.prompt_tokens),
            output_token_count=_count(self.completion_tokens),
            cache_read_token_count=_count(taken.cached_tokens),
            input_audio_token_count=_count(taken.audio_tokens),
            reasoning_token_count=_count(given.reasoning_tokens),
            output_audio_token_count=_count(given.audio_tokens),
            accepted_prediction_token_count=_count(given.accepted_prediction_tokens),
            rejected_prediction_token_count=_count(given.rejected_prediction_tokens),
        )


def _count(reported: int | None) -> int | None:
    """Takes a count that cannot be one for absent: it would be charged, or would not fit the reply's field."""
    return reported if reported is not None and 0 <= reported <= MAX_TOKEN_COUNT else None


class Problem(msgspec.Struct):
    """An error object."""

    message: str | None = None
    type: str | None = None
    code: str | int | None = None

    def by_code(self) -> Reason | None:
        """Returns what the code, or the type where it is as exact, says."""
        return CODE_REASONS.get(str(self.code)) or (CODE_REASONS.get(self.type) if self.type else None)

    def summary(self) -> str:
        """Returns type and code for the log, where they look like such; the message may quote a key or the prompt."""
        words = (str(word) for word in (self.type, self.code) if word is not None)
        return "/".join(word if CODE_WORD.fullmatch(word) else "?" for word in words)


class Answer(msgspec.Struct):
    """A chat completion, a chunk of one, or an error."""

    id: str | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: ReportedUsage | None = None
    error: Problem | None = None


decode_answer = msgspec.json.Decoder(Answer).decode


def embedded_error(problem: Problem) -> UpstreamError:
    """Classifies an error that came inside a 2xx answer: by its code, a code that is a status, its type."""
    reason = problem.by_code()
    code = str(problem.code)
    if reason is None and len(code) == 3 and code.isascii() and code.isdigit():
        reason = reason_by_message(problem.message or "", int(code)) or status_reason(int(code))
    if reason is None:
        reason = TYPE_REASONS.get(problem.type or "", Reason.UPSTREAM_ERROR)
    return UpstreamError(reason, detail=problem.summary())


def reason_by_message(message: str, status: int) -> Reason | None:
    """Tells a prompt that is too long from other bad requests where the vendor gives no code for it."""
    if status == 400 and "maximum context length" in message:
        return Reason.CONTEXT_LENGTH_EXCEEDED
    return None


def logprobs_of(found: list[TokenLogprob] | None) -> tuple[Logprob, ...]:
    """Translates log probabilities of a text or of a refusal."""
    return tuple(
        Logprob(
            token.token,
            token.logprob,
            bytes(token.bytes or ()),
            tuple((other.token, other.logprob, bytes(other.bytes or ())) for other in token.top_logprobs or ()),
        )
        for token in found or ()
    )
