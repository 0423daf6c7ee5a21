"""Targets with scripted answers under the real loop of attempts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

from llmgateway_server.core.calls import Attempt, Call, CallScope, Deadline, Outcome
from llmgateway_server.core.errors import GatewayError, UpstreamError
from llmgateway_server.core.events import (
    Event,
    Finished,
    FinishReason,
    PartFinished,
    PartKind,
    PartStarted,
    Started,
    TextDelta,
)
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Batch, Reply
from llmgateway_server.core.requests import (
    CompleteRequest,
    Operation,
    RoutingOptions,
)
from llmgateway_server.core.targets import Model, Target
from llmgateway_server.routing.failover import Failover
from llmgateway_server.testing.clock import ManualClock
from tests.unit.routing.failover_kit import routes

A, B, C = (Target(name, "simulator", f"{name}-1") for name in "abc")
START, END = Started("id", "m"), Finished(FinishReason.STOP)
Act = list[Event] | Exception | float
"""A batch, an error, or so many seconds of silence."""


def text(said: str, part: int = 0) -> list[Event]:
    return [PartStarted(part, PartKind.TEXT), TextDelta(part, said)]


class Script:
    """Plays attempts at targets, each with the acts of its provider in turn.

    Args:
        acts: by provider, one list for each of its attempts; the last one is played again and again.
    """

    def __init__(self, clock: ManualClock, **acts: list[list[Act]]) -> None:
        self.clock = clock
        self.acts = acts
        self.began: list[Attempt] = []
        self.closed: list[tuple[str, Reason | None]] = []

    @asynccontextmanager
    async def open(self, attempt: Attempt) -> AsyncIterator[Reply]:
        self.began.append(attempt)
        record = attempt.record
        acts = self.acts[record.target.provider]
        playing = _Playing(acts.pop(0) if len(acts) > 1 else acts[0], self.clock)
        try:
            yield playing
        except GatewayError as error:
            record.outcome, record.reason = Outcome.FAILED, error.reason
            record.http_status = getattr(error, "http_status", None)
            self.closed.append((record.target.provider, error.reason))
            raise
        except BaseException:
            record.outcome = Outcome.CANCELLED
            self.closed.append((record.target.provider, Reason.CANCELLED))
            raise
        record.outcome = Outcome.SUCCEEDED
        self.closed.append((record.target.provider, None))


class _Playing:
    def __init__(self, acts: list[Act], clock: ManualClock) -> None:
        self._acts = list(acts)
        self._clock = clock

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        while self._acts:
            act = self._acts.pop(0)
            if isinstance(act, float):
                self._clock.advance(act)
            elif isinstance(act, Exception):
                raise act
            else:
                return act
        raise StopAsyncIteration


class Tried:
    """One call through failover and what became of it."""

    def __init__(
        self,
        *targets: Target,
        streaming: bool = True,
        deadline_s: float = 600.0,
        most: int = 3,
        wishes: RoutingOptions | None = None,
        **acts: list[list[Act]],
    ) -> None:
        self.clock = ManualClock()
        self.routes = routes(self.clock)
        self.script = Script(self.clock, **acts)
        self.stage = Failover(self.script.open, self.routes, most, 30.0)
        deadline = Deadline(self.clock.monotonic_s() + deadline_s, from_client=True)
        scope = CallScope("call", "/s/m", "peer", {}, 0.0, deadline)
        asked = CompleteRequest("m", [], routing=wishes or RoutingOptions())
        self.call = Call(scope, Operation.COMPLETE, streaming, asked, resolved=Model("m", targets or (A, B)))
        self.seen: list[Batch] = []
        self.error: GatewayError | None = None

    async def run(self) -> Self:
        """Reads everything; delays before retries pass by themselves."""
        passing = asyncio.create_task(self._pass_time())
        try:
            async with self.stage.open(self.call) as reply:
                async for batch in reply:
                    self.seen.append(list(batch))
        except GatewayError as error:
            self.error = error
        finally:
            passing.cancel()
        return self

    async def _pass_time(self) -> None:
        while True:
            await asyncio.sleep(0.002)
            self.clock.advance(0.25)

    @property
    def tried(self) -> list[str]:
        return [attempt.record.target.provider for attempt in self.script.began]

    @property
    def reason(self) -> Reason | None:
        return self.error.reason if self.error else None

    @property
    def in_flight(self) -> list[int]:
        places = [record.target for record in self.call.attempts]
        counts = [self.routes.standings.of(place).in_flight for place in places]
        return counts + [self.routes.budgets.of(place).in_flight for place in places]


def error(reason: Reason = Reason.UPSTREAM_ERROR, **facts: Any) -> UpstreamError:
    return UpstreamError(reason, **facts)


ANSWER: list[Act] = [[START], text("hi"), [PartFinished(0), END]]
