"""Examinations of accounts: whose time it is, and whose turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import pytest

from llmgateway_server.core.calls import Call, CallScope, Deadline
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import CallEndedError, DefectError, GatewayError, ShedError, UpstreamError
from llmgateway_server.core.principal import ANONYMOUS
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Batch, Reply
from llmgateway_server.core.requests import Operation
from llmgateway_server.operators.examination import CHECK_S, HINTS, Check, Examiner, Subject, Verdict
from llmgateway_server.operators.turns import Turns
from llmgateway_server.providers.simulator.simulator import Simulator
from llmgateway_server.routing.catalog import Catalog
from llmgateway_server.testing.clock import ManualClock


class FailingReply:
    """Implements `core.reply.Reply`."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        raise self._error


class Failing:
    """Implements `core.reply.Gateway`: every call takes a while and fails."""

    def __init__(self, clock: ManualClock, error: Exception, takes_s: float = 10.0) -> None:
        self.calls: list[Call] = []
        self._clock = clock
        self._error = error
        self._takes_s = takes_s

    @asynccontextmanager
    async def open(self, call: Call) -> AsyncIterator[Reply]:
        self.calls.append(call)
        call.scope.upstream_began = True
        self._clock.advance(self._takes_s)
        yield FailingReply(self._error)


def scope(clock: Clock, seconds: float, *, from_client: bool = True) -> CallScope:
    now_s = clock.monotonic_s()
    deadline = Deadline(now_s + seconds, from_client=from_client)
    return CallScope("id", "/s/TestProvider", "127.0.0.1", {}, now_s, deadline, ANONYMOUS)


def examiner(gateway: Failing, clock: ManualClock) -> Examiner:
    simulator = Simulator(clock, "simulator")
    catalog = Catalog({"simulator": simulator}, simulator.models(), {Operation.COMPLETE: "simulator-chat"})
    return Examiner(gateway, catalog, {"simulator": Subject("simulator", "")}, clock)


async def test_each_check_has_a_minute_of_its_own() -> None:
    clock = ManualClock()
    gateway = Failing(clock, UpstreamError(Reason.UPSTREAM_TIMEOUT))
    outer = scope(clock, 1000.0)
    verdict = await examiner(gateway, clock).examine(outer, "simulator", "chat")
    assert [call.streaming for call in gateway.calls] == [False, True]
    assert [call.scope.started_s for call in gateway.calls] == [1000.0, 1010.0]
    assert [call.deadline for call in gateway.calls] == [
        Deadline(1000.0 + CHECK_S, from_client=False),
        Deadline(1010.0 + CHECK_S, from_client=False),
    ]
    assert {call.scope.call_id for call in gateway.calls} == {outer.call_id}
    assert all(call.principal is ANONYMOUS and call.request.model == "simulator/chat" for call in gateway.calls)
    # What the door knows of the operator's own call: it must not be retried, and its record is another.
    assert (outer.upstream_began, outer.recorded, outer.started_s) == (True, False, 1000.0)
    assert verdict.reason is Reason.UPSTREAM_TIMEOUT


@pytest.mark.parametrize("from_client", [True, False])
async def test_the_operators_deadline_is_not_exceeded(from_client: bool) -> None:
    clock = ManualClock()
    gateway = Failing(clock, UpstreamError(Reason.UPSTREAM_TIMEOUT))
    outer = scope(clock, 15.0, from_client=from_client)
    await examiner(gateway, clock).examine(outer, "simulator", "chat")
    assert [call.deadline for call in gateway.calls] == [outer.deadline] * 2


@pytest.mark.parametrize(
    "error",
    [CallEndedError(Reason.DEADLINE_EXCEEDED), ShedError(Reason.OVERLOADED), DefectError(), ZeroDivisionError()],
)
async def test_what_is_no_fault_of_the_account_is_no_verdict(error: Exception) -> None:
    clock = ManualClock()
    gateway = Failing(clock, error)
    with pytest.raises(type(error)):
        await examiner(gateway, clock).examine(scope(clock, 100.0), "simulator", "chat")
    assert len(gateway.calls) == 1


def test_the_first_failure_has_the_hint() -> None:
    def hint(*reasons: Reason | None) -> str:
        subject = Subject("openai", "https://{x}.example/v1")
        return Verdict("up", subject, "m", tuple(Check(False, reason) for reason in reasons)).hint

    assert hint(None, None) == hint(Reason.GUARDRAIL_BLOCKED, None) == ""
    assert hint(None, Reason.UPSTREAM_UNREACHABLE).startswith("nothing answers at https://{x}.example/v1:")
    assert "providers.up.api_key" in hint(Reason.PROVIDER_AUTH_FAILED, Reason.UPSTREAM_ERROR)
    assert all(hint(reason) for reason in HINTS)


def refused(turns: Turns, name: str) -> tuple[object, ...] | None:
    try:
        with turns.turn(name):
            return None
    except GatewayError as error:
        return error.reason, error.retry_after_s


def test_turns() -> None:
    clock = ManualClock()
    turns = Turns(clock, 15.0)
    with pytest.raises(ZeroDivisionError), turns.turn("a"):  # noqa: PT012  # what happens inside is the point
        clock.advance(100.0)
        assert refused(turns, "a") == (Reason.RATE_LIMITED_CONCURRENCY, 1.0)
        assert refused(turns, "b") is None
        raise ZeroDivisionError
    assert refused(turns, "a") == (Reason.RATE_LIMITED_RPM, 15.0)
    clock.advance(14.0)
    assert refused(turns, "a") == (Reason.RATE_LIMITED_RPM, pytest.approx(1.0))
    clock.advance(1.0)
    assert refused(turns, "a") is None
    assert refused(turns, "a") == (Reason.RATE_LIMITED_RPM, 15.0)
