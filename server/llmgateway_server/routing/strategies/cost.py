"""Orders by cost.

    cost_optimized              score = input tokens · price in + output tokens · price out     USD
    cost_priority_round_robin   score = (price in + price out) ÷ 2 ÷ priority weight            USD per million tokens
                                priority weight = 1 ÷ (1 + priority)

The first uses the rates for long inputs where a request is that long. Discounts for cached input and the prices of
service tiers are left out. A target without a price scores infinity: nobody knows that it is cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from llmgateway_server.core.money import Price, Rates
from llmgateway_server.routing.strategies.contenders import Contender, Scores, Wish

USD_OF_PICO = 1e-12
USD_PER_MILLION_OF_PICO = 1e-6


def cost_optimized(contenders: Sequence[Contender], wish: Wish) -> Scores:
    """Returns what the request is expected to cost at each, in USD; infinity where there is no price."""
    given, made = wish.input_token_count, wish.output_token_count
    costs: Scores = []
    for each in contenders:
        price = each.target.price
        if price is None:
            costs.append(inf)
        else:
            rates = price if not price.tiers else rates_for(price, given)
            costs.append((given * rates.input_pico_usd + made * rates.output_pico_usd) * USD_OF_PICO)
    return costs


def cost_priority_round_robin(contenders: Sequence[Contender], _wish: Wish) -> Scores:
    """Returns the average price in USD per million tokens, times one more than the priority number."""
    return [
        inf
        if (price := each.target.price) is None
        else (price.input_pico_usd + price.output_pico_usd) * (1 + each.target.priority) / 2 * USD_PER_MILLION_OF_PICO
        for each in contenders
    ]


def rates_for(price: Price, input_token_count: int) -> Rates:
    """Returns the rates of a call with this input: those of the highest tier that it exceeds."""
    for tier in reversed(price.tiers):
        if input_token_count > tier.above_input_token_count:
            return tier.rates
    return price
