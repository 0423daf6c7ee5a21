"""Money as integers: nano-USD amounts, pico-USD prices, so that no sum is ever rounded twice."""

from __future__ import annotations

from dataclasses import dataclass

from llmgateway_server.core.usage import Usage

PICO_PER_NANO = 1000


@dataclass(slots=True, frozen=True)
class Price:
    """Prices in pico-USD (10⁻¹² US dollars) per token: 1 USD per million tokens is 1,000,000.

    `None` for a cache price means that the vendor bills those tokens as ordinary input.
    """

    input_pico_usd: int
    output_pico_usd: int
    cache_read_pico_usd: int | None = None
    cache_write_pico_usd: int | None = None
    version: str = ""


@dataclass(slots=True, frozen=True)
class Cost:
    """What a reply cost, in nano-USD by bucket; the total is the sum of the buckets."""

    input_nano_usd: int = 0
    cache_read_nano_usd: int = 0
    cache_write_nano_usd: int = 0
    output_nano_usd: int = 0
    price_version: str = ""

    @property
    def total_nano_usd(self) -> int:
        """The sum of all buckets."""
        return self.input_nano_usd + self.cache_read_nano_usd + self.cache_write_nano_usd + self.output_nano_usd


def cost_of(usage: Usage, price: Price) -> Cost:
    """Computes the cost of `usage`.

    input = (input − cache read − cache write) · p_in, each bucket tokens · price, rounded half up to a nano-USD. Counts
    that a provider left out count as zero; a cached share larger than the input counts as all of it.
    """
    total_in = usage.input_token_count or 0
    read = min(usage.cache_read_token_count or 0, total_in)
    written = min((usage.cache_write_5m_token_count or 0) + (usage.cache_write_1h_token_count or 0), total_in - read)
    return Cost(
        input_nano_usd=_nano((total_in - read - written) * price.input_pico_usd),
        cache_read_nano_usd=_nano(read * _or(price.cache_read_pico_usd, price.input_pico_usd)),
        cache_write_nano_usd=_nano(written * _or(price.cache_write_pico_usd, price.input_pico_usd)),
        output_nano_usd=_nano((usage.output_token_count or 0) * price.output_pico_usd),
        price_version=price.version,
    )


def usd_text(nano_usd: int) -> str:
    """Writes an amount as a decimal number of dollars without trailing zeros, for example `0.000012`."""
    sign, amount = ("-", -nano_usd) if nano_usd < 0 else ("", nano_usd)
    whole, nano = divmod(amount, 1_000_000_000)
    return f"{sign}{whole}.{nano:09d}".rstrip("0").rstrip(".")


def _nano(pico: int) -> int:
    return (pico + PICO_PER_NANO // 2) // PICO_PER_NANO


def _or(price: int | None, otherwise: int) -> int:
    return otherwise if price is None else price
