"""The server is told to stop (docs/reliability.md), and cannot start: real processes, real signals."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from llmgateway_server.testing.upstream import STREAM_HEAD, Upstream, delta, event, hang
from tests.faults.kit import (
    BACKSTOP_S,
    BUSY,
    Child,
    ask,
    child_gateway,
    failure_of,
    read_all,
    reason_of,
    settings,
    spawn,
    write_config,
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
FIRST, TOKENS, PACE_MS = "simulator/chat?tokens=", 30, 50


def draining(delay_s: float, grace_s: float) -> dict[str, Any]:
    return settings(server={"drain_delay_s": delay_s, "grace_s": grace_s})


def health_stub(child: Child) -> Any:
    return health_pb2_grpc.HealthStub(child.channel)


async def started_stream(child: Child, model: str) -> Any:
    """Returns the messages of a stream that has begun."""
    messages = aiter(child.stub.StreamComplete(ask(model=model)))
    await anext(messages)
    return messages


async def refusal_of(child: Child) -> grpc.aio.AioRpcError | None:
    """Makes a short call and returns its error."""
    try:
        await child.stub.Complete(ask(model="simulator/chat"), timeout=5)
    except grpc.aio.AioRpcError as error:
        return error
    return None


def assert_clean_end(child: Child) -> None:
    text = "".join(child.stderr)
    assert "Traceback" not in text, text
    assert "never awaited" not in text, text
    assert "was destroyed" not in text, text


async def test_i11_sigterm_lets_a_running_stream_end() -> None:
    async with child_gateway(draining(delay_s=0.3, grace_s=10.0)) as child:
        watch = health_stub(child).Watch(health_pb2.HealthCheckRequest())
        states = aiter(watch)
        assert (await anext(states)).status == SERVING
        running = await started_stream(child, f"{FIRST}{TOKENS}&pace_ms={PACE_MS}")
        child.send(signal.SIGTERM)
        async with asyncio.timeout(BACKSTOP_S):
            assert (await anext(states)).status == NOT_SERVING
        # Load balancers have not looked elsewhere yet, so calls are still served.
        assert await child.stub.Complete(ask(model="simulator/chat"))
        events = [each async for message in running for each in message.events]
        assert events[-1].WhichOneof("event") == "finished"
        watch.cancel()
        assert await child.exit_code() == 0
        records = child.records()
    assert_clean_end(child)
    calls = [record for record in records if record["record"] == "call"]
    assert [record["outcome"] for record in calls] == ["succeeded", "succeeded"]


async def test_i11_new_calls_are_refused_after_the_delay() -> None:
    async with child_gateway(draining(delay_s=0.0, grace_s=10.0)) as child:
        running = await started_stream(child, f"{FIRST}{TOKENS}&pace_ms={PACE_MS}")
        child.send(signal.SIGTERM)
        async with asyncio.timeout(BACKSTOP_S):
            error = None
            while error is None:
                error = await refusal_of(child)
        # Ours, or the library's: it cancels what crosses its GOAWAY on the way.
        assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert [each async for message in running for each in message.events]
        assert await child.exit_code() == 0
    assert_clean_end(child)


@pytest.mark.parametrize("provider", ["simulator", "upstream"])
async def test_i11_a_long_stream_is_ended_before_the_grace_is_over(provider: str) -> None:
    grace_s = 3.0
    script = [STREAM_HEAD, event(delta("word")), hang]
    async with (
        Upstream(script) as upstream,
        child_gateway({**settings(upstream), "server": {"drain_delay_s": 0.0, "grace_s": grace_s}}) as child,
    ):
        model = f"{FIRST}1000&pace_ms=100" if provider == "simulator" else ""
        running = await started_stream(child, model) if model else aiter(child.stub.StreamComplete(ask()))
        if not model:
            await anext(running)
        child.send(signal.SIGTERM)
        began_s = time.monotonic()
        error = await failure_of(read_all(running))
        ended_s = time.monotonic() - began_s
        assert await child.exit_code() == 0
        exited_s = time.monotonic() - began_s
        records = child.records()
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert reason_of(error) == "SERVER_DRAINING"
    assert grace_s - 2.0 - 0.1 <= ended_s < grace_s  # we end streams two seconds before the grace is over
    assert exited_s <= grace_s + 1.0
    attempts = [record for record in records if record["record"] == "attempt"]
    assert [(record["outcome"], record["charge"]) for record in attempts] == [("cancelled", "CP")]
    assert_clean_end(child)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "sigint"])
@pytest.mark.parametrize("delay_s", [0.0, 30.0], ids=["in-grace", "in-delay"])
async def test_i12_a_second_signal_stops_at_once(second: signal.Signals, delay_s: float) -> None:
    async with child_gateway(draining(delay_s=delay_s, grace_s=60.0)) as child:
        watch = health_stub(child).Watch(health_pb2.HealthCheckRequest())
        states = aiter(watch)
        await anext(states)
        running = await started_stream(child, f"{FIRST}1000&pace_ms=100")
        child.send(signal.SIGTERM)
        async with asyncio.timeout(BACKSTOP_S):
            assert (await anext(states)).status == NOT_SERVING
        child.send(second)
        began_s = time.monotonic()
        error = await failure_of(read_all(running))
        assert await child.exit_code() == 0
        took_s = time.monotonic() - began_s
        watch.cancel()
        records = child.records()
    assert took_s <= 1.0 * BUSY
    assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    attempts = [record for record in records if record["record"] == "attempt"]
    assert [(record["outcome"], record["charge"]) for record in attempts] == [("cancelled", "CP")]
    assert_clean_end(child)


async def test_a_taken_port_is_one_readable_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = await spawn(write_config(tmp_path, settings(), address), tmp_path / "records")
        async with asyncio.timeout(BACKSTOP_S):
            _, errors = await process.communicate()
    assert process.returncode == 1
    lines = [line for line in errors.decode().splitlines() if line.startswith("llmgateway: ")]
    assert lines == [f"llmgateway: cannot listen on {address}: {os.strerror(errno.EADDRINUSE)}"]
    assert "Traceback" not in errors.decode()
    # The library may add a line of its log; nothing else is said.
    assert len([line for line in errors.decode().splitlines() if "add_port.cc" not in line]) == 1, errors.decode()
