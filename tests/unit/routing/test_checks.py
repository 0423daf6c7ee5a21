"""Who is asked by health checks, with what, and how many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from random import Random
from typing import Self

import pytest

from llmgateway_server.attempts.breaker import BreakerSettings, State, Verdict
from llmgateway_server.attempts.breaker_stage import BreakerStage
from llmgateway_server.attempts.breakers import Breakers
from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Batch
from llmgateway_server.core.requests import CompleteRequest, EmbedRequest, Operation
from llmgateway_server.core.targets import Model, ModelStatus, Target
from llmgateway_server.routing.checks import AT_ONCE, Checks, HealthCheckSettings
from llmgateway_server.routing.cooldown import Cooldowns
from llmgateway_server.routing.failover import Routes
from llmgateway_server.routing.plan import Planner
from llmgateway_server.routing.retry_budget import RetryBudgets
from llmgateway_server.routing.settings import RoutingSettings
from llmgateway_server.routing.standing import Standings
from llmgateway_server.routing.switches import Switches
from llmgateway_server.testing.clock import ManualClock


class Account:
    """A provider that answers each question at once, or waits, fails, breaks."""

    reachable_for_free = True

    def __init__(self) -> None:
        self.reached: list[str] = []
        self.asked: list[Attempt] = []
        self.page: Exception | None = None
        self.hold: asyncio.Event | None = None
        self.answer: Callable[[Attempt], None] = lambda _: None
        self.running = self.most_running = 0

    async def reach(self, attempt: Attempt) -> None:
        self.reached.append(attempt.target.upstream_model)
        attempt.request_sent = True
        if self.page is not None:
            raise self.page

    def open(self, attempt: Attempt) -> _Answer:
        return _Answer(self, attempt)


class _Answer:
    def __init__(self, account: Account, attempt: Attempt) -> None:
        self._account = account
        self._attempt = attempt

    async def __aenter__(self) -> Self:
        account = self._account
        account.asked.append(self._attempt)
        self._attempt.request_sent = True
        account.running += 1
        account.most_running = max(account.running, account.most_running)
        if account.hold is not None:
            await account.hold.wait()
        account.answer(self._attempt)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._account.running -= 1

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        raise StopAsyncIteration


class World:
    def __init__(self, models: Iterable[Model], *, free: bool = True) -> None:
        self.clock, rng = ManualClock(), Random(7)
        self.account = Account()
        self.found: list[tuple[str, str]] = []
        standings, cooldowns, switches = Standings(self.clock), Cooldowns(self.clock), Switches()
        self.breakers = Breakers(BreakerSettings(), self.clock, rng)
        planner = Planner(
            settings=RoutingSettings(),
            standings=standings,
            breakers=self.breakers,
            cooldowns=cooldowns,
            switches=switches,
            clock=self.clock,
            rng=rng,
        )
        self.routes = Routes(planner, standings, self.breakers, RetryBudgets(), cooldowns, switches, self.clock, rng)
        self.checks = Checks(
            HealthCheckSettings(),
            models=models,
            routes=self.routes,
            stages=(BreakerStage(self.breakers),),
            open_provider=self.account.open,
            free={"p": self.account} if free else {},
            passed_over=("simulator",),
            found=lambda provider, outcome: self.found.append((provider, outcome)),
        )

    def open(self, target: Target, reason: Reason = Reason.UPSTREAM_ERROR) -> None:
        """Opens the breaker of a target and lets its time pass."""
        breaker = self.breakers.of(target)
        for _ in range(5):
            permit = breaker.try_enter()
            assert permit is not None
            breaker.leave(permit, Verdict.FAILURE, reason=reason)
        assert breaker.state is State.OPEN
        self.clock.advance(40)


def target(model: str = "m", *, enabled: bool = True) -> Target:
    return Target("p", "v", model, enabled=enabled)


CHAT = frozenset({Operation.COMPLETE, Operation.COUNT_TOKENS})


def model(*targets: Target, operations: frozenset[Operation] = CHAT, status: ModelStatus = ModelStatus.READY) -> Model:
    return Model("public", targets, operations, status=status)


@pytest.mark.parametrize("reason", [Reason.UPSTREAM_UNREACHABLE, Reason.UPSTREAM_TLS])
async def test_where_the_connection_was_the_trouble_no_token_is_spent(reason: Reason) -> None:
    world = World([model(target())])
    world.open(target(), reason)
    await world.checks.round()
    assert (world.account.reached, world.account.asked) == (["m", "m"], [])
    assert world.breakers.of(target()).state is State.CLOSED
    assert world.found == [("p", "succeeded")] * 2


@pytest.mark.parametrize(
    ("page", "asked"),
    [
        (Reason.UPSTREAM_UNREACHABLE, 0),
        (Reason.UPSTREAM_RESET, 0),
        (Reason.UPSTREAM_OVERLOADED, 0),
        (Reason.UPSTREAM_RATE_LIMITED, 0),
        (Reason.MODEL_NOT_FOUND, 2),
        (Reason.PROVIDER_AUTH_FAILED, 2),
        (Reason.UPSTREAM_ERROR, 2),
        (Reason.UPSTREAM_REDIRECT, 2),
    ],
)
async def test_what_the_page_may_decide(page: Reason, asked: int) -> None:
    world = World([model(target())])
    world.open(target(), Reason.UPSTREAM_UNREACHABLE)
    world.account.page = UpstreamError(page)
    await world.checks.round()
    assert len(world.account.asked) == asked


async def test_an_account_without_a_page_is_asked_for_one_token() -> None:
    world = World([model(target())], free=False)
    world.open(target())
    await world.checks.round()
    request = world.account.asked[0].call.request
    assert isinstance(request, CompleteRequest)
    assert (request.max_output_tokens, request.model, world.account.reached) == (1, "m", [])


async def test_a_model_that_only_embeds_is_asked_for_a_vector() -> None:
    world = World([model(target(), operations=frozenset({Operation.EMBED}))])
    world.open(target())
    await world.checks.round()
    attempt = world.account.asked[0]
    assert isinstance(attempt.call.request, EmbedRequest)
    assert (attempt.call.operation, attempt.call.streaming) == (Operation.EMBED, False)


@pytest.mark.parametrize(
    "models",
    [
        pytest.param([], id="not-in-the-catalogue"),
        pytest.param([model(target(), status=ModelStatus.NOT_READY)], id="not-ready"),
        pytest.param([model(target(enabled=False))], id="disabled"),
        pytest.param([model(target(), operations=frozenset({Operation.COUNT_TOKENS}))], id="nothing-to-ask-for"),
        pytest.param([model(Target("simulator", "simulator", "m"))], id="passed-over"),
    ],
)
async def test_who_is_never_asked(models: list[Model]) -> None:
    world = World(models)
    for each in (target(), Target("simulator", "simulator", "m")):
        world.open(each)
    assert world.checks.due() == []


async def test_a_target_behind_several_names_is_asked_once() -> None:
    world = World([model(target()), Model("other", (target(),))])
    world.open(target())
    assert len(world.checks.due()) == 1


async def test_at_most_four_at_once() -> None:
    targets = [target(f"m{i}") for i in range(3 * AT_ONCE)]
    world = World([model(*targets)])
    for each in targets:
        world.open(each)
    world.account.hold = asyncio.Event()
    running = asyncio.create_task(world.checks.round())
    while world.account.running < AT_ONCE:
        await asyncio.sleep(0)
    world.account.hold.set()
    await running
    assert world.account.most_running == AT_ONCE
    assert len({each.target.upstream_model for each in world.account.asked}) == len(targets)


async def test_a_defect_at_one_target_ends_no_other_check() -> None:
    targets = [target("bad"), target("good")]
    world = World([model(*targets)])
    for each in targets:
        world.open(each)

    def answer(attempt: Attempt) -> None:
        if attempt.target.upstream_model == "bad":
            raise ZeroDivisionError

    world.account.answer = answer
    await world.checks.round()
    assert world.breakers.of(targets[1]).state is State.CLOSED
    assert world.breakers.of(targets[0]).state is State.HALF_OPEN
    assert {world.routes.standings.of(each).in_flight for each in targets} == {0}


async def test_stopping_ends_what_runs_and_gives_everything_back() -> None:
    world = World([model(target())])
    world.open(target())
    world.account.hold = asyncio.Event()
    world.checks.start()
    while not world.account.running:
        await asyncio.sleep(0)
        world.clock.advance(33)
    await world.checks.stop()
    assert world.routes.standings.of(target()).in_flight == 0
    assert world.breakers.of(target()).in_flight == 0
