"""Tries the targets of a plan until one answers: the only loop that starts attempts.

What a failure allows next is decided in `progress`. Errors of a reply are raised by `__anext__` inside this stage, so
that the attempt can be closed and the next one begun. Everything before the first content is held back, so that an
attempt that breaks early leaves nothing with the caller; after it nothing is tried again, unless the caller asked for
it (`midstream`). A slow first attempt can get a second one beside it (`hedge`).
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Self

from llmgateway_server.attempts.breakers import Breakers
from llmgateway_server.core.calls import Attempt, AttemptRecord, Call
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import GatewayError, RequestError, UpstreamError
from llmgateway_server.core.events import Finished, has_content
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Batch, OpenAttempt, Opened
from llmgateway_server.core.requests import MidStreamPolicy, Request
from llmgateway_server.routing.backoff import Backoff
from llmgateway_server.routing.cooldown import Cooldowns
from llmgateway_server.routing.hedge import Race
from llmgateway_server.routing.hedge_terms import HedgeTerms
from llmgateway_server.routing.midstream import BROKE, Delivered, GoingOn, may_go_on
from llmgateway_server.routing.plan import Planner
from llmgateway_server.routing.poison import is_poison
from llmgateway_server.routing.progress import Progress, Step
from llmgateway_server.routing.reading import Direct, Reading
from llmgateway_server.routing.retry_budget import RetryBudgets
from llmgateway_server.routing.shares import set_share
from llmgateway_server.routing.standing import Standings
from llmgateway_server.routing.switches import Switches
from llmgateway_server.routing.tries import STOP, Elsewhere, row_of

AT_ONCE_S = 0.1
"""Cool-downs that end so close to each other end together."""


@dataclass(slots=True, frozen=True)
class Routes:
    """What calls learn of targets, and what they decide by. Of this process, shared by all its calls."""

    planner: Planner
    standings: Standings
    breakers: Breakers
    budgets: RetryBudgets
    cooldowns: Cooldowns
    switches: Switches
    clock: Clock
    rng: Random


class Failover:
    """See the module.

    Args:
        open_attempt: opens the attempt ring.
        routes: plans, and what is known of targets.
        max_attempts: most attempts of one call.
        first_token_s: how long a target may take to its first token.
    """

    name = "failover"
    why = "last: everything before it happens once per call, everything after it once per attempt"

    def __init__(self, open_attempt: OpenAttempt, routes: Routes, max_attempts: int, first_token_s: float) -> None:
        self.open_attempt = open_attempt
        self.routes = routes
        self.max_attempts = max_attempts
        self.first_token_s = first_token_s
        self.backoff = Backoff(routes.rng)
        self.hedge_terms = HedgeTerms(routes.standings, routes.budgets)

    def open(self, call: Call) -> Opened:
        """Plans the call and opens its reply; the first attempt starts with the first read."""
        return _FailoverReply(call, self)


class _FailoverReply:
    _progress: Progress
    _asked: Request
    """What the caller asked for; what is sent may have media in it, or the beginning of an answer."""

    def __init__(self, call: Call, stage: Failover) -> None:
        self._call = call
        self._stage = stage
        self._routes = stage.routes
        self._step: Step | None = None
        """What is tried, or is to be tried next."""
        self._reading: Reading | None = None
        self._going_on: GoingOn | None = None
        self._refusal: GatewayError | None = None
        """Why the last attempt failed that reached a provider."""
        self._break: GatewayError | None = None
        """Why the last stream broke of which the caller has a part."""
        self._delivered: Delivered | None = None
        """What the caller has; kept only for who wants broken streams taken over."""
        self._held: Batch = []
        self._begun = False
        """Whether the caller has any content."""
        self._spoke = False
        """Whether the attempt that runs has brought any."""
        self._finished = False

    async def __aenter__(self) -> Self:
        call, stage = self._call, self._stage
        self._asked = call.request
        plan = call.plan = self._routes.planner.plan(call)
        wishes = call.request.routing
        call.max_attempts = min(wishes.max_attempts or stage.max_attempts, stage.max_attempts)
        targets = plan.targets if wishes.fallback_enabled else plan.targets[:1]
        switches = self._routes.switches
        self._progress = Progress(
            targets,
            call.max_attempts,
            self._routes.budgets,
            stage.backoff,
            lambda target: not switches.is_off(target),
        )
        self._step = self._progress.first()
        if wishes.mid_stream_policy is not MidStreamPolicy.FAIL and call.streaming:
            self._delivered = Delivered()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            await reading.close(error)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        while True:
            try:
                batch = await (self._reading or await self._begin()).read()
            except StopAsyncIteration:
                if self._finished:
                    raise
                await self._failed(
                    UpstreamError(Reason.UPSTREAM_STREAM_INTERRUPTED, detail="reply without its last event")
                )
                continue
            except GatewayError as error:
                await self._failed(error)
                continue
            if batch and isinstance(batch[-1], Finished):
                self._finished = True
            if not self._spoke:
                self._held += batch
                if not self._finished and not has_content(batch):
                    continue
                self._spoke = self._begun = True
                batch, self._held = self._held, []
            return self._handed_on(batch)

    def _handed_on(self, batch: Batch) -> Batch:
        if self._reading is not None:
            self._call.serving = record = self._reading.record
            if self._going_on is not None:
                batch = self._going_on.joined(batch, record.target, record.number)
        if self._delivered is not None:
            self._delivered.add(batch)
        return batch

    async def _begin(self) -> Reading:
        """Begins the attempt of the next step."""
        step, call = self._step, self._call
        if step is None:  # pragma: no cover: a call without a next step has raised its failure
            raise StopAsyncIteration
        if step.delay_s > 0:
            await self._wait(step)
        self._spoke = False
        first = self._attempt(step)
        reading: Reading = first
        if call.request.routing.hedge is not None and not self._begun:
            delay_s = self._stage.hedge_terms.delay_s(call, step.target, self._routes.clock.monotonic_s())
            if delay_s is not None:
                reading = Race(first, delay_s, self._company, self._fell)
        self._reading = reading
        await reading.open()
        return reading

    async def _wait(self, step: Step) -> None:
        """Waits before a retry; one that is given up meanwhile no longer counts as running."""
        try:
            await self._routes.clock.sleep(step.delay_s)
        except BaseException:
            self._routes.budgets.ended(step.target, again=True, succeeded=False)
            raise

    def _company(self) -> Direct | None:
        """Returns the second attempt of a race, where the caller's terms allow one now."""
        slow = self._call.attempts[-1].target
        allow = self._stage.hedge_terms.allow
        step = self._progress.beside(self._remaining_s(), lambda other: allow(self._call, other, slow))
        return self._attempt(step) if step is not None else None

    def _attempt(self, step: Step) -> Direct:
        """Returns an attempt that has not begun yet."""
        call, routes, target = self._call, self._routes, step.target
        record = AttemptRecord(number=len(call.attempts) + 1, target=target)
        attempt = Attempt(call, target, record)
        if others := self._progress.others:
            usual = routes.standings.of(target).figures(routes.clock.monotonic_s())
            set_share(attempt, others, self._remaining_s(), usual, first_token_s=self._stage.first_token_s)
        call.attempts.append(record)
        call.scope.upstream_began = True
        return Direct(self._stage.open_attempt, attempt, routes.standings, routes.budgets, again=step.again)

    async def _failed(self, error: GatewayError) -> None:
        """Closes the attempt and decides what comes next.

        Raises:
            GatewayError: nothing does; the failure is the caller's.
        """
        reading, self._reading = self._reading, None
        record = reading.record if reading is not None else self._call.attempts[-1]
        failure = self._noted(error, record)
        if reading is not None:
            await reading.close(failure)
        self._step = self._next(failure, record)
        if self._step is None:
            raise self._last_word(failure) from error
        self._held.clear()

    def _fell(self, record: AttemptRecord, error: GatewayError) -> None:
        """Takes in the failure of one of two attempts that race."""
        self._progress.fell(record.target, self._noted(error, record))

    def _noted(self, error: GatewayError, record: AttemptRecord) -> GatewayError:
        """Returns a failure as the caller would see it, once a rate limit is remembered."""
        failure = self._as_seen_by_the_caller(error, record)
        if failure.reason is Reason.UPSTREAM_RATE_LIMITED:
            self._routes.cooldowns.limited(record.target, failure.retry_after_s)
        return failure

    def _next(self, failure: GatewayError, record: AttemptRecord) -> Step | None:
        remaining_s = self._remaining_s()
        if not self._begun:
            if is_poison(self._call.attempts, self._routes.standings):
                return None
            return self._progress.after(record.target, failure, remaining_s)
        if self._spoke:
            self._break = failure
        broke = failure.reason in BROKE if self._spoke else row_of(failure).elsewhere is Elsewhere.ANY
        if not broke or self._delivered is None or not may_go_on(self._call, self._delivered):
            return None
        step = self._progress.onward(record.target, failure, remaining_s, spoke=self._spoke)
        if step is not None:
            policy = self._call.request.routing.mid_stream_policy
            self._going_on = GoingOn(self._call, self._asked, policy, self._delivered, failure.reason)
            self._delivered = Delivered() if policy is MidStreamPolicy.RESTART else self._delivered
        return step

    def _remaining_s(self) -> float:
        return self._call.deadline.remaining_s(self._routes.clock.monotonic_s())

    def _last_word(self, failure: GatewayError) -> GatewayError:
        """Returns what the caller is told: what a provider said rather than our breakers.

        Where the request was refused by the one that was to take over a stream, it is why the stream broke: the request
        was good enough for the one before, and what was sent may hold more than the caller asked for.
        """
        if failure.reason is not Reason.CIRCUIT_OPEN:
            self._refusal = failure
        told = self._refusal or failure
        if self._break is not None and isinstance(told, UpstreamError | RequestError) and row_of(told) is STOP:
            told = self._break
        if self._begun and told.reason is Reason.UPSTREAM_RESET:  # for the caller, who has a part of the reply
            told.reason = Reason.UPSTREAM_STREAM_INTERRUPTED
        if told.reason is Reason.UPSTREAM_RATE_LIMITED and self._call.plan is not None:
            soonest_s = self._routes.cooldowns.soonest_s(self._call.plan.targets)
            # Its own provider's word, to the letter, unless another one's limit ends earlier.
            if soonest_s is not None and (told.retry_after_s is None or soonest_s < told.retry_after_s - AT_ONCE_S):
                told.retry_after_s = soonest_s
        return told

    def _as_seen_by_the_caller(self, error: GatewayError, record: AttemptRecord) -> GatewayError:
        """Names the target, and tells a stream that broke after its first token from one that never began."""
        if isinstance(error, UpstreamError):
            if self._spoke and error.reason is Reason.UPSTREAM_RESET:
                error.reason = Reason.UPSTREAM_STREAM_INTERRUPTED
            elif not self._spoke and error.reason is Reason.UPSTREAM_STREAM_INTERRUPTED:
                error.reason = Reason.UPSTREAM_RESET
            if record.reason is not None:
                record.reason = error.reason
            error.slots = {"provider": record.target.provider, "model": record.target.upstream_model, **error.slots}
        if error.reason is not Reason.CIRCUIT_OPEN:
            self._refusal = error
        return error
