"""Models that a host runs: whose they are, and what the host changes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from llmgateway_server.core.requests import Operation
from llmgateway_server.core.targets import Capability, ModelStatus, ReasoningStyle
from llmgateway_server.providers import models_alike, profiles_open
from llmgateway_server.providers.models import joined, vendor_models
from llmgateway_server.providers.profiles import profile_of
from llmgateway_server.providers.profiles_hosts import BY_TOOL, HOSTS, UNKNOWN, bare_name
from llmgateway_server.providers.vendors import VENDORS

ALL = frozenset(Operation)


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929"),
        ("anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-4-7", "claude-opus-4-7"),
        ("openai.gpt-oss-120b-1:0", "gpt-oss-120b"),
        ("amazon.nova-lite-v1:0:300k", "nova-lite"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("anthropic/claude-sonnet-4.5:beta", "claude-sonnet-4-5"),
        ("accounts/fireworks/models/deepseek-v3p2", "deepseek-v3.2"),
        ("meta-llama/llama-3.1-8b-instruct:cerebras", "llama-3.1-8b-instruct"),
        ("gpt-4o", "gpt-4o"),
    ],
)
def test_the_makers_name_is_found(name: str, bare: str) -> None:
    assert bare_name(name) == bare


@pytest.mark.parametrize(
    ("host", "name", "maker", "its_name"),
    [
        ("azure", "gpt-4o", "openai", "gpt-4o"),
        ("azure", "gpt-5.4", "openai", "gpt-5.4"),
        ("openrouter", "openai/gpt-4o-mini", "openai", "gpt-4o-mini"),
        ("openrouter", "anthropic/claude-haiku-4.5", "anthropic", "claude-haiku-4-5"),
        ("openrouter", "anthropic/claude-3.5-sonnet", "anthropic", "claude-3-5-sonnet"),
        ("openrouter", "x-ai/grok-4.3", "xai", "grok-4.3"),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic", "claude-sonnet-4-5"),
        ("vertex-anthropic", "claude-opus-4-6@default", "anthropic", "claude-opus-4-6"),
    ],
)
def test_a_hosted_model_can_what_its_maker_says(host: str, name: str, maker: str, its_name: str) -> None:
    found, original = profile_of(host, name), profile_of(maker, its_name)
    assert found.capabilities == original.capabilities
    assert (found.context_token_count, found.reasoning) == (original.context_token_count, original.reasoning)
    assert found.native_json_schema is (original.native_json_schema and host not in BY_TOOL)
    assert (found.status, found.status_reason) == (ModelStatus.READY, "")


def test_open_weights_are_nobodys_own() -> None:
    oss = profile_of("groq", "openai/gpt-oss-120b")
    assert (oss.reasoning, oss.top_effort, oss.context_token_count) == (ReasoningStyle.EFFORT, "high", 131_072)
    assert oss.native_json_schema
    assert not profile_of("groq", "llama-3.3-70b-versatile").native_json_schema
    assert profile_of("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo").native_json_schema
    assert Capability.VISION in profile_of("groq", "meta-llama/llama-4-scout-17b-16e-instruct").capabilities
    assert Capability.REASONING in profile_of("fireworks", "accounts/fireworks/models/kimi-k2-thinking").capabilities


@pytest.mark.parametrize("host", sorted(HOSTS))
def test_a_name_that_tells_nothing(host: str) -> None:
    found = profile_of(host, "my-own-name")
    assert (found.capabilities, found.context_token_count) == (UNKNOWN.capabilities, None)


def test_every_row_of_open_weights_is_reached() -> None:
    for patterns, profile in profiles_open.ROWS:
        for pattern in patterns:
            sample = pattern.replace("[45]", "4").replace("*", "~")
            assert profile_of("together", sample) is profile, pattern


@pytest.mark.parametrize("vendor", models_alike.NAMES)
def test_public_names_lead_to_models_of_the_vendor(vendor: str) -> None:
    models = vendor_models("p", vendor, ALL)
    assert [model.name for model in models] == list(models_alike.NAMES[vendor])
    for model in models:
        [target] = model.targets
        assert "/" not in model.name
        assert model.context_token_count, model.name
        assert model.capabilities, model.name
        assert (target.price is not None) is (vendor != "perplexity"), model.name  # which bills each request as well


def test_a_name_that_vendors_share_is_one_model_with_several_targets() -> None:
    vendors = ("groq", "together", "cerebras")
    found = {
        model.name: model for model in joined(model for name in vendors for model in vendor_models(name, name, ALL))
    }
    shared = found["gpt-oss-120b"]
    assert [(target.vendor, target.upstream_model) for target in shared.targets] == [
        ("groq", "openai/gpt-oss-120b"),
        ("together", "openai/gpt-oss-120b"),
        ("cerebras", "gpt-oss-120b"),
    ]
    assert len({target.price for target in shared.targets}) == 3


def test_vendors_of_public_models_have_a_key() -> None:
    assert all(VENDORS[vendor].key_variable for vendor in models_alike.NAMES)


def test_prices_are_not_loaded_before_somebody_asks() -> None:
    code = "import sys, llmgateway_server.providers.models; print('genai_prices' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
