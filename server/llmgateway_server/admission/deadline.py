"""The time budget of a call: the caller's deadline, or the server's default."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from llmgateway_server.core.calls import Deadline
from llmgateway_server.core.errors import CallEndedError
from llmgateway_server.core.reasons import Reason


class DeadlineSettings(BaseModel):
    """Time budgets in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unary_default_s: float = Field(default=120.0, gt=0)
    """For a unary call without a deadline."""
    stream_default_s: float = Field(default=600.0, gt=0)
    """For a stream without a deadline."""
    max_s: float = Field(default=600.0, gt=0)
    """Longest budget, whatever the caller asks for."""
    min_s: float = Field(default=0.02, ge=0)
    """A call with less than this left is refused before anything is spent."""


def deadline_for(settings: DeadlineSettings, *, now_s: float, remaining_s: float | None, streaming: bool) -> Deadline:
    """Returns the deadline of a call.

    Args:
        now_s: monotonic time.
        remaining_s: what the caller leaves; None when it set no deadline.

    Raises:
        CallEndedError: DEADLINE_EXCEEDED, too little time is left.
    """
    if remaining_s is None:
        default_s = settings.stream_default_s if streaming else settings.unary_default_s
        return Deadline(now_s + min(default_s, settings.max_s), from_client=False)
    if remaining_s < settings.min_s:
        raise CallEndedError(Reason.DEADLINE_EXCEEDED)
    if remaining_s > settings.max_s:
        return Deadline(now_s + settings.max_s, from_client=False)
    return Deadline(now_s + remaining_s, from_client=True)
