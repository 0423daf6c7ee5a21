"""Errors of Ollama, as answers and as lines of a stream: words alone, without a code. See `ollama_chat`.

Sources: https://docs.ollama.com/api/errors, and the server's own texts (github.com/ollama/ollama)
"""

from __future__ import annotations

import re

import msgspec

from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.dialects.dialect import UNREADABLE
from llmgateway_server.providers.dialects.problem import Phrase, Problem, Vocabulary

WORDS = Vocabulary(
    phrases=(
        Phrase(
            re.compile(
                "longer than the context length|exceeds the context length|exceeds maximum context length"
                "|exceeds the available context|context length exceeded"
            ),
            Reason.CONTEXT_LENGTH_EXCEEDED,
        ),
        Phrase(re.compile("^server busy|maximum pending requests exceeded"), Reason.UPSTREAM_OVERLOADED),
    ),
)
"""A status says more than the words; the words count inside a stream, and for what a 400 does not tell."""


class ErrorReply(msgspec.Struct):
    """An answer, or a line, that is an error."""

    error: object = None


_decode_error_reply = msgspec.json.Decoder(ErrorReply).decode


def read_problem(body: bytes) -> Problem | None:
    """Returns the error of an answer; None where there is none that can be read."""
    try:
        error = _decode_error_reply(body).error
    except UNREADABLE:
        return None
    return problem_of(error) if error else None


def problem_of(error: object) -> Problem:
    """Translates an error: a text, or, from a proxy that speaks like OpenAI, an object with one."""
    if isinstance(error, dict):
        return Problem(message=error.get("message"), type=error.get("type"), code=error.get("code"))
    return Problem(message=error)
