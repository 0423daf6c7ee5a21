"""What is mutated, and which tests must notice it: the fast ones that know the module."""

from __future__ import annotations

from dataclasses import dataclass

UNIT = "tests/unit/routing"
BREAKER = (
    "tests/unit/attempts/test_breaker.py",
    "tests/unit/attempts/test_breaker_edges.py",
    "tests/unit/attempts/test_breakers.py",
    "tests/unit/attempts/test_breaker_stage.py",
)
CALLS = (
    f"{UNIT}/test_routing.py",
    f"{UNIT}/test_failover.py",
    f"{UNIT}/test_takeover.py",
    f"{UNIT}/test_race.py",
    f"{UNIT}/test_plans.py",
    "tests/path/test_hedging.py",
)
"""Whole calls through a gateway."""
RINGS = "tests/path/test_request_path.py"
"""Their steps by name, and why each stands where it does."""
PLANS = (
    f"{UNIT}/test_failover.py",
    f"{UNIT}/test_takeover.py",
    f"{UNIT}/test_race.py",
    f"{UNIT}/test_plans.py",
    "tests/path/test_routing_settings.py",
)
ORDERS = (f"{UNIT}/test_order_edges.py", f"{UNIT}/test_order.py", f"{UNIT}/test_strategies.py")


@dataclass(slots=True, frozen=True)
class Module:
    """One module with its tests, quick ones first.

    Attributes:
        group: for which a share of killed mutants is asked.
        path: below the package.
        tests: files; they stop at the first failure.
    """

    group: str
    path: str
    tests: tuple[str, ...]


def _unit(*names: str) -> tuple[str, ...]:
    return tuple(f"{UNIT}/test_{name}.py" for name in names)


MODULES = (
    Module("breaker", "attempts/breaker.py", BREAKER),
    Module("breaker", "attempts/breakers.py", BREAKER),
    Module("breaker", "attempts/breaker_stage.py", (*BREAKER, RINGS)),
    Module("breaker", "attempts/per_target.py", BREAKER),
    Module(
        "failover",
        "routing/tries.py",
        (*_unit("progress", "shares", "plans", "failover"), "tests/properties/test_retry.py"),
    ),
    Module(
        "failover", "routing/progress.py", (*_unit("progress", "shares", "failover"), "tests/properties/test_retry.py")
    ),
    Module("failover", "routing/shares.py", _unit("progress", "shares")),
    Module("failover", "routing/poison.py", _unit("progress", "failover")),
    Module("failover", "routing/backoff.py", (*_unit("backoff", "shares"), "tests/properties/test_retry.py")),
    Module("failover", "routing/retry_budget.py", (*_unit("retry_budget", "shares"), "tests/properties/test_retry.py")),
    Module("failover", "routing/cooldown.py", _unit("cooldown", "shares")),
    Module("failover", "routing/hedge_terms.py", (*_unit("shares"), *CALLS)),
    Module("failover", "routing/hedge.py", (*_unit("shares"), *CALLS[1:])),
    Module("failover", "routing/midstream.py", (*_unit("midstream"), *CALLS)),
    Module("failover", "routing/failover.py", (*_unit("midstream"), RINGS, *CALLS)),
    Module("strategies", "routing/plan.py", (*PLANS, *CALLS[:1])),
    Module("strategies", "routing/eligible.py", (*_unit("eligible"), *ORDERS[:1])),
    Module("strategies", "routing/affinity.py", (*_unit("affinity"), *ORDERS[:1])),
    Module("strategies", "routing/complexity.py", (*_unit("complexity"), *ORDERS[:1])),
    Module("strategies", "routing/standing.py", (*ORDERS[:1], *_unit("standing"))),
    Module("strategies", "routing/switches.py", (*ORDERS[:1], *PLANS)),
    *(
        Module("strategies", f"routing/strategies/{name}.py", (*ORDERS, *_unit("wishes")))
        for name in ("balanced", "contenders", "cost", "latency", "order", "quality", "table", "turns")
    ),
    Module("strategies", "routing/strategies/wishes.py", (*ORDERS[:1], *_unit("wishes"))),
)
