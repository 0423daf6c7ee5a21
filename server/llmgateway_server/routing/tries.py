"""What a failure allows next: the same target again, another one, or nothing. One table, by reason.

The rows are those of docs/reliability.md. Whether it really happens is decided in `routing.failover`, which also looks
at what is left of attempts, time and retry budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from llmgateway_server.core.errors import GatewayError, UpstreamError
from llmgateway_server.core.reasons import Reason


class Again(Enum):
    """How often the same target may be asked again after a failure: at most so many times."""

    NEVER = 0
    ONCE = 1
    WHILE_ALLOWED = 8
    """As long as the call has attempts left."""


class Elsewhere(Enum):
    """Which other targets may serve what this one could not."""

    NONE = "none"
    ANY = "any"
    LARGER = "larger"
    """Those that take more input."""


@dataclass(slots=True, frozen=True)
class Row:
    """What one reason allows."""

    again: Again
    elsewhere: Elsewhere


STOP = Row(Again.NEVER, Elsewhere.NONE)
"""Of every reason that the table does not name: the request is at fault, or the caller ended the call."""
ROWS: dict[Reason, Row] = {
    Reason.UPSTREAM_UNREACHABLE: Row(Again.ONCE, Elsewhere.ANY),  # P1, P2, P4
    Reason.UPSTREAM_TLS: Row(Again.NEVER, Elsewhere.ANY),  # P3: the certificate is the same a moment later
    Reason.UPSTREAM_TIMEOUT: Row(Again.NEVER, Elsewhere.ANY),  # P5; with a status see `row_of`
    Reason.UPSTREAM_STALLED: Row(Again.NEVER, Elsewhere.ANY),  # P6
    Reason.UPSTREAM_RESET: Row(Again.WHILE_ALLOWED, Elsewhere.ANY),  # P7, P8
    Reason.UPSTREAM_MALFORMED: Row(Again.ONCE, Elsewhere.ANY),  # P9, P11–P14, P27
    Reason.UPSTREAM_ERROR: Row(Again.WHILE_ALLOWED, Elsewhere.ANY),  # P25
    Reason.UPSTREAM_OVERLOADED: Row(Again.WHILE_ALLOWED, Elsewhere.ANY),  # P25
    Reason.UPSTREAM_RATE_LIMITED: Row(Again.WHILE_ALLOWED, Elsewhere.ANY),  # P23, P24
    Reason.UPSTREAM_CONFLICT: Row(Again.ONCE, Elsewhere.NONE),  # P20
    Reason.UPSTREAM_REDIRECT: Row(Again.NEVER, Elsewhere.ANY),  # P31
    Reason.UPSTREAM_UNCLASSIFIED: Row(Again.NEVER, Elsewhere.ANY),
    Reason.PROVIDER_AUTH_FAILED: Row(Again.NEVER, Elsewhere.ANY),  # P16
    Reason.PROVIDER_QUOTA_EXHAUSTED: Row(Again.NEVER, Elsewhere.ANY),  # P17
    Reason.MODEL_NOT_FOUND: Row(Again.NEVER, Elsewhere.ANY),  # P18
    Reason.CONTEXT_LENGTH_EXCEEDED: Row(Again.NEVER, Elsewhere.LARGER),  # P15
    Reason.REQUEST_TOO_LARGE: Row(Again.NEVER, Elsewhere.LARGER),  # P21
    Reason.CIRCUIT_OPEN: Row(Again.NEVER, Elsewhere.ANY),  # P33
}
"""What the reasons of attempts that failed before their first content allow."""
TOLD_TO_TRY_AGAIN = Row(Again.WHILE_ALLOWED, Elsewhere.ANY)
"""Of a timeout that the provider itself told by a status: 408 (P19), 504 (P25)."""


def row_of(error: GatewayError) -> Row:
    """Returns what the failure allows."""
    if error.reason is Reason.UPSTREAM_TIMEOUT and isinstance(error, UpstreamError) and error.http_status is not None:
        return TOLD_TO_TRY_AGAIN
    return ROWS.get(error.reason, STOP)
