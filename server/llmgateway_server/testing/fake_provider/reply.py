"""What a fake provider says, in no vendor's words: replies and failures as plain data.

A format plays of it what its vendor can express; `features.PLAYS` is the table.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from llmgateway_server.core.events import Logprob

Format = Literal[
    "openai_chat",
    "openai_responses",
    "anthropic_messages",
    "bedrock_converse",
    "bedrock_llama",
    "bedrock_text",
    "anthropic_on_bedrock",
    "anthropic_on_vertex",
    "ollama_chat",
    "cohere_chat",
    "gemini",
]
"""A vendor's way to write a reply."""

Finish = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "stop_sequence", "pause"]
"""Why a reply ends. Where a vendor has no word for one, it says the nearest, mostly that the reply stopped."""

CREATED_AT_S = 1_760_000_000
"""The default time of a reply, in seconds since 1970: the same script gives the same bytes."""


@dataclass(slots=True, frozen=True)
class FakeCitation:
    """A source of a text.

    With `uri` it is a web page: Anthropic writes a `web_search_result_location`, OpenAI a `url_citation`. Without, it
    is a document of the request: Anthropic writes a `char_location`, OpenAI has no such thing and leaves it out.
    """

    title: str
    uri: str = ""
    cited_text: str = ""
    """What the source says; Anthropic only."""
    start_index: int = 0
    """First code point: in the reply's text for a page, in the document for a document."""
    end_index: int = 0
    """One past the last code point, counted like `start_index`."""


@dataclass(slots=True, frozen=True)
class FakeText:
    """Text of the answer.

    Raises:
        ValueError: the tokens of `logprobs` do not add up to `text`.
    """

    text: str
    citations: tuple[FakeCitation, ...] = ()
    logprobs: tuple[Logprob, ...] = ()
    """All tokens of the text with their UTF-8; a stream then has one delta per token. Sent to those who ask."""

    def __post_init__(self) -> None:
        if self.logprobs and b"".join(token.utf8 for token in self.logprobs) != self.text.encode():
            raise ValueError("the tokens of logprobs do not add up to the text")


@dataclass(slots=True, frozen=True)
class FakeReasoning:
    """Thoughts before the answer. With `redacted_data` the vendor keeps the text to itself."""

    text: str = ""
    signature: str = ""
    """What proves the origin when it comes back; made from the text where it is empty."""
    redacted_data: str = ""
    plan: bool = False
    """Whether it is a plan for the tools, for which Cohere has a field of its own; to others it is as any thought."""

    @property
    def seal(self) -> str:
        """The signature as it is sent: Anthropic's `signature`, OpenAI's `encrypted_content`."""
        return self.signature or base64.b64encode(hashlib.sha256(self.text.encode()).digest()).decode()


@dataclass(slots=True, frozen=True)
class FakeToolCall:
    """A call of a tool of the request."""

    id: str
    name: str
    arguments_json: str = "{}"
    """A JSON object. Half of one is what a reply that finishes with `length` may end in."""


@dataclass(slots=True, frozen=True)
class FakeRefusal:
    """The model declines. OpenAI has a part for it; Anthropic explains its stop reason with the text."""

    text: str


@dataclass(slots=True, frozen=True)
class FakeSearchResult:
    """A page that a search found."""

    title: str
    url: str
    encrypted_content: str = "fake-page"
    page_age: str | None = None


@dataclass(slots=True, frozen=True)
class FakeServerTool:
    """A web search that the vendor ran by itself, with what it found."""

    id: str
    query: str
    results: tuple[FakeSearchResult, ...] = ()
    error_code: str = ""
    """Anthropic's reason why there are no results, for example `max_uses_exceeded`; Responses say `failed`."""


FakePart = FakeText | FakeReasoning | FakeToolCall | FakeRefusal | FakeServerTool


@dataclass(slots=True, frozen=True)
class FakeUsage:
    """Tokens of a reply: two inclusive totals, everything else is a part of one of them.

    Raises:
        ValueError: the parts are more than their total.
    """

    input_tokens: int = 10
    output_tokens: int = 5
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    """OpenAI has one figure for writes, which gets the sum of both lifetimes."""
    reasoning_tokens: int | None = None
    """None: Anthropic leaves the detail out, OpenAI says 0."""
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0

    def __post_init__(self) -> None:
        spoken = (self.reasoning_tokens or 0) + self.output_audio_tokens + self.accepted_prediction_tokens
        if self.cached_tokens + self.input_audio_tokens > self.input_tokens:
            raise ValueError("the parts of input_tokens are more than their total")
        if spoken + self.rejected_prediction_tokens > self.output_tokens:
            raise ValueError("the parts of output_tokens are more than their total")

    @property
    def cache_write_tokens(self) -> int:
        """Tokens written into a cache, of any lifetime."""
        return self.cache_write_5m_tokens + self.cache_write_1h_tokens

    @property
    def cached_tokens(self) -> int:
        """Input that was read from a cache or written into one."""
        return self.cache_read_tokens + self.cache_write_tokens


@dataclass(slots=True, frozen=True)
class FakeReply:
    """A whole reply. `FakeReply.of("Hello")` is the short way to one.

    Raises:
        ValueError: `delta_chars` is less than 1.
    """

    parts: tuple[FakePart, ...] = (FakeText("Hello from the fake provider."),)
    finish: Finish | None = None
    """None: what follows from the parts: `tool_calls`, `refusal` or `stop`."""
    stop_sequence: str | None = None
    """The sequence that was hit, with the finish `stop_sequence`; Anthropic names it."""
    usage: FakeUsage = field(default_factory=FakeUsage)
    model: str = ""
    """Empty: the name that the request has."""
    response_id: str = ""
    """Empty: made up; a `FakeProvider` counts."""
    service_tier: str = ""
    """Empty: `default` of OpenAI, `standard` of Anthropic."""
    created_at_s: int = CREATED_AT_S
    delta_chars: int = 5
    """Code points per delta of a stream."""

    def __post_init__(self) -> None:
        if self.delta_chars < 1:
            raise ValueError("delta_chars is less than 1")

    @classmethod
    def of(cls, *parts: FakePart | str, finish: Finish | None = None, usage: FakeUsage | None = None) -> Self:
        """Returns a reply of parts, where a string is a text."""
        made = tuple(FakeText(part) if isinstance(part, str) else part for part in parts)
        return cls(parts=made, finish=finish, usage=usage or FakeUsage())

    @property
    def ends(self) -> Finish:
        """The finish, also where it was left to the parts."""
        if self.finish is not None:
            return self.finish
        if any(isinstance(part, FakeToolCall) for part in self.parts):
            return "tool_calls"
        return "refusal" if any(isinstance(part, FakeRefusal) for part in self.parts) else "stop"


@dataclass(slots=True, frozen=True)
class FakeError:
    """A failure in the vendor's shape: an HTTP status, or an error inside a stream that began well.

    What is left empty follows from the status, see `errors.DEFAULTS`.
    """

    status: int = 500
    type: str = ""
    code: str | None = None
    """OpenAI only; Anthropic has no codes."""
    message: str = ""
    param: str | None = None
    """OpenAI only: the field at fault."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """More headers of the answer, for example `retry-after`."""
    in_stream_after: int | None = None
    """Frames of `reply` that a stream sends before the error; None, and unary calls always: an HTTP status."""
    reply: FakeReply = field(default_factory=FakeReply)
    """What was being said when it failed."""
    responses_form: Literal["error+failed", "failed", "error"] = "error+failed"
    """How a stream of Responses fails: with an `error` event and `response.failed`, as it is recorded; with
    `response.failed` alone; or with the flat `error` event of the reference."""
