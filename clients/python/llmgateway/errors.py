"""Every way a call can fail, as a class. `error_class` finds it for the reason that the gateway gives.

GatewayError
├── InvalidRequest            the request is wrong; the same one fails again
│   └── ContentBlocked        a guardrail or the vendor's content policy stopped it
├── Unauthenticated           no key, or not a valid one
├── PermissionDenied          the key may not do this
├── NotFound                  no such model or thing; `alternatives` names models
├── ResourceExhausted         a limit was met
│   ├── RateLimited           too fast; wait for `retry_delay_s`
│   └── QuotaExhausted        a budget or an account is used up
├── FailedPrecondition        something must change first, for example the model's status
│   └── Unsupported           the gateway or the target cannot do what is asked; `violations` names it
├── UpstreamFailed            the provider failed; `attempts` says what was tried
│   └── StreamInterrupted     it failed after tokens were delivered; `partial` says how far it came
├── Unavailable               the gateway cannot be reached, or something that it needs is down
│   └── Overloaded            it has too much to do or is about to stop; retry elsewhere
├── Aborted                   somebody else was in the way; retry
├── DeadlineExceeded          the timeout ended the call
├── Cancelled                 the call was given up
├── BrokenStream              the stream was not a whole one; only a new request can help
└── InternalError             a defect of the gateway; quote `request_id`
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import grpc

from llmgateway.v1.error_pb2 import AttemptFailure, PartialReply

UNSPECIFIED = "UNSPECIFIED"


@dataclass(frozen=True, slots=True)
class Violation:
    """A field of the request that is wrong."""

    field: str
    """Its path, for example `messages[0].parts[1].text`."""
    description: str
    """One sentence for people."""
    reason: str = ""
    """The rule that it breaks, as UPPER_SNAKE; may be empty."""


class GatewayError(Exception):
    """A call failed. It can be pickled, and holds no words of prompts, replies or keys.

    Attributes:
        message: one sentence for people.
        reason: name of a value of `ErrorReason` without its prefix, for example `RATE_LIMITED_RPM`; that of a newer
            gateway may be unknown here. `UNSPECIFIED` where the gateway did not speak: the library or a proxy did.
        code: the gRPC status code.
        retry_delay_s: seconds to wait before the same request may succeed. None: unknown, or a retry is vain.
        violations: every field of the request that is wrong.
        alternatives: models that could be asked for instead, the same vendor's first.
        attempts: what was tried at providers, at most the last three.
        partial: how far a reply came whose events had begun to arrive. None: nothing was delivered.
        request_id: the gateway's id of the call, as in its log. Empty where it did not answer.
        metadata: names and limits that belong to the reason, for example `model`.
    """

    def __init__(
        self,
        message: str = "",
        *,
        reason: str = UNSPECIFIED,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        retry_delay_s: float | None = None,
        violations: tuple[Violation, ...] = (),
        alternatives: tuple[str, ...] = (),
        attempts: tuple[AttemptFailure, ...] = (),
        partial: PartialReply | None = None,
        request_id: str = "",
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.code = code
        self.retry_delay_s = retry_delay_s
        self.violations = violations
        self.alternatives = alternatives
        self.attempts = attempts
        self.partial = partial
        self.request_id = request_id
        self.metadata = metadata or {}

    def __str__(self) -> str:
        fields = "".join(f"; {each.field}: {each.description}" for each in self.violations)
        request = f", request {self.request_id}" if self.request_id else ""
        word = self.code.name if self.reason == UNSPECIFIED else self.reason
        return f"{self.message}{fields} ({word}{request})"

    def __repr__(self) -> str:
        kind = type(self).__name__
        return (
            f"{kind}({self.message!r}, reason={self.reason!r}, code={self.code.name}, request_id={self.request_id!r})"
        )


class InvalidRequest(GatewayError):
    """The request is wrong; the same one fails again."""


class ContentBlocked(InvalidRequest):
    """A guardrail of the gateway or the vendor's content policy stopped the call."""


class Unauthenticated(GatewayError):
    """No key, or not a valid one."""


class PermissionDenied(GatewayError):
    """The key may not do this."""


class NotFound(GatewayError):
    """There is no such model or thing, or it is not the caller's."""


class ResourceExhausted(GatewayError):
    """A limit was met; where no reason is given, mostly that on the size of a message."""


class RateLimited(ResourceExhausted):
    """Too many requests or tokens in a short time."""


class QuotaExhausted(ResourceExhausted):
    """A budget, or the gateway's account at the provider, is used up."""


class FailedPrecondition(GatewayError):
    """Something must change before this call can succeed."""


class Unsupported(FailedPrecondition):
    """The gateway or the target cannot do what is asked."""


class UpstreamFailed(GatewayError):
    """The provider failed, and so did every other target that was tried."""


class StreamInterrupted(UpstreamFailed):
    """The provider's stream broke after tokens were delivered; only a new request can help."""


class Unavailable(GatewayError):
    """The gateway cannot be reached, or something that it needs is down."""


class Overloaded(Unavailable):
    """The gateway has too much to do, or is about to stop."""


class Aborted(GatewayError):
    """Somebody else was in the way, or the caller did not read its stream."""


class DeadlineExceeded(GatewayError):
    """The call's timeout ended, or left too little time."""


class Cancelled(GatewayError):
    """The call was given up, by this side or on the way."""


class BrokenStream(GatewayError):
    """Events are missing, doubled or out of order, or the stream ended without its last event."""


class InternalError(GatewayError):
    """A defect of the gateway."""


_Code = grpc.StatusCode
_TABLE: tuple[tuple[type[GatewayError], tuple[_Code, ...], str], ...] = (
    (
        InvalidRequest,
        (_Code.INVALID_ARGUMENT, _Code.OUT_OF_RANGE),
        (
            "MALFORMED_REQUEST INVALID_REQUEST UPSTREAM_REJECTED_REQUEST CONTEXT_LENGTH_EXCEEDED REQUEST_TOO_LARGE "
            "IDEMPOTENCY_KEY_REUSED EGRESS_REFUSED"
        ),
    ),
    (ContentBlocked, (), "GUARDRAIL_BLOCKED CONTENT_POLICY"),
    (Unauthenticated, (_Code.UNAUTHENTICATED,), "INVALID_CREDENTIALS CREDENTIALS_EXPIRED PROVIDER_KEY_REJECTED"),
    (PermissionDenied, (_Code.PERMISSION_DENIED,), "MODEL_NOT_ALLOWED ROLE_REQUIRED"),
    (NotFound, (_Code.NOT_FOUND,), "MODEL_NOT_FOUND RESOURCE_NOT_FOUND"),
    (ResourceExhausted, (_Code.RESOURCE_EXHAUSTED,), ""),
    (RateLimited, (), "RATE_LIMITED_RPM RATE_LIMITED_TPM RATE_LIMITED_CONCURRENCY UPSTREAM_RATE_LIMITED"),
    (QuotaExhausted, (), "BUDGET_EXCEEDED PROVIDER_QUOTA_EXHAUSTED"),
    (FailedPrecondition, (_Code.FAILED_PRECONDITION,), "PRICE_UNKNOWN MODEL_NOT_READY"),
    (Unsupported, (_Code.UNIMPLEMENTED,), "UNSUPPORTED_OPTION FEATURE_NOT_CONFIGURED NOT_IMPLEMENTED"),
    (
        UpstreamFailed,
        (),
        (
            "UPSTREAM_ERROR UPSTREAM_OVERLOADED UPSTREAM_TIMEOUT UPSTREAM_STALLED UPSTREAM_UNREACHABLE UPSTREAM_TLS "
            "UPSTREAM_RESET UPSTREAM_MALFORMED UPSTREAM_UNCLASSIFIED UPSTREAM_REDIRECT UPSTREAM_CONFLICT "
            "PROVIDER_AUTH_FAILED CIRCUIT_OPEN NO_HEALTHY_PROVIDER OUTPUT_SCHEMA_MISMATCH"
        ),
    ),
    (StreamInterrupted, (), "UPSTREAM_STREAM_INTERRUPTED"),
    (Unavailable, (_Code.UNAVAILABLE,), "BUDGET_STORE_UNAVAILABLE STORE_UNAVAILABLE"),
    (Overloaded, (), "OVERLOADED SERVER_DRAINING QUEUE_FULL"),
    (Aborted, (_Code.ABORTED,), "VERSION_CONFLICT IDEMPOTENCY_IN_PROGRESS SLOW_CONSUMER"),
    (DeadlineExceeded, (_Code.DEADLINE_EXCEEDED,), "DEADLINE_EXCEEDED"),
    (Cancelled, (_Code.CANCELLED,), "CANCELLED"),
    (BrokenStream, (_Code.DATA_LOSS,), ""),
    (InternalError, (_Code.INTERNAL,), "INTERNAL"),
)

BY_REASON = MappingProxyType({reason: kind for kind, _, reasons in _TABLE for reason in reasons.split()})
"""Class by reason: one for every value of `ErrorReason`."""
BY_CODE = MappingProxyType({code: kind for kind, codes, _ in _TABLE for code in codes})
"""Class by status code, where the reason is unknown; codes that are missing mean `GatewayError` itself."""


def error_class(reason: str, code: grpc.StatusCode) -> type[GatewayError]:
    """Returns the class for a reason or, where this client does not know it, for the status code."""
    return BY_REASON.get(reason) or BY_CODE.get(code, GatewayError)
