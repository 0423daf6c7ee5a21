"""A gateway of several workers as a child process: its workers, its HTTP door, and what is left of it."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from llmgateway.v1 import completion_pb2, message_pb2
from llmgateway.v1.llm_gateway_service_pb2_grpc import LlmGatewayServiceStub
from tests.e2e.kit import EXIT_S, READY_S, Served, serving, write_config

OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)
"""Without it channels to one address share a connection, and so a worker."""
SECTIONS = ("http: {listen: '127.0.0.1:0'}", "gate: {max_loop_lag_s: 60}")


def ask(model: str = "simulator/chat") -> completion_pb2.CompleteRequest:
    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text="hi")])
    return completion_pb2.CompleteRequest(model=model, messages=[message])


@contextmanager
def several(folder: Path, workers: int, *sections: str, **environment: str) -> Iterator[Served]:
    """Runs `serve --workers` with an HTTP door; afterwards no process of it may be left."""
    config = write_config(folder, *sections, *SECTIONS)
    seen: set[int] = set()
    with serving(folder, "--config", str(config), "--workers", str(workers), **environment) as served:
        seen.update(worker_pids(served))
        yield served
        seen.update(worker_pids(served))
    until(lambda: not any(map(alive, seen)), f"workers were left: {seen}")


def worker_pids(served: Served) -> list[int]:
    """Returns the processes that the parent has started and that live."""
    try:
        text = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [pid for pid in map(int, text.split()) if alive(pid)]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"


def page(served: Served, path: str = "/metrics") -> str:
    serving_line = next(line for line in served.errors if "serving metrics" in line)
    address = json.loads(serving_line)["address"]
    with urllib.request.urlopen(f"http://{address}{path}", timeout=15) as answer:
        text: str = answer.read().decode()
    return text


def samples(served: Served) -> dict[str, float]:
    lines = page(served).splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def serving_count(served: Served) -> int:
    return int(samples(served).get('llm_gateway_workers{state="serving"}', 0))


def ended_calls(found: dict[str, float]) -> int:
    return int(sum(value for name, value in found.items() if name.startswith("llm_gateway_requests_total{")))


def until(condition: Callable[[], Any], complaint: str = "", within_s: float = READY_S) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)


def stop(served: Served, number: signal.Signals = signal.SIGINT) -> int:
    served.signal(number)
    return served.wait(EXIT_S)


def kill(pid: int) -> None:
    """Kills a worker and returns when it is gone with all its connections."""
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid))


@contextmanager
def stubs(served: Served, number: int) -> Iterator[list[Any]]:
    """Yields stubs with a connection each."""
    channels = [
        grpc.insecure_channel(served.address, options=(OWN_CONNECTION, ("grpc.enable_retries", 0)))
        for _ in range(number)
    ]
    try:
        yield [LlmGatewayServiceStub(channel) for channel in channels]
    finally:
        for channel in channels:
            channel.close()
