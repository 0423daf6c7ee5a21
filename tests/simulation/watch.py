"""The invariants of RELIABILITY §6, checked as a run goes on. Knows nothing of how the gateway keeps them.

Each check names the invariant by its number. What is found is collected, because an exception raised here would only
be one more failure of a provider to the gateway.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from llmgateway_server.attempts.breaker import Breaker, BreakerSettings, Cause, State
from llmgateway_server.attempts.per_target import TargetKey, key_of
from llmgateway_server.core.calls import AttemptRecord, Call, Outcome
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import GatewayError
from llmgateway_server.core.events import (
    CONTENT,
    Finished,
    FinishReason,
    PartFinished,
    PartStarted,
    Started,
    TargetSwitched,
    TextDelta,
)
from llmgateway_server.core.messages import TextPart
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Batch
from llmgateway_server.core.requests import CompleteRequest, MidStreamPolicy
from llmgateway_server.core.targets import Target
from tests.simulation.provider import Exchange

EPSILON_S = 1e-6
MIN_ATTEMPT_S = 1.0
LATE_S = 0.05
CLOSED_WITHIN_S = 0.1
BUDGET, RETRY_COST, TIMEOUT_COST = 100, 5, 10
WINDOW_S = 120.0
MAX_ATTEMPTS = 3
TRACE_TAIL = 40


@dataclass(slots=True)
class Story:
    """What is known of one call from outside the gateway."""

    call: Call
    look: Callable[[Story], None]
    """Fills in the next two at the moment when the call begins."""
    usable: list[Target] = field(default_factory=list)
    """The targets that it may be served by."""
    barred: set[str] = field(default_factory=set)
    """Accounts that are excluded or were switched off when it began."""
    exchanges: list[Exchange] = field(default_factory=list)
    sleeps: int = 0
    has_content: bool = False
    """Whether the caller has any."""
    left_s: float = math.nan
    """When its caller left; NaN: it did not."""
    done: bool = False

    # The reply as the caller has it
    started: bool = False
    finished: bool = False
    cut: bool = False
    open_parts: set[int] = field(default_factory=set)
    part_count: int = 0
    segments: list[str] = field(default_factory=lambda: [""])
    """Text, one piece for each target that spoke."""
    speakers: list[int] = field(default_factory=list)
    """Numbers of the attempts that spoke after the first one."""

    @property
    def name(self) -> str:
        return self.call.scope.call_id

    @property
    def policy(self) -> MidStreamPolicy:
        return self.call.request.routing.mid_stream_policy


@dataclass(slots=True)
class TargetView:
    """What is known of a target from outside."""

    state: State = State.CLOSED
    since_s: float = 0.0
    opens: int = 0
    running: list[Exchange] = field(default_factory=list)
    probes: int = 0
    """Calls that began since it was half open and still run."""
    owed: float = 0.0
    """Retries beyond what successes have paid back, see invariant 11."""
    paid: int = 0
    retried: int = 0
    first_times_s: deque[float] = field(default_factory=deque)
    retry_times_s: deque[float] = field(default_factory=deque)


class Watch:
    """See the module.

    Args:
        clock: virtual.
        breaker: settings of the breakers.
    """

    def __init__(self, clock: Clock, breaker: BreakerSettings) -> None:
        self._clock = clock
        self._breaker = breaker
        self._digest = hashlib.blake2b(digest_size=16)
        self.lines: deque[str] = deque(maxlen=100_000)
        self.violations: list[str] = []
        self.stories: dict[str, Story] = {}
        self.targets: defaultdict[TargetKey, TargetView] = defaultdict(TargetView)
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.polite: set[str] = set()
        """Accounts that never fail in a way that counts."""
        self.quiet = False
        """Whether the run is over, so that nothing may be left."""

    @property
    def trace_hash(self) -> str:
        return self._digest.hexdigest()

    def note(self, who: str, what: str) -> None:
        """Adds a line to the trace."""
        line = f"{self._clock.monotonic_s():.6f} {who} {what}"
        self._digest.update(line.encode())
        self.lines.append(line)

    def check(self, holds: bool, invariant: int, who: str, what: str) -> None:
        if not holds:
            self.violations.append(f"invariant {invariant}: {who} at {self._clock.monotonic_s():.3f}: {what}")
            self.note(who, f"VIOLATES {invariant}: {what}")

    # --- 9, 10: breakers -------------------------------------------------------------------------------------------

    def breaker_changed(self, key: TargetKey, breaker: Breaker) -> None:
        view, now_s = self.targets[key], self._clock.monotonic_s()
        self.note(f"{key.provider}/{key.model}", f"breaker {breaker.state} {breaker.cause}")
        self.counts[f"breaker {breaker.state}"] += 1
        if breaker.state is State.OPEN:
            view.opens += 1
            self.check(key.provider not in self.polite, 10, key.provider, "opened without a failure")
            self.check(breaker.cause is not Cause.TIME_PASSED, 9, key.provider, "opened by time")
        elif breaker.state is State.HALF_OPEN:
            least_s = min(self._breaker.max_open_s, self._breaker.open_s * view.opens) * 0.9
            self.check(now_s - view.since_s >= least_s - EPSILON_S, 9, key.provider, "half open before its time")
            view.probes = 0
        else:
            view.opens = 0
        view.state, view.since_s = breaker.state, now_s

    # --- providers -------------------------------------------------------------------------------------------------

    def upstream_began(self, exchange: Exchange) -> None:
        attempt = exchange.attempt
        story, target = self.stories[attempt.call.scope.call_id], attempt.target
        view, now_s = self.targets[key_of(target)], self._clock.monotonic_s()
        self.note(story.name, f"{exchange.name} begins as attempt {attempt.record.number}")
        self.counts["exchanges"] += 1
        who = f"{story.name} at {target}"

        self.check(view.state is not State.OPEN, 9, who, "asked although its breaker is open")
        if view.state is State.HALF_OPEN:
            view.probes += 1
            self.check(view.probes <= self._breaker.half_open_calls, 9, who, "more probes than permits")

        remaining_s = story.call.deadline.remaining_s(now_s)
        began_before = [each for each in story.call.attempts if each is not attempt.record and not _was_refused(each)]
        if began_before:  # one that a breaker refused was none
            self.check(remaining_s >= MIN_ATTEMPT_S - EPSILON_S, 12, who, f"began with {remaining_s:.3f} s left")
        wanted = story.call.request.routing.max_attempts or MAX_ATTEMPTS
        self.check(len(story.exchanges) < min(wanted, MAX_ATTEMPTS), 11, who, "more attempts than allowed")
        self._check_retry(exchange, story, view)
        self._check_onward(exchange, story, who)

        self.check(target.enabled, 27, who, "disabled")
        self.check(target.provider not in story.barred, 27, who, "excluded or switched off")
        self.check(not story.done, 15, who, "asked for a call that is over")
        self.check(math.isnan(story.left_s) or now_s <= story.left_s, 15, who, "asked for a caller that has left")
        story.exchanges.append(exchange)
        view.running.append(exchange)

    def _check_retry(self, exchange: Exchange, story: Story, view: TargetView) -> None:
        """11: whoever is asked again by a call either has another key, or its budget has paid."""
        now_s, who = self._clock.monotonic_s(), f"{story.name} at {exchange.attempt.target}"
        before = [each for each in story.exchanges if each.attempt.target == exchange.attempt.target]
        if not before:
            view.first_times_s.append(now_s)
            return
        if before[-1].attempt.record.key_id != exchange.attempt.record.key_id:
            self.counts["other keys"] += 1
            return
        self.counts["retries"] += 1
        view.retried += 1
        self.check(view.retried <= view.paid, 11, who, "a retry that its budget did not pay")
        view.retry_times_s.append(now_s)
        for times in (view.retry_times_s, view.first_times_s):
            while times and times[0] < now_s - WINDOW_S:
                times.popleft()
        most = 0.1 * len(view.first_times_s) + BUDGET / RETRY_COST
        self.check(len(view.retry_times_s) <= most, 11, who, f"{len(view.retry_times_s)} retries in two minutes")
        fault = before[-1].behaviour.fault
        asked_s = (
            fault.retry_after_s if fault and fault.retry_after_s and before[-1].behaviour.chunks is False else None
        )
        if asked_s is not None and asked_s > 0 and not story.has_content:
            waited_s = now_s - before[-1].ended_s
            self.check(waited_s >= asked_s - EPSILON_S, 12, who, f"waited {waited_s:.3f} s of {asked_s} s")

    def _check_onward(self, exchange: Exchange, story: Story, who: str) -> None:
        """13: after the first content nobody is asked, unless the caller wished it."""
        if not story.has_content:
            return
        self.counts["onward"] += 1
        self.check(story.call.streaming and story.policy is not MidStreamPolicy.FAIL, 13, who, "asked after content")
        if story.policy is MidStreamPolicy.CONTINUE and isinstance(request := story.call.request, CompleteRequest):
            last = request.messages[-1].parts[0].content
            had = last.text if isinstance(last, TextPart) else ""
            self.check(had == "".join(story.segments), 13, who, "does not continue what the caller has")

    def upstream_ended(self, exchange: Exchange) -> None:
        attempt = exchange.attempt
        view = self.targets[key_of(attempt.target)]
        fault = exchange.behaviour.fault
        self.note(
            attempt.call.scope.call_id,
            f"{exchange.name} ends, finished: {exchange.finished}, meant {exchange.behaviour.ending.value}"
            f"{f' {fault.reason} {fault.status} {fault.retry_after_s}' if fault else ''}",
        )
        view.running.remove(exchange)
        if view.state is State.HALF_OPEN and exchange.began_s >= view.since_s:
            view.probes -= 1

    # --- 11, 12: budgets and delays --------------------------------------------------------------------------------

    def retry_paid(self, target: Target, *, timed_out: bool) -> None:
        view = self.targets[key_of(target)]
        view.paid += 1
        view.owed += TIMEOUT_COST if timed_out else RETRY_COST
        self.check(view.owed <= BUDGET, 11, str(target), "retries beyond the budget")

    def attempt_ended(self, target: Target, *, again: bool, succeeded: bool) -> None:
        view = self.targets[key_of(target)]
        if succeeded and not again:
            view.owed = max(0.0, view.owed - 1)

    def slept(self, task_name: str, seconds: float) -> None:
        """12: the delay of a retry."""
        story = self.stories.get(task_name)
        if story is None:
            return
        self.note(story.name, f"waits {seconds:.6f}")
        remaining_s = story.call.deadline.remaining_s(self._clock.monotonic_s())
        asked = [fault.retry_after_s or 0.0 for each in story.exchanges if (fault := each.behaviour.fault)]
        asked_s = max((each for each in asked if 0 < each <= 5.0), default=0.0)
        most_s = max(asked_s, min(8.0, 0.5 * 2.0**story.sleeps))
        self.check(0 <= seconds <= most_s, 12, story.name, f"waits {seconds:.3f} s, at most {most_s:.3f} s")
        self.check(seconds + MIN_ATTEMPT_S <= remaining_s + EPSILON_S, 12, story.name, "waits for too little time")
        story.sleeps += 1

    # --- callers ---------------------------------------------------------------------------------------------------

    def began(self, story: Story) -> None:
        story.look(story)
        story.usable = [each for each in story.usable if self._is_closed(each)]
        self.stories[story.name] = story
        self.counts["calls"] += 1
        self.note(story.name, f"begins, {_wishes(story.call, self._clock.monotonic_s())}")

    def left(self, story: Story) -> None:
        """15: the caller leaves; soon nothing of the call may run."""
        if not story.done:
            story.left_s = self._clock.monotonic_s()
            self.note(story.name, "leaves")
            asyncio.get_running_loop().call_later(CLOSED_WITHIN_S, self._check_closed, story)

    def _check_closed(self, story: Story) -> None:
        self.check(story.done, 15, story.name, "runs 100 ms after its caller left")
        self.check(not any(each.runs for each in story.exchanges), 15, story.name, "a provider is still asked")

    def waited(self, story: Story, began_s: float) -> None:
        """12: no wait for the gateway outlives the deadline."""
        now_s = self._clock.monotonic_s()
        latest_s = max(began_s, story.call.deadline.at_s) + LATE_S
        self.check(now_s <= latest_s, 12, story.name, f"{now_s - latest_s + LATE_S:.3f} s beyond its deadline")

    def delivered(self, story: Story, batch: Batch) -> None:
        """14: the grammar of a reply."""
        for event in batch:
            grammar = self._follows(story, event)
            self.check(grammar, 14, story.name, f"{type(event).__name__} where it cannot stand")
            if isinstance(event, CONTENT):
                story.has_content = True
        self.note(story.name, f"gets {' '.join(type(event).__name__ for event in batch)}")

    def _follows(self, story: Story, event: object) -> bool:
        """Takes in an event; tells whether it may stand here."""
        if story.finished:
            return False
        match event:
            case Started():
                first, story.started = not story.started, True
                return first and not story.part_count
            case PartStarted(part_index=index):
                follows = story.started and index == story.part_count
                story.part_count += 1
                story.open_parts.add(index)
                return follows
            case TextDelta(part_index=index, text=text):
                story.segments[-1] += text
                return index in story.open_parts
            case PartFinished(part_index=index):
                was_open = index in story.open_parts
                story.open_parts.discard(index)
                return was_open
            case TargetSwitched(restarted=restarted, attempt=number):
                self.counts["switches"] += 1
                story.speakers.append(number)
                if restarted:
                    story.open_parts, story.part_count, story.segments = set(), 0, [""]
                    story.speakers = [number]
                else:
                    story.segments.append("")
                wanted = MidStreamPolicy.RESTART if restarted else MidStreamPolicy.CONTINUE
                return story.policy is wanted and story.has_content
            case Finished(finish_reason=reason):
                story.finished, story.cut = True, reason is FinishReason.LENGTH
                return story.started and not story.open_parts
            case _:
                return True

    def ended(self, story: Story, error: BaseException | None) -> None:
        """The caller has its last word."""
        call, who = story.call, story.name
        story.done = True
        tries = " ".join(f"{each.target.provider}:{each.reason or each.outcome}" for each in call.attempts)
        told = error.reason if isinstance(error, GatewayError) else type(error).__name__ if error else "nothing"
        self.note(who, f"ends with {told}, finished: {story.finished}, attempts: {tries}")
        self.counts[f"ended {told}"] += 1
        self.counts["retries suppressed"] += isinstance(error, GatewayError) and "retrySuppressed" in error.slots
        self.counts["hedges"] += sum(
            one.began_s < other.began_s < one.ended_s for one, other in pairwise(story.exchanges)
        )
        for exchange in story.exchanges:
            self.check(not exchange.runs, 15, who, f"{exchange.name} outlives its call")
        for record in call.attempts:
            self.check(record.outcome is not None, 15, who, f"attempt {record.number} has no outcome")
        real = [record for record in call.attempts if record.outcome is not Outcome.SHED]
        self.check(len(real) <= call.max_attempts, 11, who, "more attempts than allowed")
        expected = error is None or isinstance(error, GatewayError | asyncio.CancelledError | ZeroDivisionError)
        self.check(expected, 22, who, f"ends with {told}")
        in_time = math.isnan(story.left_s)
        if in_time and error is None:
            self.check(story.finished, 14, who, "ended without a last event")
        self._check_text(story, whole=in_time and (error is None or _is_providers(error)))
        self._check_healthy(story, error)

    def _check_text(self, story: Story, *, whole: bool) -> None:
        """14: what the caller has is what those that spoke have sent."""
        if not story.has_content:
            return
        sent = {each.attempt.record.number: each for each in story.exchanges}
        speakers = story.speakers if len(story.speakers) == len(story.segments) else [None, *story.speakers]
        for i, (number, text) in enumerate(zip(speakers, story.segments, strict=True)):
            if number is None:
                serving = next((each for each in story.exchanges if text and each.sent.startswith(text)), None)
            else:
                serving = sent.get(number)
            last = i == len(story.segments) - 1
            if serving is None:
                self.check(False, 14, story.name, "text that no provider has sent")
            elif whole or not last:
                self.check(text == serving.sent, 14, story.name, f"text of {serving.name} doubled or lost")
            else:
                self.check(serving.sent.startswith(text), 14, story.name, f"text of {serving.name} changed")
            if last and story.finished and serving is not None:
                self.check(serving.finished or story.cut, 14, story.name, "a cut reply ended as if it were whole")

    def _check_healthy(self, story: Story, error: BaseException | None) -> None:
        """27: nobody is turned away for want of a target while there is one."""
        if not isinstance(error, GatewayError) or error.reason not in (Reason.CIRCUIT_OPEN, Reason.NO_HEALTHY_PROVIDER):
            return
        if story.exchanges:
            self.check(False, 27, story.name, "told of breakers instead of what a provider said")
        elif any(map(self._is_closed, story.usable)):
            self.check(False, 27, story.name, "turned away although a target was there")

    def _is_closed(self, target: Target) -> bool:
        return self.targets[key_of(target)].state is State.CLOSED


def _was_refused(record: AttemptRecord) -> bool:
    return record.outcome is Outcome.SHED


def _is_providers(error: BaseException) -> bool:
    """Tells whether a reply ended by what its provider did, and not by the clock or the caller."""
    return isinstance(error, GatewayError) and error.reason not in (Reason.DEADLINE_EXCEEDED, Reason.CANCELLED)


def _wishes(call: Call, now_s: float) -> str:
    """Returns what a call asks for, for the trace."""
    wishes = call.request.routing
    told: dict[str, object] = {
        "model": call.request.model,
        "left_s": round(call.deadline.remaining_s(now_s), 3),
        "streaming": call.streaming,
        "policy": wishes.mid_stream_policy,
        "max_attempts": wishes.max_attempts,
        "fallback": wishes.fallback_enabled,
        "hedge": wishes.hedge,
        "excluded": wishes.excluded_providers,
    }
    return ", ".join(f"{name}: {value}" for name, value in told.items() if value not in (None, ()))
