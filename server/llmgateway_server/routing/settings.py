"""What can be set about the choice of targets."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmgateway_server.routing.strategies.names import Strategy


class RoutingSettings(BaseModel):
    """How the targets of a model are ordered (docs/routing.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: Strategy = Strategy.PRIORITY
    """For models that name none. A call may name another."""
    simple_up_to: float = Field(default=0.3, ge=0, le=1)
    """Requests of this complexity or less suit every tier; 1: all do."""
    medium_up_to: float = Field(default=0.6, ge=0, le=1)
    """Requests of this complexity or less suit the tier `STANDARD`; more complex ones want `PREMIUM`."""
    expected_output_tokens: int = Field(default=512, ge=1, le=1_000_000)
    """How long an answer is taken to be in advance; a call's smaller `max_output_tokens` counts instead."""
    half_life_s: float = Field(default=60.0, gt=0, le=86_400)
    """After this many seconds what was learned of a target counts half."""
    slow_first_token_s: float = Field(default=10.0, gt=0, le=3600)
    """A target whose first token takes longer than this loses health in proportion."""
    affinity_slack: float = Field(default=0.25, ge=0, le=10)
    """How much worse than the best a target may be to keep a conversation; 0.25: a quarter."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.simple_up_to > self.medium_up_to:
            raise ValueError("simple_up_to must not be above medium_up_to")
        return self
