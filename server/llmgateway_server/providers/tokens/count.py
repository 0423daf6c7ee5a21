"""Counts the input tokens of a completion without asking its provider.

| what is asked of which model | how | method |
| --- | --- | --- |
| text alone, of an OpenAI chat model whose frame is known | tokenizer | TOKENIZER |
| of an OpenAI model: tools, media, reasoning, a response format, or an unknown frame | tokenizer | ESTIMATE |
| any other model; no tokenizer installed; more than `MAX_TOKENIZED_LENGTH` | `estimate` | ESTIMATE |

TOKENIZER is the figure that the vendor itself reports.

`docs/token-counting.md` has the errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from llmgateway_server.core.messages import Content, MediaPart, ToolCallPart, ToolResultPart
from llmgateway_server.core.requests import CompleteRequest
from llmgateway_server.core.targets import Target
from llmgateway_server.providers.tokens.encodings import beside_the_loop, encoding_of
from llmgateway_server.providers.tokens.estimate import Family, estimate_text, family_of
from llmgateway_server.providers.tokens.layout import Layout, lay_out
from llmgateway_server.providers.tokens.tokenizer import count_text

if TYPE_CHECKING:
    from tiktoken import Encoding

MAX_TOKENIZED_LENGTH: Final = 4 * 1024 * 1024
"""Characters of one request that are tokenized, a million tokens of English; more are estimated, so that a count takes
two seconds at most."""
MAX_INLINE_SIZE: Final = 4_096
"""Characters and bytes that are counted on the event loop: less than a millisecond."""


class Method(StrEnum):
    """How tokens were counted; the contract's names."""

    TOKENIZER = "TOKENIZER"
    """The model's tokenizer, and nothing in the request whose rendering is not known."""
    ESTIMATE = "ESTIMATE"


@dataclass(slots=True, frozen=True)
class Counted:
    """Input tokens of a request."""

    input_token_count: int
    """The whole prompt with what the vendor puts around messages and tools; at least 1."""
    method: Method


async def count_input(request: CompleteRequest, target: Target) -> Counted:
    """Counts the input tokens that a completion by a target would take.

    Large requests are counted beside the event loop. Cancelling is safe at any time. Raises nothing of its own.

    Args:
        request: of any size; addresses of media are not fetched.
        target: its profile names the tokenizer, its upstream model decides what stands around messages.
    """
    encoding = await encoding_of(target.profile.tokenizer)
    if _size(request) <= MAX_INLINE_SIZE:
        return _count(request, target, encoding)
    return await beside_the_loop(_count, request, target, encoding)


def _count(request: CompleteRequest, target: Target, encoding: Encoding | None) -> Counted:
    family = family_of(target)
    layout = lay_out(request, family, target.upstream_model)
    if encoding is None or sum(map(len, layout.texts)) > MAX_TOKENIZED_LENGTH:
        return _estimated(layout, family)
    counts = [count_text(encoding, text) for text in layout.texts]
    exact = layout.exact and all(count.exact for count in counts)
    total = layout.token_count + sum(count.token_count for count in counts)
    return Counted(max(1, total), Method.TOKENIZER if exact else Method.ESTIMATE)


def _estimated(layout: Layout, family: Family) -> Counted:
    total = layout.token_count + sum(estimate_text(text, family) for text in layout.texts)
    return Counted(max(1, total), Method.ESTIMATE)


def _size(request: CompleteRequest) -> int:
    """Returns how much there is to look at: characters of text, bytes of media."""
    said = sum(_content_size(part.content) for message in request.messages for part in message.parts)
    offered = sum(len(tool.description) + len(tool.parameters_json_schema) for tool in request.tools)
    wanted = len(request.response_format.schema_json) if request.response_format else 0
    return said + offered + wanted + sum(len(message.name) for message in request.messages)


def _content_size(content: Content) -> int:
    match content:
        case ToolCallPart(arguments_json=arguments):
            return len(arguments)
        case ToolResultPart(content=pieces):
            return sum(map(_content_size, pieces))
        case MediaPart(data=data):
            return len(data or b"")
    return len(content.text)
