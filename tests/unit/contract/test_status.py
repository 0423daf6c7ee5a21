import re
import string
from pathlib import Path

import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from llmgateway.v1 import error_pb2
from llmgateway_server.contract.status import (
    MAX_DETAILS_BYTES,
    MAX_SLOT_CHARS,
    RETRY_IS_VAIN,
    TABLE,
    Code,
    status_of,
)
from llmgateway_server.core.calls import AttemptRecord, Call, CallScope, Deadline, Outcome
from llmgateway_server.core.errors import GatewayError, RequestError, UpstreamError, Violation
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, Operation
from llmgateway_server.core.targets import Target
from llmgateway_server.core.usage import Usage

SLOTS = {"provider", "model", "permission", "message", "check", "resource", "feature", "method", "field", "cause"}
PROTO = (Path(__file__).parents[3] / "protos/llmgateway/v1/error.proto").read_text(encoding="utf-8")


def scope(**options: object) -> CallScope:
    return CallScope("call-1", "/s/m", "127.0.0.1", {}, 0.0, Deadline(1.0, from_client=False), **options)  # type: ignore[arg-type]


def kinds(status: status_pb2.Status) -> list[str]:
    return [detail.type_url.rpartition(".")[2] for detail in status.details]


def test_reasons_are_those_of_the_contract() -> None:
    named = {name.removeprefix("ERROR_REASON_") for name in error_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert named - {"UNSPECIFIED"} == {reason.value for reason in Reason}
    assert all(reason.name == reason.value for reason in Reason)


def test_every_reason_has_its_row() -> None:
    assert set(TABLE) == set(Reason)
    assert [reason for reason, row in TABLE.items() if row.code is Code.INTERNAL] == [Reason.INTERNAL]


@pytest.mark.parametrize("reason", list(Reason))
def test_the_code_is_the_one_that_the_protos_promise(reason: Reason) -> None:
    comment = re.search(rf"// ([A-Z_ or]+)\..*\n  ERROR_REASON_{reason} = ", PROTO)
    assert comment is not None
    assert TABLE[reason].code.name in comment[1].split(" or ")


@pytest.mark.parametrize("reason", list(Reason))
def test_templates_use_slots_of_the_list_only(reason: Reason) -> None:
    template = TABLE[reason].template
    slots = {name for _, name, _, _ in string.Formatter().parse(template.replace("$", "")) if name}
    assert slots <= SLOTS
    status = status_of(GatewayError(reason, slots=dict.fromkeys(slots, "given")), scope())
    assert "$" not in status.message
    assert "?" not in status.message
    assert len(status.message) < 200
    bare = status_of(GatewayError(reason), scope())
    assert ("?" in bare.message) == bool(slots)


@given(
    reason=st.sampled_from(list(Reason)),
    value=st.text(st.characters(codec="utf-8"), max_size=2 * MAX_SLOT_CHARS),
    retry_after_s=st.one_of(st.none(), st.floats(1e-9, 1e6)),
    violations=st.lists(
        st.builds(Violation, st.text(max_size=300), st.text(max_size=300), st.text(max_size=80)), max_size=60
    ),
    attempts=st.integers(0, 5),
    last_seq=st.integers(0, 2**40),
)
def test_details_stay_small_and_readable(
    *,
    reason: Reason,
    value: str,
    retry_after_s: float | None,
    violations: list[Violation],
    attempts: int,
    last_seq: int,
) -> None:
    target = Target("p" * 64, "v" * 64, "é" * 255)
    records = [
        AttemptRecord(i + 1, target, Outcome.FAILED, Reason.UPSTREAM_ERROR, 500, usage=Usage(1, 2))
        for i in range(attempts)
    ]
    within = scope(last_seq=last_seq)
    within.call = Call(within, Operation.COMPLETE, streaming=True, request=CompleteRequest("m", []), attempts=records)
    error = GatewayError(
        reason,
        slots={"model": value, "provider": value},
        retry_after_s=retry_after_s,
        violations=tuple(violations),
        alternatives=("a", "b"),
    )
    status = status_of(error, within)
    assert status.ByteSize() <= MAX_DETAILS_BYTES
    assert status.message.isprintable()
    assert kinds(status)[:2] == ["ErrorInfo", "RequestInfo"]
    assert ("RetryInfo" in kinds(status)) == (retry_after_s is not None and reason not in RETRY_IS_VAIN)
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(retry):
            assert retry_after_s is not None
            assert abs(retry.retry_delay.ToNanoseconds() - retry_after_s * 1e9) <= max(1.0, retry_after_s)
    if violations and reason is Reason.INVALID_REQUEST:
        assert "BadRequest" in kinds(status)


def test_what_goes_with_which_reason() -> None:
    def of(reason: Reason, **options: object) -> list[str]:
        return kinds(status_of(GatewayError(reason, **options), scope()))[2:]  # type: ignore[arg-type]

    assert of(Reason.RATE_LIMITED_RPM, retry_after_s=1.0) == ["RetryInfo", "QuotaFailure"]
    assert of(Reason.PROVIDER_AUTH_FAILED, slots={"provider": "p"}) == ["PreconditionFailure"]
    assert of(Reason.MODEL_NOT_FOUND, alternatives=("a",)) == ["ModelAlternatives", "ResourceInfo"]
    assert of(Reason.UPSTREAM_ERROR) == []


def test_what_is_not_found_is_named() -> None:
    info = error_details_pb2.ResourceInfo()
    for error, kind in (
        (RequestError(Reason.MODEL_NOT_FOUND, slots={"model": "x"}), "model"),
        (RequestError(Reason.RESOURCE_NOT_FOUND, slots={"resource": "x"}), "resource"),
    ):
        status = status_of(error, scope())
        assert any(detail.Unpack(info) for detail in status.details)
        assert (info.resource_type, info.resource_name) == (kind, "x")
        assert status.message.endswith(" x")


def test_a_provider_s_words_are_in_no_status() -> None:
    status = status_of(UpstreamError(Reason.UPSTREAM_ERROR, detail="canary", slots={"provider": "p"}), scope())
    assert b"canary" not in status.SerializeToString()


def test_attempts_are_cut_first() -> None:
    within = scope()
    target = Target("p", "v", "m" * 255)
    records = [AttemptRecord(i, target, Outcome.FAILED, Reason.UPSTREAM_ERROR) for i in (1, 2, 3)]
    within.call = Call(within, Operation.COMPLETE, streaming=False, request=CompleteRequest("m", []), attempts=records)
    bad = tuple(Violation("f" * 200, "d" * 200, "r") for _ in range(60))
    cut = kinds(status_of(RequestError(Reason.INVALID_REQUEST, violations=bad), within))
    assert "BadRequest" in cut
    assert cut.count("AttemptFailure") < 3
    assert kinds(status_of(UpstreamError(Reason.UPSTREAM_ERROR), within)).count("AttemptFailure") == 3
