"""What the watch is worth: parts of the gateway that are wrong on purpose, each of which it must find."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from random import Random
from types import TracebackType
from typing import Self

import pytest

from llmgateway_server.attempts.breaker import Breaker, Permit, State, Verdict
from llmgateway_server.attempts.breakers import Breakers
from llmgateway_server.attempts.per_target import TargetKey
from llmgateway_server.core.calls import Attempt, Call
from llmgateway_server.core.events import Finished, TextDelta
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Batch, OpenAttempt, Opened, Reply
from llmgateway_server.core.targets import Plan, Target
from llmgateway_server.routing.backoff import Backoff
from llmgateway_server.routing.failover import Failover, Routes
from llmgateway_server.routing.plan import Planner
from llmgateway_server.routing.retry_budget import RetryBudgets
from tests.simulation.world import Doubles, simulate


class Leaking(Breaker):
    """Keeps the permits of calls that say nothing of their target."""

    def leave(self, permit: Permit, verdict: Verdict, *, slow: bool = False, reason: Reason | None = None) -> None:
        if verdict is not Verdict.NEUTRAL:
            super().leave(permit, verdict, slow=slow, reason=reason)


class Open(Breaker):
    """Lets calls in while it is open."""

    def try_enter(self) -> Permit | None:
        return super().try_enter() or Permit(self._generation, probe=False)


class Crowded(Breaker):
    """Lets everybody try a target that may have recovered."""

    def _may_probe(self) -> bool:
        return super()._may_probe() or self.state is State.HALF_OPEN


class Touchy(Breaker):
    """Takes whatever is no success for a failure."""

    def leave(self, permit: Permit, verdict: Verdict, *, slow: bool = False, reason: Reason | None = None) -> None:
        told = Verdict.FAILURE if verdict is Verdict.NEUTRAL else verdict
        super().leave(permit, told, slow=slow, reason=reason)


def breakers_of(kind: type[Breaker]) -> type[Breakers]:
    class Made(Breakers):
        def _make(self, key: TargetKey) -> Breaker:
            return kind(self.settings, self.clock, self._rng, partial(self._changed, key))

    return Made


class Generous(RetryBudgets):
    """Has always something left."""

    def take(self, target: Target, *, timed_out: bool) -> bool:
        if not super().take(target, timed_out=timed_out):
            self.of(target).tokens = 100
            self.of(target).retries = 0
            super().take(target, timed_out=timed_out)
        return True


class Patient(Backoff):
    """Waits as long as it likes."""

    def delay_s(self, retries: int, retry_after_s: float | None, allowed_s: float) -> float | None:
        return 9.0


class Eager(Backoff):
    """Hears no Retry-After."""

    def delay_s(self, retries: int, retry_after_s: float | None, allowed_s: float) -> float | None:
        return super().delay_s(retries, None, allowed_s)


def failover_with(kind: type[Backoff]) -> type[Failover]:
    class Made(Failover):
        def __init__(self, open_attempt: OpenAttempt, routes: Routes, max_attempts: int, first_token_s: float) -> None:
            super().__init__(open_attempt, routes, max_attempts, first_token_s)
            self.backoff = kind(Random(0))

    return Made


class Tireless(Failover):
    """Tries more often than it was told to."""

    def __init__(self, open_attempt: OpenAttempt, routes: Routes, max_attempts: int, first_token_s: float) -> None:
        super().__init__(open_attempt, routes, max_attempts + 3, first_token_s)


class Forgetful(Failover):
    """Begins a call afresh that broke after its first content, whatever its caller wishes."""

    def open(self, call: Call) -> Opened:
        return Again(call, super().open)


class Again:
    def __init__(self, call: Call, again: object) -> None:
        self._call = call
        self._open = again
        self._opened: Opened | None = None
        self._reply: Reply | None = None
        self._tries = 0

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def _begin(self) -> None:
        self._tries += 1
        assert callable(self._open)
        self._opened = self._open(self._call)
        self._reply = await self._opened.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened.__aexit__(kind, error, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        assert self._reply is not None
        try:
            return await self._reply.__anext__()
        except (StopAsyncIteration, asyncio.CancelledError):
            raise
        except Exception:
            if self._tries > 1 or self._call.serving is None or self._opened is None:
                raise
            await self._opened.__aexit__(None, None, None)
            await self._begin()
            return await self._reply.__anext__()


class Blind(Planner):
    """Takes no notice of what the caller and the operator exclude."""

    def plan(self, call: Call, *, whole: bool = False) -> Plan:
        plan = super().plan(call, whole=whole)
        return replace(plan, targets=plan.model.targets)


class Timid(Planner):
    """Turns calls away as soon as one circuit is open."""

    def _barred(self, target: Target) -> str:
        return "circuit open" if any(view.state is not State.CLOSED for view in self._breakers.views()) else ""


class Spoiling:
    """A stage that does something to the events of a reply."""

    name = "spoiling"
    why = "a double"

    def open(self, attempt: Attempt, following: OpenAttempt) -> Opened:
        return self.around(following(attempt))

    def around(self, opened: Opened) -> Opened:
        raise NotImplementedError


class Spoiled:
    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    async def __aenter__(self) -> Self:
        self._reply = await self._opened.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._opened.__aexit__(kind, error, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        return self.spoil(await self._reply.__anext__())

    def spoil(self, batch: Batch) -> Batch:
        return batch


class Stutter(Spoiled):
    def spoil(self, batch: Batch) -> Batch:
        return [each for event in batch for each in ([event, event] if isinstance(event, TextDelta) else [event])]


class Loss(Spoiled):
    def spoil(self, batch: Batch) -> Batch:
        return [event for event in batch if not isinstance(event, TextDelta) or not event.text.endswith(".2>")]


class Twice(Spoiled):
    def spoil(self, batch: Batch) -> Batch:
        return [*batch, *(event for event in batch if isinstance(event, Finished))]


class OpenDoor(Spoiled):
    """Never closes what it has opened."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


class Late(Spoiled):
    """Takes its time to close."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.sleep(0.5)
        await self._opened.__aexit__(kind, error, traceback)


def spoiling(kind: type[Spoiled]) -> Doubles:
    class Made(Spoiling):
        def around(self, opened: Opened) -> Opened:
            return kind(opened)

    return Doubles(inner_stages=(Made(),))


WRONG = {
    "leaks a permit": (9, Doubles(breakers=breakers_of(Leaking))),
    "lets in while open": (9, Doubles(breakers=breakers_of(Open))),
    "too many probes": (9, Doubles(breakers=breakers_of(Crowded))),
    "429 opens it": (10, Doubles(breakers=breakers_of(Touchy))),
    "too many attempts": (11, Doubles(failover=Tireless)),
    "no end of retries": (11, Doubles(budgets=Generous)),
    "waits too long": (12, Doubles(failover=failover_with(Patient))),
    "no Retry-After": (12, Doubles(failover=failover_with(Eager))),
    "retries after content": (13, Doubles(failover=Forgetful)),
    "text twice": (14, spoiling(Stutter)),
    "text lost": (14, spoiling(Loss)),
    "two ends": (14, spoiling(Twice)),
    "provider not closed": (15, spoiling(OpenDoor)),
    "provider closed late": (15, spoiling(Late)),
    "excluded targets": (27, Doubles(planner=Blind)),
    "turned away": (27, Doubles(planner=Timid)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_found(name: str) -> None:
    invariant, doubles = WRONG[name]
    for seed in range(30):
        found = [each for each in simulate(seed, doubles).violations if each.startswith(f"invariant {invariant}:")]
        if found:
            return
    pytest.fail(f"nothing of invariant {invariant} was found in 30 runs")
