from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.events import (
    PartFinished,
)
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Reply
from llmgateway_server.core.requests import (
    HedgePolicy,
    RoutingOptions,
)
from llmgateway_server.core.targets import Target
from llmgateway_server.testing.clock import ManualClock
from tests.unit.routing.failover_world import (
    ANSWER,
    END,
    START,
    A,
    Act,
    B,
    C,
    Script,
    Tried,
    error,
    text,
)


class Gated(Script):
    """Attempts that wait until a test lets them on."""

    def __init__(self, clock: ManualClock, **acts: list[list[Act]]) -> None:
        super().__init__(clock, **acts)
        self.gates = {name: asyncio.Event() for name in acts}

    @asynccontextmanager
    async def open(self, attempt: Attempt) -> AsyncIterator[Reply]:
        async with super().open(attempt) as reply:
            await self.gates[attempt.target.provider].wait()
            yield reply


async def raced(
    order: str, *, delay_s: float = 0.0, streaming: bool = True, targets: tuple[Target, ...] = (A, B), **acts: Any
) -> Tried:
    run = Tried(*targets, streaming=streaming, wishes=RoutingOptions(hedge=HedgePolicy(delay_s)), **acts)
    run.script = Gated(run.clock, **acts)
    run.stage.open_attempt = run.script.open
    reading = asyncio.create_task(run.run())
    async with asyncio.timeout(10):
        while len(run.script.began) < min(2, len(targets)):
            await asyncio.sleep(0.001)
        for name in order:
            run.script.gates[name].set()
            for _ in range(10):
                await asyncio.sleep(0)
        return await reading


@pytest.mark.parametrize(("order", "number"), [("ab", 1), ("ba", 2)])
async def test_who_brings_content_first_is_the_reply(order: str, number: int) -> None:
    run = await raced(order, a=[ANSWER], b=[ANSWER])
    assert run.error is None
    assert run.seen == [[START, *text("hi")], [PartFinished(0), END]]
    assert run.call.serving is run.call.attempts[number - 1]
    assert sorted(run.script.closed, key=str) == sorted([(order[0], None), (order[1], Reason.CANCELLED)], key=str)
    assert run.in_flight == [0] * 4


async def test_the_loser_ends_before_the_first_content_is_handed_on() -> None:
    run = Tried(wishes=RoutingOptions(hedge=HedgePolicy(0.0)))
    script = run.script = Gated(run.clock, a=[ANSWER], b=[ANSWER])
    run.stage.open_attempt = script.open
    script.gates["b"].set()
    async with asyncio.timeout(10), run.stage.open(run.call) as reply:
        assert await reply.__anext__() == [START, *text("hi")]
        assert ("a", Reason.CANCELLED) in script.closed
        assert [batch async for batch in reply] == [[PartFinished(0), END]]


async def test_a_failure_leaves_the_race_to_the_other() -> None:
    run = await raced("ab", a=[[error(Reason.UPSTREAM_TLS)]], b=[ANSWER])
    assert (run.error, run.call.serving) == (None, run.call.attempts[1])
    run = await raced("ba", a=[ANSWER], b=[[error(Reason.UPSTREAM_TLS)]])
    assert (run.error, run.call.serving) == (None, run.call.attempts[0])


async def test_two_failures_are_one_failure_of_the_race() -> None:
    run = await raced("ab", a=[[error(Reason.UPSTREAM_TLS)]], b=[[error(Reason.UPSTREAM_REDIRECT)]])
    assert (run.reason, run.tried) == (Reason.UPSTREAM_REDIRECT, ["a", "b"])
    assert run.in_flight == [0] * 4


async def test_after_a_race_both_may_be_asked_again() -> None:
    again: list[list[Act]] = [[error(Reason.UPSTREAM_RESET)], ANSWER]
    run = await raced("ab", a=again, b=[[error(Reason.UPSTREAM_TLS)]])
    assert (run.error, run.tried) == (None, ["a", "b", "a"])


async def test_of_two_failures_that_of_a_provider_counts() -> None:
    """A conflict goes nowhere else, whatever a breaker says of the other one."""
    again: list[list[Act]] = [[error(Reason.UPSTREAM_CONFLICT)], ANSWER]
    run = await raced("ab", targets=(A, B, C), a=again, b=[[error(Reason.CIRCUIT_OPEN)]], c=[ANSWER])
    assert (run.error, run.tried) == (None, ["a", "b", "a"])


async def test_a_winner_without_an_end_is_a_failure() -> None:
    run = await raced("ab", a=[[text("hi")]], b=[ANSWER])
    assert run.reason is Reason.UPSTREAM_STREAM_INTERRUPTED
    run = await raced("ab", a=[[[START]]], b=[[[START]]])
    assert run.reason is Reason.UPSTREAM_RESET
    assert run.error is not None
    assert run.error.detail == "reply without content"
    run = await raced("ab", a=[[text("hi"), error(Reason.UPSTREAM_STALLED)]], b=[ANSWER])
    assert (run.reason, run.seen) == (Reason.UPSTREAM_STALLED, [text("hi")])
    run = await raced("ab", a=[[[START], [END]]], b=[ANSWER])
    assert (run.error, run.seen) == (None, [[START, END]])


async def test_an_answer_within_the_delay_needs_no_company() -> None:
    run = await Tried(wishes=RoutingOptions(hedge=HedgePolicy(20.0)), a=[ANSWER], b=[ANSWER]).run()
    assert (run.tried, run.error) == (["a"], None)
    failed = await Tried(
        wishes=RoutingOptions(hedge=HedgePolicy(20.0)), a=[[error(Reason.UPSTREAM_TLS)]], b=[ANSWER]
    ).run()
    assert (failed.tried, failed.error) == (["a", "b"], None)


async def test_without_another_account_there_is_no_company() -> None:
    run = await raced("a", targets=(A,), a=[ANSWER])
    assert (run.tried, run.error) == (["a"], None)


async def test_who_leaves_a_race_cancels_both() -> None:
    run = Tried(wishes=RoutingOptions(hedge=HedgePolicy(0.0)))
    run.script = Gated(run.clock, a=[ANSWER], b=[ANSWER])
    run.stage.open_attempt = run.script.open
    reading = asyncio.create_task(run.run())
    async with asyncio.timeout(10):
        while len(run.script.began) < 2:
            await asyncio.sleep(0.001)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert sorted(run.script.closed) == [("a", Reason.CANCELLED), ("b", Reason.CANCELLED)]
    assert run.in_flight == [0] * 4


class Lingering(Gated):
    """Attempts that need a while to let everything go."""

    def __init__(self, clock: ManualClock, **acts: list[list[Act]]) -> None:
        super().__init__(clock, **acts)
        self.leaving: list[str] = []
        self.let_go = asyncio.Event()

    @asynccontextmanager
    async def open(self, attempt: Attempt) -> AsyncIterator[Reply]:
        try:
            async with super().open(attempt) as reply:
                yield reply
        except asyncio.CancelledError:
            self.leaving.append(attempt.target.provider)
            await self.let_go.wait()
            self.closed.append((attempt.target.provider, None))
            raise


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_who_is_cancelled_twice_leaves_no_attempt_running_and_breaks_into_none() -> None:
    run = Tried(wishes=RoutingOptions(hedge=HedgePolicy(0.0)))
    script = run.script = Lingering(run.clock, a=[ANSWER], b=[ANSWER])
    run.stage.open_attempt = script.open
    reading = asyncio.create_task(run.run())
    try:
        await until(lambda: len(script.began) == 2)
        reading.cancel()
        await until(lambda: len(script.leaving) == 2)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    finally:
        script.let_go.set()
    await until(lambda: run.in_flight == [0] * 4)
    assert sorted(name for name, reason in script.closed if reason is None) == ["a", "b"]


async def test_the_error_of_a_race_is_that_of_the_attempt_that_ended_it() -> None:
    """Though the other one began after it."""
    refused = error(Reason.UPSTREAM_REJECTED_REQUEST, http_status=400)
    run = await raced("a", a=[[refused]], b=[ANSWER])
    assert (run.reason, run.tried) == (Reason.UPSTREAM_REJECTED_REQUEST, ["a", "b"])
    assert run.error is not None
    assert (run.error.slots["provider"], run.error.slots["model"]) == ("a", "a-1")
