"""Prices of the vendors' models, from the data inside the package `genai-prices`; nothing is downloaded.

The package is imported when the first price is asked for: its data takes a third of a second to load, which a gateway
on the simulator alone need not wait for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from llmgateway_server.core.money import Price, Rates, RateTier

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

PRICE_LISTS: Mapping[str, str] = {
    "openai": "openai",
    "anthropic": "anthropic",
    "cohere": "cohere",
    "google": "google",
    "vertex": "google",
    "vertex-anthropic": "google",
    "bedrock": "aws",
    "bedrock-anthropic": "aws",
    "azure": "azure",
    "groq": "groq",
    "mistral": "mistral",
    "deepseek": "deepseek",
    "xai": "x-ai",
    "openrouter": "openrouter",
    "together": "together",
    "fireworks": "fireworks",
    "perplexity": "perplexity",
    "cerebras": "cerebras",
}
"""The package's provider by our vendor. A vendor that is missing here has no prices: its accounts bill as they like."""
PICO_PER_USD_PER_MILLION = 1_000_000
"""Pico-USD per token that one US dollar per million tokens is."""
MAX_KNOWN_NAMES = 4096
"""Names whose price is remembered; pinned ones come from callers, so there must be a bound."""

_TOKENS = frozenset(
    {
        "input_mtok",
        "output_mtok",
        "cache_read_mtok",
        "cache_write_mtok",
        "cache_write_5m_mtok",
        "cache_write_1h_mtok",
        "input_audio_mtok",
        "output_audio_mtok",
    }
)
"""The package's prices that our rates hold."""
_FEES = frozenset({"web_searches_kcount", "storage_searches_kcount"})
"""Fees per use of a vendor's own tool. They are no part of the cost: no usage counts them."""
_TOGETHER = frozenset({"cache_audio_read_mtok"})
"""The package's prices for what no usage tells apart: cached sound costs what cached text does."""


@lru_cache(maxsize=MAX_KNOWN_NAMES)
def price_of(vendor: str, upstream_model: str, at: datetime | None = None) -> Price | None:
    """Returns the price of a vendor's model.

    Args:
        vendor: of `VENDORS`.
        upstream_model: the vendor's own name for it, at most 255 characters.
        at: when the call is made, for prices with a date; None is the moment of the first question.

    Returns:
        None when the vendor has no price list, the model is not on it, or it is billed by something that no usage
        counts (seconds, characters, tokens of images).
    """
    listed = _listed(vendor, upstream_model)
    if listed is None:
        return None
    at = at or datetime.now(UTC)
    price = _price(listed.get_prices(at))
    if price is None:
        return None
    service_tiers = tuple(
        (name, other)
        for name in _service_tiers(listed)
        if (other := _price(listed.get_prices(at, {"service_tier": name}))) is not None and other != price
    )
    return replace(price, service_tiers=service_tiers)


@cache
def list_version() -> str:
    """Returns the name of the price list with its version, for example `genai-prices-0.2.3`."""
    from genai_prices import __version__

    return f"genai-prices-{__version__}"


def pico_usd(usd_per_million: Decimal) -> int:
    """Turns US dollars per million tokens into pico-USD per token, rounded half up."""
    return int((usd_per_million * PICO_PER_USD_PER_MILLION).to_integral_value(ROUND_HALF_UP))


@cache
def _price_list(vendor: str) -> Provider | None:
    if vendor not in PRICE_LISTS:
        return None
    from genai_prices.data_snapshot import get_snapshot

    return get_snapshot().find_provider(None, PRICE_LISTS[vendor], None)


def _listed(vendor: str, upstream_model: str) -> ModelInfo | None:
    # The snapshot's own lookup remembers every name that it was ever asked for, without a bound.
    price_list = _price_list(vendor)
    if price_list is None:
        return None
    from genai_prices.data_snapshot import get_snapshot

    # Some hosts name others whose prices are theirs, too: Azure's of `gpt-4o` are OpenAI's.
    return price_list.find_model(upstream_model, all_providers=get_snapshot().providers)


def _service_tiers(listed: ModelInfo) -> list[str]:
    return sorted(
        {
            variant.when["service_tier"]
            for variant in listed.price_variants or ()
            if set(variant.when) == {"service_tier"}
        }
    )


def _price(prices: ModelPrice) -> Price | None:
    values: dict[str, Decimal | TieredPrices] = {
        key: value for key, value in vars(prices).items() if value is not None and key not in _FEES | _TOGETHER
    }
    if "input_mtok" not in values or not values.keys() <= _TOKENS:
        return None
    thresholds = {tier.start for value in values.values() if not isinstance(value, Decimal) for tier in value.tiers}
    return Price.of(
        _rates(values, 0),
        version=list_version(),
        tiers=tuple(RateTier(start, _rates(values, start + 1)) for start in sorted(thresholds)),
    )


def _rates(values: Mapping[str, Decimal | TieredPrices], input_token_count: int) -> Rates:
    """Returns the rates for an input of so many tokens."""

    def rate(*keys: str) -> int | None:
        value = next((values[key] for key in keys if key in values), None)
        return None if value is None else pico_usd(_at(value, input_token_count))

    return Rates(
        input_pico_usd=rate("input_mtok") or 0,
        output_pico_usd=rate("output_mtok") or 0,
        cache_read_pico_usd=rate("cache_read_mtok"),
        cache_write_5m_pico_usd=rate("cache_write_5m_mtok", "cache_write_mtok"),
        cache_write_1h_pico_usd=rate("cache_write_1h_mtok", "cache_write_mtok"),
        input_audio_pico_usd=rate("input_audio_mtok"),
        output_audio_pico_usd=rate("output_audio_mtok"),
    )


def _at(value: Decimal | TieredPrices, input_token_count: int) -> Decimal:
    if isinstance(value, Decimal):
        return value
    reached = [tier.price for tier in value.tiers if input_token_count > tier.start]
    return reached[-1] if reached else value.base
