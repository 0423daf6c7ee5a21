"""Where a call can go: targets, and the models that stand for them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from llmgateway_server.core.money import Price
from llmgateway_server.core.requests import Operation


class ModelStatus(StrEnum):
    """Whether a model can be called."""

    READY = "READY"
    NOT_READY = "NOT_READY"
    DEPRECATED = "DEPRECATED"


@dataclass(slots=True, frozen=True)
class Target:
    """One deployment that can serve a model: provider account × upstream model."""

    provider: str
    vendor: str
    upstream_model: str
    region: str = ""
    price: Price | None = None
    """None: the cost of its replies is unknown."""

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
    aliases: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Candidate:
    """One target of a plan and why it stands where it does."""

    target: Target
    eligible: bool
    reason: str


@dataclass(slots=True, frozen=True)
class Plan:
    """The ordered targets of one call, with those left out at the end."""

    model: Model
    reason: str
    candidates: tuple[Candidate, ...]

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets that may be tried, in order."""
        return tuple(candidate.target for candidate in self.candidates if candidate.eligible)
