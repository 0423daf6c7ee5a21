"""Tells a request that breaks its readers from providers that are down (P26).

The same 5xx for the same body at two targets, or with two keys of one, that worked until then is the request's doing: a
third attempt would only break a third one. Targets that failed before count as down, whatever they answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from llmgateway_server.core.calls import AttemptRecord
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.targets import Target
from llmgateway_server.routing.standing import Standings


def is_poison(attempts: Sequence[AttemptRecord], standings: Standings) -> bool:
    """Tells whether the last two attempts show that the request is at fault."""
    if len(attempts) < 2:
        return False
    pair = one, other = attempts[-2:]
    return (
        one.reason is other.reason is Reason.UPSTREAM_ERROR
        and one.http_status is not None
        and one.http_status == other.http_status
        and _same_body(one, other)
        and all(_worked_before(each.target, pair, standings) for each in pair)
    )


def _same_body(one: AttemptRecord, other: AttemptRecord) -> bool:
    """Tells whether both were sent the same: the same model of the same vendor, with another key or account."""
    return (one.target.vendor, one.target.upstream_model) == (other.target.vendor, other.target.upstream_model) and (
        one.target != other.target or one.key_id != other.key_id
    )


def _worked_before(target: Target, pair: Sequence[AttemptRecord], standings: Standings) -> bool:
    """Tells whether a target's failures in a row are those of the two attempts alone."""
    return standings.of(target).consecutive_failures <= sum(each.target == target for each in pair)
