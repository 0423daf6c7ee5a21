"""Workers are killed under load: what was in flight on them fails, and nothing else does (docs/workers.md)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from llmgateway.v1.llm_gateway_service_pb2_grpc import LlmGatewayServiceStub
from llmgateway_server.config.load import from_document
from llmgateway_server.core.clock import SystemClock
from llmgateway_server.observe.log import LogSettings, configure
from llmgateway_server.workers.process import Ending, Pace, WorkerProcess
from llmgateway_server.workers.shares import share_of
from tests.e2e.kit import ROOT, Served
from tests.e2e.workers_kit import (
    OWN_CONNECTION,
    alive,
    ask,
    ended_calls,
    kill,
    samples,
    serving_count,
    several,
    stop,
    until,
    worker_pids,
)
from tests.faults.kit import BACKSTOP_S

CONNECTIONS = 8
UNARY = "simulator/chat?tokens=5&first_token_ms=20"
STREAM = "simulator/chat?tokens=20&pace_ms=10"
LOAD_S = 1.5
"""Between one kill and the next."""
NOTICED_S = 0.5
"""How much later a client on a busy machine may see that its connection is gone."""
RETRIED = json.loads((ROOT / "protos" / "service_config.json").read_text(encoding="utf-8"))


@dataclass(slots=True)
class Done:
    """A call that ended."""

    began_s: float
    ended_s: float
    code: grpc.StatusCode


@dataclass(slots=True)
class Load:
    """Callers that call one after the other, each on a connection of its own, until they are told to stop."""

    served: Served
    options: tuple[tuple[str, Any], ...]
    most_failures: int
    """Of each caller and kill. One call is under way on each connection; without retries the next one may be written to
    the same connection, too, before the caller's channel knows that it is gone ("Broken pipe")."""
    done: list[Done] = field(default_factory=list)
    stopping: bool = False

    async def caller(self, number: int) -> None:
        async with grpc.aio.insecure_channel(self.served.address, options=(OWN_CONNECTION, *self.options)) as channel:
            stub: Any = LlmGatewayServiceStub(channel)
            while not self.stopping:
                began_s = time.monotonic()
                code = await self.outcome(stub, streamed=number % 2 == 1)
                self.done.append(Done(began_s, time.monotonic(), code))

    async def outcome(self, stub: Any, *, streamed: bool) -> grpc.StatusCode:
        try:
            if streamed:
                events = [
                    each async for message in stub.StreamComplete(ask(STREAM), timeout=15) for each in message.events
                ]
                assert events[-1].WhichOneof("event") == "finished"
            else:
                await stub.Complete(ask(UNARY), timeout=15)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    @property
    def failed(self) -> list[Done]:
        return [each for each in self.done if each.code is not grpc.StatusCode.OK]


@dataclass(slots=True)
class Killed:
    began_s: float
    ended_s: float


def replaced(served: Served, victim: int) -> bool:
    return victim not in worker_pids(served) and serving_count(served) == 2


async def killed_under(served: Served, loads: list[Load], seen: list[dict[str, float]]) -> list[Killed]:
    """Kills a worker twice while all call, and watches the metrics meanwhile."""
    kills = []

    async def watch() -> None:
        while True:
            seen.append(await asyncio.to_thread(samples, served))
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    callers = [asyncio.create_task(load.caller(n)) for load in loads for n in range(CONNECTIONS)]
    for _ in range(2):
        await asyncio.sleep(LOAD_S)
        victim = worker_pids(served)[0]
        began_s = time.monotonic()
        await asyncio.to_thread(kill, victim)
        kills.append(Killed(began_s, time.monotonic()))
        await asyncio.to_thread(until, partial(replaced, served, victim))
    await asyncio.sleep(LOAD_S)
    for load in loads:
        load.stopping = True
    await asyncio.gather(*callers)
    watching.cancel()
    await asyncio.wait({watching})
    return kills


@pytest.mark.slow
async def test_workers_killed_under_load_fail_what_was_in_flight_and_nothing_else(tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    with several(tmp_path, 2) as served:
        plain = Load(served, (("grpc.enable_retries", 0),), most_failures=2)
        retried = Load(served, (("grpc.service_config", json.dumps(RETRIED)),), most_failures=1)
        kills = await killed_under(served, [plain, retried], seen)
        found = await asyncio.to_thread(samples, served)
        assert stop(served) == 0
        records = [each for each in served.records() if each["record"] == "call"]
    print(
        f"{len(plain.done)} calls, {len(plain.failed)} failed; with retries {len(retried.done)}, {len(retried.failed)};"
        f" kills took {[round(each.ended_s - each.began_s, 3) for each in kills]} s"
    )
    for load in (plain, retried):
        assert len(load.done) > 200
        for each in load.failed:
            assert each.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
            # it was under way when a worker was killed
            assert any(each.began_s <= kill.ended_s + NOTICED_S and kill.began_s <= each.ended_s for kill in kills), (
                each
            )
        assert len(load.failed) <= load.most_failures * CONNECTIONS * len(kills)
        last = [each for each in load.done if each.began_s > kills[-1].ended_s + NOTICED_S]
        assert last
        assert all(each.code is grpc.StatusCode.OK for each in last)
    # counters never fall
    counters = {name for sample in seen for name in sample if "_total" in name or "_bucket" in name or "_count" in name}
    for before, after in zip(seen, [*seen[1:], found], strict=True):
        fallen = [name for name in counters if after.get(name, 0) < before.get(name, 0)]
        assert not fallen
    assert found["llm_gateway_worker_restarts_total"] == 2
    # what the killed had counted in their last second is lost, and nothing else
    succeeded = sum(each.code is grpc.StatusCode.OK for load in (plain, retried) for each in load.done)
    lost = succeeded - ended_calls(found)
    per_second = succeeded / (plain.done[-1].ended_s - plain.done[0].began_s)
    print(f"{lost} of {succeeded} calls are not counted; {per_second:.0f} a second were made")
    assert lost <= 2 * 3 * per_second
    assert len(records) >= succeeded - 2 * per_second


@pytest.mark.slow
async def test_a_worker_that_hangs_is_killed(tmp_path: Path) -> None:
    configure(LogSettings())
    settings = from_document(
        {"server": {"workers": 2, "listen": "127.0.0.1:0"}, "providers": {"simulator": {"vendor": "simulator"}}}, "test"
    )
    heard: list[Any] = []
    worker = WorkerProcess(
        1,
        share_of(settings, "127.0.0.1:0").model_dump_json(),
        os.environ,
        SystemClock(),
        Pace(silent_s=3.0, exit_s=1.0),
    )
    life = asyncio.create_task(worker.live(heard.append))
    async with asyncio.timeout(2 * BACKSTOP_S):
        while not worker.serving:
            await asyncio.sleep(0.01)
        await worker.report()
        told = len(heard)
        os.kill(worker.pid, signal.SIGSTOP)
        await worker.report()  # nobody waits for it longer than its time
        assert len(heard) - told <= 1
        ending = await life
    assert isinstance(ending, Ending)
    assert ending.exit_code == -signal.SIGKILL
    assert not alive(worker.pid)


@pytest.mark.slow
def test_all_workers_killed_at_once_are_replaced(tmp_path: Path) -> None:
    with several(tmp_path, 2) as served:
        for pid in worker_pids(served):
            os.kill(pid, signal.SIGKILL)
        until(lambda: samples(served)["llm_gateway_worker_restarts_total"] == 2 and serving_count(served) == 2)
        assert stop(served) == 0
        assert sum("a worker ended" in line for line in served.errors) == 2


@pytest.mark.slow
def test_a_worker_that_cannot_start_again_is_tried_again(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-fault", encoding="utf-8")
    providers = f"  up: {{vendor: openai-compatible, base_url: 'http://127.0.0.1:1/v1', api_key: 'file:{key}'}}"
    with several(tmp_path, 2, providers) as served:
        key.rename(tmp_path / "away")
        os.kill(worker_pids(served)[0], signal.SIGKILL)
        until(lambda: samples(served)["llm_gateway_worker_restarts_total"] >= 3)
        assert serving_count(served) == 1
        (tmp_path / "away").rename(key)
        until(lambda: serving_count(served) == 2)
        assert stop(served) == 0
    assert "sk-fault" not in "".join(served.errors)
