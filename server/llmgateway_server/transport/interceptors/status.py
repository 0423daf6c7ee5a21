"""Outermost: opens the call's scope, turns every exception into a status of the table, leaks nothing."""

from __future__ import annotations

import asyncio
import os
from functools import lru_cache
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc
import grpc.aio

from llmgateway_server.admission.gate import Gate
from llmgateway_server.contract.status import status_of
from llmgateway_server.core.calls import CallScope, Deadline, Outcome
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import CallEndedError, DefectError, GatewayError, RequestError, ShedError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.observe.log import logger
from llmgateway_server.observe.records import Records
from llmgateway_server.observe.statistics import Statistics
from llmgateway_server.transport.interceptors.step import SCOPE, Behaviour, Context, Step

MAX_PUSHBACK_S = 5.0
"""Longest delay that a caller's channel is asked to wait before it tries again by itself."""
ABORT_LIMIT_S = 5.0
"""A status waits behind unsent bytes; a caller that does not read them does not get it (docs/reliability.md)."""
CODES = {code.value[0]: code for code in grpc.StatusCode}
MAX_PEER_CHARS = 128
MAX_METHOD_CHARS = 200
"""Of methods that nobody serves, whose names callers choose."""


class Status(Step):
    """See the module.

    Args:
        clock: start time of the scope.
        records: for calls that end before the request ring.
        statistics: likewise.
        gate: knows whether the server is stopping.
    """

    name = "status"
    why = "outermost: every exit of a call is a status with a reason and a request id"

    def __init__(self, clock: Clock, records: Records, statistics: Statistics, gate: Gate) -> None:
        super().__init__()
        self._clock = clock
        self._records = records
        self._statistics = statistics
        self._gate = gate
        self._log = logger("transport")
        self._running: dict[asyncio.Task[Any], CallScope] = {}

    def unguarded(self, method: str, handler: Any) -> Any:
        """Answers for methods that nobody serves, which the library would do without a reason."""
        if handler is not None:
            return handler

        async def refuse(_request: bytes, context: Context) -> bytes:
            scope = self._open(method, context)
            error = RequestError(Reason.NOT_IMPLEMENTED, slots={"method": scope.method})
            self._refused(scope, error)
            return await self._abort(context, scope, error)

        return grpc.unary_unary_rpc_method_handler(refuse)

    def refuse_new_calls(self) -> None:
        """From now on calls are refused with SERVER_DRAINING; running ones go on."""
        self._gate.draining = True

    def end_calls(self) -> None:
        """Ends every call that still runs with SERVER_DRAINING."""
        for task, scope in list(self._running.items()):
            scope.draining = True
            task.cancel()

    def behaviour(self, method: str, following: Behaviour) -> Behaviour:
        """See `Step.behaviour`."""

        async def step(request: bytes, context: Context) -> bytes | None:
            scope = self._open(method, context)
            task = asyncio.current_task()
            if task is not None:
                self._running[task] = scope
            error: GatewayError
            try:
                reply = await following(request, context)
            except GatewayError as raised:
                error = raised
            except asyncio.CancelledError:
                error = CallEndedError(Reason.CANCELLED)
                if task is None or not scope.draining:
                    self._refused(scope, error)
                    raise
                task.uncancel()  # not the caller left, we end the call
                error = ShedError(Reason.SERVER_DRAINING, retry_after_s=1.0)
            except (
                grpc.aio.InternalError
            ):  # the write failed because the caller is gone; a status cannot reach it either
                self._refused(scope, CallEndedError(Reason.CANCELLED))
                raise asyncio.CancelledError from None
            except Exception as raised:  # noqa: BLE001  # the one place where every defect becomes INTERNAL
                self._log.error("call_failed_by_defect", call_id=scope.call_id, method=method, exc_info=raised)
                error = DefectError()
            else:
                context.set_trailing_metadata((("x-request-id", scope.call_id),))
                return reply
            finally:
                if task is not None:
                    self._running.pop(task, None)
            self._refused(scope, error)
            if error.detail:
                self._log.warning(
                    "call_failed", call_id=scope.call_id, method=method, reason=error.reason.value, detail=error.detail
                )
            return await self._abort(context, scope, error)

        return step

    def _open(self, method: str, context: Context) -> CallScope:
        now = self._clock.monotonic_s()
        scope = CallScope(
            call_id=new_call_id(),
            method=method[:MAX_METHOD_CHARS],
            peer=address_of(context.peer()),
            metadata={key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)},
            started_s=now,
            deadline=Deadline(now, from_client=False),
        )
        SCOPE.set(scope)
        return scope

    def _refused(self, scope: CallScope, error: GatewayError) -> None:
        """Records a call that the request ring did not."""
        if scope.recorded:
            return
        scope.recorded = True
        outcome = Outcome.FAILED
        if isinstance(error, ShedError):
            outcome = Outcome.SHED
        elif isinstance(error, CallEndedError):
            outcome = Outcome.CANCELLED
        self._statistics.refused(outcome, self._clock.monotonic_s() - scope.started_s, error)
        self._records.refused(scope, outcome, error)

    async def _abort(self, context: Context, scope: CallScope, error: GatewayError) -> NoReturn:
        status = status_of(error, scope)
        metadata: list[tuple[str, str | bytes]] = [
            ("x-request-id", scope.call_id),
            ("grpc-status-details-bin", status.SerializeToString()),
        ]
        if error.retry_after_s is not None:
            metadata.append(("retry-after", str(max(1, round(error.retry_after_s)))))
        wait_s = error.retry_after_s
        if scope.upstream_began or (wait_s is not None and wait_s > MAX_PUSHBACK_S):
            # Retries have one owner, not the caller's channel; and a channel should not wait for long without a word.
            metadata.append(("grpc-retry-pushback-ms", "-1"))
        elif error.retry_after_s is not None:
            metadata.append(("grpc-retry-pushback-ms", str(max(1, round(error.retry_after_s * 1000)))))
        try:
            async with asyncio.timeout(ABORT_LIMIT_S):
                await context.abort(CODES[status.code], status.message, tuple(metadata))
        except (TimeoutError, grpc.aio.InternalError):
            raise asyncio.CancelledError from None


def new_call_id() -> str:
    """Returns a random UUID (RFC 9562, version 4) without building the object that the standard library makes of it."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


@lru_cache(1024)  # many calls come by one connection
def address_of(peer: str) -> str:
    """Returns the address of a gRPC peer without its port, for example `127.0.0.1` of `ipv4:127.0.0.1:5000`.

    Callers by a Unix socket have none; they are `unix`.
    """
    kind, _, rest = peer.partition(":")
    if kind in ("ipv4", "ipv6"):
        rest = unquote(rest.rpartition(":")[0]).strip("[]")  # brackets come as %5B and %5D
    return (rest or kind)[:MAX_PEER_CHARS]
