"""Asks targets that failed whether they work again, before a caller has to find out: cheap, and bounded in every way.

Every `interval_s` seconds, ± 10 %, a round asks the targets of the catalogue that need it, and no others:

| target | asked |
| --- | --- |
| its breaker is open and its time has passed, or it is half open | yes: a success closes it, a failure opens it again |
| more than one error in ten, and no attempt since the last round | yes: what was learned is old |
| everything else; switched off; cooling down after a rate limit | no |

A check has up to two steps. First the vendor is asked for what costs nothing, where there is such a thing: while that
fails to connect nothing is spent. It answers for the connection alone, so it is enough only where that was the trouble.
Otherwise one token of output is asked for, as a stream, so that a slow first token is seen.

What a check finds goes the way of all attempts into breaker and standing. It is no call: it has no caller, no record,
and no place in anybody's figures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from random import Random
from types import TracebackType
from typing import Protocol, Self

from pydantic import BaseModel, ConfigDict, Field

from llmgateway_server.attempts.breaker import State, Verdict
from llmgateway_server.attempts.breaker_stage import verdict_of
from llmgateway_server.attempts.breakers import BreakerView
from llmgateway_server.attempts.per_target import TargetKey, key_of
from llmgateway_server.core.calls import Attempt, AttemptRecord, Call, CallScope, Deadline, Outcome
from llmgateway_server.core.errors import GatewayError, UpstreamError
from llmgateway_server.core.messages import Message, Part, Role, TextPart
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import AttemptStage, Batch, OpenAttempt, Opened, Reply
from llmgateway_server.core.requests import CompleteRequest, EmbedRequest, Operation, Request, RoutingOptions
from llmgateway_server.core.targets import Model, ModelStatus, Target
from llmgateway_server.observe.log import logger
from llmgateway_server.routing.failover import Routes

AT_ONCE = 4
CHECK_S = 10.0
"""For both steps of a check together; what takes longer has failed."""
JITTER = 0.1
"""So that several gateways do not ask at the same moment."""
DEGRADED_ERROR_RATE = 0.1
"""Above this share of errors a target is asked; the same bound as that of the RPC `Health`."""
METHOD = "health check"
"""Stands where the scope of a call has its RPC."""
WORD = "Hi"
MOST_IN_A_ROW = 3
"""Checks of one target in one round, where its breaker wants more than one success."""

OF_THE_CONNECTION = frozenset({Reason.UPSTREAM_UNREACHABLE, Reason.UPSTREAM_TLS})
"""Troubles that are over as soon as anything is answered."""
DECISIVE = OF_THE_CONNECTION | {Reason.UPSTREAM_RESET, Reason.UPSTREAM_OVERLOADED, Reason.UPSTREAM_RATE_LIMITED}
"""Failures of the first step after which the second one would tell nothing else.

Any other one may be about the page alone, which an account may not have or may let nobody see.
"""


class HealthCheckSettings(BaseModel):
    """When targets that failed are asked whether they work again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    interval_s: float = Field(default=30.0, ge=0, le=3600)
    """Seconds between two rounds, ± 10 %. 0: nothing is asked, and the next caller finds out."""
    simulator: bool = False
    """Whether simulators are asked, too."""


class Found(StrEnum):
    """How a check ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNDECIDED = "undecided"
    """It says nothing of the target: a limit, a refused key, callers took all places of the breaker."""


FOUND = {Verdict.SUCCESS: Found.SUCCEEDED, Verdict.FAILURE: Found.FAILED, Verdict.NEUTRAL: Found.UNDECIDED}


class Reachable(Protocol):
    """An account that can be asked for something without cost."""

    @property
    def reachable_for_free(self) -> bool:
        """Whether it can."""
        ...

    async def reach(self, attempt: Attempt) -> None:
        """Asks.

        Raises:
            UpstreamError: it did not answer well.
        """
        ...


@dataclass(slots=True, frozen=True)
class Due:
    """A target that is to be asked."""

    target: Target
    operations: Collection[Operation]
    trouble: Reason | None
    """Why its breaker opened; None where nobody knows."""


class Checks:
    """See the module.

    Args:
        settings: how often.
        models: of the catalogue.
        routes: what is known of targets.
        stages: of the attempt ring that a check passes, outermost first: those that learn and those that bound.
        open_provider: opens an attempt at its provider.
        free: accounts that may be asked for something without cost, by name.
        passed_over: accounts that are never asked.
        found: is told of each check by provider and outcome.
    """

    def __init__(
        self,
        settings: HealthCheckSettings,
        *,
        models: Iterable[Model],
        routes: Routes,
        stages: Iterable[AttemptStage],
        open_provider: OpenAttempt,
        free: Mapping[str, Reachable],
        passed_over: Collection[str],
        found: Callable[[str, str], None],
    ) -> None:
        self._settings = settings
        self._targets = dict(_targets(models, passed_over))
        self._routes = routes
        self._open_provider = open_provider
        self._free = {name: each for name, each in free.items() if each.reachable_for_free}
        self._found = found
        self._opener: Callable[[Attempt, OpenAttempt], Opened] = _ring(tuple(stages))
        self._seen: dict[TargetKey, int] = {}
        """Of degraded targets: the number of their last attempt as of the last round."""
        self._places = asyncio.Semaphore(AT_ONCE)
        self._task: asyncio.Task[None] | None = None
        self._number = 0
        self._log = logger("checks")

    def start(self) -> None:
        """Begins the rounds, unless they are switched off or nobody may be asked."""
        if self._settings.interval_s > 0 and self._targets:
            self._task = asyncio.create_task(self._rounds(), name="health-checks")

    async def stop(self) -> None:
        """Ends the rounds, and the checks that run."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def round(self) -> None:
        """Asks all that need it and waits for their answers. A defect at one ends no other, and no further round."""
        ended = await asyncio.gather(*map(self._check, self.due()), return_exceptions=True)
        for error in ended:
            if error is not None:
                self._log.error("check_failed", cause=type(error).__name__)

    def due(self) -> list[Due]:
        """Returns who needs to be asked now; a target that fails without being used becomes so by the second look."""
        now_s = self._routes.clock.monotonic_s()
        views = {view.key: view for view in self._routes.breakers.views() if view.state is not State.CLOSED}
        before, self._seen = self._seen, {}
        return [
            Due(target, operations, view.last_reason if view is not None else None)
            for key, (target, operations) in self._targets.items()
            for view in (views.get(key),)
            if self._needs_it(key, target, view, before, now_s) and self._may_be_asked(target)
        ]

    def _needs_it(
        self, key: TargetKey, target: Target, view: BreakerView | None, before: Mapping[TargetKey, int], now_s: float
    ) -> bool:
        if view is not None:
            return view.retry_in_s <= 0
        standing = self._routes.standings.of(target)
        if not standing.last_used or standing.in_flight:
            return False
        if standing.figures(now_s).error_rate <= DEGRADED_ERROR_RATE:
            return False
        self._seen[key] = standing.last_used
        return before.get(key) == standing.last_used

    def _may_be_asked(self, target: Target) -> bool:
        routes = self._routes
        return not routes.switches.is_off(target) and routes.cooldowns.left_s(target) <= 0

    async def _rounds(self) -> None:
        clock, rng = self._routes.clock, self._routes.rng
        while True:
            await clock.sleep(_jittered(self._settings.interval_s, rng))
            await self.round()

    async def _check(self, due: Due) -> None:
        """Asks one target, again as long as it answers well and its breaker wants to see more of it."""
        routes, target = self._routes, due.target
        async with self._places:
            for _ in range(min(routes.breakers.settings.half_open_successes, MOST_IN_A_ROW)):
                found, reason = await self._asked(due)
                self._tell(target, found, reason)
                if found is not Found.SUCCEEDED or routes.breakers.of(target).state is not State.HALF_OPEN:
                    break
        if key_of(target) in self._seen:  # the check itself is no use of the target
            self._seen[key_of(target)] = routes.standings.of(target).last_used

    def _tell(self, target: Target, found: Found, reason: Reason | None) -> None:
        self._found(target.provider, found.value)
        self._log.info(
            "target_checked",
            provider=target.provider,
            region=target.region,
            model=key_of(target).model,
            outcome=found.value,
            reason=reason.value if reason is not None else None,
        )

    async def _asked(self, due: Due) -> tuple[Found, Reason | None]:
        """Makes one attempt, and lets the standing learn of it."""
        attempt = self._attempt(due)
        record = attempt.record
        self._routes.standings.began(due.target)
        try:
            async with self._opener(attempt, partial(_Question, due, self._free, self._open_provider)) as reply:
                async for _ in reply:
                    pass
                record.outcome = Outcome.SUCCEEDED
            return Found.SUCCEEDED, None
        except GatewayError as error:
            record.outcome, record.reason = Outcome.FAILED, error.reason
            if error.reason is Reason.UPSTREAM_RATE_LIMITED:
                self._routes.cooldowns.limited(due.target, error.retry_after_s)
            return FOUND[verdict_of(error, attempt)], error.reason
        finally:
            record.outcome = record.outcome or Outcome.CANCELLED
            self._routes.standings.ended(record, streamed=attempt.call.streaming)

    def _attempt(self, due: Due) -> Attempt:
        now_s = self._routes.clock.monotonic_s()
        self._number += 1
        deadline = Deadline(now_s + CHECK_S, from_client=False)
        scope = CallScope(f"check-{self._number}", METHOD, "", {}, now_s, deadline, recorded=True)
        request = _request(due)
        operation = Operation.EMBED if isinstance(request, EmbedRequest) else Operation.COMPLETE
        call = scope.call = Call(scope, operation, operation is Operation.COMPLETE, request)
        return Attempt(call, due.target, AttemptRecord(1, due.target))


class _Question:
    """Both steps of a check, as what an attempt opens innermost."""

    def __init__(self, due: Due, free: Mapping[str, Reachable], open_provider: OpenAttempt, attempt: Attempt) -> None:
        self._due = due
        self._free = free.get(due.target.provider)
        self._open_provider = open_provider
        self._attempt = attempt
        self._opened: Opened | None = None

    async def __aenter__(self) -> Reply:
        if self._free is not None and await self._is_answer(self._free):
            return _Nothing()
        opened = self._open_provider(self._attempt)
        reply = await opened.__aenter__()
        self._opened = opened
        return reply

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened.__aexit__(kind, error, traceback)

    async def _is_answer(self, account: Reachable) -> bool:
        """Takes the first step; tells whether it says all that there is to know.

        Raises:
            UpstreamError: it says that the target does not work.
        """
        try:
            await account.reach(self._attempt)
        except UpstreamError as error:
            if error.reason in DECISIVE:
                raise
            return False
        return self._due.trouble in OF_THE_CONNECTION


class _Nothing:
    """A reply without events."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        raise StopAsyncIteration


def _ring(stages: tuple[AttemptStage, ...]) -> Callable[[Attempt, OpenAttempt], Opened]:
    def opened(attempt: Attempt, innermost: OpenAttempt) -> Opened:
        opener = innermost
        for stage in reversed(stages):
            opener = partial(stage.open, following=opener)
        return opener(attempt)

    return opened


def _targets(
    models: Iterable[Model], passed_over: Collection[str]
) -> Iterator[tuple[TargetKey, tuple[Target, Collection[Operation]]]]:
    """Yields what may be asked at all; a target behind several names is one."""
    for model in models:
        askable = model.operations & {Operation.COMPLETE, Operation.EMBED}
        if model.status is ModelStatus.NOT_READY or not askable:
            continue
        for target in model.targets:
            if target.enabled and target.provider not in passed_over:
                yield key_of(target), (target, askable)


def _request(due: Due) -> Request:
    """Returns the least that can be asked for: one token of output, or one word's vector."""
    model = due.target.upstream_model
    if Operation.COMPLETE not in due.operations:
        return EmbedRequest(model=model, inputs=[WORD], input_byte_count=len(WORD))
    return CompleteRequest(
        model=model,
        messages=[Message(Role.USER, [Part(TextPart(WORD))])],
        max_output_tokens=1,
        routing=RoutingOptions(max_attempts=1),
        drop_unsupported=True,
        input_byte_count=len(WORD),
    )


def _jittered(interval_s: float, rng: Random) -> float:
    return interval_s * rng.uniform(1 - JITTER, 1 + JITTER)
