"""Error objects of providers: what their codes, types and phrases mean. Shared by the dialects.

A provider's words never leave this module: they may quote a key or a prompt. What leaves is a reason, figures that a
phrase was matched for, and a code where it looks like one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from llmgateway_server.core.errors import UpstreamError, Violation
from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.faults import status_error, status_reason

CODE_WORD = re.compile("[A-Za-z_]{1,40}|[0-9]{3}")
PARAMETER = re.compile("[a-z_]{1,40}")
FIELDS = {
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "stop_sequences": "stop",
    "reasoning_effort": "reasoning.effort",
    "thinking": "reasoning",
    "user": "end_user_id",
    "system": "messages",
    "input": "messages",
    "instructions": "messages",
    "text": "response_format",
    "output_config": "response_format",
    **{
        name: name
        for name in (
            *("messages", "tools", "tool_choice", "parallel_tool_calls", "response_format", "temperature", "top_p"),
            *("top_k", "max_output_tokens", "stop", "seed", "frequency_penalty", "presence_penalty", "reasoning"),
            *("logprobs", "service_tier", "model"),
        )
    },
}
"""The field of a request that a provider's parameter stands for, by the parameter's first word."""


@dataclass(slots=True, frozen=True)
class Phrase:
    """A reason that a vendor tells by its message alone.

    Named groups of the pattern become slots of the error and may match digits only.
    """

    pattern: re.Pattern[str]
    reason: Reason


@dataclass(slots=True, frozen=True)
class Vocabulary:
    """What a dialect's error objects say."""

    codes: Mapping[str, Reason] = field(default_factory=dict)
    """By `code`, or by a `type` that is as exact: says more than the status."""
    types: Mapping[str, Reason] = field(default_factory=dict)
    """By `type`, or by a `code` that is as coarse: used where there is no status, which is more exact."""
    phrases: tuple[Phrase, ...] = ()
    """Looked for in the message of a 400, for what has no code."""


class Problem(msgspec.Struct):
    """An error object; each field may hold anything."""

    message: object = None
    type: object = None
    code: object = None
    param: object = None

    def error(self, words: Vocabulary, status: int | None, retry_after_s: float | None) -> UpstreamError:
        """Classifies the problem: by its code, by a phrase, by the status, by its type.

        Args:
            words: the dialect's.
            status: of the answer; None inside an answer whose status was 200, where a code of three digits is one.
            retry_after_s: what the answer asks for.
        """
        code, kind = _word(self.code), _word(self.type)
        within = status if status is not None else int(code) if re.fullmatch("[1-5][0-9]{2}", code, re.ASCII) else None
        reason = words.codes.get(code) or words.codes.get(kind)
        slots: dict[str, str] = {}
        if reason in (None, Reason.CONTEXT_LENGTH_EXCEEDED, Reason.UPSTREAM_REJECTED_REQUEST):
            reason, slots = self._by_phrase(words, within, reason)
        if reason is None and within is not None:
            reason = status_reason(within)
        if reason is None:
            reason = words.types.get(kind, Reason.UPSTREAM_ERROR)
        return UpstreamError(
            reason,
            http_status=status,
            slots=slots,
            retry_after_s=retry_after_s,
            violations=self._violations() if reason is Reason.UPSTREAM_REJECTED_REQUEST else (),
            detail=self.summary(),
        )

    def summary(self) -> str:
        """Returns type and code for the log, where they look like such."""
        words = (_word(word) for word in (self.type, self.code) if word is not None)
        return "/".join(word if CODE_WORD.fullmatch(word) else "?" for word in words)

    def _by_phrase(
        self, words: Vocabulary, status: int | None, reason: Reason | None
    ) -> tuple[Reason | None, dict[str, str]]:
        if isinstance(self.message, str) and status in (None, 400, 413, 422):
            for phrase in words.phrases:
                if found := phrase.pattern.search(self.message[:2000]):
                    return phrase.reason, {name: value for name, value in found.groupdict().items() if value}
        return reason, {}

    def _violations(self) -> tuple[Violation, ...]:
        """Names the request's field, where the provider names its own and it is one that we know."""
        found = PARAMETER.match(self.param) if isinstance(self.param, str) else None
        known = FIELDS.get(found.group()) if found else None
        return (Violation(known, "refused by the provider", "upstream_rejected"),) if known else ()


def _word(value: object) -> str:
    """Returns a type or a code as text, empty where it is neither text nor a number: a list may nest too deeply."""
    return str(value) if isinstance(value, str | int) else ""


def refusal(
    problem: Problem | None, words: Vocabulary, status: int, headers: Mapping[str, str], *, now_s: float
) -> UpstreamError:
    """Returns the error for an answer whose status is not 200, with its error object where one could be read."""
    by_status = status_error(status, headers, now_s=now_s)
    return by_status if problem is None else problem.error(words, status, by_status.retry_after_s)
