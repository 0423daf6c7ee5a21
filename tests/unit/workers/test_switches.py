"""What an operator switches at one worker holds for all of them, and for those that start later: real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import grpc.aio

from llmgateway.admin.v1 import target_pb2
from llmgateway.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from llmgateway_server.config.load import from_document
from llmgateway_server.workers.supervisor import Supervisor
from tests.unit.workers.test_supervisor import until

BACKSTOP_S = 60.0
ONE_CONNECTION = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
CHAT = target_pb2.SetTargetEnabledRequest(provider="simulator", upstream_model="chat")


async def switched_off(address: str) -> tuple[bool, ...]:
    """Asks over eight connections, which the kernel spreads, whether the target is off there."""

    async def once() -> bool:
        async with grpc.aio.insecure_channel(address, options=ONE_CONNECTION) as channel:
            stub: Any = AdminServiceStub(channel)
            # Switching another target changes nothing that is looked at here.
            request = target_pb2.SetTargetEnabledRequest(provider="simulator", upstream_model="embed", enabled=True)
            found = await stub.SetTargetEnabled(request, timeout=BACKSTOP_S)
            assert found.worker_count == 2
            return [(each.provider, each.upstream_model) for each in found.switched_off] == [("simulator", "chat")]

    return tuple([await once() for _ in range(8)])


async def until_all(address: str, *, off: bool) -> None:
    async with asyncio.timeout(BACKSTOP_S):
        while await switched_off(address) != (off,) * 8:
            await asyncio.sleep(0.05)


async def test_a_switch_reaches_every_worker() -> None:
    document = {
        "providers": {"simulator": {"vendor": "simulator"}},
        "server": {"workers": 2, "listen": "127.0.0.1:0", "grace_s": 1.0},
        "throttle": {"calls_per_minute": 1_000_000},
    }
    parent = Supervisor(from_document(document, "test"), os.environ)
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    announced: list[str] = []
    running = asyncio.create_task(parent.run(signals, announced.append))
    await until(lambda: announced)
    [address] = announced
    async with grpc.aio.insecure_channel(address, options=ONE_CONNECTION) as channel:
        stub: Any = AdminServiceStub(channel)
        CHAT.enabled = False
        assert (await stub.SetTargetEnabled(CHAT, timeout=BACKSTOP_S)).changed
    await until_all(address, off=True)
    first = parent.pids
    os.kill(first[0], signal.SIGKILL)
    await until(lambda: len(parent.pids) == 2 and parent.pids != first)
    await until_all(address, off=True)
    async with grpc.aio.insecure_channel(address, options=ONE_CONNECTION) as channel:
        stub = AdminServiceStub(channel)
        CHAT.enabled = True
        await stub.SetTargetEnabled(CHAT, timeout=BACKSTOP_S)
    await until_all(address, off=False)
    signals.put_nowait(signal.SIGINT)
    await running
