"""What Ollama answers, as far as it is used; everything else passes by unread. See `ollama_chat`.

Fields are `object` where another type than the documented one must not cost the whole reply.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from llmgateway_server.core.events import Logprob
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.counts import believable_count
from llmgateway_server.providers.dialects.dialect import UNREADABLE
from llmgateway_server.providers.dialects.json_body import decode_again
from llmgateway_server.providers.faults import malformed

NOTHING = msgspec.Raw()
"""Stands for absent JSON."""


class Function(msgspec.Struct):
    """What is called; the arguments are an object, kept as they were written."""

    name: object = None
    arguments: msgspec.Raw = NOTHING


class ToolCall(msgspec.Struct):
    """A call, always whole."""

    id: object = None
    function: Function | None = None


class Said(msgspec.Struct):
    """A message, or the piece of it that a line brings."""

    content: object = None
    thinking: object = None
    tool_calls: list[ToolCall] | None = None


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


class Answer(msgspec.Struct):
    """A whole answer, a line of one, or an error."""

    model: object = None
    message: Said | None = None
    done: object = None
    done_reason: object = None
    prompt_eval_count: object = None
    eval_count: object = None
    logprobs: list[TokenLogprob] | None = None
    error: object = None

    def usage(self) -> Usage | None:
        """Returns the counts, which leave out what is 0; None where there are none. Thinking is part of the output."""
        taken, given = believable_count(self.prompt_eval_count), believable_count(self.eval_count)
        if taken is None and given is None:
            return None
        return Usage(input_token_count=taken, output_token_count=given)


_decode_answer = msgspec.json.Decoder(Answer).decode
_decode_text = msgspec.json.Decoder(str).decode


def decode_answer(body: bytes) -> Answer:
    """Returns an answer or a line of one.

    Raises:
        UpstreamError: UPSTREAM_MALFORMED, it cannot be read.
    """
    try:
        return _decode_answer(body)
    except UNREADABLE as refused:
        return decode_again(_decode_answer, body, "answer is not a chat response", refused)


def said(value: object) -> str:
    """Returns what is said; absent is empty.

    Raises:
        UpstreamError: UPSTREAM_MALFORMED, it is no text: to pass over it would lose something of the reply.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise malformed("text is not a string")
    return value


def word(value: object) -> str:
    """Returns a name or an id; empty for what is none."""
    return value if isinstance(value, str) else ""


def arguments_of(function: Function) -> str:
    """Returns the arguments as JSON text, to the letter; some servers that speak like Ollama send them as a string.

    Raises:
        UpstreamError: UPSTREAM_MALFORMED, they are neither an object nor text.
    """
    written = bytes(function.arguments)
    try:
        match written[:1]:
            case b"{":
                return written.decode()
            case b'"':
                return _decode_text(written)
    except UNREADABLE as error:
        raise malformed("arguments of a tool call cannot be read") from error
    if written in (b"", b"null"):
        return ""
    raise malformed("arguments of a tool call are not an object")


def logprobs_of(found: list[TokenLogprob] | None) -> tuple[Logprob, ...]:
    """Translates log probabilities; a server that tells no bytes tells the token's text."""
    return tuple(
        Logprob(
            token.token,
            token.logprob,
            _utf8(token),
            tuple((other.token, other.logprob, _utf8(other)) for other in token.top_logprobs or ()),
        )
        for token in found or ()
    )


def _utf8(token: TokenLogprob | TopLogprob) -> bytes:
    return token.token.encode() if token.bytes is None else bytes(token.bytes)
