"""The mock provider: a process that answers canned bytes and parses next to nothing, so that it costs next to nothing.

Started as `python -m tests.bench.provider`; it prints its address and answers until it is killed.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from tests.bench import payloads
from tests.bench.loops import run_loop
from tests.bench.payloads import Kind

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CANNED = {kind.name.encode(): (kind, payloads.pieces(kind)) for kind in payloads.KINDS.values()}


class Canned(asyncio.Protocol):
    """One connection. The first segment of the path is the name of the kind of answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.pending = b""
        self.waiting: asyncio.TimerHandle | asyncio.Handle | None = None

    def connection_lost(self, error: Exception | None) -> None:
        if self.waiting is not None:
            self.waiting.cancel()

    def data_received(self, data: bytes) -> None:
        self.pending = self.pending + data if self.pending else data
        end = self.pending.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self.pending, 0, end)
        if length is None:
            self.transport.close()
            return
        if len(self.pending) < end + 4 + int(length[1]):
            return
        segment = self.pending[6 : self.pending.find(b"/", 6)]  # behind "POST /"
        self.pending = b""  # nobody pipelines
        kind, pieces = _CANNED[segment]
        self.transport.write(pieces[0])
        if kind.writes > 1:
            loop = asyncio.get_running_loop()
            self.follow(loop, kind, pieces, 1, loop.time())

    def follow(
        self, loop: asyncio.AbstractEventLoop, kind: Kind, pieces: tuple[bytes, ...], number: int, due_s: float
    ) -> None:
        """Has the piece of this number written when it is due; without a pace in the next turn of the loop."""
        due_s += kind.pace_s
        pause_s = due_s - loop.time() if kind.pace_s else 0.0
        if pause_s > 0:
            self.waiting = loop.call_later(pause_s, self.step, loop, kind, pieces, number, due_s)
        else:
            self.waiting = loop.call_soon(self.step, loop, kind, pieces, number, due_s)

    def step(
        self, loop: asyncio.AbstractEventLoop, kind: Kind, pieces: tuple[bytes, ...], number: int, due_s: float
    ) -> None:
        self.transport.write(pieces[number])
        if number + 1 < kind.writes:
            self.follow(loop, kind, pieces, number + 1, due_s)


async def serve() -> int:
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", 0, backlog=2048)
    print(f"ready on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()
    return 0


if __name__ == "__main__":
    run_loop(serve())
