"""A call and its attempts: the state that the stages share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from llmgateway_server.core.money import Cost
from llmgateway_server.core.principal import NOBODY, Principal
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import Operation, Request
from llmgateway_server.core.targets import Model, Plan, Target
from llmgateway_server.core.usage import Usage, UsageSource


class Outcome(StrEnum):
    """How a call or an attempt ended. Cancelled is neither success nor failure; shed was never begun."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SHED = "shed"
    CANCELLED = "cancelled"


class Charge(StrEnum):
    """What an attempt is charged on (docs/reliability.md)."""

    NONE = "C0"
    """Nothing."""
    INPUT = "CI"
    """The input estimate: it was sent, nothing was delivered."""
    DELIVERED = "CP"
    """Input and the output that was delivered, counted by us."""
    REPORTED = "CU"
    """What the provider reported."""


@dataclass(slots=True, frozen=True)
class Deadline:
    """The instant at which a call must be over; it only shrinks.

    Attributes:
        at_s: on the monotonic clock.
        from_client: whether the caller set it; only then its end is DEADLINE_EXCEEDED.
    """

    at_s: float
    from_client: bool

    def remaining_s(self, now_s: float) -> float:
        """Returns seconds left, never below zero."""
        return max(0.0, self.at_s - now_s)


class NoticeCode(StrEnum):
    """Kinds of notices, as in `reply.proto`."""

    OPTION_DROPPED = "OPTION_DROPPED"
    UNKNOWN_FIELDS = "UNKNOWN_FIELDS"
    UNPRICED = "UNPRICED"
    USAGE_ESTIMATED = "USAGE_ESTIMATED"
    MODEL_DEPRECATED = "MODEL_DEPRECATED"
    PROVIDER_STATE_DROPPED = "PROVIDER_STATE_DROPPED"


@dataclass(slots=True, frozen=True)
class Notice:
    """Something that the caller should know."""

    code: NoticeCode
    subject: str
    message: str


@dataclass(slots=True)
class AttemptRecord:
    """What became of one try; filled by the meter, written once to log and statistics."""

    number: int
    target: Target
    outcome: Outcome | None = None
    """None while it runs."""
    reason: Reason | None = None
    http_status: int | None = None
    charge: Charge = Charge.NONE
    usage: Usage | None = None
    cost: Cost | None = None
    latency_s: float = 0.0
    time_to_first_token_s: float | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    key_id: str = ""
    """Which of the account's keys was used, by its place in the configuration; never the key."""
    max_output_tokens: int | None = None
    """Cap on output tokens that was sent although the caller set none, because the vendor demands one."""

    @property
    def usage_source(self) -> UsageSource | None:
        """Whether the usage was reported or estimated."""
        return self.usage.source if self.usage else None


@dataclass(slots=True)
class Trace:
    """The trace that a call belongs to: lower-case hexadecimal W3C ids."""

    trace_id: str
    span_id: str


@dataclass(slots=True)
class CallScope:
    """What the call ring knows before the message is decoded. The ring fills it, outermost step first."""

    call_id: str
    method: str
    """`/package.Service/Method` exactly as dispatched."""
    peer: str
    """Address of the other side without its port."""
    metadata: dict[str, str]
    """Textual request metadata, lower-case keys; credentials included, so it is never logged."""
    started_s: float
    deadline: Deadline
    principal: Principal = NOBODY
    trace: Trace | None = None
    upstream_began: bool = False
    """Whether an attempt was started; from then on callers must not multiply retries."""
    last_seq: int = 0
    """Sequence number of the last event that was written to the caller."""
    draining: bool = False
    """Whether the gateway itself ends the call because it is about to stop."""
    recorded: bool = False
    """Whether the request ring has written the call's record."""
    call: Call | None = None
    """The call, once its request was decoded."""


@dataclass(slots=True)
class Call:
    """One call with its decoded request."""

    scope: CallScope
    operation: Operation
    streaming: bool
    request: Request
    model: str = ""
    """Public name after resolution; the requested one before."""
    resolved: Model | None = None
    """What the name stands for, once it is resolved."""
    plan: Plan | None = None
    attempts: list[AttemptRecord] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    max_attempts: int = 1
    serving: AttemptRecord | None = None
    """The attempt whose reply the caller gets; None before the first content."""

    @property
    def answering(self) -> AttemptRecord:
        """The attempt that speaks for the reply: the one that serves it, before that the last one."""
        return self.serving or self.attempts[-1]

    @property
    def principal(self) -> Principal:
        """Who calls."""
        return self.scope.principal

    @property
    def deadline(self) -> Deadline:
        """When it must be over."""
        return self.scope.deadline


@dataclass(slots=True)
class Attempt:
    """One try of a call at a target, as the attempt ring sees it."""

    call: Call
    target: Target
    record: AttemptRecord
    request_sent: bool = False
    """Whether any byte of the request may have reached the provider."""
    share_s: float = math.inf
    """Its share of the time that the call has left, where others could still be tried: seconds to the first token of a
    stream, to the end of a whole reply."""
    fair_share: bool = True
    """Whether a target that does not answer within its share is slow, and the share not merely short."""
