"""Writes down what a drain found: a correction of the attempt's record, which was written when the caller left.

| how the drain ended | charge |
| --- | --- |
| finished, with figures that can be | CU: what the provider reported |
| finished, without | CP: input and all output, estimated |
| anyhow else | that of the record stands; nothing is corrected |

The correction is a line of the log, `attempt_drained`, with the call's id and the attempt's number. It replaces charge,
tokens and cost of that attempt; figures and metrics keep what the record had.
"""

from __future__ import annotations

from collections.abc import Callable

from llmgateway_server.attempts.believable import filled, is_believable
from llmgateway_server.core.calls import Attempt, Charge
from llmgateway_server.core.money import cost_of
from llmgateway_server.core.usage import Usage, UsageSource, estimate_token_count
from llmgateway_server.observe.log import logger
from llmgateway_server.providers.drain import Drained, Ending


class DrainLog:
    """See the module.

    Args:
        count: is told of each drain by provider and ending.
    """

    def __init__(self, count: Callable[[str, str], None]) -> None:
        self._count = count
        self._log = logger("attempts")

    def ended(self, drained: Drained) -> None:
        """Counts a drain, and writes the correction of one that was read to its end."""
        attempt, target = drained.attempt, drained.attempt.target
        self._count(target.provider, drained.ending.value)
        if drained.ending is not Ending.FINISHED:
            return
        charge, usage = charge_of(drained)
        service_tier = getattr(attempt.call.request, "service_tier", "")
        cost = cost_of(usage, target.price, service_tier) if target.price is not None else None
        self._log.info(
            "attempt_drained",
            call_id=attempt.call.scope.call_id,
            attempt=attempt.record.number,
            provider=target.provider,
            upstream_model=target.upstream_model.partition("?")[0],
            charge=charge.value,
            input_tokens=usage.input_token_count,
            output_tokens=usage.output_token_count,
            usage_source=usage.source.value,
            cost_nano_usd=cost.total_nano_usd if cost is not None else None,
            drained_ms=round(drained.took_s * 1000, 3),
        )


def charge_of(drained: Drained) -> tuple[Charge, Usage]:
    """Returns what a whole answer is charged on whose end nobody waited for."""
    attempt, reported = drained.attempt, drained.usage
    estimate = _estimate(attempt, drained.output_bytes)
    if reported is None or not is_believable(reported, estimate, attempt, vendor_read_more=False):
        return Charge.DELIVERED, estimate
    usage = filled(reported, estimate, has_output=True)
    return (Charge.REPORTED if usage.source is UsageSource.REPORTED else Charge.DELIVERED), usage


def _estimate(attempt: Attempt, drained_bytes: int) -> Usage:
    """Returns our own count of the whole: what the record has, and what came after it."""
    before = attempt.record.usage
    delivered = before.output_token_count or 0 if before is not None else 0
    return Usage(
        estimate_token_count(attempt.call.request.input_byte_count),
        delivered + estimate_token_count(drained_bytes),
        source=UsageSource.ESTIMATED,
    )
