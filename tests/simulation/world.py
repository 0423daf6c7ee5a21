"""One run: providers with lives of their own, callers, operators, and the gateway's real rings between them."""

from __future__ import annotations

import asyncio
import gc
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random

from structlog.testing import capture_logs

from llmgateway_server.attempts.bounds import Bounds, BoundSettings
from llmgateway_server.attempts.breaker import BreakerSettings, State
from llmgateway_server.attempts.breaker_stage import BreakerStage
from llmgateway_server.attempts.breakers import Breakers
from llmgateway_server.attempts.meter import Meter
from llmgateway_server.attempts.timeouts import Timeouts, TimeoutSettings
from llmgateway_server.core.calls import Attempt, Call, Deadline
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.money import Price
from llmgateway_server.core.reply import AttemptStage, CallStage, Opened
from llmgateway_server.core.requests import Operation, RoutingOptions
from llmgateway_server.core.targets import Model, Profile, Target
from llmgateway_server.observe.records import Records
from llmgateway_server.observe.statistics import Period, Statistics
from llmgateway_server.observe.trace import NoTracing
from llmgateway_server.pipeline.authorize import Authorize
from llmgateway_server.pipeline.record import Record
from llmgateway_server.pipeline.ring import RingGateway, attempt_ring, call_ring
from llmgateway_server.routing.catalog import Catalog
from llmgateway_server.routing.cooldown import Cooldowns
from llmgateway_server.routing.failover import Failover, Routes
from llmgateway_server.routing.plan import Planner
from llmgateway_server.routing.retry_budget import RetryBudgets
from llmgateway_server.routing.settings import RoutingSettings
from llmgateway_server.routing.standing import Standings
from llmgateway_server.routing.strategies.names import Strategy
from llmgateway_server.routing.switches import WHOLE_PROVIDER, Switches
from llmgateway_server.testing.virtual_time import START_S, StuckError, VirtualClock, VirtualLoop, run
from tests.simulation.behaviour import life
from tests.simulation.callers import Manners, draw_call, draw_manners, make_call, read
from tests.simulation.provider import FakeProvider
from tests.simulation.watch import MAX_ATTEMPTS, TRACE_TAIL, Story, Watch

CALLS = 250
LONGEST_OPEN_S = 330.0
VENDORS = ("vendor-a", "vendor-b")


@dataclass(slots=True, frozen=True)
class Doubles:
    """Parts of the gateway that a test may replace, to see that the watch finds what is wrong with them."""

    breakers: type[Breakers] = Breakers
    budgets: type[RetryBudgets] = RetryBudgets
    planner: type[Planner] = Planner
    failover: type[Failover] = Failover
    inner_stages: tuple[AttemptStage, ...] = ()
    """Between the timeouts and the provider."""


REAL = Doubles()


@dataclass(slots=True, frozen=True)
class Run:
    """What became of a run."""

    seed: int
    trace_hash: str
    violations: tuple[str, ...]
    counts: dict[str, int]
    virtual_s: float
    lines: tuple[str, ...]

    def report(self) -> str:
        """Returns what a developer needs: what is wrong, how to see it again, and what happened before it."""
        first = next((i for i, line in enumerate(self.lines) if "VIOLATES" in line), len(self.lines) - 1)
        tail = self.lines[max(0, first - TRACE_TAIL) : first + 1]
        return "\n".join(
            [
                f"seed {self.seed}: {len(self.violations)} violations; again: make simulate SEEDS=1 FROM={self.seed}",
                *self.violations[:10],
                "before the first of them:",
                *tail,
            ]
        )


def simulate(seed: int, doubles: Doubles = REAL, calls: int = CALLS) -> Run:
    """Runs one world from its seed to its end, and returns what its watch has found.

    Args:
        seed: of everything: order of callbacks, providers, callers, jitter.
        doubles: what is replaced.
        calls: how many are made; about one a second.
    """
    loop = VirtualLoop(seed)
    with ExitStack() as stack:
        stack.enter_context(capture_logs())
        world = World(loop, seed, doubles)
        try:
            run(loop, world.run(calls))
        except StuckError as error:
            world.watch.check(False, 15, "the run", str(error))
        gc.collect()
    for problem in loop.problems:
        world.watch.check(False, 15, "the loop", problem)
    watch = world.watch
    return Run(
        seed=seed,
        trace_hash=watch.trace_hash,
        violations=tuple(watch.violations),
        counts=dict(watch.counts),
        virtual_s=loop.time() - START_S,
        lines=tuple(watch.lines),
    )


class _Clock(VirtualClock):
    """Tells the watch how long calls wait before they try again."""

    watch: Watch

    async def sleep(self, seconds: float) -> None:
        task = asyncio.current_task()
        self.watch.slept(task.get_name() if task is not None else "", seconds)
        await super().sleep(seconds)


def _watched_budgets(base: type[RetryBudgets], watch: Watch) -> RetryBudgets:
    class Watched(base):  # type: ignore[valid-type, misc]
        def take(self, target: Target, *, timed_out: bool) -> bool:
            taken = bool(super().take(target, timed_out=timed_out))
            if taken:
                watch.retry_paid(target, timed_out=timed_out)
            return taken

        def ended(self, target: Target, *, again: bool, succeeded: bool) -> None:
            watch.attempt_ended(target, again=again, succeeded=succeeded)
            super().ended(target, again=again, succeeded=succeeded)

    made: RetryBudgets = Watched()
    return made


class World:
    """See the module."""

    def __init__(self, loop: VirtualLoop, seed: int, doubles: Doubles) -> None:
        self._loop = loop
        self._rng = Random(f"world {seed}")
        self._seed = seed
        self._clock = VirtualClock(loop)
        breaker_settings = BreakerSettings(
            open_s=self._rng.choice((30.0, 5.0)),
            consecutive_failures=self._rng.choice((5, 3, 1000)),
            failure_rate=self._rng.choice((0.5, 1.0)),
        )
        self.watch = Watch(self._clock, breaker_settings)
        self._providers = self._make_providers()
        self._targets = self._make_targets()
        self._catalog = Catalog(self._providers, self._make_models(), {Operation.COMPLETE: "all"})
        self.watch.polite.add("polite")

        waiting = _Clock(loop)
        waiting.watch = self.watch
        rng = Random(f"gateway {seed}")
        self._standings = Standings(self._clock)
        self._breakers = doubles.breakers(breaker_settings, self._clock, rng, self.watch.breaker_changed)
        self._budgets = _watched_budgets(doubles.budgets, self.watch)
        self._switches = Switches()
        cooldowns = Cooldowns(self._clock)
        planner = doubles.planner(
            settings=RoutingSettings(strategy=self._rng.choice(list(Strategy))),
            standings=self._standings,
            breakers=self._breakers,
            cooldowns=cooldowns,
            switches=self._switches,
            clock=self._clock,
            rng=rng,
        )
        routes = Routes(
            planner, self._standings, self._breakers, self._budgets, cooldowns, self._switches, waiting, rng
        )
        self._statistics = Statistics(self._clock)
        self._gateway = self._rings(routes, doubles)

    def _rings(self, routes: Routes, doubles: Doubles) -> RingGateway:
        """Joins the stages in the order of `request_path`."""
        clock: Clock = self._clock
        timeouts = self._rng.choice(
            (TimeoutSettings(), TimeoutSettings(first_token_s=5.0, idle_s=8.0, progress_s=15.0))
        )
        self.attempt_stages: tuple[AttemptStage, ...] = (
            Meter(clock, NoTracing()),
            BreakerStage(self._breakers),
            Bounds(BoundSettings()),
            Timeouts(timeouts, clock),
        )
        self.call_stages: tuple[CallStage, ...] = (
            Record(clock, Records(clock, enabled=False), self._statistics),
            Authorize(self._catalog),
        )
        attempts = attempt_ring((*self.attempt_stages, *doubles.inner_stages), self._open)
        failover = doubles.failover(attempts, routes, MAX_ATTEMPTS, timeouts.first_token_s)
        return RingGateway(call_ring(self.call_stages, failover.open))

    def _open(self, attempt: Attempt) -> Opened:
        return self._providers[attempt.target.provider].open(attempt)

    # --- what is drawn ---------------------------------------------------------------------------------------------

    def _make_providers(self) -> dict[str, FakeProvider]:
        names = [f"p{i}" for i in range(self._rng.randrange(1, 5))]
        until_s = CALLS * 2.0
        lives = {name: life(self._rng, until_s) for name in names} | {"polite": [(0.0, "polite")]}
        same = self._rng.random() < 0.3
        return {
            name: FakeProvider(
                name,
                VENDORS[0] if same else self._rng.choice(VENDORS),
                clock=self._clock,
                rng=Random(f"{name} {self._seed}"),
                phases=phases,
                observer=self.watch,
            )
            for name, phases in lives.items()
        }

    def _make_targets(self) -> list[Target]:
        rng = self._rng
        return [
            Target(
                provider=name,
                vendor=provider.vendor,
                upstream_model="chat",
                price=rng.choice((None, Price(1_000_000, rng.randrange(1, 9) * 1_000_000))),
                profile=Profile(context_token_count=rng.choice((None, 8_000, 200_000))),
                weight=rng.choice((1.0, 1.0, 5.0)),
                priority=rng.choice((0, 0, 1)),
                enabled=rng.random() < 0.93,
            )
            for name, provider in self._providers.items()
        ]

    def _make_models(self) -> list[Model]:
        targets = self._targets
        made = [Model("all", tuple(targets)), Model("one", (targets[0],))]
        if len(targets) > 2:
            made.append(Model("two", tuple(self._rng.sample(targets, 2)), strategy=Strategy.ROUND_ROBIN))
        return made

    # --- the run ---------------------------------------------------------------------------------------------------

    async def run(self, calls: int) -> None:
        """Lets everything happen, then sees that all of it comes to rest and recovers."""
        tasks = [asyncio.create_task(self._operate(calls), name="operator")]
        rng = Random(f"callers {self._seed}")
        models = [model.name for model in self._catalog.models() for _ in range(rng.choice((1, 1, 12)))]
        pace_s = rng.choice((0.3, 2.0, 4.0))
        number = 0
        while number < calls:
            for _ in range(rng.choice((1, 1, 1, 3, rng.randrange(1, 30)))):  # now and then many come at once
                call = draw_call(number, models, list(self._providers), rng, self._clock.monotonic_s())
                tasks.append(self._start(self._story(call), draw_manners(rng)))
                number += 1
            await self._clock.sleep(rng.expovariate(1.0 / pace_s))
        await asyncio.gather(*tasks)
        await self._at_rest("after the calls")
        await self._recover()
        await self._at_rest("after the recovery")
        self._all_counted()

    def _start(self, story: Story, manners: Manners) -> asyncio.Task[None]:
        return asyncio.create_task(read(self._gateway, story, manners, self.watch, self._clock), name=story.name)

    def _story(self, call: Call) -> Story:
        return Story(call, self._look)

    def _look(self, story: Story) -> None:
        """Fills in what the call can hope for at the moment when it begins."""
        wishes = story.call.request.routing
        model = next((each for each in self._catalog.models() if each.name == story.call.request.model), None)
        targets = model.targets if model is not None else ()
        story.barred = {each.provider for each in self._targets if self._switches.is_off(each)}
        story.barred |= set(wishes.excluded_providers)
        story.usable = [each for each in targets if each.enabled and each.provider not in story.barred]
        if not wishes.fallback_enabled:
            story.usable = []  # it is served by the first of its plan or not at all

    async def _operate(self, calls: int) -> None:
        """Switches accounts off and on again."""
        rng = Random(f"operator {self._seed}")
        for _ in range(calls // 50):
            await asyncio.sleep(rng.uniform(1.0, 40.0))
            name = rng.choice(list(self._providers))
            self._switches.turn(name, WHOLE_PROVIDER, on=False)
            self.watch.note(name, "is switched off")
            await asyncio.sleep(rng.uniform(0.1, 15.0))
            self._switches.turn(name, WHOLE_PROVIDER, on=True)
            self.watch.note(name, "is switched on")

    async def _recover(self) -> None:
        """9: with time and successes every breaker closes."""
        for provider in self._providers.values():
            provider.recover()
        await asyncio.sleep(LONGEST_OPEN_S)
        for target in self._targets:
            for number in range(3 if target.enabled else 0):
                now_s = self._clock.monotonic_s()
                deadline = Deadline(now_s + 60.0, from_client=True)
                name = f"again-{target.provider}-{number}"
                call = make_call(name, f"{target.provider}/chat", RoutingOptions(), deadline, now_s)
                story = self._story(call)
                await self._start(story, Manners())
                self.watch.check(story.finished, 9, name, "a target that works again does not serve")
            state = self._breakers.of(target).state
            self.watch.check(state is State.CLOSED or not target.enabled, 9, str(target), f"stays {state}")

    async def _at_rest(self, when: str) -> None:
        """15: nothing is left of calls that are over."""
        await asyncio.sleep(1.0)
        check = self.watch.check
        tasks = sorted(task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task())
        check(not tasks, 15, when, f"tasks are left: {tasks}")
        timers = self._loop.timer_count()
        check(not timers, 15, when, f"{timers} timers are left")
        for view in self._breakers.views():
            check(not view.in_flight, 9, f"{when} {view.key.provider}", f"{view.in_flight} permits are left")
        for target in self._targets:
            budget, running = self._budgets.of(target), self._standings.of(target).in_flight
            check(not budget.in_flight, 15, f"{when} {target}", f"{budget.in_flight} places of the budget are left")
            check(not budget.retries, 15, f"{when} {target}", f"{budget.retries} retries of the budget are left")
            check(not running, 15, f"{when} {target}", f"{running} attempts are left")

    def _all_counted(self) -> None:
        calls, exchanges = self._statistics.over(Period.ALL).calls.count, len(self.watch.stories)
        self.watch.check(calls == exchanges, 7, "the statistics", f"{calls} of {exchanges} calls were counted")
