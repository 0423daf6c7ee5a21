import socket

import grpc
import pytest

from llmgateway import GatewayError, RateLimited, Unavailable, Violation
from llmgateway.errors import BY_REASON, error_class
from llmgateway_server.admission.keys import new_key
from llmgateway_server.cli.commands import app
from llmgateway_server.cli.problems import BY_ERROR
from llmgateway_server.cli.remote import error_line, exit_code
from llmgateway_server.cli.terminal import printable
from llmgateway_server.core.secret import Secret
from tests.unit.cli.remote_kit import CLEAN, RUNNER, invoke, quiet_gateway

CODES = {
    "UPSTREAM_ERROR": 1,
    "OVERLOADED": 7,
    "INTERNAL": 1,
    "INVALID_REQUEST": 3,
    "UNSUPPORTED_OPTION": 3,
    "MODEL_NOT_READY": 3,
    "MODEL_NOT_FOUND": 3,
    "GUARDRAIL_BLOCKED": 3,
    "INVALID_CREDENTIALS": 4,
    "ROLE_REQUIRED": 4,
    "RATE_LIMITED_RPM": 5,
    "BUDGET_EXCEEDED": 5,
    "DEADLINE_EXCEEDED": 6,
    "CANCELLED": 130,
}


@pytest.mark.parametrize(("reason", "code"), CODES.items())
def test_exit_codes(reason: str, code: int) -> None:
    assert exit_code(error_class(reason, grpc.StatusCode.UNKNOWN)("")) == code


def test_every_reason_has_an_exit_code() -> None:
    assert {exit_code(kind("")) for kind in BY_REASON.values()} == set(BY_ERROR.values())


def test_one_line_says_all() -> None:
    error = RateLimited(
        "too\nfast\x1b[31m",
        reason="RATE_LIMITED_RPM",
        code=grpc.StatusCode.RESOURCE_EXHAUSTED,
        retry_delay_s=2.5,
        violations=(Violation("model", "it is busy"),),
        alternatives=("a", "b"),
        request_id="r-1",
    )
    assert error_line(error, "here:1") == (
        "llmgateway: RATE_LIMITED_RPM: too fast[31m; model: it is busy; retry in 2.5 s; there are: a, b; request r-1"
    )
    silent = error_line(Unavailable("gone", code=grpc.StatusCode.UNAVAILABLE), "here:1")
    assert silent == "llmgateway: UNAVAILABLE: gone; check that a gateway serves at here:1, --target and --tls"
    assert error_line(GatewayError("what"), "x") == "llmgateway: UNKNOWN: what"


def test_a_terminal_is_not_commanded() -> None:
    assert printable("a\x1b]0;t\x07\tb\r\n\x9b1mé") == "a]0;t\tb\n1mé"


async def test_an_unknown_model() -> None:
    async with quiet_gateway() as gateway:
        done = await invoke(gateway, "complete", "simulator-chta", "hi")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert done.stderr.startswith("llmgateway: MODEL_NOT_FOUND: ")
    assert "there are: simulator-chat" in done.stderr
    assert "; request " in done.stderr


async def test_a_stream_that_breaks() -> None:
    async with quiet_gateway() as gateway:
        done = await invoke(gateway, "complete", "simulator/chat?tokens=9&fault=cut&at=2", "hi", "--stream")
    assert (done.exit_code, done.stdout.split()) == (1, ["the", "gateway"])
    assert done.stderr.startswith("llmgateway: UPSTREAM_STREAM_INTERRUPTED: ")


async def test_a_deadline() -> None:
    async with quiet_gateway() as gateway:
        done = await invoke(gateway, "complete", "simulator/chat?first_token_ms=60000", "hi", "--timeout", "0.3")
    assert done.exit_code == 6
    assert "DEADLINE_EXCEEDED: " in done.stderr


async def test_keys() -> None:
    made = new_key(Secret(""))
    document = {
        "providers": {"simulator": {"vendor": "simulator"}},
        "auth": {"keys": [{"id": made.key_id, "hash": made.key_hash, "tenant": "acme", "roles": ["caller"]}]},
    }
    async with quiet_gateway(document) as gateway:
        without = await invoke(gateway, "complete", "hi")
        wrong_role = await invoke(gateway, "health", key=made.key.reveal())
        good = await invoke(gateway, "complete", "hi", key=made.key.reveal())
        unusable = await invoke(gateway, "complete", "hi", key="two words")
    assert (without.exit_code, wrong_role.exit_code, good.exit_code, unusable.exit_code) == (4, 4, 0, 2)
    assert "ROLE_REQUIRED" in wrong_role.stderr


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{taken.getsockname()[1]}"
        done = RUNNER.invoke(app, ["health", "--target", target], env=CLEAN)
    assert done.exit_code == 7
    assert done.stderr.startswith("llmgateway: UNAVAILABLE: ")
    assert f"a gateway serves at {target}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_ways_that_contradict_each_other() -> None:
    arguments = ["health", "--target", "gateway.invalid:50051", "--tls", "--insecure"]
    done = RUNNER.invoke(app, arguments, env=CLEAN)
    assert (done.exit_code, done.stderr) == (2, "llmgateway: --insecure contradicts --tls and --ca\n")
