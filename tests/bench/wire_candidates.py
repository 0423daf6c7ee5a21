"""Measures what one HTTP exchange costs in CPU time of the client process, for each candidate of the wire.

Run it with the server's packages on the path: `PYTHONPATH=server python tests/bench/wire_candidates.py`. It takes about
a minute, stays on loopback, and prints a Markdown table. Figures are microseconds of CPU (user and system, as the
operating system counts them) per exchange; ratios inside one run are what counts. A candidate that is not installed is
named and left out. Answers come from a process of their own that parses next to nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

SECONDS = 1.6
"""Length of one measurement; each candidate has three on each of its loops, and a short warm-up before each."""

IN_FLIGHT = 32
CHUNKS = 200
CANDIDATES = [
    ("own http1", "llmgateway_server", "asyncio"),
    ("own http1", "llmgateway_server", "uvloop"),
    ("aiohttp", "aiohttp", "asyncio"),
    ("aiohttp", "aiohttp", "uvloop"),
    ("httpx", "httpx", "asyncio"),
    ("httpx", "httpx", "uvloop"),
    ("httpx2", "httpx2", "uvloop"),
]

REQUEST_BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 1400}]}).encode()
REQUEST_HEADERS = (
    ("authorization", "Bearer " + "k" * 50),
    ("content-type", "application/json"),
    ("user-agent", "bench/1"),
)
ANSWER_BODY = json.dumps({"choices": [{"message": {"content": "y" * 1300}}]}).encode()
_FIELDS = b"content-type: application/json\r\nx-request-id: 0123456789\r\ndate: Mon, 02 Nov 2026 10:00:00 GMT\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\n" + _FIELDS + b"content-length: %d\r\n\r\n" % len(ANSWER_BODY) + ANSWER_BODY
_EVENT = b'data: {"choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}\n\n'
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM_PIECE = (b"%x\r\n" % len(_EVENT) + _EVENT + b"\r\n") * 10
"""Ten events a segment: what a saturated provider's socket holds when it is read."""


class Canned(asyncio.Protocol):
    """Answers requests whose body length is known in advance."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.pending = b""

    def data_received(self, data: bytes) -> None:
        self.pending += data
        while (end := self.pending.find(b"\r\n\r\n")) >= 0 and len(self.pending) >= end + 4 + len(REQUEST_BODY):
            stream = self.pending.startswith(b"POST /stream")
            self.pending = self.pending[end + 4 + len(REQUEST_BODY) :]
            if stream:
                self.transport.write(STREAM_HEAD)
                self.more(CHUNKS // 10)
            else:
                self.transport.write(ANSWER)

    def more(self, left: int) -> None:
        if left:
            self.transport.write(STREAM_PIECE)
            asyncio.get_running_loop().call_soon(self.more, left - 1)
        else:
            self.transport.write(b"0\r\n\r\n")


async def serve() -> None:
    """Prints the port and answers until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Canned, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


Exchange = Callable[[str], Awaitable[int]]


@contextlib.asynccontextmanager
async def own_client(port: int) -> Any:
    from llmgateway_server.providers.wire.http1 import Http1Wire
    from llmgateway_server.providers.wire.port import Origin, WireProgress, WireRequest

    wire = Http1Wire(Origin("http", "127.0.0.1", port))

    async def exchange(path: str) -> int:
        size = 0
        async with wire.exchange(WireRequest("POST", path, REQUEST_HEADERS, REQUEST_BODY), WireProgress()) as response:
            while data := await response.read():
                size += len(data)
        return size

    yield exchange
    await wire.aclose()


@contextlib.asynccontextmanager
async def aiohttp_client(port: int) -> Any:
    import aiohttp

    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def exchange(path: str) -> int:
            size = 0
            url = f"http://127.0.0.1:{port}{path}"
            async with session.post(url, data=REQUEST_BODY, headers=dict(REQUEST_HEADERS)) as response:
                async for data in response.content.iter_any():
                    size += len(data)
            return size

        yield exchange


@contextlib.asynccontextmanager
async def httpx_client(port: int, module: str = "httpx") -> Any:
    lib = importlib.import_module(module)
    limits = lib.Limits(max_connections=None, max_keepalive_connections=None)
    async with lib.AsyncClient(trust_env=False, timeout=30, limits=limits) as client:

        async def exchange(path: str) -> int:
            size = 0
            url = f"http://127.0.0.1:{port}{path}"
            async with client.stream("POST", url, content=REQUEST_BODY, headers=list(REQUEST_HEADERS)) as response:
                async for data in response.aiter_raw():
                    size += len(data)
            return size

        yield exchange


async def measure(exchange: Exchange, path: str, in_flight: int, expected: int) -> float:
    """Returns microseconds of CPU per exchange."""
    for _ in range(20):
        assert await exchange(path) == expected
    deadline = time.perf_counter() + SECONDS
    count = 0

    async def work() -> None:
        nonlocal count
        while time.perf_counter() < deadline:
            assert await exchange(path) == expected
            count += 1

    before = os.times()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    after = os.times()
    return (after.user + after.system - before.user - before.system) * 1e6 / count


async def client(name: str, port: int) -> None:
    """Measures one candidate and prints its three figures as JSON."""
    if name == "own http1":
        context = own_client(port)
    elif name == "aiohttp":
        context = aiohttp_client(port)
    else:
        context = httpx_client(port, name)
    async with context as exchange:
        figures = [
            await measure(exchange, "/unary", 1, len(ANSWER_BODY)),
            await measure(exchange, "/unary", IN_FLIGHT, len(ANSWER_BODY)),
            await measure(exchange, "/stream", IN_FLIGHT // 4, CHUNKS * len(_EVENT)),
        ]
    print(json.dumps(figures))


def run(main: Any, loop: str) -> None:
    """Runs a coroutine on the named loop."""
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


def table() -> None:
    """Measures every candidate that is installed and prints the table."""
    has_uvloop = importlib.util.find_spec("uvloop") is not None
    server_loop = "uvloop" if has_uvloop else "asyncio"
    command = [sys.executable, __file__]
    rows, skipped = [], []
    with subprocess.Popen(
        [*command, "--serve", "--loop", server_loop], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        port = server.stdout.readline().strip()
        for name, module, loop in CANDIDATES:
            if importlib.util.find_spec(module) is None or (loop == "uvloop" and not has_uvloop):
                skipped.append(f"{name} on {loop}")
                continue
            done = subprocess.run(
                [*command, "--client", name, "--loop", loop, "--port", port],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            rows.append((f"{name} on {loop}", json.loads(done.stdout)))
        server.stdin.close()
    best = [min(figures[column] for _, figures in rows) for column in range(3)]
    print(f"| client | sequential | {IN_FLIGHT} in flight | stream of {CHUNKS} chunks |")
    print("| --- | --- | --- | --- |")
    for label, figures in rows:
        cells = [f"{value:,.0f} ({value / least:.1f}×)" for value, least in zip(figures, best, strict=True)]
        print(f"| {label} | {' | '.join(cells)} |")
    for label in skipped:
        print(f"\nnot installed: {label}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--client")
    parser.add_argument("--loop", default="asyncio")
    parser.add_argument("--port", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.serve:
        run(serve(), chosen.loop)
    elif chosen.client:
        run(client(chosen.client, chosen.port), chosen.loop)
    else:
        table()
