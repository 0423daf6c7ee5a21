"""Lets no attempt begin at a target whose breaker is open, and tells the breaker what each attempt says of its target.

Three results are judged by more than their reason:

- A 4xx status is never a failure, unless it says that the target took too long (408): whatever the others mean (405,
  410, 451 …), the target answered the request.
- UPSTREAM_ERROR with the same status as an earlier attempt of the same call, at the same model with another key or
  account or again, is neutral: it may be the request that breaks its readers, and it is charged to one breaker, once
  (P26).
- A first token that did not come within a share of the call's time is neutral where that share was merely short.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Self

from llmgateway_server.attempts.breaker import Breaker, Permit, Verdict
from llmgateway_server.attempts.breakers import Breakers
from llmgateway_server.attempts.per_target import key_of
from llmgateway_server.core.calls import Attempt, Outcome
from llmgateway_server.core.errors import GatewayError, UpstreamError
from llmgateway_server.core.events import has_content
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Around, Batch, OpenAttempt, Opened, Reply

VERDICTS = MappingProxyType(
    {
        # The target does not answer, or not in a way that can be used.
        Reason.UPSTREAM_UNREACHABLE: Verdict.FAILURE,  # P1, P2, P4
        Reason.UPSTREAM_TLS: Verdict.FAILURE,  # P3
        Reason.UPSTREAM_TIMEOUT: Verdict.FAILURE,  # P5, P19, P25
        Reason.UPSTREAM_STALLED: Verdict.FAILURE,  # P6
        Reason.UPSTREAM_RESET: Verdict.FAILURE,  # P7
        Reason.UPSTREAM_STREAM_INTERRUPTED: Verdict.FAILURE,  # P7, P8
        Reason.UPSTREAM_MALFORMED: Verdict.FAILURE,  # P9, P11 to P14, P27, P32
        Reason.UPSTREAM_ERROR: Verdict.FAILURE,  # P25; P26 in `verdict_of`
        Reason.UPSTREAM_OVERLOADED: Verdict.FAILURE,  # P25
        Reason.UPSTREAM_REDIRECT: Verdict.FAILURE,  # P31
        Reason.UPSTREAM_UNCLASSIFIED: Verdict.FAILURE,  # odd statuses; 4xx in `verdict_of`
        # It answered; what it says is about this request alone.
        Reason.UPSTREAM_REJECTED_REQUEST: Verdict.SUCCESS,  # P15, P22
        Reason.CONTEXT_LENGTH_EXCEEDED: Verdict.SUCCESS,  # P15
        Reason.CONTENT_POLICY: Verdict.SUCCESS,  # P15
        Reason.REQUEST_TOO_LARGE: Verdict.SUCCESS,  # P21
        Reason.OUTPUT_SCHEMA_MISMATCH: Verdict.SUCCESS,
        # It says something about a key, a quota or a name: neither that the target works nor that it does not.
        Reason.PROVIDER_AUTH_FAILED: Verdict.NEUTRAL,  # P16
        Reason.PROVIDER_KEY_REJECTED: Verdict.NEUTRAL,  # P16
        Reason.PROVIDER_QUOTA_EXHAUSTED: Verdict.NEUTRAL,  # P17
        Reason.MODEL_NOT_FOUND: Verdict.NEUTRAL,  # P18
        Reason.UPSTREAM_CONFLICT: Verdict.NEUTRAL,  # P20
        Reason.UPSTREAM_RATE_LIMITED: Verdict.NEUTRAL,  # P23, P24
        # The caller or the gateway ended it before the target could say anything.
        Reason.CANCELLED: Verdict.NEUTRAL,  # C1, C2, C7, C8
        Reason.DEADLINE_EXCEEDED: Verdict.NEUTRAL,  # C3
        Reason.SLOW_CONSUMER: Verdict.NEUTRAL,  # C6
        Reason.SERVER_DRAINING: Verdict.NEUTRAL,  # I11
        Reason.CIRCUIT_OPEN: Verdict.NEUTRAL,  # P33
        Reason.EGRESS_REFUSED: Verdict.NEUTRAL,
        Reason.INVALID_REQUEST: Verdict.NEUTRAL,
        Reason.UNSUPPORTED_OPTION: Verdict.NEUTRAL,
        Reason.INTERNAL: Verdict.NEUTRAL,
    }
)
"""What the reason of an attempt's end says of its target. What is not here ended before there was an attempt."""


class BreakerStage:
    """See the module.

    Args:
        breakers: of all targets.
    """

    name = "breaker"
    why = "inside the meter, which records refusals and tells successes; around everything that a refusal must not cost"

    def __init__(self, breakers: Breakers) -> None:
        self._breakers = breakers

    def open(self, attempt: Attempt, following: OpenAttempt) -> Opened:
        """See `AttemptStage.open`."""
        return _Guarded(attempt, following, self._breakers)


def verdict_of(error: GatewayError, attempt: Attempt) -> Verdict:
    """Returns what the failure of an attempt says of its target; see the module."""
    reason = error.reason
    status = _status_of(error)
    verdict = VERDICTS.get(reason, Verdict.NEUTRAL)
    if verdict is not Verdict.FAILURE:
        return verdict
    if status is None:
        return verdict if attempt.fair_share or not _is_late(error, attempt) else Verdict.NEUTRAL
    if 400 <= status < 500 and reason is not Reason.UPSTREAM_TIMEOUT:
        return Verdict.NEUTRAL
    repeated = reason is Reason.UPSTREAM_ERROR and _happened_before(attempt, status)
    return Verdict.NEUTRAL if repeated else verdict


class _Guarded(Around[Attempt]):
    __slots__ = ("_began_s", "_breaker", "_breakers", "_permit")

    def __init__(self, attempt: Attempt, following: OpenAttempt, breakers: Breakers) -> None:
        super().__init__(attempt, following)
        self._breakers = breakers
        self._breaker: Breaker = breakers.of(attempt.target)
        self._permit: Permit | None = None
        self._began_s = 0.0

    def begin(self) -> None:
        permit = self._permit = self._breaker.try_enter()
        if permit is None:
            raise self._refusal()
        if permit.probe:
            self._began_s = self._breakers.clock.monotonic_s()

    def entered(self) -> Reply:
        watched = self._permit is not None and self._permit.probe and self.subject.call.streaming
        return self if watched else self.reply

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        """Reads the stream of a probe, and tells the breaker of its first content."""
        batch = await self.reply.__anext__()
        if (permit := self._permit) is not None and not permit.counted and has_content(batch):
            self._breaker.answered(permit, slow=self._is_slow(self._breakers.clock.monotonic_s() - self._began_s))
        return batch

    def end(self, error: BaseException | None) -> None:
        permit = self._permit
        if permit is None:
            return
        attempt, record = self.subject, self.subject.record
        if record.outcome is Outcome.SUCCEEDED:
            # Without a request nobody was asked: tokens can be counted here.
            verdict = Verdict.SUCCESS if attempt.request_sent else Verdict.NEUTRAL
            slow = attempt.call.streaming and self._is_slow(record.time_to_first_token_s)
            self._breaker.leave(permit, verdict, slow=slow)
        elif isinstance(error, GatewayError):
            self._breaker.leave(permit, verdict_of(error, attempt), slow=_is_late(error, attempt), reason=error.reason)
        else:
            self._breaker.leave(permit, Verdict.NEUTRAL)

    def _is_slow(self, first_token_s: float | None) -> bool:
        return first_token_s is not None and first_token_s > self._breakers.settings.slow_first_token_s

    def _refusal(self) -> UpstreamError:
        key = key_of(self.subject.target)
        return UpstreamError(
            Reason.CIRCUIT_OPEN,
            slots={"provider": key.provider, "model": key.model},
            retry_after_s=max(0.0, self._breaker.retry_at_s - self._breakers.clock.monotonic_s()),
        )


def _is_late(error: GatewayError, attempt: Attempt) -> bool:
    """Tells whether an attempt failed because its first token did not come in time."""
    return (
        error.reason is Reason.UPSTREAM_TIMEOUT
        and _status_of(error) is None
        and attempt.record.time_to_first_token_s is None
    )


def _happened_before(attempt: Attempt, status: int) -> bool:
    """Tells whether an earlier attempt of the call sent the same and failed with the same status."""
    target = attempt.target
    return any(
        record is not attempt.record
        and record.reason is Reason.UPSTREAM_ERROR
        and record.http_status == status
        and (record.target.vendor, record.target.upstream_model) == (target.vendor, target.upstream_model)
        for record in attempt.call.attempts
    )


def _status_of(error: GatewayError) -> int | None:
    return error.http_status if isinstance(error, UpstreamError) else None
