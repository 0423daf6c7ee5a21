"""The typed items of a reply. A unary reply is the fold of the same events."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from llmgateway_server.core.messages import Citation, ProviderState
from llmgateway_server.core.money import Cost
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.usage import Usage


class PartKind(StrEnum):
    """What a part of a reply is."""

    TEXT = "TEXT"
    REASONING = "REASONING"
    TOOL_CALL = "TOOL_CALL"
    REFUSAL = "REFUSAL"
    MEDIA = "MEDIA"


class FinishReason(StrEnum):
    """Why an answer ended; UNSPECIFIED where the vendor's word is unknown to us."""

    UNSPECIFIED = "UNSPECIFIED"
    STOP = "STOP"
    LENGTH = "LENGTH"
    TOOL_CALLS = "TOOL_CALLS"
    CONTENT_FILTER = "CONTENT_FILTER"
    REFUSAL = "REFUSAL"
    STOP_SEQUENCE = "STOP_SEQUENCE"
    PAUSE = "PAUSE"
    ERROR = "ERROR"


@dataclass(slots=True)
class Logprob:
    """Log probability of one token, with the likeliest alternatives."""

    token: str
    logprob: float
    utf8: bytes = b""
    top: tuple[tuple[str, float, bytes], ...] = ()


@dataclass(slots=True)
class Started:
    """First event of a reply: who answers."""

    response_id: str
    provider_model: str


@dataclass(slots=True)
class PartStarted:
    """A part begins; indexes run from 0 without gaps, in order of beginning."""

    part_index: int
    kind: PartKind
    tool_call_id: str = ""
    tool_name: str = ""
    mime_type: str = ""
    redacted: bool = False


@dataclass(slots=True)
class TextDelta:
    """More text of a text or refusal part."""

    part_index: int
    text: str
    logprobs: tuple[Logprob, ...] = ()


@dataclass(slots=True)
class ReasoningDelta:
    """More reasoning text."""

    part_index: int
    text: str


@dataclass(slots=True)
class ToolArgumentsDelta:
    """A fragment of a tool call's arguments; only the concatenation is JSON."""

    part_index: int
    arguments_json: str


@dataclass(slots=True)
class MediaDelta:
    """More bytes of a media part."""

    part_index: int
    data: bytes


@dataclass(slots=True)
class PartFinished:
    """A part is complete."""

    part_index: int
    provider_state: ProviderState | None = None
    citations: tuple[Citation, ...] = ()


@dataclass(slots=True)
class UsageSnapshot:
    """Tokens so far; cumulative, the last one counts."""

    usage: Usage


@dataclass(slots=True)
class GuardrailVerdict:
    """What a guardrail found; never the words themselves."""

    check: str
    action: str
    category: str


@dataclass(slots=True)
class TargetSwitched:
    """From here on another target answers, because the one before broke off."""

    reason: Reason
    """Why."""
    provider: str
    vendor: str
    upstream_model: str
    region: str
    attempt: int
    """Number of its attempt."""
    restarted: bool
    """Whether the reply begins afresh: what came before does not count."""


@dataclass(slots=True)
class EmbeddingsProduced:
    """The vectors of an embedding call, in the order of its inputs."""

    vectors: list[list[float]]


@dataclass(slots=True)
class TokensCounted:
    """The result of a token count."""

    input_token_count: int
    method: str
    """`VENDOR`, `TOKENIZER` or `ESTIMATE`."""


@dataclass(slots=True)
class Timings:
    """Durations in seconds on the monotonic clock."""

    total_s: float
    time_to_first_token_s: float | None
    provider_s: float


@dataclass(slots=True)
class Finished:
    """Last event of a reply, exactly once.

    The provider sets the reasons, the meter usage and cost, the recorder the timings.
    """

    finish_reason: FinishReason
    provider_finish_reason: str = ""
    usage: Usage | None = None
    cost: Cost | None = None
    """None when the target has no price."""
    timings: Timings | None = None


Event = (
    Started
    | PartStarted
    | TextDelta
    | ReasoningDelta
    | ToolArgumentsDelta
    | MediaDelta
    | PartFinished
    | UsageSnapshot
    | GuardrailVerdict
    | TargetSwitched
    | EmbeddingsProduced
    | TokensCounted
    | Finished
)

DELTAS = (TextDelta, ReasoningDelta, ToolArgumentsDelta, MediaDelta)
"""What carries content; the first of them is the first token."""
CONTENT = (*DELTAS, EmbeddingsProduced, TokensCounted)
"""What makes a call undeniable: once one of these was delivered, nothing is retried."""


def has_content(events: list[Event]) -> bool:
    """Tells whether any of the events carries content."""
    for event in events:  # noqa: SIM110  # a generator expression costs more than its loop, on every batch
        if isinstance(event, CONTENT):
            return True
    return False
