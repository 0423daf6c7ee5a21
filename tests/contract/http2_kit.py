"""A small service behind the http2 transport, and a caller on `h2`, which judges every byte that the server sends."""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import grpc
import grpc.aio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes, Settings

from llmgateway_server.transport.http2.connection import Connection
from llmgateway_server.transport.http2.listener import Http2Transport
from llmgateway_server.transport.server import ServerSettings
from tests.contract.raw_server import until
from tests.faults.h2 import HEAD_BYTES, Frame, Kind, frame, frames

NAME = "kit.Kit"
ECHO, FILL, META, FAIL, WAIT, STUBBORN = (
    f"/{NAME}/{each}" for each in ("Echo", "Fill", "Meta", "Fail", "Wait", "Stubborn")
)
COUNT, ENDLESS, BOTH, COLLECT = (f"/{NAME}/{each}" for each in ("Count", "Endless", "Both", "Collect"))
ENDLESS_BYTES = 16_000
DEFAULT_WINDOW = 65_535
WITHIN_S = 5.0
"""How long anything may take that is awaited here."""
PERIOD = bytes(range(251))
"""No window or frame is a multiple of 251 bytes, so a part that is lost, doubled or moved shows."""


def pattern(size: int) -> bytes:
    return (PERIOD * (size // len(PERIOD) + 1))[:size]


def framed(message: bytes, flag: int = 0) -> bytes:
    """Returns a message with its head."""
    return bytes((flag,)) + len(message).to_bytes(4, "big") + message


def any_frame(kind: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """Returns a frame of any type."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


class Service:
    """Answers bytes with bytes, and tells how its calls went."""

    def __init__(self) -> None:
        self.contexts: list[Any] = []
        """Of all calls that began."""
        self.running = 0
        self.cancelled = 0
        self.written = 0
        """Messages of ENDLESS that the transport took."""
        self.may_end = asyncio.Event()
        """What WAIT and the unwinding of STUBBORN wait for."""

    def handler(self) -> grpc.GenericRpcHandler:
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        both = grpc.stream_stream_rpc_method_handler
        kinds: dict[str, Any] = {
            **dict.fromkeys((ECHO, FILL, META, FAIL, WAIT, STUBBORN), unary),
            **dict.fromkeys((COUNT, ENDLESS), stream),
            **dict.fromkeys((BOTH, COLLECT), both),
        }
        names = {method: method.rpartition("/")[2] for method in kinds}
        return grpc.method_handlers_generic_handler(
            NAME, {name: kinds[method](getattr(self, name.lower())) for method, name in names.items()}
        )

    @contextmanager
    def _call(self, context: Any) -> Iterator[None]:
        self.contexts.append(context)
        self.running += 1
        try:
            yield
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def echo(self, request: bytes, context: Any) -> bytes:
        with self._call(context):
            return request

    async def fill(self, request: bytes, context: Any) -> bytes:
        """Answers with as many bytes as it is told."""
        with self._call(context):
            return pattern(int(request))

    async def meta(self, request: bytes, context: Any) -> bytes:
        """Says nothing; the metadata stands in its context and comes back behind the reply."""
        with self._call(context):
            context.set_trailing_metadata(
                tuple(each for each in context.invocation_metadata() if each[0].startswith("x-"))
            )
            return b""

    async def fail(self, request: bytes, context: Any) -> bytes:
        """Fails with the text that it is told."""
        with self._call(context):
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION, request.decode(), (("x-why", "so"), ("x-why-bin", b"\x00\xff"))
            )
        return b""

    async def wait(self, request: bytes, context: Any) -> bytes:
        with self._call(context):
            await self.may_end.wait()
            return b"waited"

    async def stubborn(self, request: bytes, context: Any) -> bytes:
        """Never ends by itself, and takes its time when it is cancelled."""
        with self._call(context):
            try:
                await asyncio.Event().wait()
            finally:
                await self.may_end.wait()
        return b""

    async def count(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """Sends so many messages of so many bytes."""
        messages, size = map(int, request.split())
        with self._call(context):
            for _ in range(messages):
                yield pattern(size)

    async def endless(self, request: bytes, context: Any) -> None:
        with self._call(context):
            while True:
                await context.write(pattern(ENDLESS_BYTES))
                self.written += 1

    async def both(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """Sends back every message as it comes."""
        with self._call(context):
            async for request in requests:
                yield request

    async def collect(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """Tells the sizes of the messages once all of them are there; takes none before it may."""
        with self._call(context):
            await self.may_end.wait()
            sizes = [len(request) async for request in requests]
            yield " ".join(map(str, sizes)).encode()


@dataclass(slots=True)
class Served:
    """A running transport."""

    port: int
    service: Service
    transport: Http2Transport

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> set[Connection]:
        return self.transport._terms.connections

    @property
    def connection(self) -> Connection:
        """The only one."""
        (found,) = self.connections
        return found

    def kept_bytes(self) -> int:
        """Returns what is kept of requests that are not complete."""
        return self.transport._terms.kept_bytes

    def unsent_bytes(self) -> int:
        """Returns what waits because a caller does not read: the server's memory that callers can make grow."""
        return sum(
            each._transport.get_write_buffer_size()
            + sum(len(part) for stream in each.streams.values() for part in stream.pending)
            for each in self.connections
        )

    def tick(self, after_s: float) -> None:
        """Lets the server look at its connections as if so much time had passed."""
        for each in self.transport._terms.all():
            each.tick(asyncio.get_running_loop().time() + after_s)

    @asynccontextmanager
    async def channel(self, *options: tuple[str, Any]) -> AsyncIterator[Any]:
        """Yields a channel of the gRPC library."""
        async with grpc.aio.insecure_channel(self.address, options=options) as channel:
            yield channel


@asynccontextmanager
async def serving(max_streams: int = 1000, ring: Sequence[Any] = (), **settings: Any) -> AsyncIterator[Served]:
    """Yields a transport on a free port; nothing of it may go wrong in silence, and nothing may be left of it."""
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, complaint: complaints.append(complaint))
    service = Service()
    transport = Http2Transport(ServerSettings(**settings), ring, (service.handler(),), max_streams)
    async with asyncio.timeout(4 * WITHIN_S):
        port = await transport.start("127.0.0.1:0")
        try:
            yield Served(port, service, transport)
        finally:
            service.may_end.set()
            await transport.stop(0)
    await until(lambda: service.running == 0 and not any("Calls.run" in repr(each) for each in asyncio.all_tasks()))
    assert not complaints, complaints


class Unanswered(Exception):
    """The connection ended before the answer was there."""


@dataclass(slots=True)
class Reply:
    """What came in on one stream."""

    headers: dict[str, str] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)
    trailers: dict[str, str] = field(default_factory=dict)
    ended: bool = False
    error: int | None = None
    """Of a reset."""

    @property
    def over(self) -> bool:
        return self.ended or self.error is not None

    @property
    def status(self) -> int:
        """The code of gRPC."""
        return int((self.trailers or self.headers)["grpc-status"])

    @property
    def message(self) -> str:
        """The status's text."""
        return unquote((self.trailers or self.headers).get("grpc-message", ""), errors="strict")

    @property
    def messages(self) -> list[bytes]:
        """The whole messages so far."""
        found, data = [], bytes(self.data)
        while len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[1:5], "big"):
            end = 5 + int.from_bytes(data[1:5], "big")
            found.append(data[5:end])
            data = data[end:]
        return found

    @property
    def only(self) -> bytes:
        """The message of a unary reply that went well."""
        assert (self.headers[":status"], self.headers["content-type"]) == ("200", "application/grpc")
        assert (self.ended, self.error, self.status) == (True, None, 0)
        (message,) = self.messages
        assert len(self.data) == 5 + len(message)
        return message


def request_headers(method: str, more: tuple[tuple[str, str], ...] = ()) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *more,
    ]


class Caller:
    """A caller on `h2`. Farewells are kept from it, because it would take nothing behind one.

    Args:
        reader: of the connection.
        writer: of the connection.
        window: what a stream may send at first.
        gives_back: whether windows open again by what came in.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, window: int, *, gives_back: bool
    ) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.local_settings = Settings(client=True, initial_values={SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.replies: defaultdict[int, Reply] = defaultdict(Reply)
        self.frames: list[Frame] = []
        """What came in, without data."""
        self.gone = False
        self.silent = False
        """Whether it sends nothing by itself, neither windows nor answers to pings."""
        self.gives_back = gives_back
        self._reader = reader
        self._writer = writer
        self._news = asyncio.Event()
        self._fault: Exception | None = None
        self._takes: dict[type[Event], Callable[[Any], None]] = {
            ResponseReceived: self._response,
            TrailersReceived: self._trailers,
            DataReceived: self._data,
            StreamEnded: self._end,
            StreamReset: self._reset,
        }
        self.events: list[type[Event]] = []
        self._reading: asyncio.Task[None] | None = None

    async def greet(self) -> None:
        self.h2.initiate_connection()
        self.flush()
        self._reading = asyncio.create_task(self._read())
        # `h2` takes any acknowledgement for that of its first change, so the one of the greeting must be through
        await self.until(lambda: {RemoteSettingsChanged, SettingsAcknowledged} <= set(self.events))

    # What it says

    def begin(self, method: str, *more: tuple[str, str], end: bool = False) -> int:
        """Opens a stream and returns its number."""
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(number, request_headers(method, more), end_stream=end)
        self.flush()
        return number

    def call(self, method: str, message: bytes = b"", *more: tuple[str, str]) -> int:
        """Sends a whole request that the windows have room for and returns the number of its stream."""
        number = self.begin(method, *more)
        self.h2.send_data(number, framed(message), end_stream=True)
        self.flush()
        return number

    async def send(self, number: int, data: bytes, *, end: bool) -> None:
        """Sends data as the server's windows open."""
        rest = memoryview(data)
        while rest:
            await self.until(lambda: self.h2.local_flow_control_window(number) > 0)
            size = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size, len(rest))
            self.h2.send_data(number, bytes(rest[:size]), end_stream=end and size == len(rest))
            rest = rest[size:]
            self.flush()
            await self._writer.drain()

    def cancel(self, number: int) -> None:
        self.h2.reset_stream(number, ErrorCodes.CANCEL)
        self.flush()

    def open_window(self, by: int, number: int | None = None) -> None:
        self.h2.increment_flow_control_window(by, number)
        self.flush()

    def flush(self) -> None:
        self.write(self.h2.data_to_send())

    def write(self, data: bytes) -> None:
        """Sends bytes that `h2` does not know of."""
        self._writer.write(data)

    def leave(self) -> None:
        """Closes the socket without a word."""
        self._writer.transport.abort()

    # What it hears

    async def reply(self, number: int) -> Reply:
        """Returns what came on a stream once it is over."""
        reply = self.replies[number]
        await self.until(lambda: reply.over)
        return reply

    async def ask(self, method: str, message: bytes = b"", *more: tuple[str, str]) -> Reply:
        return await self.reply(self.call(method, message, *more))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns as soon as `condition` holds.

        Raises:
            Unanswered: the connection ended first.
        """
        async with asyncio.timeout(WITHIN_S):
            while not condition():
                self.judge()
                if self.gone:
                    raise Unanswered(self.frames[-3:])
                self._news.clear()
                await self._news.wait()
        self.judge()

    async def farewells(self, count: int = 1) -> list[Frame]:
        """Returns the farewells once there are so many."""
        await self.until(lambda: len(self.of(Kind.GOAWAY)) >= count)
        return self.of(Kind.GOAWAY)

    async def end(self) -> None:
        """Waits until the server has closed the connection."""
        async with asyncio.timeout(WITHIN_S):
            assert self._reading is not None
            await self._reading
        self.judge()

    def of(self, kind: Kind) -> list[Frame]:
        return [each for each in self.frames if each.kind == kind]

    def judge(self) -> None:
        """Raises what the server did wrong."""
        if self._fault is not None:
            raise self._fault

    async def _read(self) -> None:
        try:
            async for each in frames(self._reader):
                self._frame(each)
                self._news.set()
        except Exception as error:  # noqa: BLE001  # whatever it is, the test that waits must see it
            self._fault = error
        self.gone = True
        self._news.set()

    def _frame(self, each: Frame) -> None:
        if each.kind != Kind.DATA:
            self.frames.append(each)
        if each.kind == Kind.GOAWAY:
            return
        for event in self.h2.receive_data(frame(Kind(each.kind), each.stream, each.payload, each.flags)):
            self.events.append(type(event))
            self._takes.get(type(event), lambda _: None)(event)
        if self.silent:
            self.h2.data_to_send()
        else:
            self.flush()

    def _response(self, event: ResponseReceived) -> None:
        self.replies[_number(event)].headers = _texts(event.headers)

    def _trailers(self, event: TrailersReceived) -> None:
        self.replies[_number(event)].trailers = _texts(event.headers)

    def _data(self, event: DataReceived) -> None:
        number, size = _number(event), event.flow_controlled_length or 0
        self.replies[number].data += event.data or b""
        if self.gives_back and size:
            self.h2.increment_flow_control_window(size)
            if event.stream_ended is None:
                self.h2.increment_flow_control_window(size, number)

    def _end(self, event: StreamEnded) -> None:
        self.replies[_number(event)].ended = True

    def _reset(self, event: StreamReset) -> None:
        reply = self.replies[_number(event)]
        if not reply.ended:  # behind the end it only says that the rest of the request is not wanted
            reply.error = event.error_code


def _number(event: Any) -> int:
    number: int = event.stream_id
    return number


def _texts(headers: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in headers}


@asynccontextmanager
async def calling(served: Served, window: int = DEFAULT_WINDOW, *, gives_back: bool = True) -> AsyncIterator[Caller]:
    """Yields a caller; see `Caller`. At the end it must not have been told anything wrong."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=2**22)
    caller = Caller(reader, writer, window, gives_back=gives_back)
    try:
        await caller.greet()
        yield caller
        caller.judge()
    finally:
        writer.transport.abort()
        if caller._reading is not None:
            await asyncio.wait([caller._reading])


def parsed(data: bytes) -> Iterator[Frame]:
    """Yields the whole frames in these bytes."""
    at = 0
    while len(data) - at >= HEAD_BYTES:
        begin = at + HEAD_BYTES
        end = begin + int.from_bytes(data[at : at + 3], "big")
        if end > len(data):
            return
        yield Frame(data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : begin], "big"), data[begin:end])
        at = end


async def heard(reader: asyncio.StreamReader, kind: Kind, stream: int = 0) -> Frame:
    """Returns the next frame of a type and stream, for callers of hand-made frames.

    Raises:
        Unanswered: the connection ended first.
    """
    async with asyncio.timeout(WITHIN_S):
        async for each in frames(reader):
            if (each.kind, each.stream) == (kind, stream):
                return each
    raise Unanswered


@asynccontextmanager
async def unread_socket(served: Served) -> AsyncIterator[socket.socket]:
    """Yields a connected socket with a small buffer that nobody reads."""
    loop = asyncio.get_running_loop()
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.setblocking(False)
        await loop.sock_connect(made, ("127.0.0.1", served.port))
        await until(lambda: bool(served.connections))
        yield made
