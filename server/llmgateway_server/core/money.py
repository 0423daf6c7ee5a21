"""Money as integers: nano-USD amounts, pico-USD prices, so that no sum is ever rounded twice."""

from __future__ import annotations

from dataclasses import dataclass

from llmgateway_server.core.usage import Usage

PICO_PER_NANO = 1000


@dataclass(slots=True, frozen=True)
class Rates:
    """What tokens cost, in pico-USD (10⁻¹² US dollars) each: 1 USD per million tokens is 1,000,000.

    `None` means that the vendor bills those tokens as the more general kind: cached and spoken input as ordinary input,
    a write for one hour as one for five minutes, spoken output as ordinary output.
    """

    input_pico_usd: int
    output_pico_usd: int
    cache_read_pico_usd: int | None = None
    cache_write_5m_pico_usd: int | None = None
    cache_write_1h_pico_usd: int | None = None
    input_audio_pico_usd: int | None = None
    output_audio_pico_usd: int | None = None


@dataclass(slots=True, frozen=True)
class RateTier:
    """The rates of a whole call whose input is longer than a threshold."""

    above_input_token_count: int
    """Applies to calls with more input tokens than this, cached ones included."""
    rates: Rates


@dataclass(slots=True, frozen=True)
class Price(Rates):
    """The price of a target: its ordinary rates, and others where the vendor has them."""

    version: str = ""
    """Where it is from, for example `genai-prices-0.2.3` or `configured`."""
    tiers: tuple[RateTier, ...] = ()
    """By threshold, lowest first; the highest one that the input exceeds applies to all tokens of the call."""
    service_tiers: tuple[tuple[str, Price], ...] = ()
    """Prices of the vendor's service tiers (`flex`, `priority`) by name; any other name has the ordinary price."""

    @classmethod
    def of(cls, rates: Rates, *, version: str, tiers: tuple[RateTier, ...] = ()) -> Price:
        """Returns the price whose ordinary rates are `rates`."""
        return cls(
            input_pico_usd=rates.input_pico_usd,
            output_pico_usd=rates.output_pico_usd,
            cache_read_pico_usd=rates.cache_read_pico_usd,
            cache_write_5m_pico_usd=rates.cache_write_5m_pico_usd,
            cache_write_1h_pico_usd=rates.cache_write_1h_pico_usd,
            input_audio_pico_usd=rates.input_audio_pico_usd,
            output_audio_pico_usd=rates.output_audio_pico_usd,
            version=version,
            tiers=tiers,
        )


@dataclass(slots=True, frozen=True)
class Cost:
    """What a reply cost, in nano-USD by bucket; the total is the sum of the buckets.

    Sound is part of `input` and `output`, at its own rate.
    """

    input_nano_usd: int = 0
    cache_read_nano_usd: int = 0
    cache_write_nano_usd: int = 0
    output_nano_usd: int = 0
    price_version: str = ""

    @property
    def total_nano_usd(self) -> int:
        """The sum of all buckets."""
        return self.input_nano_usd + self.cache_read_nano_usd + self.cache_write_nano_usd + self.output_nano_usd


def cost_of(usage: Usage, price: Price, service_tier: str = "") -> Cost:
    """Computes the cost of `usage`.

    Each bucket is a sum of tokens · rate, rounded half up to a nano-USD once (docs/models-and-prices.md). Counts that a
    provider left out count as zero. A share never exceeds the whole that it is part of: cache reads are taken from the
    input first, then cache writes, then sound.

    Args:
        service_tier: the vendor's service tier that the call asked for.
    """
    total_in, total_out = usage.input_token_count or 0, usage.output_token_count or 0
    rates = _rates(price, service_tier, total_in)
    shares = (
        usage.cache_read_token_count,
        usage.cache_write_5m_token_count,
        usage.cache_write_1h_token_count,
        usage.input_audio_token_count,
        usage.output_audio_token_count,
    )
    if not any(shares):
        return Cost(
            input_nano_usd=_nano(total_in * rates.input_pico_usd),
            output_nano_usd=_nano(total_out * rates.output_pico_usd),
            price_version=price.version,
        )
    read, rest = _take(usage.cache_read_token_count, total_in)
    written_5m, rest = _take(usage.cache_write_5m_token_count, rest)
    written_1h, rest = _take(usage.cache_write_1h_token_count, rest)
    heard, read_text = _take(usage.input_audio_token_count, rest)
    spoken, written_text = _take(usage.output_audio_token_count, total_out)
    rate_5m = _or(rates.cache_write_5m_pico_usd, rates.input_pico_usd)
    return Cost(
        input_nano_usd=_nano(
            read_text * rates.input_pico_usd + heard * _or(rates.input_audio_pico_usd, rates.input_pico_usd)
        ),
        cache_read_nano_usd=_nano(read * _or(rates.cache_read_pico_usd, rates.input_pico_usd)),
        cache_write_nano_usd=_nano(written_5m * rate_5m + written_1h * _or(rates.cache_write_1h_pico_usd, rate_5m)),
        output_nano_usd=_nano(
            written_text * rates.output_pico_usd + spoken * _or(rates.output_audio_pico_usd, rates.output_pico_usd)
        ),
        price_version=price.version,
    )


def usd_text(nano_usd: int) -> str:
    """Writes an amount as a decimal number of dollars without trailing zeros, for example `0.000012`."""
    sign, amount = ("-", -nano_usd) if nano_usd < 0 else ("", nano_usd)
    whole, nano = divmod(amount, 1_000_000_000)
    return f"{sign}{whole}.{nano:09d}".rstrip("0").rstrip(".")


def _rates(price: Price, service_tier: str, input_token_count: int) -> Rates:
    for name, other in price.service_tiers:
        if name == service_tier:
            price = other
            break
    for tier in reversed(price.tiers):
        if input_token_count > tier.above_input_token_count:
            return tier.rates
    return price


def _take(share: int | None, whole: int) -> tuple[int, int]:
    """Splits `whole` into the share, at most all of it, and what is left."""
    taken = min(share or 0, whole)
    return taken, whole - taken


def _nano(pico: int) -> int:
    return (pico + PICO_PER_NANO // 2) // PICO_PER_NANO


def _or(rate: int | None, otherwise: int) -> int:
    return otherwise if rate is None else rate
