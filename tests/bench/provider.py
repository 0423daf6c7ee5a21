"""The mock provider: a process that answers canned bytes and parses next to nothing, so that it costs next to nothing.

Started as `python -m tests.bench.provider`; it prints its port and answers until it is killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from llmgateway_server.cli.serve import run_loop
from tests.bench import payloads

_TOKEN = payloads.token_chunk()
_LAST = payloads.last_chunks()
_ANSWER = payloads.answer()
_ONCE = payloads.STREAM_HEAD + _TOKEN * payloads.TOKENS + _LAST
_PIECE = _TOKEN * (payloads.TOKENS // payloads.WRITES)


class Canned(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.pending = b""

    def data_received(self, data: bytes) -> None:
        self.pending += data
        end = self.pending.find(b"\r\n\r\n")
        if end < 0:
            return
        mark = self.pending.find(b"content-length: ", 0, end) + 16
        size = int(self.pending[mark : self.pending.find(b"\r\n", mark)])
        if len(self.pending) < end + 4 + size:
            return
        kind = self.pending[6:9]  # behind "POST /"
        self.pending = b""  # nobody pipelines
        self.answer(kind)

    def answer(self, kind: bytes) -> None:
        if kind == b"una":
            self.transport.write(_ANSWER)
        elif kind == b"onc":
            self.transport.write(_ONCE)
        elif kind == b"pie":
            self.transport.write(payloads.STREAM_HEAD)
            self.pieces(payloads.WRITES)
        else:
            self.transport.write(payloads.STREAM_HEAD)
            self.paced(payloads.PACED_TOKENS, asyncio.get_running_loop().time())

    def pieces(self, left: int) -> None:
        """Writes ten tokens a turn of the loop, which is as fast as a socket takes them."""
        if not left:
            self.transport.write(_LAST)
            return
        self.transport.write(_PIECE)
        self.later(0.0, lambda: self.pieces(left - 1))

    def paced(self, left: int, due_s: float) -> None:
        if not left:
            self.transport.write(_LAST)
            return
        self.transport.write(_TOKEN)
        due_s += payloads.PACE_S
        self.later(due_s - asyncio.get_running_loop().time(), lambda: self.paced(left - 1, due_s))

    def later(self, seconds: float, step: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        if seconds > 0:
            loop.call_later(seconds, step)
        else:
            loop.call_soon(step)


async def serve() -> int:
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", 0)
    print(f"ready on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()
    return 0


if __name__ == "__main__":
    run_loop(serve())
