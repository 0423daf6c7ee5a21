"""What a provider's failure means: one table from HTTP statuses, one from the wire's errors (docs/reliability.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.wire.port import (
    WireError,
    WireMalformed,
    WirePoolTimeout,
    WireReset,
    WireTlsError,
    WireTooLarge,
    WireUnreachable,
)

STATUS_REASONS: dict[int, Reason] = {
    400: Reason.UPSTREAM_REJECTED_REQUEST,
    401: Reason.PROVIDER_AUTH_FAILED,
    402: Reason.PROVIDER_QUOTA_EXHAUSTED,
    403: Reason.PROVIDER_AUTH_FAILED,
    404: Reason.MODEL_NOT_FOUND,
    408: Reason.UPSTREAM_TIMEOUT,
    409: Reason.UPSTREAM_CONFLICT,
    413: Reason.REQUEST_TOO_LARGE,
    422: Reason.UPSTREAM_REJECTED_REQUEST,
    429: Reason.UPSTREAM_RATE_LIMITED,
    500: Reason.UPSTREAM_ERROR,
    502: Reason.UPSTREAM_ERROR,
    503: Reason.UPSTREAM_OVERLOADED,
    504: Reason.UPSTREAM_TIMEOUT,
    529: Reason.UPSTREAM_OVERLOADED,
}

WIRE_REASONS: tuple[tuple[type[WireError], Reason], ...] = (
    (WireUnreachable, Reason.UPSTREAM_UNREACHABLE),
    (WirePoolTimeout, Reason.UPSTREAM_UNREACHABLE),
    (WireTlsError, Reason.UPSTREAM_TLS),
    (WireReset, Reason.UPSTREAM_RESET),
    (WireMalformed, Reason.UPSTREAM_MALFORMED),
    (WireTooLarge, Reason.UPSTREAM_MALFORMED),
)

MAX_RETRY_AFTER_S = 3600.0
"""A longer wait than this is not believed."""


def status_reason(status: int) -> Reason:
    """Returns the reason for an HTTP status that is not 2xx."""
    if 300 <= status < 400:
        return Reason.UPSTREAM_REDIRECT
    return STATUS_REASONS.get(status, Reason.UPSTREAM_UNCLASSIFIED)


def status_error(status: int, headers: Mapping[str, str], *, now_s: float, detail: str = "") -> UpstreamError:
    """Returns the error for an HTTP status, with the provider's wish for a pause where it is believable.

    Args:
        now_s: wall time, for `retry-after` as a date.
        detail: for the log only.
    """
    return UpstreamError(
        status_reason(status), http_status=status, retry_after_s=retry_after_s(headers, now_s=now_s), detail=detail
    )


def wire_error(error: WireError) -> UpstreamError:
    """Returns the error for a failure of the wire."""
    for kind, reason in WIRE_REASONS:
        if isinstance(error, kind):
            return UpstreamError(reason, detail=f"{type(error).__name__}: {error}")
    return UpstreamError(Reason.UPSTREAM_UNREACHABLE, detail=type(error).__name__)


def malformed(detail: str) -> UpstreamError:
    """Returns the error for an answer that cannot be read; `detail` names the place, never the content."""
    return UpstreamError(Reason.UPSTREAM_MALFORMED, detail=detail)


def retry_after_s(headers: Mapping[str, str], *, now_s: float) -> float | None:
    """Reads `retry-after-ms` and `retry-after` (seconds or HTTP date, RFC 9110 §10.2.3).

    Returns:
        Seconds from now in (0, 3600]; None when absent, unreadable, past or absurd.
    """
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if not text:
            continue
        try:
            seconds = float(text) * scale
        except ValueError:
            seconds = _seconds_until(text, now_s)
        if 0 < seconds <= MAX_RETRY_AFTER_S:  # also refuses NaN
            return seconds
    return None


def _seconds_until(http_date: str, now_s: float) -> float:
    """Returns the seconds from now to a date, NaN where it is none. HTTP dates are UTC, said or unsaid."""
    try:
        date = parsedate_to_datetime(http_date)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now_s
    except (ValueError, TypeError, OverflowError):
        return math.nan
