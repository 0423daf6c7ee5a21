"""A provider without a wire: it does what was drawn, and tells the watch of all of it."""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_right
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from random import Random
from types import TracebackType
from typing import Protocol, Self

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.events import (
    Finished,
    FinishReason,
    PartFinished,
    PartKind,
    PartStarted,
    Started,
    TextDelta,
    UsageSnapshot,
)
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Batch, Opened
from llmgateway_server.core.requests import Operation
from llmgateway_server.core.targets import Model
from llmgateway_server.core.usage import Usage
from tests.simulation.behaviour import Behaviour, Ending, draw

PING_EVERY_S = 7.0
BABBLE = "and so on " * 60


class Observer(Protocol):
    """What is told of calls that reach a provider."""

    def upstream_began(self, exchange: Exchange) -> None: ...

    def upstream_ended(self, exchange: Exchange) -> None: ...


class FakeProvider:
    """An account with two keys.

    Args:
        name: of the account.
        vendor: as targets have it.
        clock: virtual.
        rng: of its own, so that what it does to its n-th call does not depend on the others' calls.
        phases: of its life, see `behaviour.life`; seconds since `born_s`.
        observer: is told.
    """

    operations = frozenset({Operation.COMPLETE})

    def __init__(
        self,
        name: str,
        vendor: str,
        *,
        clock: Clock,
        rng: Random,
        phases: list[tuple[float, str]],
        observer: Observer,
    ) -> None:
        self.name = name
        self.vendor = vendor
        self.region = ""
        self.clock = clock
        self.observer = observer
        self.rng = rng
        self._born_s = clock.monotonic_s()
        self._phases = phases
        self._call_count = 0

    @property
    def phase(self) -> str:
        age_s = self.clock.monotonic_s() - self._born_s
        return self._phases[bisect_right(self._phases, age_s, key=lambda phase: phase[0]) - 1][1]

    def recover(self) -> None:
        """From now on all is well."""
        self._phases = [(0.0, "well")]

    def open(self, attempt: Attempt) -> Opened:
        self._call_count += 1
        return Exchange(self, attempt, self._call_count, draw(self.phase, self.rng))

    def models(self) -> tuple[Model, ...]:
        return ()

    async def aclose(self) -> None:
        return None


class Exchange:
    """One call at the provider."""

    def __init__(self, provider: FakeProvider, attempt: Attempt, number: int, behaviour: Behaviour) -> None:
        self._provider = provider
        self.attempt = attempt
        self.behaviour = behaviour
        self.name = f"{provider.name}#{number}"
        self.began_s = self.ended_s = math.nan
        self.sent = ""
        """All text that was handed on."""
        self.finished = False
        """Whether its last event was handed on."""
        self.failed = False
        """Whether its fault was raised."""
        self._batches = self._run()
        self._started_alone = provider.rng.random() < 0.5
        self._second_key = any(record.key_id and record.target == attempt.target for record in attempt.call.attempts)

    @property
    def runs(self) -> bool:
        return math.isnan(self.ended_s)

    async def __aenter__(self) -> Self:
        self.began_s = self._provider.clock.monotonic_s()
        self.attempt.record.key_id = "keys[1]" if self._second_key else "keys[0]"
        self._provider.observer.upstream_began(self)
        try:
            await self._wait(self.behaviour.open_s)
            self.attempt.request_sent = True
            if not self.behaviour.chunks and not self._started_alone:
                await self._wait(self.behaviour.first_s)
                self._raise()
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()
        await self._batches.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        return await anext(self._batches)

    async def _run(self) -> AsyncGenerator[Batch, None]:
        whole: Batch = []
        async with aclosing(self._read()) as batches:
            async for batch in batches:
                if self.attempt.call.streaming:
                    self._note(batch)
                    yield batch
                whole += batch
        if not self.attempt.call.streaming and whole and isinstance(whole[-1], Finished):
            self._note(whole)
            yield whole

    async def _read(self) -> AsyncGenerator[Batch, None]:
        behaviour = self.behaviour
        head: Batch = [Started(self.name, "made-up")]
        if self._started_alone:
            yield head
            head = []
        await self._wait(behaviour.first_s)
        if behaviour.chunks:
            yield [*head, PartStarted(0, PartKind.TEXT), TextDelta(0, f"<{self.name}.0>")]
            for i, gap_s in enumerate(behaviour.gaps_s):
                await self._wait(gap_s)
                yield [TextDelta(0, f"<{self.name}.{i + 1}>")]
        await self._wait(behaviour.first_s if behaviour.ending is Ending.FAULT else 0.0)
        while behaviour.ending in (Ending.SILENCE, Ending.PINGS, Ending.BABBLE):
            await self._wait(math.inf if behaviour.ending is Ending.SILENCE else PING_EVERY_S)
            yield [TextDelta(0, BABBLE)] if behaviour.ending is Ending.BABBLE else []
        self._raise()
        if behaviour.ending is Ending.FINISH:
            yield list(self._last())

    def _last(self) -> Iterator[PartFinished | UsageSnapshot | Finished]:
        yield PartFinished(0)
        yield UsageSnapshot(Usage(3, 5))
        yield Finished(FinishReason.STOP)

    def _raise(self) -> None:
        if self.behaviour.ending is Ending.DEFECT:
            raise ZeroDivisionError
        if self.behaviour.fault is not None:
            self.failed = True
            error = self.behaviour.fault.error()
            # The first key was refused: the account has another one.
            error.another_key = error.reason is Reason.PROVIDER_AUTH_FAILED and not self._second_key
            raise error

    def _note(self, batch: Batch) -> None:
        for event in batch:
            if isinstance(event, TextDelta):
                self.sent += event.text
            elif isinstance(event, Finished):
                self.finished = True

    async def _wait(self, seconds: float) -> None:
        if seconds == math.inf:
            await asyncio.get_running_loop().create_future()
        elif seconds > 0:
            await self._provider.clock.sleep(seconds)

    def _end(self) -> None:
        if self.runs:
            self.ended_s = self._provider.clock.monotonic_s()
            self._provider.observer.upstream_ended(self)
