"""What failover is made of, on a clock that tests move."""

from __future__ import annotations

from random import Random

from llmgateway_server.attempts.breaker import BreakerSettings
from llmgateway_server.attempts.breakers import Breakers
from llmgateway_server.core.clock import Clock
from llmgateway_server.routing.cooldown import Cooldowns
from llmgateway_server.routing.failover import Routes
from llmgateway_server.routing.plan import Planner
from llmgateway_server.routing.retry_budget import RetryBudgets
from llmgateway_server.routing.settings import RoutingSettings
from llmgateway_server.routing.standing import Standings
from llmgateway_server.routing.switches import Switches
from llmgateway_server.testing.clock import ManualClock


def routes(clock: Clock | None = None, settings: RoutingSettings | None = None, seed: int = 0) -> Routes:
    clock, rng = clock or ManualClock(), Random(seed)
    standings, breakers = Standings(clock), Breakers(BreakerSettings(), clock, rng)
    cooldowns, switches = Cooldowns(clock), Switches()
    planner = Planner(
        settings=settings or RoutingSettings(),
        standings=standings,
        breakers=breakers,
        cooldowns=cooldowns,
        switches=switches,
        clock=clock,
        rng=rng,
    )
    return Routes(planner, standings, breakers, RetryBudgets(), cooldowns, switches, clock, rng)
