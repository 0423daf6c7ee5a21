import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.errors import (
    MAX_DETAIL_CHARS,
    AccessError,
    CallEndedError,
    DefectError,
    GatewayError,
    RequestError,
    ShedError,
    UpstreamError,
    printable,
)
from llmgateway_server.core.reasons import Reason

CLASSES = (RequestError, AccessError, ShedError, UpstreamError, CallEndedError)
NOT_RAISED_YET = {
    Reason.BUDGET_EXCEEDED,
    Reason.PRICE_UNKNOWN,
    Reason.VERSION_CONFLICT,
    Reason.QUEUE_FULL,
    Reason.IDEMPOTENCY_IN_PROGRESS,
    Reason.IDEMPOTENCY_KEY_REUSED,
    Reason.BUDGET_STORE_UNAVAILABLE,
    Reason.OUTPUT_SCHEMA_MISMATCH,
    Reason.STORE_UNAVAILABLE,
}
"""Reasons of the contract whose features are not served: no class carries them."""


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("reason", list(Reason))
def test_a_class_carries_its_reasons_and_no_other(kind: type[GatewayError], reason: Reason) -> None:
    if reason in kind.reasons:
        error = kind(reason, detail="said\x1b[31m\nfake line")
        assert error.reason is reason
        assert str(error) == reason.value
        assert error.detail == "said [31m fake line"
    else:
        with pytest.raises(ValueError, match="cannot carry"):
            kind(reason)


def test_every_reason_has_a_class() -> None:
    carried = frozenset[Reason]().union(DefectError.reasons, *(kind.reasons for kind in CLASSES))
    assert set(Reason) - carried == NOT_RAISED_YET


def test_a_defect_tells_callers_nothing() -> None:
    assert str(DefectError("prompt")) == "INTERNAL"


@given(st.text(st.characters(), max_size=2 * MAX_DETAIL_CHARS))
def test_log_text_is_one_printable_line(text: str) -> None:
    shown = printable(text)
    assert len(shown) == min(len(text), MAX_DETAIL_CHARS)
    assert shown.isprintable()
    shown.encode()
