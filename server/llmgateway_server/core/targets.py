"""Where a call can go: targets, and the models that stand for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from llmgateway_server.core.money import Price
from llmgateway_server.core.requests import Operation


class ModelStatus(StrEnum):
    """Whether a model can be called."""

    READY = "READY"
    NOT_READY = "NOT_READY"
    DEPRECATED = "DEPRECATED"


class InferenceType(StrEnum):
    """How a provider runs a model."""

    ON_DEMAND = "ON_DEMAND"
    """By use."""
    PROVISIONED = "PROVISIONED"
    """By reserved capacity."""


class Capability(StrEnum):
    """Something that a model can do; what each means stands beside `Capability` in `routing.proto`."""

    STREAMING = "STREAMING"
    TOOLS = "TOOLS"
    PARALLEL_TOOLS = "PARALLEL_TOOLS"
    VISION = "VISION"
    AUDIO_INPUT = "AUDIO_INPUT"
    DOCUMENT_INPUT = "DOCUMENT_INPUT"
    JSON_OBJECT = "JSON_OBJECT"
    JSON_SCHEMA = "JSON_SCHEMA"
    REASONING = "REASONING"
    CODING = "CODING"
    PROMPT_CACHE = "PROMPT_CACHE"
    EMBEDDING = "EMBEDDING"
    IMAGE_GENERATION = "IMAGE_GENERATION"


class ReasoningStyle(StrEnum):
    """How a model is told how much to reason."""

    UNKNOWN = "UNKNOWN"
    """Whatever is asked is passed on; the vendor judges it."""
    NONE = "NONE"
    """It does not reason."""
    EFFORT = "EFFORT"
    """By a named effort."""
    BUDGET = "BUDGET"
    """By a number of tokens."""
    ADAPTIVE = "ADAPTIVE"
    """It decides by itself, guided by a named effort."""


@dataclass(slots=True, frozen=True)
class Profile:
    """What an upstream model can do, as far as it is known: data, from `providers.profiles` or the configuration."""

    capabilities: frozenset[str] = frozenset()
    """Names of the contract's `Capability` without its prefix."""
    context_token_count: int | None = None
    max_output_token_count: int | None = None
    reasoning: ReasoningStyle = ReasoningStyle.UNKNOWN
    top_effort: str = ""
    """The vendor's word for as much reasoning as this model offers; empty for the dialect's own."""
    native_json_schema: bool = True
    """Follows a JSON schema by itself; otherwise structured output is asked for by a forced tool."""
    tokenizer: str = ""
    """Name of the tokenizer that counts its text exactly (`o200k_base`, `cl100k_base`); empty where none is known."""
    tier: str = ""
    """`BASIC`, `STANDARD`, `PREMIUM` or empty."""
    status: ModelStatus = ModelStatus.READY
    status_reason: str = ""
    """Why it is not READY, and what replaces it."""
    dialect: str = ""
    """The only wire format that serves it, by name; empty for the vendor's own choice."""
    tools_dialect: str = ""
    """The wire format for requests with tools, where the usual one refuses those of this model; empty: the usual."""
    operations: frozenset[Operation] = frozenset(Operation)
    """What it can be asked for, as far as it is known; its provider may do less."""


NO_PROFILE = Profile()


@dataclass(slots=True, frozen=True)
class Target:
    """One deployment that can serve a model: provider account × upstream model."""

    provider: str
    vendor: str
    upstream_model: str
    region: str = ""
    price: Price | None = None
    """None: the cost of its replies is unknown."""
    profile: Profile = NO_PROFILE
    dialect: str = ""
    """The wire format to speak with it, by name; empty for the vendor's own choice."""
    weight: float = 1.0
    """Its share of the calls where they are shared out, above 0; 2 gets twice as many as 1 (docs/routing.md)."""
    priority: int = 0
    """0 is tried first; equal ones stand in the configured order."""
    tags: frozenset[str] = frozenset()
    """Words that a call can ask for; it is served only by targets that carry all of its words."""
    enabled: bool = True
    """False: it is never tried."""
    quality_score: float | None = None
    """How good its answers are, 0 to 1. None: by its tier (docs/routing.md)."""

    def __str__(self) -> str:
        return f"{self.provider}/{self.upstream_model}"


@dataclass(slots=True, frozen=True)
class Model:
    """A public name and what stands behind it."""

    name: str
    targets: tuple[Target, ...]
    operations: frozenset[Operation] = frozenset({Operation.COMPLETE, Operation.COUNT_TOKENS})
    capabilities: frozenset[str] = frozenset()
    """Names of the contract's `Capability` without its prefix."""
    context_token_count: int | None = None
    max_output_token_count: int | None = None
    tier: str = ""
    """`BASIC`, `STANDARD`, `PREMIUM` or empty."""
    status: ModelStatus = ModelStatus.READY
    status_reason: str = ""
    """Why it is not READY, and what replaces it."""
    inference_type: InferenceType = InferenceType.ON_DEMAND
    aliases: tuple[str, ...] = ()
    strategy: str = ""
    """How its targets are ordered, by the name of `routing.strategies.names`; empty: as the gateway is set."""


@dataclass(slots=True, frozen=True)
class Candidate:
    """One target of a plan and why it stands where it does."""

    target: Target
    eligible: bool
    reason: str


@dataclass(slots=True, frozen=True)
class Plan:
    """The ordered targets of one call.

    Attributes:
        model: that they stand for.
        strategy: by which they were ordered.
        targets: that may be tried, in order; at least one.
        told: yields all of them with their reasons, those left out at the end; the texts are written when asked for.
    """

    model: Model
    strategy: str
    targets: tuple[Target, ...]
    told: Callable[[], Iterator[Candidate]]
    lasting: bool = False
    """Whether the same plan is given to many calls, so that what is made of it can be kept."""
