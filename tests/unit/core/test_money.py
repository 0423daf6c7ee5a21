from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal

from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.money import Cost, Price, Rates, RateTier, cost_of, usd_text
from llmgateway_server.core.usage import Usage, estimate_token_count

counts = st.one_of(st.none(), st.integers(0, 10**9))
prices = st.integers(0, 10**12)
maybe = st.one_of(st.none(), prices)


@given(
    usage=st.builds(
        Usage,
        input_token_count=counts,
        output_token_count=counts,
        cache_read_token_count=counts,
        cache_write_5m_token_count=counts,
        cache_write_1h_token_count=counts,
        input_audio_token_count=counts,
        output_audio_token_count=counts,
    ),
    rates=st.builds(
        Rates,
        input_pico_usd=prices,
        output_pico_usd=prices,
        cache_read_pico_usd=maybe,
        cache_write_5m_pico_usd=maybe,
        cache_write_1h_pico_usd=maybe,
        input_audio_pico_usd=maybe,
        output_audio_pico_usd=maybe,
    ),
)
def test_each_bucket_is_exact_and_rounded_once(usage: Usage, rates: Rates) -> None:
    def first(*candidates: int | None) -> int:
        return next(each for each in candidates if each is not None)

    cost = cost_of(usage, Price.of(rates, version="v"))
    left = usage.input_token_count or 0
    shares = []
    for count in (
        usage.cache_read_token_count,
        usage.cache_write_5m_token_count,
        usage.cache_write_1h_token_count,
        usage.input_audio_token_count,
    ):
        shares.append(min(count or 0, left))
        left -= shares[-1]
    read, written_5m, written_1h, heard = shares
    total_out = usage.output_token_count or 0
    spoken = min(usage.output_audio_token_count or 0, total_out)
    usual, answer = rates.input_pico_usd, rates.output_pico_usd
    rate_5m = first(rates.cache_write_5m_pico_usd, usual)
    expected = {
        "input_nano_usd": left * usual + heard * first(rates.input_audio_pico_usd, usual),
        "cache_read_nano_usd": read * first(rates.cache_read_pico_usd, usual),
        "cache_write_nano_usd": written_5m * rate_5m + written_1h * first(rates.cache_write_1h_pico_usd, rate_5m),
        "output_nano_usd": (total_out - spoken) * answer + spoken * first(rates.output_audio_pico_usd, answer),
    }
    for bucket, pico in expected.items():
        assert getattr(cost, bucket) == int((Decimal(pico) / 1000).quantize(Decimal(1), ROUND_HALF_UP))
    assert cost.total_nano_usd == sum(getattr(cost, bucket) for bucket in expected)
    assert cost.price_version == "v"


def test_half_a_nano_dollar_is_rounded_up() -> None:
    assert cost_of(Usage(1, 0), Price(499, 0)).input_nano_usd == 0
    assert cost_of(Usage(1, 0), Price(500, 0)).input_nano_usd == 1
    assert cost_of(Usage(1, 0), Price(1499, 0)).input_nano_usd == 1


def test_a_cached_share_is_never_billed_twice() -> None:
    usage = Usage(10, 0, cache_read_token_count=25, cache_write_5m_token_count=7, cache_write_1h_token_count=7)
    assert cost_of(usage, Price(1000, 0, 100_000, 1000, 2000)) == Cost(cache_read_nano_usd=1000)


def test_writes_for_five_minutes_and_for_an_hour_have_their_own_rates() -> None:
    usage = Usage(100, 0, cache_write_5m_token_count=10, cache_write_1h_token_count=20)
    assert cost_of(usage, Price(1000, 0, 0, 1250, 2000)).cache_write_nano_usd == 10 * 1.25 + 20 * 2 + 0.5
    assert cost_of(usage, Price(1000, 0, 0, 2000)).cache_write_nano_usd == 30 * 2
    assert cost_of(usage, Price(1000, 0)).cache_write_nano_usd == 30


def test_the_highest_tier_that_the_input_exceeds_counts_for_all_tokens() -> None:
    tiers = (RateTier(100, Rates(2000, 20_000)), RateTier(200, Rates(3000, 30_000)))
    price = Price(1000, 10_000, tiers=tiers)
    for total_in, times in ((0, 1), (100, 1), (101, 2), (200, 2), (201, 3), (10**9, 3)):
        usage = Usage(total_in, 7, cache_read_token_count=total_in // 2)
        assert cost_of(usage, price).total_nano_usd == times * (total_in + 70)


def test_a_service_tier_has_its_own_price_and_tiers() -> None:
    flex = Price(500, 5000, version="v", tiers=(RateTier(100, Rates(900, 9000)),))
    price = Price(1000, 10_000, version="v", service_tiers=(("flex", flex),))
    usage = Usage(100, 10)
    assert cost_of(usage, price, "flex").total_nano_usd == 50 + 50
    assert cost_of(replace(usage, input_token_count=101), price, "flex").input_nano_usd == 91
    for name in ("", "default", "auto", "scale"):
        assert cost_of(usage, price, name).total_nano_usd == 100 + 100


@given(st.integers(-(2**63), 2**63 - 1))
def test_the_text_for_people_is_the_amount(nano: int) -> None:
    text = usd_text(nano)
    assert Decimal(text) * 10**9 == nano
    assert "E" not in text
    assert "." not in text or not text.endswith(("0", "."))


@given(st.integers(0, 10**12))
def test_tokens_are_estimated_upwards(size: int) -> None:
    estimated = estimate_token_count(size)
    assert (estimated - 1) * 4 < size <= estimated * 4 or estimated == size == 0
