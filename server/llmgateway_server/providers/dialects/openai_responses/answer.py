"""What Responses answer, as far as it is used; everything else passes by unread. See `openai_responses`.

Vendors that speak like OpenAI fill fields with null, leave them out or give them other types. So a field is read for
what it is expected to be, and anything else counts as absent.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from llmgateway_server.core.events import FinishReason, Logprob
from llmgateway_server.core.messages import Citation
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.counts import believable_count
from llmgateway_server.providers.dialects.dialect import UNREADABLE
from llmgateway_server.providers.dialects.json_body import mending
from llmgateway_server.providers.dialects.problem import Problem

NOTHING = msgspec.Raw()
MAX_INDEX = 2**31


class Response(msgspec.Struct):
    """A response: whole, or as far as an event of a stream knows it."""

    id: object = None
    model: object = None
    status: object = None
    error: msgspec.Raw = NOTHING
    incomplete_details: object = None
    output: list[msgspec.Raw] | None = None
    usage: msgspec.Raw = NOTHING


class Event(msgspec.Struct):
    """An event of a stream: the fields of all kinds that are read."""

    type: object = None
    response: msgspec.Raw = NOTHING
    item: msgspec.Raw = NOTHING
    part: msgspec.Raw = NOTHING
    output_index: object = None
    content_index: object = None
    summary_index: object = None
    delta: object = None
    text: object = None
    refusal: object = None
    arguments: object = None
    annotation: object = None
    logprobs: object = None
    error: msgspec.Raw = NOTHING
    code: object = None
    message: object = None
    param: object = None


class Item(msgspec.Struct):
    """An output item: the fields of those that have parts of their own."""

    type: object = None
    id: object = None
    phase: object = None
    content: msgspec.Raw = NOTHING
    summary: msgspec.Raw = NOTHING
    encrypted_content: object = None
    call_id: object = None
    name: object = None
    arguments: object = None


class Content(msgspec.Struct):
    """A piece of a message or of reasoning."""

    text: object = None
    refusal: object = None
    annotations: object = None
    logprobs: object = None


class InputDetails(msgspec.Struct):
    """Parts of the input's tokens."""

    cached_tokens: object = None
    cache_write_tokens: object = None


class OutputDetails(msgspec.Struct):
    """Parts of the output's tokens."""

    reasoning_tokens: object = None


class ReportedUsage(msgspec.Struct):
    """Tokens as they are reported; null and absent are the same."""

    input_tokens: object = None
    output_tokens: object = None
    input_tokens_details: InputDetails | None = None
    output_tokens_details: OutputDetails | None = None

    def normalised(self) -> Usage:
        """OpenAI's totals are inclusive already. Its cache has one rate for writes, which is that of the short ones."""
        taken = self.input_tokens_details or InputDetails()
        given = self.output_tokens_details or OutputDetails()
        return Usage(
            input_token_count=believable_count(self.input_tokens),
            output_token_count=believable_count(self.output_tokens),
            cache_read_token_count=believable_count(taken.cached_tokens),
            cache_write_5m_token_count=believable_count(taken.cache_write_tokens),
            reasoning_token_count=believable_count(given.reasoning_tokens),
        )


class TokenCount(msgspec.Struct):
    """The answer to a token count."""

    input_tokens: object = None
    error: msgspec.Raw = NOTHING


Octets = list[Annotated[int, msgspec.Meta(ge=0, le=255)]]


class TopToken(msgspec.Struct):
    """A token that might have been; streams leave its bytes out."""

    token: str | None = None
    logprob: float | None = None
    bytes: Octets | None = None


class Token(msgspec.Struct):
    """A token that was chosen."""

    token: str
    logprob: float
    bytes: Octets | None = None
    top_logprobs: list[TopToken] | None = None


decode_response = mending(msgspec.json.Decoder(type=Response | None).decode)
decode_event = msgspec.json.Decoder(Event).decode
decode_item = mending(msgspec.json.Decoder(Item).decode)
decode_content = mending(msgspec.json.Decoder(Content).decode)
decode_count = msgspec.json.Decoder(TokenCount).decode
_decode_contents = mending(msgspec.json.Decoder(list[Content] | None).decode)
_decode_usage = msgspec.json.Decoder(ReportedUsage | None).decode
_decode_problem = msgspec.json.Decoder(type=Problem | None).decode


def text_of(value: object) -> str:
    """Returns a text; whatever is none is empty."""
    return value if isinstance(value, str) else ""


def index_of(value: object) -> int | None:
    """Returns an index of an item, of a piece or of a character."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_INDEX:
        return value
    return None


def contents_of(contents: msgspec.Raw) -> list[Content]:
    """Returns the pieces of a message or of reasoning.

    Raises:
        ValueError: they are no list of objects.
    """
    return _decode_contents(contents) or [] if contents else []


def problem_of(error: msgspec.Raw) -> Problem | None:
    """Returns an error object; one that cannot be read is an error still."""
    if not error:
        return None
    try:
        problem: Problem | None = _decode_problem(error)
    except UNREADABLE:
        return Problem()
    return problem


def usage_of(answer: Response) -> Usage | None:
    """Returns the tokens that a response took, where it tells them."""
    try:
        reported = _decode_usage(answer.usage) if answer.usage else None
    except UNREADABLE:
        return None
    return reported.normalised() if reported else None


FINISH_REASONS = {
    "completed": FinishReason.STOP,
    "max_output_tokens": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}
"""By the reason why a response is incomplete, else by its status."""


def finish_of(answer: Response, status: str) -> tuple[FinishReason, str]:
    """Returns why a response ended, and the vendor's own word for it."""
    details = answer.incomplete_details
    why = text_of(details.get("reason")) if isinstance(details, dict) else ""
    native = why or status
    return FINISH_REASONS.get(native, FinishReason.UNSPECIFIED), native


CITED = {
    "url_citation": ("title", "url", "start_index", "end_index"),
    "file_citation": ("filename", "", "index", "index"),
    "container_file_citation": ("filename", "", "start_index", "end_index"),
    "file_path": ("file_id", "", "", ""),
}
"""By the type of an annotation: where it has the title, the address and the stretch of a citation."""


def citations_of(annotations: object) -> tuple[Citation, ...]:
    """Translates the annotations that are citations."""
    found = annotations if isinstance(annotations, list) else ()
    return tuple(
        Citation(
            text_of(each.get(fields[0])),
            text_of(each.get(fields[1])),
            "",
            index_of(each.get(fields[2])),
            index_of(each.get(fields[3])),
        )
        for each in found
        if isinstance(each, dict) and (fields := CITED.get(text_of(each.get("type"))))
    )


def logprobs_of(found: object) -> tuple[Logprob, ...]:
    """Translates log probabilities.

    Raises:
        ValueError: there are some, and they cannot be read.
    """
    if not isinstance(found, list) or not found:
        return ()
    return tuple(
        Logprob(
            token.token,
            token.logprob,
            bytes(token.bytes or ()),
            tuple(
                (other.token, other.logprob, bytes(other.bytes or ()))
                for other in token.top_logprobs or ()
                if other.token is not None and other.logprob is not None
            ),
        )
        for token in msgspec.convert(found, list[Token])
    )
