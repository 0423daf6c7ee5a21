import copy
import pickle  # noqa: TID251  # errors must survive it on their way out of a worker process

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from llmgateway import errors
from llmgateway.errors import BY_CODE, BY_REASON, GatewayError, Violation, error_class
from llmgateway.status import DETAILS_KEY, read_error
from llmgateway.v1 import error_pb2, usage_pb2
from llmgateway_server.contract.status import TABLE, status_of
from llmgateway_server.core.calls import CallScope, Deadline
from llmgateway_server.core.errors import GatewayError as ServerError
from llmgateway_server.core.errors import Violation as ServerViolation
from llmgateway_server.core.reasons import Reason

Code = grpc.StatusCode
NAMED = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, GatewayError)]


def scope() -> CallScope:
    return CallScope("call-1", "/s/m", "127.0.0.1", {}, 0.0, Deadline(1.0, from_client=False))


def read(status: status_pb2.Status) -> GatewayError:
    code = next(code for code in Code if code.value[0] == status.code)
    return read_error(code, status.message, [(DETAILS_KEY, status.SerializeToString())])


def test_every_reason_has_its_class() -> None:
    named = {name.removeprefix("ERROR_REASON_") for name in error_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert set(BY_REASON) == named - {"UNSPECIFIED"}
    assert sum(len(reasons.split()) for _, _, reasons in errors._TABLE) == len(BY_REASON)


def test_every_class_stands_in_the_table_and_in_the_tree() -> None:
    assert set(NAMED) - {GatewayError} == {kind for kind, _, _ in errors._TABLE}
    assert all(f" {kind.__name__} " in f"{errors.__doc__} ".replace("\n", " ") for kind in NAMED)


def test_every_code_but_those_that_say_nothing_has_a_class() -> None:
    assert set(Code) - set(BY_CODE) == {Code.OK, Code.UNKNOWN, Code.ALREADY_EXISTS}


@pytest.mark.parametrize("reason", list(Reason))
def test_what_the_gateway_sends_is_read(reason: Reason) -> None:
    failed = read(status_of(ServerError(reason), scope()))
    assert type(failed) is BY_REASON[reason.value]
    assert (failed.reason, failed.code.value[0]) == (reason.value, int(TABLE[reason].code))
    assert failed.request_id == "call-1"
    assert failed.message


def test_all_details() -> None:
    violations = (ServerViolation("messages[0]", "is bad", "enum.defined_only"),)
    failed = read(status_of(ServerError(Reason.INVALID_REQUEST, violations=violations, slots={"model": "m"}), scope()))
    assert failed.violations == (Violation("messages[0]", "is bad", "ENUM_DEFINED_ONLY"),)
    assert failed.metadata == {"model": "m"}
    assert "messages[0]: is bad" in str(failed)


def test_a_delay_and_alternatives() -> None:
    limited = read(status_of(ServerError(Reason.UPSTREAM_RATE_LIMITED, retry_after_s=1.25), scope()))
    assert (type(limited), limited.retry_delay_s) == (errors.RateLimited, 1.25)
    missing = read(status_of(ServerError(Reason.MODEL_NOT_FOUND, alternatives=("a", "b")), scope()))
    assert (type(missing), missing.alternatives) == (errors.NotFound, ("a", "b"))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.UNAVAILABLE, errors.Unavailable),
        (Code.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (Code.RESOURCE_EXHAUSTED, errors.ResourceExhausted),
        (Code.UNIMPLEMENTED, errors.Unsupported),
        (Code.UNKNOWN, GatewayError),
    ],
)
def test_a_status_that_the_library_made(code: grpc.StatusCode, kind: type[GatewayError]) -> None:
    failed = read_error(code, "words", [("x-request-id", "r-1")])
    assert type(failed) is kind
    assert (failed.reason, failed.message, failed.request_id) == ("UNSPECIFIED", "words", "r-1")
    assert str(failed) == f"words ({code.name}, request r-1)"


def test_a_reason_of_a_newer_gateway_is_read_by_its_code() -> None:
    assert error_class("SOMETHING_NEW", Code.NOT_FOUND) is errors.NotFound


def test_a_reason_of_somebody_else_is_not_ours() -> None:
    packed = AnyMessage()
    packed.Pack(error_details_pb2.ErrorInfo(reason="OVERLOADED", domain="proxy"))
    failed = read(status_pb2.Status(code=14, details=[packed]))
    assert (type(failed), failed.reason) == (errors.Unavailable, "UNSPECIFIED")


@pytest.mark.parametrize(
    "value",
    [
        b"\xff\xff",
        "text",
        status_pb2.Status(
            details=[AnyMessage(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")]
        ).SerializeToString(),
    ],
)
def test_details_that_cannot_be_read_are_passed_over(value: bytes | str) -> None:
    assert type(read_error(Code.ABORTED, "m", [(DETAILS_KEY, value)])) is errors.Aborted


@pytest.mark.parametrize("kind", NAMED)
def test_errors_can_be_pickled_and_copied(kind: type[GatewayError]) -> None:
    failed = kind(
        "m",
        reason="R",
        code=Code.ABORTED,
        retry_delay_s=1.0,
        violations=(Violation("f", "d"),),
        alternatives=("a",),
        attempts=(error_pb2.AttemptFailure(number=1),),
        partial=error_pb2.PartialReply(last_seq=3, usage=usage_pb2.Usage(output_token_count=0)),
        request_id="id",
        metadata={"model": "x"},
    )
    for again in (pickle.loads(pickle.dumps(failed)), copy.copy(failed), copy.deepcopy(failed)):
        assert type(again) is kind
        assert again.__dict__ == failed.__dict__
        assert repr(again) == repr(failed) == f"{kind.__name__}('m', reason='R', code=ABORTED, request_id='id')"
