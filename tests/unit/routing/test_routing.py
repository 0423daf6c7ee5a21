from typing import Any

import grpc
import grpc.aio
import pytest

from llmgateway.v1 import model_pb2, reply_pb2, routing_pb2
from llmgateway_server.core.calls import Call, CallScope, Deadline
from llmgateway_server.core.errors import AccessError, DefectError, RequestError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, Operation, RoutingOptions
from llmgateway_server.core.targets import Model, ModelStatus, Target
from llmgateway_server.providers.prices import price_of
from llmgateway_server.providers.profiles import profile_of
from llmgateway_server.providers.simulator.simulator import Simulator
from llmgateway_server.routing.catalog import Catalog
from llmgateway_server.routing.tries import ROWS, STOP, Elsewhere
from llmgateway_server.testing.clock import ManualClock
from llmgateway_server.testing.gateway import running_gateway
from tests.properties.loop import ask, read_stream, refusal
from tests.unit.routing.failover_kit import routes

COMPLETE = Operation.COMPLETE


def target(provider: str, model: str = "chat") -> Target:
    return Target(provider, "simulator", model)


def catalog(*models: Model, default: str = "one") -> Catalog:
    providers = {name: Simulator(ManualClock(), name) for name in ("a", "b")}
    return Catalog(providers, models, {COMPLETE: default})


ONE = Model("one", (target("a"), target("b")), aliases=("uno",))
SLASHED = Model("a/chat", (target("b"),))


def test_names_are_resolved_in_order() -> None:
    found = catalog(ONE, SLASHED)
    assert found.resolve("", COMPLETE) is ONE
    assert found.resolve("one", COMPLETE) is ONE
    assert found.resolve("uno", COMPLETE) is ONE
    assert found.resolve("a/chat", COMPLETE) is SLASHED  # a public name goes before a pinned one
    assert catalog(ONE, Model("uno", (target("b"),))).resolve("uno", COMPLETE).name == "uno"  # and before an alias


def test_pinned_names() -> None:
    found = catalog(ONE)
    pinned = found.resolve("b/chat?tokens=3", COMPLETE)
    assert (pinned.name, pinned.aliases) == ("b/chat", ())  # rights are checked on a name without the script
    assert pinned.targets == (target("b", "chat?tokens=3"),)
    unknown = found.resolve("a/org/new-model", COMPLETE)
    assert (unknown.name, unknown.targets[0].upstream_model) == ("a/org/new-model", "org/new-model")
    for name in ("c/chat", "a/", "a", "/chat"):
        with pytest.raises(RequestError) as caught:
            found.resolve(name, COMPLETE)
        assert caught.value.reason is Reason.MODEL_NOT_FOUND


def test_models_that_cannot_be_called() -> None:
    models = [Model("sick", (target("a"),), status=ModelStatus.NOT_READY, status_reason="it moves"), ONE]
    with pytest.raises(RequestError) as caught:
        catalog(*models).resolve("sick", COMPLETE)
    assert (caught.value.reason, caught.value.alternatives) == (Reason.MODEL_NOT_READY, ("one",))
    assert caught.value.slots == {"model": "sick", "statusReason": "it moves"}
    assert catalog(*models).describe("sick").name == "sick"
    with pytest.raises(RequestError) as caught:
        catalog(*models).resolve("one", Operation.EMBED)
    assert caught.value.reason is Reason.UNSUPPORTED_OPTION


def test_nothing_is_told_about_models_that_the_caller_may_not_use() -> None:
    sick = Model("sick", (target("a"),), status=ModelStatus.NOT_READY)
    found = catalog(sick, ONE, Model("two", (target("b"),), aliases=("open-two",)))
    for name in ("sick", "two", "open-two", "a/chat"):  # neither its status nor an alias changes what is right
        with pytest.raises(AccessError) as denied:
            found.resolve(name, COMPLETE, lambda model: model == "one")
        assert denied.value.reason is Reason.MODEL_NOT_ALLOWED
        with pytest.raises(AccessError) as denied:
            found.describe(name, lambda model: model == "one")
        assert denied.value.reason is Reason.MODEL_NOT_ALLOWED
    for name in ("sick", "nothing"):
        with pytest.raises(RequestError) as caught:
            found.resolve(name, COMPLETE, lambda model: model in ("two", "sick"))
        assert caught.value.alternatives == ("two",)
    with pytest.raises(RequestError) as caught:
        found.describe("nothing", lambda model: model == "one")
    assert caught.value.alternatives == ("one",)


def test_a_pinned_name_has_the_profile_and_the_price_of_its_model() -> None:
    account = Simulator(ManualClock(), "mine")
    account.vendor = "openai"
    found = Catalog({"mine": account}, [], {})
    model = found.resolve("mine/gpt-4o-2024-11-20", COMPLETE)
    (pinned,) = model.targets
    assert pinned.price == price_of("openai", "gpt-4o-2024-11-20")
    assert pinned.price is not None
    assert pinned.profile is profile_of("openai", "gpt-4o-2024-11-20")
    assert (model.context_token_count, model.status) == (128_000, ModelStatus.DEPRECATED)
    unknown = found.resolve("mine/gpt-99", COMPLETE)
    assert unknown.targets[0].price is None
    assert (unknown.context_token_count, unknown.status) == (None, ModelStatus.READY)
    assert found.resolve("mine/text-embedding-3-large", Operation.EMBED).name == "mine/text-embedding-3-large"
    with pytest.raises(RequestError) as caught:
        found.resolve("mine/gpt-4o", Operation.EMBED)
    assert caught.value.reason is Reason.UNSUPPORTED_OPTION


def planned(**routing: Any) -> list[tuple[str, bool, str]]:
    scope = CallScope("id", "/s/m", "p", {}, 0.0, Deadline(1.0, from_client=False))
    model = Model("m", (target("a"), target("b"), target("c")))
    call = Call(scope, COMPLETE, streaming=False, request=CompleteRequest("m", [], routing=RoutingOptions(**routing)))
    call.resolved = model
    return [(each.target.provider, each.eligible, each.reason) for each in routes().planner.plan(call).told()]


def test_plans() -> None:
    assert [name for name, _, _ in planned()] == ["a", "b", "c"]
    assert planned(preferred_providers=("c", "x", "b")) == [
        ("c", True, "preferred by the request"),
        ("b", True, "preferred by the request"),
        ("a", True, "configured order"),
    ]
    excluded = planned(excluded_providers=("a",), preferred_providers=("a", "c"))
    assert excluded == [
        ("c", True, "preferred by the request"),
        ("b", True, "configured order"),
        ("a", False, "excluded by the request"),
    ]
    with pytest.raises(RequestError) as caught:
        planned(excluded_providers=("a", "b", "c"))
    assert [found.field for found in caught.value.violations] == ["routing.excluded_providers"]


def test_a_call_without_a_model_is_a_defect() -> None:
    scope = CallScope("id", "/s/m", "p", {}, 0.0, Deadline(1.0, from_client=False))
    with pytest.raises(DefectError):
        routes().planner.plan(Call(scope, COMPLETE, streaming=False, request=CompleteRequest("m", [])))


def two(first: str, second: str = "chat?tokens=2") -> dict[str, Any]:
    return {
        "providers": {"a": {"vendor": "simulator"}, "b": {"vendor": "simulator"}},
        "models": {"m": {"targets": [{"provider": "a", "model": first}, {"provider": "b", "model": second}]}},
        "timeouts": {"first_token_s": 0.2, "idle_s": 0.2, "progress_s": 0.2},
    }


MOVING = ["refuse", "tls", "reset", "empty", "http&status=500", "http&status=401", "http&status=429", "http&status=404"]


@pytest.mark.parametrize("fault", [*MOVING, "cut&at=0", "malformed&at=0", "error&at=0&status=529"])
async def test_the_next_target_answers_while_nothing_was_delivered(fault: str) -> None:
    async with running_gateway(two(f"chat?fault={fault}")) as gateway:
        reply = await gateway.stub.Complete(ask(model="m"))
    async with running_gateway(two(f"chat?fault={fault}")) as gateway:  # the first one knows the target by now
        events, error = await read_stream(gateway.stub.StreamComplete(ask(model="m")))
    assert error is None
    assert events[0].started.attempt == 2
    for attempts, provider in (
        (reply.attempts, reply.target.provider),
        (events[-1].finished.attempts, events[0].started.target.provider),
    ):
        assert provider == "b"
        assert [(each.number, each.target.provider, each.outcome) for each in attempts] == [
            (1, "a", reply_pb2.ATTEMPT_OUTCOME_FAILED),
            (2, "b", reply_pb2.ATTEMPT_OUTCOME_SUCCEEDED),
        ]
        assert attempts[0].reason
        assert not attempts[0].billed


async def test_a_silent_target_is_left_for_the_next() -> None:
    async with running_gateway(two("chat?fault=hang")) as gateway:
        events, error = await read_stream(gateway.stub.StreamComplete(ask(model="m")))
    assert error is None
    assert events[0].started.target.provider == "b"


@pytest.mark.parametrize("fault", ["cut", "malformed", "no_end", "error&status=503"])
async def test_nothing_is_tried_again_after_the_first_token(fault: str) -> None:
    async with running_gateway(two(f"chat?tokens=5&at=2&fault={fault}")) as gateway:
        events, error = await read_stream(gateway.stub.StreamComplete(ask(model="m")))
        attempts = [record for record in gateway.records() if record["record"] == "attempt"]
    assert events
    assert error is not None
    assert [attempt.target.provider for attempt in refusal(error).attempts] == ["a"]
    assert len(attempts) == 1
    assert ("grpc-retry-pushback-ms", "-1") in tuple(error.trailing_metadata() or ())


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_what_the_request_caused_is_not_tried_elsewhere(status: int) -> None:
    async with running_gateway(two(f"chat?fault=http&status={status}")) as gateway:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.stub.Complete(ask(model="m"))
    refused = refusal(caught.value)
    assert [attempt.http_status for attempt in refused.attempts] == [status]
    assert ROWS.get(Reason(refused.reason), STOP).elsewhere is not Elsewhere.ANY


@pytest.mark.parametrize(
    ("routing", "tried"),
    [
        (routing_pb2.RoutingOptions(excluded_providers=["a"], max_attempts=1), ["b"]),
        (routing_pb2.RoutingOptions(preferred_providers=["b"], max_attempts=2), ["b", "a"]),
        (routing_pb2.RoutingOptions(fallback_enabled=False, max_attempts=1), ["a"]),
        (routing_pb2.RoutingOptions(max_attempts=1), ["a"]),
        (routing_pb2.RoutingOptions(max_attempts=2), ["a", "b"]),
    ],
)
async def test_the_request_has_its_say(routing: routing_pb2.RoutingOptions, tried: list[str]) -> None:
    async with running_gateway(two("chat?fault=refuse", "chat?fault=refuse&at=2")) as gateway:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.stub.Complete(ask(model="m", routing=routing))
        listed = await gateway.stub.ListModels(model_pb2.ListModelsRequest(provider="b"))
    assert [attempt.target.provider for attempt in refusal(caught.value).attempts] == tried
    assert [model.name for model in listed.models] == ["b-chat", "b-embed", "m"]


def many(count: int) -> Model:
    targets = [Target(f"p{i}", "simulator", "chat", priority=count - i) for i in range(count)]
    return Model("m", tuple(targets))


@pytest.mark.parametrize("whole", [True, False])
def test_a_plan_of_many_targets_begins_like_the_whole_one(whole: bool) -> None:
    known = routes()
    call = Call(
        CallScope("id", "/s/m", "p", {}, 0.0, Deadline(1.0, from_client=False)),
        COMPLETE,
        streaming=False,
        request=CompleteRequest("m", []),
        resolved=many(200),
    )
    plan = known.planner.plan(call, whole=whole)
    assert [target.provider for target in plan.targets[:3]] == ["p199", "p198", "p197"]
    assert len(plan.targets) == 200  # nothing speaks against any: the plan that is made once
    known.switches.turn("p0", "", on=False)
    assert len(known.planner.plan(call, whole=whole).targets) == (199 if whole else 16)
    known.switches.turn("p0", "", on=True)
    for i in range(184, 197):  # three of the first ones are enough
        known.switches.turn(f"p{i}", "", on=False)
    assert len(known.planner.plan(call, whole=whole).targets) == (187 if whole else 3)
    known.switches.turn("p197", "", on=False)  # two are not: the others are looked at
    plan = known.planner.plan(call, whole=whole)
    assert [target.provider for target in plan.targets[:3]] == ["p199", "p198", "p183"]
    assert len(plan.targets) == 186
