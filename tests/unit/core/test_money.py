from decimal import ROUND_HALF_UP, Decimal

from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.money import Cost, Price, cost_of, usd_text
from llmgateway_server.core.usage import Usage, estimate_token_count

counts = st.one_of(st.none(), st.integers(0, 10**9))
prices = st.integers(0, 10**12)


@given(
    usage=st.builds(
        Usage,
        input_token_count=counts,
        output_token_count=counts,
        cache_read_token_count=counts,
        cache_write_5m_token_count=counts,
        cache_write_1h_token_count=counts,
    ),
    price=st.builds(
        Price,
        input_pico_usd=prices,
        output_pico_usd=prices,
        cache_read_pico_usd=st.one_of(st.none(), prices),
        cache_write_pico_usd=st.one_of(st.none(), prices),
    ),
)
def test_each_bucket_is_exact_and_rounded_once(usage: Usage, price: Price) -> None:
    cost = cost_of(usage, price)
    total_in = usage.input_token_count or 0
    read = min(usage.cache_read_token_count or 0, total_in)
    written = min((usage.cache_write_5m_token_count or 0) + (usage.cache_write_1h_token_count or 0), total_in - read)
    read_price = price.input_pico_usd if price.cache_read_pico_usd is None else price.cache_read_pico_usd
    write_price = price.input_pico_usd if price.cache_write_pico_usd is None else price.cache_write_pico_usd
    buckets = {
        cost.input_nano_usd: (total_in - read - written) * price.input_pico_usd,
        cost.cache_read_nano_usd: read * read_price,
        cost.cache_write_nano_usd: written * write_price,
        cost.output_nano_usd: (usage.output_token_count or 0) * price.output_pico_usd,
    }
    for nano, pico in buckets.items():
        assert nano == int((Decimal(pico) / 1000).quantize(Decimal(1), ROUND_HALF_UP))
        assert nano >= 0
    assert cost.total_nano_usd == (
        cost.input_nano_usd + cost.cache_read_nano_usd + cost.cache_write_nano_usd + cost.output_nano_usd
    )


def test_half_a_nano_dollar_is_rounded_up() -> None:
    assert cost_of(Usage(1, 0), Price(499, 0)).input_nano_usd == 0
    assert cost_of(Usage(1, 0), Price(500, 0)).input_nano_usd == 1
    assert cost_of(Usage(1, 0), Price(1499, 0)).input_nano_usd == 1


def test_a_cached_share_is_never_billed_twice() -> None:
    usage = Usage(10, 0, cache_read_token_count=25, cache_write_5m_token_count=7)
    assert cost_of(usage, Price(1000, 0, 100_000, 1000)) == Cost(cache_read_nano_usd=1000)


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
