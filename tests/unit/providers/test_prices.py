import subprocess
import sys
from dataclasses import fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from importlib import metadata

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.money import Rates, cost_of
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.prices import PRICE_LISTS, list_version, pico_usd, price_of
from llmgateway_server.providers.vendors import VENDORS

AT = datetime(2026, 11, 1, tzinfo=UTC)
LISTED = [
    (vendor, model.id)
    for vendor, provider in PRICE_LISTS.items()
    for model in get_snapshot().find_provider(None, provider, None).models
]
PRICED = [each for each in LISTED if price_of(*each, AT) is not None]
MAKERS = ("openai", "anthropic", "google")
SERVICE_TIERS = ("", "flex", "priority", "default")


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Draws shares first, so that none is larger than its whole."""
    tokens = st.one_of(st.integers(0, 2000), st.integers(0, 300_000))
    read, written_5m, written_1h, heard, text, spoken, said = (draw(tokens) for _ in range(7))
    return Usage(
        input_token_count=read + written_5m + written_1h + heard + text,
        output_token_count=spoken + said,
        cache_read_token_count=read,
        cache_write_5m_token_count=written_5m,
        cache_write_1h_token_count=written_1h,
        input_audio_token_count=heard,
        output_audio_token_count=spoken,
    )


HALF_PICO = Decimal("0.0005")
"""In nano-USD."""


def theirs(usage: Usage) -> TheirUsage:
    five_minutes, hour = usage.cache_write_5m_token_count or 0, usage.cache_write_1h_token_count or 0
    return TheirUsage(
        input_tokens=usage.input_token_count,
        output_tokens=usage.output_token_count,
        cache_read_tokens=usage.cache_read_token_count,
        cache_write_tokens=five_minutes + hour,
        cache_write_1h_tokens=hour,
        input_audio_tokens=usage.input_audio_token_count,
        output_audio_tokens=usage.output_audio_token_count,
        cache_audio_read_tokens=0,
    )


@given(model=st.sampled_from(PRICED), usage=usages(), service_tier=st.sampled_from(SERVICE_TIERS))
def test_our_cost_is_that_of_the_price_list(model: tuple[str, str], usage: Usage, service_tier: str) -> None:
    vendor, name = model
    price = price_of(vendor, name, AT)
    assert price is not None
    ours = cost_of(usage, price, service_tier)
    expected = calc_price(
        theirs(usage),
        name,
        provider_id=PRICE_LISTS[vendor],
        genai_request_timestamp=AT,
        price_context={"service_tier": service_tier} if service_tier else None,
    )
    nano = Decimal(10**9)
    ours_in = ours.input_nano_usd + ours.cache_read_nano_usd + ours.cache_write_nano_usd
    tokens_in, tokens_out = usage.input_token_count or 0, usage.output_token_count or 0
    # Three buckets, each half a nano-USD at most; and a rate of ours ends at the pico-USD, some of the list's do not.
    assert abs(ours_in - expected.input_price * nano) <= Decimal("1.5") + HALF_PICO * tokens_in
    assert abs(ours.output_nano_usd - expected.output_price * nano) <= Decimal("0.5") + HALF_PICO * tokens_out


def test_most_of_the_list_has_a_price_and_the_rest_is_billed_by_other_things() -> None:
    unpriced = sorted(name for vendor, name in LISTED if vendor in MAKERS and price_of(vendor, name, AT) is None)
    assert len(PRICED) > 100
    other = ["image", "realtime", "live", "transcribe", "tts", "whisper", "moderation"]
    other += ["banana", "omni", "gemini-embedding-2", "gemma"]  # of Google; the last of these cost nothing
    names = [name for name in unpriced if not name.startswith("ft:")]  # these match with a date behind them only
    assert all(any(word in name for word in other) for name in names), names
    assert price_of("openai", "ft:gpt-4o-mini-2024-07-18:org::id", AT) is not None


def test_known_prices() -> None:
    sonnet = price_of("anthropic", "claude-sonnet-4-5-20250929", AT)
    assert sonnet is not None
    assert [getattr(sonnet, field.name) for field in fields(Rates)] == [
        *(3_000_000, 15_000_000, 300_000, 3_750_000, 6_000_000),
        *(None, None),
    ]
    (tier,) = sonnet.tiers
    assert (tier.above_input_token_count, tier.rates.input_pico_usd, tier.rates.output_pico_usd) == (
        *(200_000, 6_000_000),
        22_500_000,
    )
    assert sonnet.version == list_version() == f"genai-prices-{metadata.version('genai-prices')}"
    audio = price_of("openai", "gpt-audio", AT)
    assert audio is not None
    assert (audio.input_audio_pico_usd, audio.output_audio_pico_usd) == (32_000_000, 64_000_000)
    embedding = price_of("openai", "text-embedding-3-small", AT)
    assert embedding is not None
    assert (embedding.input_pico_usd, embedding.output_pico_usd) == (20_000, 0)


@pytest.mark.parametrize("vendor", PRICE_LISTS)
def test_every_price_list_is_in_the_package(vendor: str) -> None:
    assert vendor in VENDORS
    assert get_snapshot().find_provider(None, PRICE_LISTS[vendor], None) is not None


KNOWN = {
    "azure": ("o4-mini", 1_100_000),
    "groq": ("openai/gpt-oss-120b", 150_000),
    "mistral": ("mistral-small-2603", 150_000),
    "deepseek": ("deepseek-v4-pro", 660_000),
    "xai": ("grok-code-fast-1", 200_000),
    "openrouter": ("openai/gpt-4o-mini", 150_000),
    "together": ("meta-llama/Llama-3.3-70B-Instruct-Turbo", 880_000),
    "fireworks": ("accounts/fireworks/models/gpt-oss-120b", 150_000),
    "perplexity": ("sonar-pro-search", 3_000_000),
    "cerebras": ("gpt-oss-120b", 350_000),
    "bedrock": ("amazon.nova-lite-v1:0", 60_000),
    "bedrock-anthropic": ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 3_300_000),
    "vertex-anthropic": ("claude-sonnet-4-5@20250929", 3_000_000),
}


@pytest.mark.parametrize("vendor", KNOWN)
def test_a_known_model_of_each_host_has_its_price(vendor: str) -> None:
    name, input_pico_usd = KNOWN[vendor]
    price = price_of(vendor, name, AT)
    assert price is not None
    assert price.input_pico_usd == input_pico_usd


def test_azure_takes_what_openai_takes() -> None:
    price = price_of("azure", "gpt-4o", AT)
    assert price is not None
    assert price == price_of("openai", "gpt-4o", AT)
    assert price_of("azure", "my-own-deployment", AT) is None


def test_a_price_has_its_date() -> None:
    before = price_of("openai", "o3", datetime(2025, 6, 9, tzinfo=UTC))
    after = price_of("openai", "o3", datetime(2025, 6, 10, tzinfo=UTC))
    assert before is not None
    assert after is not None
    assert (before.input_pico_usd, after.input_pico_usd) == (10_000_000, 2_000_000)


@pytest.mark.parametrize(
    ("vendor", "name"),
    [
        ("openai", "gpt-99"),
        ("openai", "tts-1"),
        ("openai", "gpt-image-1"),
        ("openai", ""),
        ("anthropic", "gpt-4o"),
        ("openai-compatible", "gpt-4o"),
        ("simulator", "chat"),
        ("openai", "x" * 255),
    ],
)
def test_what_is_not_on_a_list_has_no_price(vendor: str, name: str) -> None:
    assert price_of(vendor, name, AT) is None


@given(st.decimals(0, 10**6, places=6))
def test_a_millionth_of_a_dollar_is_exact(usd: Decimal) -> None:
    assert pico_usd(usd) == usd * 10**6


def test_a_gateway_on_the_simulator_does_not_load_the_price_list() -> None:
    code = (
        "import sys\n"
        "from llmgateway_server.app import App\n"
        "from llmgateway_server.config.load import from_environment\n"
        "app = App(from_environment({}), {})\n"
        "app.parts.catalog.describe('simulator/other')\n"
        "sys.exit('genai_prices' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_prices_can_be_compared_and_kept() -> None:
    price = price_of("openai", "gpt-5.4", AT)
    assert price is not None
    assert hash(price) == hash(replace(price))
    assert {name for name, _ in price.service_tiers} == {"fast", "flex", "priority"}
