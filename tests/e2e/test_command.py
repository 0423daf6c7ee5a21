"""The command itself: demonstration, path, mistakes in the configuration, Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from llmgateway import Client, GatewayError, NotFound
from llmgateway.v1 import completion_pb2, message_pb2
from llmgateway.v1.llm_gateway_service_pb2_grpc import LlmGatewayServiceStub
from tests.e2e.kit import EXIT_S, READY_S, Served, command, environment, run, serving, write_config

pytestmark = pytest.mark.e2e

DEMO_S = 20.0


@pytest.mark.parametrize("key", ["", "sk-e2e-never-used"], ids=["no key", "a key"])
def test_the_demonstration_keeps_its_promises(key: str) -> None:
    began = time.monotonic()
    done = run(command("demo"), timeout_s=DEMO_S, OPENAI_API_KEY=key)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < DEMO_S
    said = done.stdout
    assert said.count("usage ") == 2
    assert said.count("cost     $0.0") == 2
    assert said.count("timings  first token ") == 2
    assert "tokens/s" in said
    assert "target   simulator/chat" in said
    assert "NOT_FOUND: there is no model gpt-99" in said
    assert "reason MODEL_NOT_FOUND, alternatives: simulator-chat" in said
    assert "The gateway has stopped." in said
    assert "gpt-4o" not in said
    assert "Traceback" not in done.stderr
    assert "never-used" not in said + done.stderr


def test_the_command_is_installed() -> None:
    done = run([Path(sys.executable).with_name("llmgateway"), "version"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == run(command("version")).stdout.strip()


def test_path_prints_the_rings() -> None:
    done = run(command("path"))
    assert done.returncode == 0, done.stderr
    found = [line.split()[0] if line.startswith("  ") else line.partition(":")[0] for line in done.stdout.splitlines()]
    rings = {"call ring": ["status", "authenticate"], "request ring": ["record", "failover"], "attempt ring": ["meter"]}
    places = [found.index(name) for ring, steps in rings.items() for name in (ring, *steps)]
    assert places == sorted(places)
    assert found[-1] == "provider"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(
            "server: {listen_on: nowhere}",
            ("wrong.yaml:1: server.listen_on", "did you mean listen?"),
            id="unknown field",
        ),
        pytest.param("server: {listen: [", ("not readable as YAML",), id="not YAML"),
        pytest.param("max_attempts: many", ("max_attempts",), id="wrong kind"),
        pytest.param("server: {listen: '0.0.0.0:0'}", ("without keys only a loopback",), id="open to the world"),
        pytest.param(
            "providers: {a: {vendor: openai, api_key: 'env:NOT_SET_ANYWHERE'}}", ("NOT_SET_ANYWHERE",), id="no secret"
        ),
    ],
)
def test_a_wrong_configuration_is_explained(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    config = tmp_path / "wrong.yaml"
    config.write_text(text, encoding="utf-8")
    done = run(command("serve", "--config", str(config)))
    assert done.returncode == 2
    assert done.stderr.startswith("llmgateway: ")
    assert all(word in done.stderr for word in words), done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_is_checked_and_shown_with_what_the_environment_changes(tmp_path: Path) -> None:
    config = write_config(tmp_path, "gate: {max_in_flight: 7}", "log:", "  level: loud")
    wrong = run(command("check-config", str(config)))
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(f"{config}:5: log.level: must be one of ")
    good = run(command("check-config", str(config)), LLMGATEWAY__LOG__LEVEL="info", OPENAI_ORGANIZATION="org")
    assert good.returncode == 0, good.stderr
    assert good.stdout.startswith("ok: 1 provider, ")
    assert "OPENAI_ORGANIZATION" in good.stderr
    shown = json.loads(
        run(command("config", "show", "-c", str(config), "--origin", "--json"), LLMGATEWAY__LOG__LEVEL="info").stdout
    )
    assert shown["log.level"] == {"value": "info", "origin": "LLMGATEWAY__LOG__LEVEL"}
    assert shown["gate.max_in_flight"] == {"value": 7, "origin": f"{config}:3"}


def test_a_variable_that_means_nothing_here_is_warned_of_once(tmp_path: Path) -> None:
    with serving(tmp_path, ENABLE_LLM_CACHING="true", OPENAI_ORGANIZATION="org-canary") as served:
        warnings = [line for line in served.errors if "not understood yet" in line]
    assert len(warnings) == 1
    assert "ENABLE_LLM_CACHING" in warnings[0]
    assert "OPENAI_ORGANIZATION" in warnings[0]
    assert "canary" not in "".join(served.errors)


def test_a_file_that_is_not_there_is_explained(tmp_path: Path) -> None:
    done = run(command("serve", "--config", str(tmp_path / "none.yaml")))
    assert done.returncode == 2
    assert "none.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_in_use_is_explained(gateway: Served) -> None:
    done = run(command("serve", "--listen", gateway.address))
    assert done.returncode == 1
    assert f"cannot listen on {gateway.address}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_gateway_serves_while_the_disk_of_its_log_and_records_is_full(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/socket"
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        process = subprocess.Popen(
            command("serve", "--listen", address), stdin=subprocess.DEVNULL, stdout=full, stderr=full, env=environment()
        )
        try:
            with Client(address, timeout=EXIT_S) as client:
                until_there(client, process)
                assert client.complete(messages="hi").text == "You said: hi"
                with pytest.raises(NotFound):
                    client.complete("gpt-99", "hi")  # is logged, too
                assert client.complete(messages="hi").text == "You said: hi"
            process.send_signal(signal.SIGINT)
            assert process.wait(EXIT_S) == 0
        finally:
            process.kill()
            process.wait()


def until_there(client: Client, process: subprocess.Popen[bytes]) -> None:
    """Waits until a gateway of which nothing can be read answers."""
    deadline = time.monotonic() + READY_S
    while True:
        assert process.poll() is None, "the gateway has ended"
        try:
            client.health(timeout=1)
        except GatewayError:
            assert time.monotonic() < deadline, "the gateway does not serve"
            time.sleep(0.05)
        else:
            return


def test_serve_says_everything_as_json(tmp_path: Path) -> None:
    config = write_config(tmp_path, "log: {format: text}")
    arguments = command("serve", "--config", str(config), "--listen", "127.0.0.1:0", "--json")
    process = subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()
    )
    assert process.stderr is not None
    try:
        told: list[dict[str, Any]] = []
        while not told or told[-1]["event"] != "ready":
            told.append(json.loads(process.stderr.readline()))
        address = told[-1]["address"]
        assert (told[-1]["level"], told[-1]["plaintext"]) == ("info", False)
        taken = run(command("serve", "--config", str(config), "--listen", address, "--json"))
        error = json.loads(taken.stderr)["error"]
        assert (taken.returncode, error["reason"], error["code"]) == (1, "START", "UNAVAILABLE")
        process.send_signal(signal.SIGINT)
        assert process.wait(EXIT_S) == 0
        assert [json.loads(line)["event"] for line in process.stderr] == ["stopped"]
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@contextmanager
def streaming(served: Served, tokens: int) -> Iterator[Any]:
    """Opens a stream of ten tokens a second whose first message has come."""
    request = completion_pb2.CompleteRequest(
        model=f"simulator/chat?tokens={tokens}&pace_ms=100",
        messages=[message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text="hi")])],
    )
    with grpc.insecure_channel(served.address, options=(("grpc.enable_retries", 0),)) as channel:
        stream = LlmGatewayServiceStub(channel).StreamComplete(request, timeout=30)
        next(stream)
        yield stream


def clean(served: Served) -> bool:
    """Whether it left without an error of its own."""
    assert served.wait() == 0
    return not any("Traceback" in line or "rror" in line for line in served.errors)


def test_ctrl_c_lets_a_stream_end(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        with streaming(served, tokens=15) as stream:
            served.signal(signal.SIGINT)
            events = [event for message in stream for event in message.events]
            assert events[-1].WhichOneof("event") == "finished"
        assert clean(served), served.errors
        assert [record["outcome"] for record in served.records() if record["record"] == "call"] == ["succeeded"]


def test_ctrl_c_ends_a_stream_when_the_grace_is_over(tmp_path: Path) -> None:
    config = write_config(tmp_path, "server: {grace_s: 2.5}")
    with serving(tmp_path, "--config", str(config)) as served:
        began = time.monotonic()
        with streaming(served, tokens=500) as stream:
            served.signal(signal.SIGINT)
            with pytest.raises(grpc.RpcError) as caught:
                list(stream)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "about to stop" in str(caught.value.details())
        assert clean(served), served.errors
        assert time.monotonic() - began < 6


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        with streaming(served, tokens=500) as stream:
            served.signal(signal.SIGINT)
            time.sleep(0.3)
            served.signal(signal.SIGINT)
            began = time.monotonic()
            with pytest.raises(grpc.RpcError):
                list(stream)
        assert clean(served), served.errors
        assert time.monotonic() - began < 3
