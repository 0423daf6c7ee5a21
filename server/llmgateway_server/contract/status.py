"""The one table from reasons to gRPC statuses, and the one function that builds a status from it.

Messages are templates; their slots are ids, names and limits (docs/reliability.md). Nothing else in the gateway builds
a status.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from enum import IntEnum

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from llmgateway.v1 import error_pb2
from llmgateway_server.contract.money_out import cost_message, usage_message
from llmgateway_server.contract.reply_out import target_message
from llmgateway_server.core.calls import AttemptRecord, Call, CallScope, Outcome
from llmgateway_server.core.errors import GatewayError
from llmgateway_server.core.reasons import Reason

DOMAIN = "llmgateway"
MAX_DETAILS_BYTES = 4096
"""Clients refuse larger trailers; attempts are cut first."""
MAX_SLOT_CHARS = 256


class Code(IntEnum):
    """Canonical status codes (google.rpc.Code)."""

    CANCELLED = code_pb2.CANCELLED
    INVALID_ARGUMENT = code_pb2.INVALID_ARGUMENT
    DEADLINE_EXCEEDED = code_pb2.DEADLINE_EXCEEDED
    NOT_FOUND = code_pb2.NOT_FOUND
    PERMISSION_DENIED = code_pb2.PERMISSION_DENIED
    RESOURCE_EXHAUSTED = code_pb2.RESOURCE_EXHAUSTED
    FAILED_PRECONDITION = code_pb2.FAILED_PRECONDITION
    ABORTED = code_pb2.ABORTED
    UNIMPLEMENTED = code_pb2.UNIMPLEMENTED
    INTERNAL = code_pb2.INTERNAL
    UNAVAILABLE = code_pb2.UNAVAILABLE
    UNAUTHENTICATED = code_pb2.UNAUTHENTICATED


@dataclass(slots=True, frozen=True)
class Row:
    """How a reason looks on the wire.

    `${slot}` in the template is filled from the error, `?` where it has no such slot.
    """

    code: Code
    template: str


TABLE: dict[Reason, Row] = {
    Reason.RATE_LIMITED_RPM: Row(Code.RESOURCE_EXHAUSTED, "too many requests per minute; retry later"),
    Reason.RATE_LIMITED_TPM: Row(Code.RESOURCE_EXHAUSTED, "too many tokens per minute; retry later"),
    Reason.RATE_LIMITED_CONCURRENCY: Row(Code.RESOURCE_EXHAUSTED, "too many calls at once; retry later"),
    Reason.BUDGET_EXCEEDED: Row(Code.RESOURCE_EXHAUSTED, "a budget is used up"),
    Reason.PRICE_UNKNOWN: Row(Code.FAILED_PRECONDITION, "the model has no price and a hard budget applies"),
    Reason.UPSTREAM_RATE_LIMITED: Row(Code.RESOURCE_EXHAUSTED, "provider ${provider} limits the gateway; retry later"),
    Reason.PROVIDER_QUOTA_EXHAUSTED: Row(
        Code.FAILED_PRECONDITION, "the gateway's account at provider ${provider} is used up"
    ),
    Reason.INVALID_CREDENTIALS: Row(
        Code.UNAUTHENTICATED, "send a valid key as metadata 'authorization: Bearer <key>' or 'x-api-key: <key>'"
    ),
    Reason.CREDENTIALS_EXPIRED: Row(Code.UNAUTHENTICATED, "the key has expired"),
    Reason.MODEL_NOT_ALLOWED: Row(Code.PERMISSION_DENIED, "the key may not use model ${model}"),
    Reason.ROLE_REQUIRED: Row(Code.PERMISSION_DENIED, "the key lacks the permission ${permission}"),
    Reason.PROVIDER_AUTH_FAILED: Row(
        Code.FAILED_PRECONDITION, "provider ${provider} refused the gateway's credentials; its operator must renew them"
    ),
    Reason.PROVIDER_KEY_REJECTED: Row(
        Code.UNAUTHENTICATED, "provider ${provider} refused the key that the caller brought"
    ),
    Reason.MALFORMED_REQUEST: Row(Code.INVALID_ARGUMENT, "the request is not a ${message} message"),
    Reason.INVALID_REQUEST: Row(Code.INVALID_ARGUMENT, "the request has bad fields; see the field violations"),
    Reason.UPSTREAM_REJECTED_REQUEST: Row(
        Code.INVALID_ARGUMENT, "provider ${provider} refused the request for model ${model}"
    ),
    Reason.CONTEXT_LENGTH_EXCEEDED: Row(
        Code.INVALID_ARGUMENT, "the request does not fit the context of model ${model}"
    ),
    Reason.GUARDRAIL_BLOCKED: Row(Code.INVALID_ARGUMENT, "guardrail ${check} stopped the call"),
    Reason.CONTENT_POLICY: Row(Code.INVALID_ARGUMENT, "the content policy of provider ${provider} stopped the call"),
    Reason.MODEL_NOT_FOUND: Row(Code.NOT_FOUND, "there is no model ${model}"),
    Reason.RESOURCE_NOT_FOUND: Row(Code.NOT_FOUND, "there is nothing named ${resource}"),
    Reason.MODEL_NOT_READY: Row(Code.FAILED_PRECONDITION, "model ${model} cannot be called now"),
    Reason.UPSTREAM_CONFLICT: Row(Code.ABORTED, "provider ${provider} reports a conflict; retry"),
    Reason.VERSION_CONFLICT: Row(Code.ABORTED, "somebody else wrote in between; read again and retry"),
    Reason.REQUEST_TOO_LARGE: Row(Code.INVALID_ARGUMENT, "the request is too large"),
    Reason.UPSTREAM_ERROR: Row(Code.UNAVAILABLE, "provider ${provider} failed; retry"),
    Reason.UPSTREAM_OVERLOADED: Row(Code.UNAVAILABLE, "provider ${provider} is overloaded; retry later"),
    Reason.UPSTREAM_TIMEOUT: Row(Code.UNAVAILABLE, "provider ${provider} took too long; retry"),
    Reason.UPSTREAM_STALLED: Row(Code.UNAVAILABLE, "the stream of provider ${provider} stood still; retry"),
    Reason.UPSTREAM_UNREACHABLE: Row(Code.UNAVAILABLE, "provider ${provider} cannot be reached; retry"),
    Reason.UPSTREAM_TLS: Row(Code.UNAVAILABLE, "the TLS handshake with provider ${provider} failed"),
    Reason.UPSTREAM_RESET: Row(
        Code.UNAVAILABLE, "provider ${provider} dropped the connection before it answered; retry"
    ),
    Reason.UPSTREAM_MALFORMED: Row(Code.UNAVAILABLE, "the answer of provider ${provider} cannot be read; retry"),
    Reason.UPSTREAM_STREAM_INTERRUPTED: Row(
        Code.UNAVAILABLE, "the stream of provider ${provider} broke after its first token; only a new request can help"
    ),
    Reason.CIRCUIT_OPEN: Row(
        Code.UNAVAILABLE, "all targets of model ${model} are set aside after failures; retry later"
    ),
    Reason.NO_HEALTHY_PROVIDER: Row(Code.UNAVAILABLE, "no target of model ${model} is usable; retry later"),
    Reason.DEADLINE_EXCEEDED: Row(Code.DEADLINE_EXCEEDED, "the call's deadline ended or leaves too little time"),
    Reason.CANCELLED: Row(Code.CANCELLED, "the caller left"),
    Reason.SLOW_CONSUMER: Row(Code.ABORTED, "the caller did not read its stream"),
    Reason.OVERLOADED: Row(Code.UNAVAILABLE, "the gateway has too much to do; retry elsewhere"),
    Reason.SERVER_DRAINING: Row(Code.UNAVAILABLE, "the gateway is about to stop; retry elsewhere"),
    Reason.QUEUE_FULL: Row(Code.RESOURCE_EXHAUSTED, "the queue is full; retry later"),
    Reason.IDEMPOTENCY_IN_PROGRESS: Row(Code.ABORTED, "the same request is running; retry later"),
    Reason.IDEMPOTENCY_KEY_REUSED: Row(Code.INVALID_ARGUMENT, "the idempotency key was used for another request"),
    Reason.BUDGET_STORE_UNAVAILABLE: Row(Code.UNAVAILABLE, "budgets cannot be checked; retry"),
    Reason.UPSTREAM_UNCLASSIFIED: Row(Code.UNAVAILABLE, "provider ${provider} answered with an unknown status"),
    Reason.UPSTREAM_REDIRECT: Row(Code.FAILED_PRECONDITION, "provider ${provider} redirects, which is not followed"),
    Reason.UNSUPPORTED_OPTION: Row(
        Code.FAILED_PRECONDITION, "the target cannot do what is asked; see the field violations"
    ),
    Reason.FEATURE_NOT_CONFIGURED: Row(Code.FAILED_PRECONDITION, "${feature} is not served by this gateway"),
    Reason.NOT_IMPLEMENTED: Row(Code.UNIMPLEMENTED, "${method} is not served here"),
    Reason.OUTPUT_SCHEMA_MISMATCH: Row(Code.FAILED_PRECONDITION, "the reply does not match the schema"),
    Reason.EGRESS_REFUSED: Row(Code.INVALID_ARGUMENT, "the address in ${field} may not or cannot be fetched: ${cause}"),
    Reason.STORE_UNAVAILABLE: Row(Code.UNAVAILABLE, "a store is down; retry"),
    Reason.INTERNAL: Row(Code.INTERNAL, "a defect of the gateway; quote the request id"),
}

_QUOTAS = frozenset(
    {Reason.RATE_LIMITED_RPM, Reason.RATE_LIMITED_TPM, Reason.RATE_LIMITED_CONCURRENCY, Reason.BUDGET_EXCEEDED}
)
_BAD_FIELDS = frozenset(
    {
        Reason.INVALID_REQUEST,
        Reason.UNSUPPORTED_OPTION,
        Reason.FEATURE_NOT_CONFIGURED,
        Reason.UPSTREAM_REJECTED_REQUEST,
    }
)
RETRY_IS_VAIN = frozenset(
    {
        Reason.UPSTREAM_REJECTED_REQUEST,
        Reason.CONTEXT_LENGTH_EXCEEDED,
        Reason.CONTENT_POLICY,
        Reason.MODEL_NOT_FOUND,
        Reason.REQUEST_TOO_LARGE,
        Reason.PROVIDER_AUTH_FAILED,
    }
)
"""The same request fails again whatever a provider's headers say."""
_PRECONDITIONS = frozenset({Reason.PROVIDER_AUTH_FAILED, Reason.PROVIDER_QUOTA_EXHAUSTED})


class _Template(string.Template):
    idpattern = "[a-zA-Z]+"


class _Slots(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "?"


def status_of(error: GatewayError, scope: CallScope) -> status_pb2.Status:
    """Builds the status of an error with all its details, below 4 KiB."""
    row = TABLE[error.reason]
    slots = _Slots({name: _clean(value) for name, value in error.slots.items()})
    message = _Template(row.template).substitute(slots)
    required: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=slots),
        error_details_pb2.RequestInfo(request_id=scope.call_id),
    ]
    if error.retry_after_s is not None and error.reason not in RETRY_IS_VAIN:
        required.append(error_details_pb2.RetryInfo(retry_delay=_duration(error.retry_after_s)))
    optional = _optional_details(error, scope, message)
    return _within_limit(status_pb2.Status(code=row.code, message=message), required, optional)


def _optional_details(error: GatewayError, scope: CallScope, message: str) -> list[Message]:
    """Returns the details that may be cut, the most important first."""
    details: list[Message] = []
    if scope.last_seq and scope.call is not None:
        details.append(_partial_reply(scope, scope.call))
    if error.violations and error.reason in _BAD_FIELDS:
        bad_request = error_details_pb2.BadRequest()
        for violation in error.violations:
            bad_request.field_violations.add(
                field=_clean(violation.field),
                description=_clean(violation.description),
                reason=_reason_form(violation.rule),
            )
        details.append(bad_request)
    if error.alternatives:
        details.append(error_pb2.ModelAlternatives(models=list(error.alternatives)))
    if TABLE[error.reason].code is Code.NOT_FOUND:
        kind = "resource" if error.reason is Reason.RESOURCE_NOT_FOUND else "model"
        name = _clean(error.slots.get(kind, ""))
        details.append(error_details_pb2.ResourceInfo(resource_type=kind, resource_name=name))
    if error.reason in _QUOTAS:
        quota = error_details_pb2.QuotaFailure()
        quota.violations.add(subject=f"key:{scope.principal.key_id}", description=message)
        details.append(quota)
    if error.reason in _PRECONDITIONS:
        precondition = error_details_pb2.PreconditionFailure()
        precondition.violations.add(
            type=error.reason.value, subject=_clean(error.slots.get("provider", "")), description=message
        )
        details.append(precondition)
    attempts = scope.call.attempts if scope.call is not None else []
    details += [_attempt_failure(record) for record in attempts[-3:] if record.outcome is Outcome.FAILED]
    return details


def _within_limit(status: status_pb2.Status, required: list[Message], optional: list[Message]) -> status_pb2.Status:
    for detail in (*required, *optional):
        packed = AnyMessage()
        packed.Pack(detail)
        if isinstance(detail, error_details_pb2.BadRequest):
            while not _fits(status, packed) and len(detail.field_violations) > 1:
                del detail.field_violations[len(detail.field_violations) // 2 :]
                packed.Pack(detail)
        if _fits(status, packed):
            status.details.append(packed)
    return status


def _fits(status: status_pb2.Status, packed: AnyMessage) -> bool:
    framing = 8  # tag and length of one more detail
    return bool(status.ByteSize() + packed.ByteSize() + framing <= MAX_DETAILS_BYTES)


def _partial_reply(scope: CallScope, call: Call) -> error_pb2.PartialReply:
    partial = error_pb2.PartialReply(last_seq=scope.last_seq)
    record = call.answering if call.attempts else None
    if record is not None and record.usage is not None:
        partial.usage.CopyFrom(usage_message(record.usage))
        partial.cost.CopyFrom(cost_message(record.cost))
    return partial


def _attempt_failure(record: AttemptRecord) -> error_pb2.AttemptFailure:
    failure = error_pb2.AttemptFailure(
        number=record.number, target=target_message(record.target), latency_us=round(record.latency_s * 1_000_000)
    )
    if record.reason is not None:
        failure.reason = error_pb2.ErrorReason.Value(f"ERROR_REASON_{record.reason}")
    if record.http_status is not None:
        failure.http_status = record.http_status
    return failure


def _duration(seconds: float) -> Duration:
    nanos = round(seconds * 1_000_000_000)
    return Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)


def _clean(text: str) -> str:
    """Cuts a slot's value and replaces what cannot stand in a header."""
    return "".join(char if char.isprintable() else "?" for char in text[:MAX_SLOT_CHARS])


def _reason_form(rule: str) -> str:
    """Writes a rule's id as UPPER_SNAKE, which google.rpc wants of reasons."""
    return "".join(char.upper() if char.isalnum() else "_" for char in rule)[:63]
