"""How a handler says that it failed, and what a failure means that it did not say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Literal, get_args

from llmgateway_server.core.errors import GatewayError, RequestError, UpstreamError, Violation
from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.faults import MAX_RETRY_AFTER_S

Kind = Literal[
    "failed",
    "overloaded",
    "rate_limited",
    "quota_exhausted",
    "unauthorized",
    "unavailable",
    "timeout",
    "malformed",
    "unknown_model",
    "rejected",
    "too_long",
    "refused",
    "unsupported",
]
"""What went wrong."""

REASONS: Mapping[Kind, Reason] = MappingProxyType(
    {
        "failed": Reason.UPSTREAM_ERROR,
        "overloaded": Reason.UPSTREAM_OVERLOADED,
        "rate_limited": Reason.UPSTREAM_RATE_LIMITED,
        "quota_exhausted": Reason.PROVIDER_QUOTA_EXHAUSTED,
        "unauthorized": Reason.PROVIDER_AUTH_FAILED,
        "unavailable": Reason.UPSTREAM_UNREACHABLE,
        "timeout": Reason.UPSTREAM_TIMEOUT,
        "malformed": Reason.UPSTREAM_MALFORMED,
        "unknown_model": Reason.MODEL_NOT_FOUND,
        "rejected": Reason.UPSTREAM_REJECTED_REQUEST,
        "too_long": Reason.CONTEXT_LENGTH_EXCEEDED,
        "refused": Reason.CONTENT_POLICY,
        "unsupported": Reason.UNSUPPORTED_OPTION,
    }
)
"""By the kind of a failure; `docs/handlers.md` says which of them another target is tried after."""
OPTION = re.compile(r"[a-z][a-z0-9_.\[\]]{0,127}")
"""Path of a field in the contract. Anything else could be a value of the request and is not shown."""
HERE = str(Path(__file__).parent)


class HandlerError(Exception):
    """Raised by a handler that cannot answer.

    Args:
        kind: what went wrong.
        retry_after_s: when the same request may succeed, in seconds from now, up to an hour; None where nobody knows.
            Any other number counts as None.
        option: path of the request's field that cannot be honoured, for example `seed`; for `unsupported` alone.

    Raises:
        ValueError: there is no such kind.
    """

    def __init__(self, kind: Kind, *, retry_after_s: float | None = None, option: str = "") -> None:
        super().__init__(kind)
        if kind not in REASONS:
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}")
        self.kind: Kind = kind
        self.retry_after_s = retry_after_s
        self.option = option


def failure_of(error: BaseException, *, begun: bool) -> GatewayError:
    """Returns what a handler's exception means to its call.

    Nothing of its text is kept: that may quote a prompt or a key.

    Args:
        error: as it was raised.
        begun: whether something of the answer came before it; an option is not refused any more then.
    """
    match error:
        case UpstreamError():  # of our own check of what was given
            return error
        case HandlerError(kind="unsupported") if not begun:
            return _unsupported(error.option)
        case HandlerError(kind="unsupported"):
            return UpstreamError(Reason.UPSTREAM_ERROR, detail="a handler refused an option after its first piece")
        case HandlerError():
            detail = f"the handler said {error.kind}"
            return UpstreamError(REASONS[error.kind], retry_after_s=_believable(error.retry_after_s), detail=detail)
        case _:
            return UpstreamError(Reason.UPSTREAM_ERROR, detail=f"the handler raised {place_of(error)}")


def is_unforeseen(error: BaseException) -> bool:
    """Tells whether an exception is none that a handler is meant to raise: its author should hear of it."""
    return not isinstance(error, HandlerError | UpstreamError)


def place_of(error: BaseException) -> str:
    """Returns the type of an exception and the line of the handler that it passed: `ValueError at house.py:12`."""
    line = _first_line_outside(error.__traceback__)
    return f"{type(error).__name__} at {line}" if line else type(error).__name__


def _first_line_outside(traceback: TracebackType | None) -> str:
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith(HERE):
            return f"{Path(file).name}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return ""


def _unsupported(option: str) -> RequestError:
    path = option if OPTION.fullmatch(option) else "request"
    violation = Violation(path, "cannot be expressed by the target's handler", "unsupported_option")
    return RequestError(Reason.UNSUPPORTED_OPTION, violations=(violation,))


def _believable(retry_after_s: object) -> float | None:
    """Returns seconds that may be passed on; a comparison with NaN is false."""
    if isinstance(retry_after_s, int | float) and 0 < retry_after_s <= MAX_RETRY_AFTER_S:
        return float(retry_after_s)
    return None
