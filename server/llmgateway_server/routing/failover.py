"""Tries the plan's targets in order, one attempt for each of their keys: the only loop that starts attempts.

Errors of a reply are raised by `__anext__` inside this stage, so that the
attempt can be closed and the next one begun; an error thrown into a context manager at its `yield` could not be
retried. After the first content was handed on, nothing is tried again.
"""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Self

from llmgateway_server.core.calls import Attempt, AttemptRecord, Call
from llmgateway_server.core.errors import GatewayError, UpstreamError
from llmgateway_server.core.events import Finished, has_content
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Batch, OpenAttempt, Opened, Reply
from llmgateway_server.core.targets import Target
from llmgateway_server.routing.plan import plan_call

MOVES_ON = frozenset(
    {
        Reason.UPSTREAM_UNREACHABLE,
        Reason.UPSTREAM_TLS,
        Reason.UPSTREAM_RESET,
        Reason.UPSTREAM_TIMEOUT,
        Reason.UPSTREAM_STALLED,
        Reason.UPSTREAM_MALFORMED,
        Reason.UPSTREAM_STREAM_INTERRUPTED,
        Reason.UPSTREAM_ERROR,
        Reason.UPSTREAM_OVERLOADED,
        Reason.UPSTREAM_RATE_LIMITED,
        Reason.UPSTREAM_REDIRECT,
        Reason.UPSTREAM_UNCLASSIFIED,
        Reason.PROVIDER_AUTH_FAILED,
        Reason.PROVIDER_QUOTA_EXHAUSTED,
        Reason.MODEL_NOT_FOUND,
    }
)
"""Failures that another target may not share (docs/reliability.md)."""


class Failover:
    """See the module.

    Args:
        open_attempt: opens the attempt ring.
        max_attempts: most attempts of one call.
    """

    name = "failover"
    why = "last: everything before it happens once per call, everything after it once per attempt"

    def __init__(self, open_attempt: OpenAttempt, max_attempts: int) -> None:
        self._open_attempt = open_attempt
        self._max_attempts = max_attempts

    def open(self, call: Call) -> Opened:
        """Plans the call and opens its reply; the first attempt starts with the first read."""
        return _FailoverReply(call, self._open_attempt, self._max_attempts)


class _FailoverReply:
    def __init__(self, call: Call, open_attempt: OpenAttempt, max_attempts: int) -> None:
        self._call = call
        self._open_attempt = open_attempt
        self._max_attempts = max_attempts
        self._targets: tuple[Target, ...] = ()
        self._opened: Opened | None = None
        """The attempt that runs."""
        self._reply: Reply | None = None
        self._held: Batch = []
        self._at = 0
        """Which target is tried."""
        self._delivered = False
        self._finished = False

    async def __aenter__(self) -> Self:
        call = self._call
        plan = call.plan = plan_call(call)
        routing = call.request.routing
        call.max_attempts = min(routing.max_attempts or self._max_attempts, self._max_attempts)
        self._targets = plan.targets if routing.fallback_enabled else plan.targets[:1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.__aexit__(kind, error, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        while True:
            try:
                batch = await self._read()
            except GatewayError as error:
                failure = self._as_seen_by_the_caller(error)
                await self._close(failure)
                if self._delivered or not self._may_try_another(failure):
                    raise failure from error
                self._held.clear()
                continue
            if batch and isinstance(batch[-1], Finished):
                self._finished = True
            if self._delivered:
                return batch
            self._held += batch
            if self._finished or has_content(batch):
                self._delivered = True
                held, self._held = self._held, []
                return held

    async def _read(self) -> Batch:
        reply = self._reply or await self._begin()
        try:
            return await reply.__anext__()
        except StopAsyncIteration:
            if self._finished:
                raise
            raise UpstreamError(Reason.UPSTREAM_STREAM_INTERRUPTED, detail="reply without its last event") from None

    async def _begin(self) -> Reply:
        """Opens the next attempt."""
        call = self._call
        target = self._targets[self._at]
        record = AttemptRecord(number=len(call.attempts) + 1, target=target)
        call.attempts.append(record)
        call.scope.upstream_began = True
        opened = self._open_attempt(Attempt(call, target, record))
        reply = await opened.__aenter__()
        self._opened, self._reply = opened, reply
        return reply

    async def _close(self, error: GatewayError) -> None:
        """Closes the attempt and lets its stages see why; each of them raises what it was given."""
        opened, self._opened, self._reply = self._opened, None, None
        if opened is not None:
            with suppress(GatewayError):
                await opened.__aexit__(type(error), error, error.__traceback__)

    def _may_try_another(self, error: GatewayError) -> bool:
        """Tells whether there is a next attempt, and moves on to its target."""
        if error.reason not in MOVES_ON or len(self._call.attempts) >= self._call.max_attempts:
            return False
        if not (isinstance(error, UpstreamError) and error.another_key):
            self._at += 1
        return self._at < len(self._targets)

    def _as_seen_by_the_caller(self, error: GatewayError) -> GatewayError:
        """Names the target, and tells a stream that broke after its first token from one that never began."""
        if isinstance(error, UpstreamError):
            if self._delivered and error.reason is Reason.UPSTREAM_RESET:
                error.reason = Reason.UPSTREAM_STREAM_INTERRUPTED
            elif not self._delivered and error.reason is Reason.UPSTREAM_STREAM_INTERRUPTED:
                error.reason = Reason.UPSTREAM_RESET
            record = self._call.attempts[-1]
            if record.reason is not None:
                record.reason = error.reason
            error.slots = {"provider": record.target.provider, "model": record.target.upstream_model, **error.slots}
        return error
