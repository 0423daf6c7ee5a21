"""What a caller asks for: one request type per operation, free of any wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from llmgateway_server.core.messages import Message


class Operation(StrEnum):
    """What a call asks for. All operations take the same path."""

    COMPLETE = "complete"
    EMBED = "embed"
    COUNT_TOKENS = "count_tokens"


class ToolChoiceMode(StrEnum):
    """How free the model is in calling tools."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"


class MidStreamPolicy(StrEnum):
    """What happens when a stream breaks after its first token."""

    FAIL = "FAIL"
    CONTINUE = "CONTINUE"
    RESTART = "RESTART"


@dataclass(slots=True)
class Tool:
    """A tool that the model may call; the schema is JSON text of an object."""

    name: str
    description: str = ""
    parameters_json_schema: str = ""
    strict: bool | None = None
    cache_breakpoint: bool = False


@dataclass(slots=True)
class ToolChoice:
    """Which tools may or must be called; `name` goes with NAMED alone."""

    mode: ToolChoiceMode
    name: str = ""


class FormatKind(StrEnum):
    """The form of an answer's text."""

    TEXT = "text"
    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"


@dataclass(slots=True)
class ResponseFormat:
    """The form of the answer; the schema fields go with JSON_SCHEMA alone."""

    kind: FormatKind
    name: str = ""
    description: str = ""
    schema_json: str = ""
    strict: bool | None = None


@dataclass(slots=True)
class ReasoningOptions:
    """How much the model reasons; None everywhere means the vendor's default."""

    effort: str | None = None
    """`none`, `minimal`, `low`, `medium`, `high` or `max`."""
    budget_token_count: int | None = None
    include_text: bool | None = None


@dataclass(slots=True, frozen=True)
class HedgePolicy:
    """A second attempt beside a slow first one."""

    delay_s: float | None = None
    """None: what the target's first token usually takes at the 95th percentile."""
    max_extra_cost_nano_usd: int | None = None
    """Most that the second attempt may cost; None: no cap of its own."""


@dataclass(slots=True, frozen=True)
class RoutingOptions:
    """The caller's wishes about the target."""

    strategy: str = ""
    """By the name of `routing.strategies.names`; empty: the operator's."""
    preferred_providers: tuple[str, ...] = ()
    excluded_providers: tuple[str, ...] = ()
    required_capabilities: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    session_affinity_key: str = ""
    fallback_enabled: bool = True
    max_attempts: int | None = None
    hedge: HedgePolicy | None = None
    mid_stream_policy: MidStreamPolicy = MidStreamPolicy.FAIL


NO_WISHES = RoutingOptions()


@dataclass(slots=True)
class CallMetadata:
    """Who and what a call is for."""

    user: str = ""
    project: str = ""
    feature: str = ""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class CompleteRequest:
    """A request for one completion; the meaning of each field stands in `completion.proto`."""

    model: str
    messages: list[Message]
    tools: list[Tool] = field(default_factory=list)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_output_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    reasoning: ReasoningOptions | None = None
    logprobs_top_count: int | None = None
    """None: no log probabilities; 0: of the chosen tokens only."""
    service_tier: str = ""
    end_user_id: str = ""
    provider_options: dict[str, Any] = field(default_factory=dict)
    """Per dialect, the options that the caller set by name."""
    routing: RoutingOptions = NO_WISHES
    metadata: CallMetadata = field(default_factory=CallMetadata)
    drop_unsupported: bool = False
    """Drop what the dialect cannot express, with a notice, instead of refusing."""
    max_delta_delay_s: float = 0.0
    input_byte_count: int = 0
    """UTF-8 bytes of all text that the model will read, for estimates."""


@dataclass(slots=True)
class EmbedRequest:
    """A request for embeddings of texts."""

    model: str
    inputs: list[str]
    dimensions: int | None = None
    purpose: str = ""
    end_user_id: str = ""
    routing: RoutingOptions = NO_WISHES
    metadata: CallMetadata = field(default_factory=CallMetadata)
    input_byte_count: int = 0


@dataclass(slots=True)
class CountTokensRequest:
    """A question how many input tokens a completion would take."""

    completion: CompleteRequest

    @property
    def model(self) -> str:
        """The model of the completion."""
        return self.completion.model

    @property
    def routing(self) -> RoutingOptions:
        """The wishes about the target of the completion."""
        return self.completion.routing

    @property
    def metadata(self) -> CallMetadata:
        """The metadata of the completion."""
        return self.completion.metadata

    @property
    def input_byte_count(self) -> int:
        """The bytes of the completion's text."""
        return self.completion.input_byte_count


Request = CompleteRequest | EmbedRequest | CountTokensRequest
