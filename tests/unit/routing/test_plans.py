from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.attempts.breaker import Verdict
from llmgateway_server.core.errors import DefectError, GatewayError, RequestError, UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import (
    CompleteRequest,
    RoutingOptions,
    Tool,
)
from llmgateway_server.core.targets import Model, ModelStatus, Profile, Target
from llmgateway_server.routing.plan import MAX_FIELDS
from llmgateway_server.routing.tries import ROWS, STOP, Again, Elsewhere, row_of
from tests.unit.routing.failover_world import A, B, C, Tried, error


def planned(run: Tried) -> GatewayError | None:
    try:
        run.call.plan = run.routes.planner.plan(run.call)
    except GatewayError as refused:
        return refused
    return None


def told(run: Tried) -> list[tuple[str, bool, str]]:
    assert run.call.plan is not None
    return [(each.target.provider, each.eligible, each.reason) for each in run.call.plan.told()]


def test_a_plan_says_why() -> None:
    off = Target("d", "simulator", "d-1", enabled=False)
    run = Tried(A, B, C, off)
    run.routes.switches.turn("c", "", on=False)
    run.routes.cooldowns.limited(A, 30.0)
    assert planned(run) is None
    assert told(run) == [
        ("b", True, "configured order"),
        ("a", True, "cools down after a rate limit"),
        ("d", False, "disabled"),
        ("c", False, "switched off by an operator"),
    ]
    assert run.call.plan is not None
    assert run.call.plan.strategy == "priority"


def test_a_small_model_tells_those_left_out_in_their_configured_order() -> None:
    last, first = (Target(name, "simulator", "x", priority=at, enabled=False) for name, at in (("y", 2), ("z", 1)))
    run = Tried(A, B, C, last, first)
    assert planned(run) is None
    assert told(run)[3:] == [("y", False, "disabled"), ("z", False, "disabled")]


def open_circuit(run: Tried, place: Target) -> None:
    for _ in range(5):
        breaker = run.routes.breakers.of(place)
        permit = breaker.try_enter()
        assert permit is not None
        breaker.leave(permit, Verdict.FAILURE)


def test_open_circuits_are_left_out_until_all_are_open() -> None:
    run = Tried()
    open_circuit(run, A)
    assert planned(run) is None
    assert told(run) == [("b", True, "configured order"), ("a", False, "circuit open")]
    open_circuit(run, B)
    refused = planned(run)
    assert refused is not None
    assert (refused.reason, refused.slots) == (Reason.CIRCUIT_OPEN, {"model": "m"})
    assert refused.retry_after_s == run.routes.breakers.soonest_s([A, B])


WORDS = {
    "routing.excluded": [("routing.excluded_providers", "leaves no provider for this model")],
    "routing.tags": [("routing.tags", "no target of this model carries all of them")],
    "routing.required_capabilities": [
        ("routing.required_capabilities", "no target of this model has all of them"),
    ],
}


@pytest.mark.parametrize(
    ("targets", "wishes", "reason", "code"),
    [
        ((A, B), RoutingOptions(excluded_providers=("a", "b")), Reason.INVALID_REQUEST, "routing.excluded"),
        ((A, B), RoutingOptions(tags=frozenset({"eu"})), Reason.INVALID_REQUEST, "routing.tags"),
        (
            (A, B),
            RoutingOptions(required_capabilities=frozenset({"TOOLS"})),
            Reason.INVALID_REQUEST,
            "routing.required_capabilities",
        ),
        ((Target("a", "simulator", "x", enabled=False),), RoutingOptions(), Reason.NO_HEALTHY_PROVIDER, ""),
        (
            (Target("a", "simulator", "x", profile=Profile(status=ModelStatus.NOT_READY)),),
            RoutingOptions(),
            Reason.NO_HEALTHY_PROVIDER,
            "",
        ),
    ],
)
def test_a_plan_without_targets(targets: Any, wishes: RoutingOptions, reason: Reason, code: str) -> None:
    refused = planned(Tried(*targets, wishes=wishes))
    assert refused is not None
    assert refused.reason is reason
    assert [each.rule for each in refused.violations] == ([code] if code else [])
    assert [(each.field, each.description) for each in refused.violations] == WORDS.get(code, [])
    if not code:
        assert isinstance(refused, UpstreamError)
        assert refused.slots == {"model": "m"}
    else:
        assert isinstance(refused, RequestError)


def test_a_call_without_a_model_is_a_defect() -> None:
    run = Tried()
    run.call.resolved = None
    with pytest.raises(DefectError):
        run.routes.planner.plan(run.call)
    run = Tried(A, B)
    for place in (A, B):
        run.routes.switches.turn(place.provider, "", on=False)
    refused = planned(run)
    assert refused is not None
    assert refused.reason is Reason.NO_HEALTHY_PROVIDER


def test_switches() -> None:
    switches = Tried().routes.switches
    scripted = Target("a", "simulator", "a-1?tokens=3")
    assert not switches.is_off(A)
    assert (switches.turn("a", "a-1", on=False), switches.turn("a", "a-1", on=False)) == (True, False)
    assert (switches.is_off(A), switches.is_off(scripted), switches.is_off(B)) == (True, True, False)
    assert switches.off() == [("a", "a-1")]
    assert (switches.turn("b", "", on=False), switches.is_off(B), switches.off()) == (
        True,
        True,
        [("a", "a-1"), ("b", "")],
    )
    assert (switches.turn("a", "a-1", on=True), switches.turn("a", "a-1", on=True)) == (True, False)
    assert not switches.is_off(A)
    assert switches.is_off(B)


AGAIN = {
    Again.ONCE: {"UPSTREAM_UNREACHABLE", "UPSTREAM_MALFORMED", "UPSTREAM_CONFLICT"},
    Again.WHILE_ALLOWED: {"UPSTREAM_RESET", "UPSTREAM_ERROR", "UPSTREAM_OVERLOADED", "UPSTREAM_RATE_LIMITED"},
}
NOT_ANYWHERE = {
    "UPSTREAM_CONFLICT": Elsewhere.NONE,
    "CONTEXT_LENGTH_EXCEEDED": Elsewhere.LARGER,
    "REQUEST_TOO_LARGE": Elsewhere.LARGER,
}
NEVER_AGAIN = {
    *("UPSTREAM_TLS", "UPSTREAM_TIMEOUT", "UPSTREAM_STALLED", "UPSTREAM_REDIRECT", "UPSTREAM_UNCLASSIFIED"),
    *("PROVIDER_AUTH_FAILED", "PROVIDER_QUOTA_EXHAUSTED", "MODEL_NOT_FOUND", "CIRCUIT_OPEN"),
    *("CONTEXT_LENGTH_EXCEEDED", "REQUEST_TOO_LARGE"),
}


def test_the_rows() -> None:
    rows = {reason.name: row for reason, row in ROWS.items()}
    assert set(rows) == NEVER_AGAIN.union(*AGAIN.values())
    for name, row in rows.items():
        assert row.again is next((again for again, named in AGAIN.items() if name in named), Again.NEVER), name
        assert row.elsewhere is NOT_ANYWHERE.get(name, Elsewhere.ANY), name
    assert (STOP.again, STOP.elsewhere) == (Again.NEVER, Elsewhere.NONE)
    told_to = row_of(error(Reason.UPSTREAM_TIMEOUT, http_status=504))
    assert (told_to.again, told_to.elsewhere) == (Again.WHILE_ALLOWED, Elsewhere.ANY)
    assert row_of(error(Reason.UPSTREAM_TIMEOUT)).again is Again.NEVER
    assert row_of(error(Reason.UPSTREAM_REJECTED_REQUEST)) is STOP


@pytest.mark.parametrize(
    "wishes",
    [
        RoutingOptions(strategy="weighted"),
        RoutingOptions(preferred_providers=("a",)),
        RoutingOptions(required_capabilities=frozenset({"TOOLS"})),
        RoutingOptions(tags=frozenset({"eu"})),
    ],
)
def test_a_single_target_has_one_plan_for_all_calls_that_wish_nothing(wishes: RoutingOptions) -> None:
    alone = Target("a", "simulator", "x", tags=frozenset({"eu"}), profile=Profile(frozenset({"TOOLS"})))
    run = Tried(alone)
    plan = run.routes.planner.plan(run.call)
    assert run.routes.planner.plan(run.call) is plan
    assert (plan.lasting, plan.strategy, plan.targets) == (True, "priority", (alone,))
    assert [(each.eligible, each.reason) for each in plan.told()] == [(True, "only target")]
    run.call.request = CompleteRequest("m", [], routing=wishes)
    other = run.routes.planner.plan(run.call)
    assert other is not plan
    assert (other.lasting, other.targets) == (False, (alone,))
    assert other.strategy == (wishes.strategy or "priority")


def test_the_strategy_is_that_of_the_call_or_the_model_or_the_gateway() -> None:
    run = Tried(A)
    run.call.resolved = Model("m", (A,), strategy="balanced")
    assert run.routes.planner.plan(run.call).strategy == "balanced"
    run.call.resolved = Model("m", (A, B), strategy="balanced")
    assert run.routes.planner.plan(run.call).strategy == "balanced"
    run.call.request = CompleteRequest("m", [], routing=RoutingOptions(strategy="weighted"))
    assert run.routes.planner.plan(run.call).strategy == "weighted"


def test_prepared_models_are_bounded_and_those_in_use_stay() -> None:
    run = Tried()
    planner = run.routes.planner
    models = [Model(f"m{at}", (A, B)) for at in range(MAX_FIELDS + 1)]
    for model in models[:-1]:
        run.call.resolved = model
        planner.plan(run.call)
    run.call.resolved = models[0]
    planner.plan(run.call)  # used again: it is no longer the first to go
    run.call.resolved = models[-1]
    planner.plan(run.call)
    assert MAX_FIELDS == len(planner._fields) == 2048
    assert id(models[0]) in planner._fields
    assert id(models[1]) not in planner._fields


def test_a_refused_call_is_told_who_was_left_out() -> None:
    run = Tried(wishes=RoutingOptions(excluded_providers=("a",), tags=frozenset({"eu"})))
    assert planned(run) is not None
    plan = run.routes.planner.left_out(run.call)
    assert plan.targets == ()
    assert [(each.target.provider, each.eligible, each.reason) for each in plan.told()] == [
        ("a", False, "excluded by the request"),
        ("b", False, "lacks a tag of the request"),
    ]


def profiles() -> st.SearchStrategy[Profile]:
    capabilities = st.frozensets(st.sampled_from(["TOOLS", "VISION", "JSON_OBJECT"]))
    sizes = st.none() | st.integers(0, 300)
    return st.builds(Profile, capabilities=capabilities, context_token_count=sizes, max_output_token_count=sizes)


def requests() -> st.SearchStrategy[CompleteRequest]:
    tools = st.sampled_from([[], [Tool("t")]])
    asked = st.none() | st.integers(0, 300)
    return st.builds(
        CompleteRequest,
        st.just("m"),
        st.just([]),
        tools=tools,
        max_output_tokens=asked,
        input_byte_count=st.integers(0, 900),
    )


@given(st.lists(st.tuples(profiles(), st.integers(0, 2)), min_size=1, max_size=5), requests())
def test_the_usual_plan_is_the_one_that_would_be_made(
    found: list[tuple[Profile, int]], request: CompleteRequest
) -> None:
    targets = [
        Target(f"p{i}", "simulator", "x", profile=profile, priority=priority)
        for i, (profile, priority) in enumerate(found)
    ]
    usual = Tried(*targets)
    usual.call.request = request
    assert planned(usual) is None
    made = Tried(*targets)
    made.call.request = request
    made.routes.switches.turn("somebody else", "", on=False)  # from now on every plan is made anew
    assert planned(made) is None
    assert usual.call.plan is not None
    assert made.call.plan is not None
    assert usual.call.plan.targets == made.call.plan.targets
    if len(targets) > 1:  # an only one is told of in other words
        assert told(usual) == told(made)


def test_the_usual_plan_is_made_once() -> None:
    run = Tried()
    assert planned(run) is None
    first = run.call.plan
    assert planned(run) is None
    assert run.call.plan is first
    open_circuit(run, A)
    assert planned(run) is None
    assert run.call.plan is not first
    run.clock.advance(3600.0)
    breaker = run.routes.breakers.of(A)
    for _ in range(20):
        if (permit := breaker.try_enter()) is not None:
            breaker.leave(permit, Verdict.SUCCESS)
    assert planned(run) is None
    assert run.call.plan is first
