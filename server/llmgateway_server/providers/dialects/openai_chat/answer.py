"""What chat completions answer, as far as it is used; everything else passes by unread. See `openai_chat`.

What is made once per token is not watched by the garbage collector (`gc=False`): JSON has no cycles.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from llmgateway_server.core.events import Logprob
from llmgateway_server.core.messages import Citation
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.counts import believable_count


class Function(msgspec.Struct):
    """What is called, or a piece of its arguments: JSON as text, or an object where a vendor made no text of it."""

    name: str | None = None
    arguments: object = None

    @property
    def arguments_json(self) -> str:
        """The arguments as text; empty where there are none."""
        if isinstance(self.arguments, str):
            return self.arguments
        return "" if self.arguments is None else msgspec.json.encode(self.arguments).decode()


class ToolCall(msgspec.Struct):
    """A call, or a piece of one; only streams have the index."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class UrlCitation(msgspec.Struct):
    """A page that a stretch of the text rests on."""

    title: str | None = None
    url: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class Annotation(msgspec.Struct):
    """What stands beside a text; only citations are read."""

    url_citation: UrlCitation | None = None


class Piece(msgspec.Struct):
    """A piece of a content that is a list: a text, or thoughts (a text or again a list); others hold neither.

    Source: https://docs.mistral.ai/capabilities/reasoning
    """

    text: str | None = None
    thinking: str | list[Piece] | None = None


class Said(msgspec.Struct, gc=False):
    """A message, or the part of it that a chunk brings; `function_call` is what tool calls were called before."""

    content: str | list[Piece] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: object = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None
    annotations: list[Annotation] | None = None


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


class Choice(msgspec.Struct, gc=False):
    """One answer: streams bring `delta`, the others `message`, a filtered answer neither.

    Together writes one number as `logprobs`, which says of no token that it is its own.
    """

    index: int | None = None
    delta: Said | None = None
    message: Said | None = None
    finish_reason: str | int | None = None
    logprobs: Logprobs | float | None = None
    error: object = None


class InputDetails(msgspec.Struct):
    """Parts of the prompt's tokens."""

    cached_tokens: object = None
    cache_write_tokens: object = None
    audio_tokens: object = None
    image_tokens: object = None


class OutputDetails(msgspec.Struct):
    """Parts of the completion's tokens."""

    reasoning_tokens: object = None
    audio_tokens: object = None
    accepted_prediction_tokens: object = None
    rejected_prediction_tokens: object = None


class ReportedUsage(msgspec.Struct):
    """Tokens as they are reported; null and absent are the same."""

    prompt_tokens: object = None
    completion_tokens: object = None
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    prompt_cache_hit_tokens: object = None
    """DeepSeek's name for tokens from its cache: https://api-docs.deepseek.com/guides/kv_cache"""

    def normalised(self) -> Usage:
        """OpenAI's totals are inclusive already; reasoning is part of the completion."""
        taken = self.prompt_tokens_details or InputDetails()
        given = self.completion_tokens_details or OutputDetails()
        cached = self.prompt_cache_hit_tokens if taken.cached_tokens is None else taken.cached_tokens
        return Usage(
            input_token_count=believable_count(self.prompt_tokens),
            output_token_count=believable_count(self.completion_tokens),
            cache_read_token_count=believable_count(cached),
            cache_write_5m_token_count=believable_count(taken.cache_write_tokens),
            input_audio_token_count=believable_count(taken.audio_tokens),
            input_image_token_count=believable_count(taken.image_tokens),
            reasoning_token_count=believable_count(given.reasoning_tokens),
            output_audio_token_count=believable_count(given.audio_tokens),
            accepted_prediction_token_count=believable_count(given.accepted_prediction_tokens),
            rejected_prediction_token_count=believable_count(given.rejected_prediction_tokens),
        )


class OfGroq(msgspec.Struct):
    """What Groq says beside a completion: the usage of a stream, where it was not asked for in OpenAI's way."""

    usage: ReportedUsage | None = None


class Answer(msgspec.Struct, gc=False):
    """A chat completion, a chunk of one, or an error."""

    id: str | int | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: ReportedUsage | None = None
    error: object = None
    x_groq: OfGroq | None = None
    citations: object = None
    """Addresses of what an answer rests on; its text refers to them as `[1]` and so on."""
    search_results: object = None
    """The same pages with their titles, in the same order: https://docs.perplexity.ai"""

    @property
    def told_usage(self) -> ReportedUsage | None:
        """The usage, wherever it stands."""
        return self.usage if self.usage is not None or self.x_groq is None else self.x_groq.usage


decode_answer = msgspec.json.Decoder(Answer).decode


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


def citations_of(found: list[Annotation]) -> tuple[Citation, ...]:
    """Translates the annotations that are citations."""
    cited = (each.url_citation for each in found if each.url_citation is not None)
    return tuple(Citation(each.title or "", each.url or "", "", each.start_index, each.end_index) for each in cited)


def pages_of(answer: Answer) -> tuple[Citation, ...]:
    """Translates the pages that the whole text rests on; no stretch of it is named."""
    found = answer.search_results or answer.citations
    pages = [each if isinstance(each, dict) else {"url": each} for each in (found if isinstance(found, list) else ())]
    return tuple(
        Citation(title if isinstance(title := page.get("title"), str) else "", page["url"])
        for page in pages
        if isinstance(page.get("url"), str)
    )
