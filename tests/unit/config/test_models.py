from typing import Any

import pytest

from llmgateway_server.app import App
from llmgateway_server.config.load import ConfigError, from_document
from llmgateway_server.core.money import Price, Rates, RateTier
from llmgateway_server.core.targets import InferenceType, Model, ModelStatus

PROVIDERS = {
    "openai": {"vendor": "openai", "api_key": "sk-test"},
    "local": {"vendor": "openai-compatible", "base_url": "http://127.0.0.1:1/v1"},
    "simulator": {"vendor": "simulator"},
}


def configured(models: dict[str, Any]) -> dict[str, Model]:
    app = App(from_document({"providers": PROVIDERS, "models": models}, "test"), {})
    return {model.name: model for model in app.parts.catalog.models()}


def mistake(models: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        configured(models)
    return str(caught.value)


def test_a_name_of_its_own_is_what_its_target_is() -> None:
    model = configured({"fast": {"targets": [{"provider": "openai", "model": "gpt-4o-mini"}], "aliases": ["quick"]}})[
        "fast"
    ]
    assert (model.tier, model.context_token_count, model.max_output_token_count) == ("BASIC", 128_000, 16_384)
    assert "TOOLS" in model.capabilities
    assert model.status is ModelStatus.DEPRECATED
    assert model.inference_type is InferenceType.ON_DEMAND
    assert model.aliases == ("quick",)
    price = model.targets[0].price
    assert price is not None
    assert price.version.startswith("genai-prices-")


def test_everything_can_be_said_otherwise() -> None:
    said = configured(
        {
            "mine": {
                "targets": [
                    {
                        "provider": "local",
                        "model": "llama",
                        "dialect": "openai_chat",
                        "price": {
                            "input_usd": "0.1",
                            "output_usd": "0.2",
                            "cache_read_usd": "0.01",
                            "cache_write_usd": "0.125",
                            "cache_write_1h_usd": "0.2",
                            "input_audio_usd": 1,
                            "output_audio_usd": 2,
                            "tiers": [{"above_input_tokens": 1000, "input_usd": "0.2", "output_usd": "0.000001"}],
                        },
                    }
                ],
                "capabilities": ["STREAMING", "TOOLS"],
                "context_token_count": 8192,
                "max_output_token_count": 1024,
                "tier": "STANDARD",
                "status": "DEPRECATED",
                "status_reason": "moves to yours",
                "inference_type": "PROVISIONED",
            }
        }
    )["mine"]
    (target,) = said.targets
    assert target.dialect == "openai_chat"
    assert target.price == Price(
        *(100_000, 200_000, 10_000, 125_000, 200_000, 1_000_000, 2_000_000),
        version="configured",
        tiers=(RateTier(1000, Rates(200_000, 1)),),
    )
    assert said.capabilities == target.profile.capabilities == {"STREAMING", "TOOLS"}
    assert (said.context_token_count, target.profile.context_token_count) == (8192, 8192)
    assert (said.max_output_token_count, target.profile.max_output_token_count) == (1024, 1024)
    assert (said.tier, said.status, said.status_reason) == ("STANDARD", ModelStatus.DEPRECATED, "moves to yours")
    assert said.inference_type is InferenceType.PROVISIONED


def test_a_model_that_a_vendor_brings_can_be_changed_in_part() -> None:
    models = configured(
        {
            "gpt-4o": {"status": "NOT_READY", "status_reason": "not for us", "aliases": ["four"]},
            "gpt-4.1": {"status": "READY"},
        }
    )
    changed = models["gpt-4o"]
    assert (changed.status, changed.status_reason) == (ModelStatus.NOT_READY, "not for us")
    assert changed.aliases == ("gpt-4o-2024-08-06", "four")
    assert changed.targets[0].price is not None
    assert changed.context_token_count == 128_000
    assert (models["gpt-4.1"].status, models["gpt-4.1"].status_reason) == (ModelStatus.READY, "")
    assert models["gpt-4o-mini"].status is ModelStatus.DEPRECATED


def test_an_unknown_model_of_an_unlisted_vendor_has_no_price() -> None:
    model = configured({"mine": {"targets": [{"provider": "local", "model": "gpt-4o"}]}})["mine"]
    assert model.targets[0].price is None
    assert model.context_token_count is None


TARGET = {"provider": "local", "model": "x"}


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({}, "models.m: targets are needed"),
        ({"targets": []}, "models.m: targets are needed"),
        ({"targets": [{**TARGET, "dialect": "latin"}]}, "models.m.targets[0].dialect: must be one of openai_chat"),
        (
            {"targets": [{"provider": "simulator", "model": "x", "dialect": "latin"}]},
            "models.m.targets[0].dialect: must be one of none",
        ),
        ({"targets": [TARGET], "capabilities": ["MAGIC"]}, "models.m.capabilities[0]"),
        ({"targets": [TARGET], "tier": "GOLD"}, "models.m.tier"),
        ({"targets": [TARGET], "status": "GONE"}, "models.m.status"),
        ({"targets": [TARGET], "status_reason": "a\nb"}, "models.m.status_reason"),
        ({"targets": [TARGET], "status_reason": "x" * 201}, "models.m.status_reason"),
        ({"targets": [TARGET], "context_token_count": 0}, "models.m.context_token_count"),
        ({"targets": [TARGET], "inference_type": "RENTED"}, "models.m.inference_type"),
        ({"targets": [{**TARGET, "price": {"input_usd": 1}}]}, "models.m.targets[0].price.output_usd"),
        ({"targets": [{**TARGET, "price": {"input_usd": -1, "output_usd": 1}}]}, "models.m.targets[0].price.input_usd"),
        (
            {
                "targets": [
                    {
                        **TARGET,
                        "price": {
                            "input_usd": 1,
                            "output_usd": 1,
                            "tiers": [
                                {"above_input_tokens": 2, "input_usd": 1, "output_usd": 1},
                                {"above_input_tokens": 1, "input_usd": 1, "output_usd": 1},
                            ],
                        },
                    }
                ]
            },
            "lowest first",
        ),
    ],
)
def test_mistakes_are_named_with_their_place(model: dict[str, Any], words: str) -> None:
    assert words in mistake({"m": model})
