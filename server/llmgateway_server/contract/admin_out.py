"""What operators asked for, into their contract's messages."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from llmgateway.admin.v1 import metrics_pb2, provider_test_pb2
from llmgateway.v1 import error_pb2
from llmgateway_server.contract.money_out import cost_message, timings_message, usage_message
from llmgateway_server.observe.statistics import Figures
from llmgateway_server.operators.examination import Check, Verdict

_KINDS = {
    False: provider_test_pb2.PROVIDER_CHECK_KIND_UNARY,
    True: provider_test_pb2.PROVIDER_CHECK_KIND_STREAMED,
}


def verdict_message(verdict: Verdict) -> provider_test_pb2.TestProviderResponse:
    """Translates what is known of an account."""
    return provider_test_pb2.TestProviderResponse(
        ok=verdict.reason is None,
        provider=verdict.provider,
        vendor=verdict.subject.vendor,
        address=verdict.subject.address,
        model=verdict.model,
        checks=[_check_message(check) for check in verdict.checks],
        hint=verdict.hint,
    )


def reset_message(forgotten: Figures, now_s: float) -> metrics_pb2.ResetMetricsResponse:
    """Translates a reset.

    Args:
        forgotten: all figures before it.
        now_s: wall time of it, in seconds since the epoch.
    """
    return metrics_pb2.ResetMetricsResponse(
        counted_since=_timestamp(forgotten.start_s),
        forgotten_call_count=forgotten.calls.count,
        reset_at=_timestamp(now_s),
    )


def _check_message(check: Check) -> provider_test_pb2.ProviderCheck:
    message = provider_test_pb2.ProviderCheck(kind=_KINDS[check.streamed], ok=check.reason is None)
    if check.reason is not None:
        message.reason = error_pb2.ErrorReason.Value(f"ERROR_REASON_{check.reason}")
        return message
    if check.usage is not None:
        message.usage.CopyFrom(usage_message(check.usage))
    if check.timings is not None:
        message.timings.CopyFrom(timings_message(check.timings, check.usage))
    message.cost.CopyFrom(cost_message(check.cost))
    return message


def _timestamp(wall_s: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(int(wall_s * 1_000_000_000))
    return stamp
