"""A parent with real workers: before they serve, when they cannot, and when nobody waits for them any more."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmgateway_server.config.load import from_document
from llmgateway_server.core.clock import SystemClock
from llmgateway_server.workers.messages import Refused, Started
from llmgateway_server.workers.process import Pace, WorkerProcess
from llmgateway_server.workers.shares import share_of
from llmgateway_server.workers.supervisor import StartError, Supervisor

BACKSTOP_S = 60.0
LOOPBACK = {"listen": "127.0.0.1:0"}
SIMULATOR = {"providers": {"simulator": {"vendor": "simulator"}}, "http": LOOPBACK}


def supervisor(environment: Mapping[str, str] = os.environ, **sections: Any) -> Supervisor:
    server = {"workers": 2, **LOOPBACK, **sections.pop("server", {})}
    return Supervisor(from_document({**SIMULATOR, "server": server, **sections}, "test"), environment)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(BACKSTOP_S):
        while not condition():
            await asyncio.sleep(0.005)


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


async def test_probes_follow_the_workers_from_start_to_end() -> None:
    parent = supervisor()
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    announced: list[str] = []
    running = asyncio.create_task(parent.run(signals, announced.append))
    await until(lambda: parent.http_address)
    async with httpx.AsyncClient(base_url=f"http://{parent.http_address}") as client:
        starting = await client.get("/readyz")
        assert (starting.status_code, starting.text) == (503, "starting\n")
        assert (await client.get("/healthz")).status_code == 200
        await until(lambda: announced)
        assert (await client.get("/readyz")).status_code == 200
        assert 'llm_gateway_workers{state="serving"} 2\n' in (await client.get("/metrics")).text
    pids = parent.pids
    host, _, port = announced[0].rpartition(":")
    with socket.create_connection((host, int(port))):
        pass
    signals.put_nowait(signal.SIGINT)
    async with asyncio.timeout(BACKSTOP_S):
        await running
    assert len(pids) == 2
    assert all(map(gone, pids))
    assert parent.not_ready() == "draining"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


async def test_a_signal_before_anything_serves_ends_the_start() -> None:
    parent = supervisor(server={"drain_delay_s": 60, "grace_s": 60})
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    running = asyncio.create_task(parent.run(signals, lambda _: None))
    await until(lambda: any(worker.pid for worker in parent._workers.values()))
    pids = [worker.pid for worker in parent._workers.values() if worker.pid]
    signals.put_nowait(signal.SIGTERM)
    async with asyncio.timeout(BACKSTOP_S / 2):
        await running
    assert all(map(gone, pids))


async def test_workers_that_never_serve_end_the_parent() -> None:
    parent = supervisor({**os.environ, "PYTHONHOME": "/nowhere"})  # the interpreter itself cannot start
    async with asyncio.timeout(BACKSTOP_S):
        with pytest.raises(StartError, match="a worker ended 3 times before it served") as caught:
            await parent.run(asyncio.Queue(), lambda _: None)
    assert caught.value.exit_code == 1
    assert not parent._workers


async def test_what_a_worker_says_of_its_start_ends_the_parent() -> None:
    parent = supervisor(default_model="gpt-99")
    async with asyncio.timeout(BACKSTOP_S):
        with pytest.raises(StartError, match="default_model") as caught:
            await parent.run(asyncio.Queue(), lambda _: None)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("section", ["server", "http"])
async def test_an_address_in_use_ends_the_start_without_a_worker(section: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        parent = supervisor(**{section: {"listen": listen}})
        with pytest.raises(OSError, match=f"cannot listen on {listen}: Address already in use"):
            await parent.run(asyncio.Queue(), lambda _: None)
        assert not parent._workers


async def test_a_worker_that_is_not_waited_for_any_more_leaves_nothing() -> None:
    settings = from_document({**SIMULATOR, "server": {"workers": 2, **LOOPBACK}}, "test")
    heard: list[Any] = []
    worker = WorkerProcess(1, share_of(settings, "127.0.0.1:0").model_dump_json(), os.environ, SystemClock(), Pace())
    life = asyncio.create_task(worker.live(heard.append))
    await until(lambda: worker.serving)
    assert heard == [Started()]
    life.cancel()
    await asyncio.wait({life}, timeout=BACKSTOP_S)
    assert life.cancelled()
    assert gone(worker.pid)
    await worker.report()  # nobody is asked
    assert not [each for each in heard if isinstance(each, Refused)]
