"""The catalogue as callers see it, over real gRPC."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from llmgateway.v1 import error_pb2, model_pb2, reply_pb2, routing_pb2
from llmgateway_server.admission.keys import new_key
from llmgateway_server.core.secret import Secret
from llmgateway_server.core.targets import Capability, InferenceType, ModelStatus
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from tests.properties.loop import ask

DOCUMENT: dict[str, Any] = {
    "providers": {
        "openai": {"vendor": "openai", "api_key": "sk-test"},
        "simulator": {"vendor": "simulator"},
    },
    "models": {
        "old": {
            "targets": [{"provider": "simulator", "model": "chat"}],
            "status": "DEPRECATED",
            "status_reason": "use simulator-chat",
        },
        "sick": {
            "targets": [{"provider": "simulator", "model": "chat"}],
            "aliases": ["ill"],
            "status": "NOT_READY",
            "status_reason": "it moves",
        },
        "priced": {
            "targets": [
                {
                    "provider": "simulator",
                    "model": "chat?tokens=2",
                    "price": {
                        "input_usd": 1,
                        "output_usd": 2,
                        "tiers": [{"above_input_tokens": 2, "input_usd": 10, "output_usd": 20}],
                    },
                }
            ],
            "tier": "PREMIUM",
            "capabilities": ["STREAMING", "VISION"],
            "context_token_count": 4096,
            "max_output_token_count": 1024,
            "inference_type": "PROVISIONED",
        },
        "unpriced": {"targets": [{"provider": "simulator", "model": "chat?tokens=3"}]},
    },
    "default_model": "simulator-chat",
}


async def described(gateway: RunningGateway, name: str) -> model_pb2.Model:
    reply = await gateway.stub.GetModel(model_pb2.GetModelRequest(name=name))
    model = reply.model
    assert isinstance(model, model_pb2.Model)
    return model


@dataclass(slots=True)
class Refused:
    """An error status, its ErrorInfo and the models that it names."""

    code: grpc.StatusCode
    reason: str
    metadata: dict[str, str]
    alternatives: tuple[str, ...]


async def refused(call: Any) -> Refused:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    assert status is not None
    info, instead = error_details_pb2.ErrorInfo(), error_pb2.ModelAlternatives()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(instead)
    return Refused(caught.value.code(), info.reason, dict(info.metadata), tuple(instead.models))


async def test_a_vendors_model_is_listed_with_all_that_is_known() -> None:
    async with running_gateway(DOCUMENT) as gateway:
        model = await described(gateway, "gpt-5.4")
        dated = await described(gateway, "openai/gpt-4o-2024-11-20")
        alias = await described(gateway, "gpt-4o-2024-08-06")
    assert model.modality == model_pb2.MODALITY_MULTIMODAL_TO_TEXT
    assert routing_pb2.CAPABILITY_REASONING in model.capabilities
    assert (model.context_token_count, model.max_output_token_count) == (1_050_000, 128_000)
    assert (model.tier, model.status) == (model_pb2.MODEL_TIER_PREMIUM, model_pb2.MODEL_STATUS_READY)
    assert model.inference_type == model_pb2.INFERENCE_TYPE_ON_DEMAND
    price = model.targets[0].price
    assert (price.input_nano_usd_per_token, price.output_nano_usd_per_token) == (2500, 15_000)
    assert price.cache_read_nano_usd_per_token == 250
    assert not price.HasField("cache_write_1h_nano_usd_per_token")
    assert [(tier.above_input_token_count, tier.price.input_nano_usd_per_token) for tier in price.tiers] == [
        (272_000, 5000)
    ]
    assert {tier.service_tier for tier in price.service_tiers} == {"fast", "flex", "priority"}
    assert price.version.startswith("genai-prices-")
    assert dated.status == model_pb2.MODEL_STATUS_DEPRECATED
    assert "gpt-6-luna" in dated.status_reason
    assert alias.name == "gpt-4o"


async def test_a_configured_model_is_listed_as_it_was_set() -> None:
    async with running_gateway(DOCUMENT) as gateway:
        model = await described(gateway, "priced")
        sick = await described(gateway, "ill")
        seeing = await gateway.stub.ListModels(
            model_pb2.ListModelsRequest(provider="simulator", capabilities=[routing_pb2.CAPABILITY_VISION])
        )
    assert (model.tier, model.inference_type) == (model_pb2.MODEL_TIER_PREMIUM, model_pb2.INFERENCE_TYPE_PROVISIONED)
    assert (model.context_token_count, model.max_output_token_count) == (4096, 1024)
    assert list(model.capabilities) == [routing_pb2.CAPABILITY_STREAMING, routing_pb2.CAPABILITY_VISION]
    assert model.targets[0].price.version == "configured"
    assert (sick.name, sick.status, sick.status_reason) == ("sick", model_pb2.MODEL_STATUS_NOT_READY, "it moves")
    assert [each.name for each in seeing.models] == ["priced"]


async def test_a_deprecated_model_answers_with_a_notice() -> None:
    async with running_gateway(DOCUMENT) as gateway:
        reply = await gateway.stub.Complete(ask(model="old"))
    (notice,) = [each for each in reply.notices if each.code == reply_pb2.NOTICE_CODE_MODEL_DEPRECATED]
    assert (notice.subject, notice.message) == ("old", "old is deprecated: use simulator-chat")


async def test_a_model_that_is_not_ready_is_refused_with_others_to_ask_for() -> None:
    async with running_gateway(DOCUMENT) as gateway:
        sick = await refused(gateway.stub.Complete(ask(model="ill")))
        unknown = await refused(gateway.stub.Complete(ask(model="gpt-5.44")))
    assert (sick.code, sick.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_NOT_READY")
    assert (sick.metadata["model"], sick.metadata["statusReason"]) == ("sick", "it moves")
    assert set(sick.alternatives[:3]) == {"priced", "simulator-chat", "unpriced"}  # none for vectors among them
    assert len(sick.alternatives) == 5
    assert (unknown.code, unknown.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
    assert unknown.alternatives[0] == "gpt-5.4"
    assert len(unknown.alternatives) == 5
    assert all(name.startswith("gpt-") for name in unknown.alternatives)


async def test_nobody_hears_of_models_that_are_not_for_them() -> None:
    key = new_key(Secret(""))
    stored = {
        "id": key.key_id,
        "hash": key.key_hash,
        "tenant": "t",
        "roles": ["caller"],
        "models": ["simulator-*", "sick"],
    }
    mine = (("authorization", f"Bearer {key.key.reveal()}"),)
    async with running_gateway({**DOCUMENT, "auth": {"keys": [stored]}}) as gateway:
        stub = gateway.stub
        listed = await stub.ListModels(model_pb2.ListModelsRequest(), metadata=mine)
        missing = await refused(stub.Complete(ask(model="nothing"), metadata=mine))
        nowhere = await refused(stub.GetModel(model_pb2.GetModelRequest(name="gpt-99"), metadata=mine))
        sick = await refused(stub.Complete(ask(model="sick"), metadata=mine))
        hidden = await refused(stub.GetModel(model_pb2.GetModelRequest(name="gpt-5"), metadata=mine))
        alias = await refused(stub.Complete(ask(model="gpt-5-2025-08-07"), metadata=mine))
    assert [model.name for model in listed.models] == ["sick", "simulator-chat", "simulator-embed"]
    assert (missing.reason, missing.alternatives) == ("MODEL_NOT_FOUND", ("simulator-chat",))
    assert (nowhere.reason, nowhere.alternatives) == ("MODEL_NOT_FOUND", ("simulator-chat", "simulator-embed"))
    assert (sick.reason, sick.alternatives) == ("MODEL_NOT_READY", ("simulator-chat",))
    for denied in (hidden, alias):
        assert (denied.code, denied.reason, denied.alternatives) == (
            *(grpc.StatusCode.PERMISSION_DENIED, "MODEL_NOT_ALLOWED"),
            (),
        )


async def test_costs_follow_tiers_and_an_unpriced_model_says_so() -> None:
    async with running_gateway(DOCUMENT) as gateway:
        short = await gateway.stub.Complete(ask("one two", model="priced"))
        long = await gateway.stub.Complete(ask("one two three", model="priced"))
        unknown = await gateway.stub.Complete(ask(model="unpriced"))
    for reply, times in ((short, 1), (long, 10)):
        usage = reply.usage
        assert reply.cost.total.nano_usd == times * 1000 * (usage.input_token_count + 2 * usage.output_token_count)
        assert reply.cost.price_version == "configured"
    assert (short.usage.input_token_count, long.usage.input_token_count) == (2, 3)
    assert unknown.cost.unpriced
    assert reply_pb2.NOTICE_CODE_UNPRICED in [notice.code for notice in unknown.notices]


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (Capability, routing_pb2.Capability, "CAPABILITY_"),
        (InferenceType, model_pb2.InferenceType, "INFERENCE_TYPE_"),
        (ModelStatus, model_pb2.ModelStatus, "MODEL_STATUS_"),
    ],
)
def test_the_contract_has_the_same_words(ours: type[StrEnum], theirs: Any, prefix: str) -> None:
    assert {f"{prefix}{word}" for word in ours} == {*theirs.keys()} - {f"{prefix}UNSPECIFIED"}
