"""A fake provider that speaks chat completions over HTTP/1.1 and does, request by request, what a script says.

A script is a step or a list of steps; a step is a coroutine function of the exchange. The builders below cover what
real providers do, well and badly: `stream("a", "b")`, `[STREAM_HEAD, event(delta("a")), reset]`, `hang`.

The end of the caller's connection is watched while a script runs, so tests can measure how soon a call lets go.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

MODEL = "fake-1"
REPLY_ID = "chatcmpl-fake"


@dataclass(slots=True)
class Received:
    """One request as it arrived, and how its connection ended. Times are those of `time.monotonic`."""

    method: str
    path: str
    headers: dict[str, str]
    """Lower-case names."""
    body: Any
    """The decoded JSON; the bytes where they are none."""
    at_s: float
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the caller's FIN or RST was seen."""
    gone_at_s: float = 0.0
    reset: bool = False
    """Whether the caller ended the connection by RST."""


class Exchange:
    """One request and the means to answer it; what steps work on."""

    def __init__(self, received: Received, writer: asyncio.StreamWriter) -> None:
        self.received = received
        self.writer = writer
        self.sent_bytes = 0
        """Bytes that the transport has taken; those of a piece that waits for a slow reader are not among them."""

    async def send(self, data: bytes) -> None:
        """Sends bytes as they are and waits until the transport has room for more."""
        self.writer.write(data)
        await self.writer.drain()
        self.sent_bytes += len(data)


Step = Callable[[Exchange], Awaitable[None]]
Script = Step | Sequence[Step]


class Upstream:
    """A provider on a free port of loopback; use it as `async with Upstream() as upstream`.

    Args:
        script: how requests are answered that have no script of their own, see `then`.
    """

    def __init__(self, script: Script | None = None) -> None:
        self.script: Script = script if script is not None else answer("hello")
        self.requests: list[Received] = []
        """In the order of their arrival."""
        self.exchanges: list[Exchange] = []
        """Those of `requests`."""
        self._next: list[Script] = []
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def base_url(self) -> str:
        """What `providers.<name>.base_url` is set to."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    def provider(self) -> dict[str, str]:
        """Returns the settings of this provider, for a gateway's `providers`."""
        return {"vendor": "openai-compatible", "base_url": self.base_url}

    def then(self, *scripts: Script) -> None:
        """Appends the scripts of the next requests, one each; after them `script` is played again."""
        self._next.extend(scripts)

    async def request(self, number: int = 1) -> Received:
        """Waits for a request and returns it; the first has the number 1."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= number)
        return self.requests[number - 1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:  # the loop itself keeps no strong reference
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            received: Received | None = await _read_request(reader)
            while received is not None:
                received = await self._answer(received, reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the caller left, which tests see in `Received.gone`, or the test is over
        finally:
            writer.close()

    async def _answer(
        self, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Received | None:
        """Plays a script and returns the next request of the connection, None when there is none."""
        exchange = Exchange(received, writer)
        script = self._next.pop(0) if self._next else self.script
        async with self._changed:
            self.requests.append(received)
            self.exchanges.append(exchange)
            self._changed.notify_all()
        following = asyncio.create_task(_watch(reader, received))
        try:
            for step in [script] if callable(script) else script:
                await step(exchange)
            return None if writer.is_closing() else await following
        finally:
            following.cancel()


async def _watch(reader: asyncio.StreamReader, received: Received) -> Received | None:
    """Reads the next request; notes on the present one that the caller has gone, when there is none."""
    try:
        return await _read_request(reader)
    except (OSError, EOFError) as error:
        received.reset = isinstance(error, OSError)
        received.gone_at_s = time.monotonic()
        received.gone.set()
        return None


async def _read_request(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    at_s = time.monotonic()
    first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    try:
        body: Any = json.loads(raw)
    except ValueError:
        body = raw
    method, path, _ = first.split(" ", 2)
    return Received(method, path, headers, body, at_s)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Scripted\r\n{lines}\r\n".encode()


# --- steps -------------------------------------------------------------------------------------------------------


def raw(data: bytes) -> Step:
    """Sends bytes as they are."""
    return lambda exchange: exchange.send(data)


def chunk(data: bytes) -> Step:
    """Sends bytes as one chunk of a chunked body."""
    return raw(b"%x\r\n%s\r\n" % (len(data), data))


def head(status: int, headers: Mapping[str, str]) -> Step:
    """Sends a status line and headers, of which none is added."""
    return raw(_head(status, headers))


def event(payload: Mapping[str, Any] | str) -> Step:
    """Sends one server-sent event."""
    text = payload if isinstance(payload, str) else json.dumps(payload, separators=(",", ":"))
    return chunk(f"data: {text}\n\n".encode())


def trickle(data: bytes, pause_s: float, *, size: int = 1) -> Step:
    """Sends chunks of `size` bytes with pauses between them."""

    async def step(exchange: Exchange) -> None:
        for start in range(0, len(data), size):
            await chunk(data[start : start + size])(exchange)
            await asyncio.sleep(pause_s)

    return step


def endless(payload: Mapping[str, Any]) -> Step:
    """Sends the same event for as long as the caller takes it."""
    send = event(payload)

    async def step(exchange: Exchange) -> None:
        while True:
            await send(exchange)

    return step


def pause(seconds: float) -> Step:
    """Does nothing for a while."""
    return lambda _exchange: asyncio.sleep(seconds)


def wait(until: asyncio.Event) -> Step:
    """Does nothing until the test says so."""

    async def step(_exchange: Exchange) -> None:
        await until.wait()

    return step


async def hang(exchange: Exchange) -> None:
    """Does nothing until the caller leaves."""
    await exchange.received.gone.wait()


async def reset(exchange: Exchange) -> None:
    """Ends the connection by RST; what was not sent is dropped."""
    sock = exchange.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.writer.transport.abort()


async def close(exchange: Exchange) -> None:
    """Ends the connection by FIN, after everything that was sent."""
    exchange.writer.close()


STREAM_HEAD = head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
"""Begins a stream of events in chunked coding."""
END = raw(b"0\r\n\r\n")
"""Ends a chunked body."""

# --- chat completions --------------------------------------------------------------------------------------------


def usage(input_tokens: int, output_tokens: int) -> dict[str, int]:
    """Returns the figures of a reply."""
    total = input_tokens + output_tokens
    return {"prompt_tokens": input_tokens, "completion_tokens": output_tokens, "total_tokens": total}


def delta(text: str = "", *, finish_reason: str | None = None) -> dict[str, Any]:
    """Returns one chunk of a streamed reply."""
    said = {"content": text} if text else {}
    return _reply("chat.completion.chunk", {"delta": said, "finish_reason": finish_reason})


def stream(*texts: str, figures: Mapping[str, int] | None = None) -> list[Step]:
    """Returns the script of a whole streamed reply, one event per text."""
    events = [event(delta(text)) for text in texts]
    last = [event({**delta(), "choices": [], "usage": dict(figures)})] if figures else []
    return [STREAM_HEAD, *events, event(delta(finish_reason="stop")), *last, event("[DONE]"), END]


def answer(text: str, figures: Mapping[str, int] | None = None) -> Step:
    """Sends a whole unary reply."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json_answer({**_reply("chat.completion", choice), "usage": dict(figures or usage(1, 1))})


def json_answer(payload: Mapping[str, Any], status: int = 200, **headers: str) -> Step:
    """Sends any whole JSON answer, for example an error with its status; `_` in a header's name stands for `-`."""
    body = json.dumps(payload).encode()
    fields = {"content-type": "application/json", "content-length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    return raw(_head(status, fields) + body)


def _reply(kind: str, choice: dict[str, Any]) -> dict[str, Any]:
    return {"id": REPLY_ID, "object": kind, "model": MODEL, "created": 1, "choices": [{"index": 0, **choice}]}
