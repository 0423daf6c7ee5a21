"""Makes the wish of a call from its request: only what its strategy looks at is worked out."""

from __future__ import annotations

from random import Random

from llmgateway_server.core.requests import CompleteRequest, Request
from llmgateway_server.core.usage import estimate_token_count
from llmgateway_server.routing.affinity import affinity_key
from llmgateway_server.routing.complexity import complexity_of, tier_for
from llmgateway_server.routing.eligible import needs_of
from llmgateway_server.routing.settings import RoutingSettings
from llmgateway_server.routing.strategies.contenders import Wish
from llmgateway_server.routing.strategies.names import Strategy
from llmgateway_server.routing.strategies.table import STRATEGIES, Affinity


def wish_for(
    request: Request,
    strategy: Strategy,
    settings: RoutingSettings,
    rng: Random,
    now_s: float,
    *,
    capabilities: frozenset[str] = frozenset(),
    tags: frozenset[str] = frozenset(),
    session: str = "",
) -> Wish:
    """Returns what a call wishes.

    Args:
        request: what it asks for.
        strategy: that will order its targets.
        settings: thresholds, expectations.
        rng: where chance comes from.
        now_s: on the monotonic clock.
        capabilities: that the caller requires.
        tags: that the caller requires.
        session: the caller's affinity key; empty for none.
    """
    row = STRATEGIES[strategy]
    completion = request if isinstance(request, CompleteRequest) else None
    allowed = None if completion is None else completion.max_output_tokens
    tier = key = ""
    if completion is not None and row.tiered and settings.simple_up_to < 1.0:
        tier = tier_for(complexity_of(completion), settings.simple_up_to, settings.medium_up_to)
    if completion is not None and row.affinity is not Affinity.NOBODY:
        key = affinity_key(session, completion)
    expected = settings.expected_output_tokens
    return Wish(
        rng=rng,
        now_s=now_s,
        input_token_count=estimate_token_count(request.input_byte_count),
        output_token_count=0 if completion is None else min(expected, expected if allowed is None else allowed),
        max_output_token_count=allowed,
        capabilities=capabilities,
        needs=needs_of(request),
        tier=tier,
        preferred_providers=request.routing.preferred_providers,
        excluded_providers=request.routing.excluded_providers,
        tags=tags,
        affinity_key=key,
        affinity_slack=settings.affinity_slack,
    )
