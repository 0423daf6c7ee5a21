"""The one tree of errors.

    GatewayError            carries a Reason; the status table of `contract.status` turns it into a gRPC status
    ├── RequestError        the request is at fault; nothing was spent; the same request fails again
    ├── AccessError         the caller is not who or what it must be; nothing was spent
    ├── ShedError           our own limits turned the call away before any work; retry elsewhere or later
    ├── UpstreamError       a provider failed or refused; charge: see the attempt's record
    ├── CallEndedError      the caller's side ended the call: its deadline, its leaving, its not reading
    └── DefectError         a defect of the gateway

An error carries facts, never prose: its text for callers is a template of the status table filled from `slots`.
`detail` is for our own log alone: where it went wrong, and a provider's error code; never a provider's words, which
may quote a key or a prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llmgateway_server.core.reasons import Reason

MAX_DETAIL_CHARS = 512
"""Most characters of a detail."""


@dataclass(slots=True, frozen=True)
class Violation:
    """One bad field of a request."""

    field: str
    """Path of the field, for example `messages[0].parts[1].text`."""
    description: str
    """What it must be. Never quotes the value."""
    rule: str = ""
    """Id of the broken rule, for programs."""


class GatewayError(Exception):
    """A call failed for a reason that the contract knows.

    Args:
        reason: why.
        slots: values for the message template and for `ErrorInfo.metadata`: ids, names, limits; lowerCamel keys,
            units in the key. Never prompt, secret or provider text.
        retry_after_s: when the same request may succeed, seconds from now; None where nobody knows or none helps.
        violations: every bad field, for INVALID_REQUEST, UNSUPPORTED_OPTION and UPSTREAM_REJECTED_REQUEST.
        alternatives: model names that could be asked for instead.
        detail: for the log only; cut to `MAX_DETAIL_CHARS`.
    """

    reasons: ClassVar[frozenset[Reason]] = frozenset(Reason)
    """Reasons that this class may carry."""

    def __init__(  # one keyword per independent fact
        self,
        reason: Reason,
        *,
        slots: dict[str, str] | None = None,
        retry_after_s: float | None = None,
        violations: tuple[Violation, ...] = (),
        alternatives: tuple[str, ...] = (),
        detail: str = "",
    ) -> None:
        super().__init__(reason.value)
        if reason not in self.reasons:
            raise ValueError(f"{type(self).__name__} cannot carry {reason}")
        self.reason = reason
        self.slots = slots or {}
        self.retry_after_s = retry_after_s
        self.violations = violations
        self.alternatives = alternatives
        self.detail = printable(detail)


class RequestError(GatewayError):
    """The request is at fault. A retry does not help; nothing was charged."""

    reasons = frozenset(
        {
            Reason.MALFORMED_REQUEST,
            Reason.INVALID_REQUEST,
            Reason.REQUEST_TOO_LARGE,
            Reason.MODEL_NOT_FOUND,
            Reason.MODEL_NOT_READY,
            Reason.RESOURCE_NOT_FOUND,
            Reason.UNSUPPORTED_OPTION,
            Reason.FEATURE_NOT_CONFIGURED,
            Reason.NOT_IMPLEMENTED,
            Reason.GUARDRAIL_BLOCKED,
            Reason.EGRESS_REFUSED,
        }
    )


class AccessError(GatewayError):
    """The caller may not do this. A retry does not help; nothing was charged."""

    reasons = frozenset(
        {Reason.INVALID_CREDENTIALS, Reason.CREDENTIALS_EXPIRED, Reason.ROLE_REQUIRED, Reason.MODEL_NOT_ALLOWED}
    )


class ShedError(GatewayError):
    """Our own limits turned the call away before any work. A retry helps, elsewhere or later; nothing was charged."""

    reasons = frozenset(
        {
            Reason.RATE_LIMITED_RPM,
            Reason.RATE_LIMITED_TPM,
            Reason.RATE_LIMITED_CONCURRENCY,
            Reason.OVERLOADED,
            Reason.SERVER_DRAINING,
        }
    )


class UpstreamError(GatewayError):
    """A provider failed or refused. Whether a retry helps and what was charged depends on the reason and the phase.

    Args:
        http_status: status of the provider's answer, None when there was none.
    """

    reasons = frozenset(
        {
            Reason.UPSTREAM_RATE_LIMITED,
            Reason.PROVIDER_QUOTA_EXHAUSTED,
            Reason.PROVIDER_AUTH_FAILED,
            Reason.PROVIDER_KEY_REJECTED,
            Reason.UPSTREAM_REJECTED_REQUEST,
            Reason.CONTEXT_LENGTH_EXCEEDED,
            Reason.CONTENT_POLICY,
            Reason.MODEL_NOT_FOUND,
            Reason.UPSTREAM_CONFLICT,
            Reason.REQUEST_TOO_LARGE,
            Reason.UPSTREAM_ERROR,
            Reason.UPSTREAM_OVERLOADED,
            Reason.UPSTREAM_TIMEOUT,
            Reason.UPSTREAM_STALLED,
            Reason.UPSTREAM_UNREACHABLE,
            Reason.UPSTREAM_TLS,
            Reason.UPSTREAM_RESET,
            Reason.UPSTREAM_MALFORMED,
            Reason.UPSTREAM_STREAM_INTERRUPTED,
            Reason.UPSTREAM_UNCLASSIFIED,
            Reason.UPSTREAM_REDIRECT,
            Reason.CIRCUIT_OPEN,
            Reason.NO_HEALTHY_PROVIDER,
        }
    )

    def __init__(
        self,
        reason: Reason,
        *,
        http_status: int | None = None,
        slots: dict[str, str] | None = None,
        retry_after_s: float | None = None,
        violations: tuple[Violation, ...] = (),
        detail: str = "",
    ) -> None:
        super().__init__(reason, slots=slots, retry_after_s=retry_after_s, violations=violations, detail=detail)
        self.http_status = http_status
        self.another_key = False
        """Whether the same target has another key that should be tried at once."""


class CallEndedError(GatewayError):
    """The caller's side ended the call. Charged for what was delivered."""

    reasons = frozenset({Reason.DEADLINE_EXCEEDED, Reason.CANCELLED, Reason.SLOW_CONSUMER})


class DefectError(GatewayError):
    """A defect of the gateway. The log has its cause under the call's id."""

    reasons = frozenset({Reason.INTERNAL})

    def __init__(self, detail: str = "") -> None:
        super().__init__(Reason.INTERNAL, detail=detail)


def printable(text: str) -> str:
    """Returns `text` cut to the log's cap with control characters replaced, so that it cannot forge log lines."""
    return "".join(char if char.isprintable() else " " for char in text[:MAX_DETAIL_CHARS])
