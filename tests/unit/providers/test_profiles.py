import re

import pytest

from llmgateway_server.core.requests import Operation
from llmgateway_server.core.targets import NO_PROFILE, Capability, ModelStatus, ReasoningStyle
from llmgateway_server.providers.models import PUBLIC_MODELS, dialect_names, model_of, target_of, vendor_models
from llmgateway_server.providers.profiles import ROWS, likely_vendor, profile_of
from llmgateway_server.providers.profiles_hosts import HOSTS
from llmgateway_server.providers.profiles_openai import RESPONSES

NONE, EFFORT, BUDGET, ADAPTIVE, UNKNOWN = (
    ReasoningStyle.NONE,
    ReasoningStyle.EFFORT,
    ReasoningStyle.BUDGET,
    ReasoningStyle.ADAPTIVE,
    ReasoningStyle.UNKNOWN,
)
ALL = frozenset(Operation)


@pytest.mark.parametrize(
    ("name", "reasoning", "schema", "tokenizer", "dialect"),
    [
        ("gpt-3.5-turbo-0125", NONE, False, "cl100k_base", ""),
        ("gpt-4-0613", NONE, False, "cl100k_base", ""),
        ("gpt-4-turbo-2024-04-09", NONE, False, "cl100k_base", ""),
        ("gpt-4o-2024-05-13", NONE, False, "o200k_base", ""),
        ("gpt-4o", NONE, True, "o200k_base", ""),
        ("gpt-4o-2024-08-06", NONE, True, "o200k_base", ""),
        ("gpt-4o-mini-2024-07-18", NONE, True, "o200k_base", ""),
        ("ft:gpt-4o-mini-2024-07-18:org::id", NONE, True, "o200k_base", ""),
        ("gpt-4o-audio-preview-2025-06-03", NONE, False, "o200k_base", ""),
        ("gpt-4.1-nano", NONE, True, "o200k_base", ""),
        ("o1", EFFORT, True, "o200k_base", ""),
        ("o1-2024-12-17", EFFORT, True, "o200k_base", ""),
        ("o1-pro-2025-03-19", EFFORT, True, "o200k_base", RESPONSES),
        ("o3-mini", EFFORT, True, "o200k_base", ""),
        ("o3-pro", EFFORT, True, "o200k_base", RESPONSES),
        ("o4-mini-2025-04-16", EFFORT, True, "o200k_base", ""),
        ("gpt-5", EFFORT, True, "o200k_base", ""),
        ("GPT-5-Mini", EFFORT, True, "o200k_base", ""),
        ("gpt-5-chat-latest", UNKNOWN, True, "o200k_base", ""),
        ("gpt-5-pro-2025-10-06", EFFORT, True, "o200k_base", RESPONSES),
        ("gpt-5-codex", EFFORT, True, "o200k_base", RESPONSES),
        ("gpt-5.1-codex-mini", EFFORT, True, "o200k_base", RESPONSES),
        ("gpt-5.1-2025-11-13", EFFORT, True, "o200k_base", ""),
        ("gpt-5.2", EFFORT, True, "o200k_base", ""),
        ("gpt-5.4", EFFORT, True, "o200k_base", ""),
        ("gpt-5.6-luna", EFFORT, True, "o200k_base", ""),
        ("gpt-99", UNKNOWN, True, "o200k_base", ""),
        ("text-embedding-3-small", NONE, False, "cl100k_base", ""),
        ("something-else", UNKNOWN, True, "", ""),
    ],
)
def test_openai(name: str, reasoning: ReasoningStyle, *, schema: bool, tokenizer: str, dialect: str) -> None:
    profile = profile_of("openai", name)
    assert (profile.reasoning, profile.native_json_schema) == (reasoning, schema)
    assert (profile.tokenizer, profile.dialect) == (tokenizer, dialect)


@pytest.mark.parametrize(("name", "dialect"), [("gpt-5.2", ""), ("gpt-5.4", RESPONSES), ("gpt-5.6-luna", RESPONSES)])
def test_newer_models_take_tools_by_another_dialect(name: str, dialect: str) -> None:
    assert profile_of("openai", name).tools_dialect == dialect


@pytest.mark.parametrize(
    ("name", "reasoning", "schema", "output", "tier"),
    [
        ("claude-3-haiku-20240307", NONE, False, 4096, "BASIC"),
        ("claude-3-opus-latest", NONE, False, 4096, "PREMIUM"),
        ("claude-3-5-sonnet-20241022", NONE, False, 8192, "STANDARD"),
        ("claude-3-7-sonnet-latest", BUDGET, False, 64_000, "STANDARD"),
        ("claude-sonnet-4-0", BUDGET, False, 64_000, "STANDARD"),
        ("claude-sonnet-4-20250514", BUDGET, False, 64_000, "STANDARD"),
        ("claude-opus-4-20250514", BUDGET, False, 32_000, "PREMIUM"),
        ("claude-opus-4-1-20250805", BUDGET, True, 32_000, "PREMIUM"),
        ("claude-sonnet-4-5-20250929", BUDGET, True, 64_000, "STANDARD"),
        ("claude-haiku-4-5", BUDGET, True, 64_000, "BASIC"),
        ("claude-opus-4-5-20251101", BUDGET, True, 64_000, "PREMIUM"),
        ("claude-opus-4-6", UNKNOWN, True, 128_000, "PREMIUM"),
        ("claude-sonnet-4-6", UNKNOWN, True, 128_000, "STANDARD"),
        ("claude-opus-4-8", ADAPTIVE, True, 128_000, "PREMIUM"),
        ("claude-sonnet-5", ADAPTIVE, True, 128_000, "STANDARD"),
        ("claude-haiku-5-5", ADAPTIVE, True, 128_000, "BASIC"),
        ("claude-fable-5-2", ADAPTIVE, True, 128_000, "PREMIUM"),
        ("claude-next-9", UNKNOWN, True, None, ""),
        ("something-else", UNKNOWN, False, None, ""),
    ],
)
def test_anthropic(name: str, reasoning: ReasoningStyle, *, schema: bool, output: int | None, tier: str) -> None:
    profile = profile_of("anthropic", name)
    assert (profile.reasoning, profile.native_json_schema) == (reasoning, schema)
    assert (profile.max_output_token_count, profile.tier, profile.tokenizer) == (output, tier, "")


@pytest.mark.parametrize("vendor", ROWS)
def test_every_row_is_reached(vendor: str) -> None:
    """A row that stands behind a wider one would never count."""
    for patterns, profile in ROWS[vendor]:
        for pattern in patterns:
            sample = re.sub(r"\[(.).*?\]", r"\1", pattern).replace("*", "~").replace("?", "~")
            assert profile_of(vendor, sample) is profile, pattern


def test_vendors_without_rows_say_nothing() -> None:
    assert profile_of("openai-compatible", "gpt-4o") is NO_PROFILE
    assert profile_of("simulator", "chat") is NO_PROFILE


@pytest.mark.parametrize(
    ("name", "vendor"),
    [
        ("gpt-7", "openai"),
        ("o9-mini", "openai"),
        ("openai/GPT-7", "openai"),
        ("claude-9", "anthropic"),
        ("mistral-huge", "mistral"),
        ("grok-9", "xai"),
        ("llama", ""),
        ("", ""),
    ],
)
def test_a_vendor_is_guessed_from_a_name(name: str, vendor: str) -> None:
    assert likely_vendor(name) == vendor


@pytest.mark.parametrize("vendor", sorted(PUBLIC_MODELS.keys() - HOSTS))
def test_the_public_models_are_known(vendor: str) -> None:
    models = vendor_models("p", vendor, ALL)
    names = [name for model in models for name in (model.name, *model.aliases)]
    assert len(names) == len(set(names))
    assert models[0].status is ModelStatus.READY  # the default of a gateway that has no other
    ready = {name for model in models if model.status is ModelStatus.READY for name in (model.name, *model.aliases)}
    for model in models:
        (target,) = model.targets
        assert (target.provider, target.vendor) == ("p", vendor)
        assert (target.price is not None) is (vendor != "perplexity"), model.name  # which bills each request as well
        assert model.capabilities, model.name
        assert model.context_token_count, model.name
        assert model.tier, model.name
        assert target.dialect in {"", *dialect_names(vendor)}
        for name in (target.upstream_model, *model.aliases):  # another name for it is nothing else
            assert likely_vendor(name) == vendor
            assert profile_of(vendor, name) == target.profile, name
        assert bool(model.status_reason) is (model.status is not ModelStatus.READY)
        if model.status_reason:
            day, successor = re.fullmatch(r".* date is (\d{4}-\d\d-\d\d); use (\S+)", model.status_reason).groups()  # type: ignore[union-attr]
            assert day > "2025"
            assert successor in ready, model.name


def test_an_account_brings_what_it_can_be_asked_for() -> None:
    completing = vendor_models("p", "openai", frozenset({Operation.COMPLETE}))
    embedding = vendor_models("p", "openai", frozenset({Operation.EMBED}))
    assert not {model.name for model in completing} & {model.name for model in embedding}
    assert {model.name for model in embedding} > {"text-embedding-3-small"}
    assert all(model.operations == {Operation.EMBED} for model in embedding)
    assert vendor_models("p", "openai-compatible", ALL) == ()


def test_a_model_of_several_targets_can_what_all_can() -> None:
    targets = (target_of("a", "openai", "gpt-4o"), target_of("b", "anthropic", "claude-opus-4-8"))
    model = model_of("both", targets, ALL)
    assert Capability.REASONING not in model.capabilities
    assert Capability.TOOLS in model.capabilities
    assert (model.context_token_count, model.max_output_token_count) == (128_000, 16_384)
    assert (model.tier, model.status, model.status_reason) == ("STANDARD", ModelStatus.READY, "")
    assert model.operations == {Operation.COMPLETE, Operation.COUNT_TOKENS}
    unknown = model_of("m", (target_of("a", "openai", "gpt-4o"), target_of("c", "openai-compatible", "x")), ALL)
    assert unknown.context_token_count is None
    assert unknown.capabilities == frozenset()
    twice = model_of("m", (targets[0], target_of("c", "openai", "gpt-4.1")), ALL)
    assert twice.status is ModelStatus.DEPRECATED
    assert "gpt-6-luna" in twice.status_reason
