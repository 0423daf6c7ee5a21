"""How calls and connections of the http2 transport end, and who is told what."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.contract.http2_kit import (
    BOTH,
    COLLECT,
    COUNT,
    ECHO,
    ENDLESS,
    FILL,
    STUBBORN,
    WAIT,
    Served,
    calling,
    framed,
    heard,
    parsed,
    pattern,
    serving,
    unread_socket,
)
from tests.contract.raw_server import until
from tests.faults.h2 import (
    ACK,
    CANCEL,
    END_HEADERS,
    PREFACE,
    Frame,
    Kind,
    call,
    call_fields,
    connection,
    frame,
    frames,
)

MIB = 1024 * 1024
NO_ERROR, REFUSED_STREAM = 0, 7
DEADLINE_EXCEEDED, UNAVAILABLE = 4, 14
EVERY_STREAM = 2**31 - 1


def last_stream(farewell: Frame) -> int:
    return int.from_bytes(farewell.payload[:4], "big")


def reset(stream: int) -> bytes:
    return frame(Kind.RST_STREAM, stream, CANCEL.to_bytes(4, "big"))


@asynccontextmanager
async def silent(served: Served) -> AsyncIterator[asyncio.StreamReader]:
    """Yields what a connection hears that says nothing by itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        await until(lambda: bool(served.connections))
        yield reader
    finally:
        writer.transport.abort()


async def gone(reader: asyncio.StreamReader) -> list[Frame]:
    """Returns what still comes until the connection is closed."""
    async with asyncio.timeout(5):
        return [each async for each in frames(reader)]


async def test_small_frames_leave_at_once() -> None:
    async with serving() as served, calling(served):
        accepted = served.connection._transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # else each waits for the last one's answer


# --- Calls that are taken back -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [WAIT, ENDLESS, BOTH, COLLECT])
async def test_cancel_reaches_the_handler_at_once(method: str) -> None:
    async with serving() as served, calling(served) as caller:
        number = caller.begin(method)
        caller.h2.send_data(number, framed(b""), end_stream=method in {WAIT, ENDLESS})
        caller.flush()
        await until(lambda: served.service.running == 1)
        caller.cancel(number)
        await until(lambda: served.service.running == 0, within_s=0.1)
        assert served.service.cancelled == 1
        assert (await caller.ask(ECHO, b"after")).only == b"after"


@pytest.mark.parametrize("kind", ["unary", "stream", "both"])
async def test_cancel_by_the_library_reaches_the_handler_at_once(kind: str) -> None:
    async with serving() as served, served.channel() as channel:
        begin: dict[str, Callable[[], Any]] = {
            "unary": lambda: channel.unary_unary(WAIT)(b""),
            "stream": lambda: channel.unary_stream(ENDLESS)(b""),
            "both": channel.stream_stream(BOTH),
        }
        running = begin[kind]()
        if kind == "both":
            await running.write(b"one")
            assert await running.read() == b"one"
        await until(lambda: served.service.running == 1)
        running.cancel()
        await until(lambda: served.service.running == 0, within_s=0.1)
        assert served.service.cancelled == 1


@pytest.mark.parametrize("begun", [frame(Kind.HEADERS, 1, call_fields(WAIT), END_HEADERS), call(1, WAIT, b"")])
async def test_a_call_that_is_taken_back_at_once_never_begins(begun: bytes) -> None:
    async with serving() as served, silent(served) as reader:
        served.connection.data_received(PREFACE + frame(Kind.SETTINGS) + begun + reset(1) + call(3, ECHO, b"after"))
        assert (await heard(reader, Kind.DATA, 3)).payload == framed(b"after")
        assert len(served.service.contexts) == 1


@pytest.mark.parametrize("farewell", ["reset", "end"])
async def test_a_caller_that_disconnects_takes_all_its_calls_back(farewell: str) -> None:
    async with serving() as served, calling(served) as caller:
        for method in (WAIT, WAIT, ENDLESS):
            caller.call(method)
        caller.begin(BOTH)
        await until(lambda: served.service.running == 4)
        if farewell == "reset":
            caller.leave()
        else:
            caller.silent = True
            caller._writer.write_eof()
        await until(lambda: served.service.running == 0, within_s=0.1)
        assert served.service.cancelled == 4
        assert not served.connections


# --- Deadlines -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [WAIT, BOTH, COLLECT])
async def test_a_deadline_ends_a_call_that_does_not_end_by_itself(method: str) -> None:
    async with serving() as served, calling(served) as caller:
        reply = await caller.ask(method, b"", ("grpc-timeout", "50m"))
        assert (reply.ended, reply.error) == (True, None)
        if method != BOTH:  # it ends with its only request
            assert (reply.status, reply.message) == (DEADLINE_EXCEEDED, "the deadline passed")
            assert served.service.cancelled == 1
        assert served.service.running == 0


async def test_a_deadline_ends_a_stream_of_requests_that_stays_open() -> None:
    async with serving() as served, calling(served) as caller:
        number = caller.begin(BOTH, ("grpc-timeout", "50m"))
        caller.h2.send_data(number, framed(b"one"))
        caller.flush()
        reply = await caller.reply(number)
        assert (reply.messages, reply.status) == ([b"one"], DEADLINE_EXCEEDED)


async def test_a_deadline_ends_an_upload_that_is_not_complete() -> None:
    async with serving() as served, calling(served) as caller:
        number = caller.begin(ECHO, ("grpc-timeout", "50m"))
        caller.h2.send_data(number, framed(b"half")[:-1])
        caller.flush()
        assert (await caller.reply(number)).status == DEADLINE_EXCEEDED
        assert not served.service.contexts


async def test_a_deadline_waits_for_a_handler_that_unwinds() -> None:
    async with serving() as served, calling(served) as caller:
        number = caller.call(STUBBORN, b"", ("grpc-timeout", "20m"))
        await until(lambda: bool(served.service.contexts) and served.service.contexts[0].time_remaining() == 0)
        assert (await caller.ask(ECHO, b"others go on")).only == b"others go on"
        served.service.may_end.set()
        assert (await caller.reply(number)).status == DEADLINE_EXCEEDED


@pytest.mark.parametrize("timeout", ["99999999H", "20S"])
async def test_a_long_deadline_changes_nothing(timeout: str) -> None:
    async with serving() as served, calling(served) as caller:
        assert (await caller.ask(ECHO, b"hi", ("grpc-timeout", timeout))).only == b"hi"


async def test_nothing_of_a_call_is_kept_until_its_deadline() -> None:
    async with serving() as served, calling(served) as caller:
        number = caller.call(WAIT, b"", ("grpc-timeout", "1H"))
        await until(lambda: served.service.running == 1)
        (timer,) = (stream.timer for stream in served.connection.streams.values())
        assert timer is not None
        served.service.may_end.set()
        assert (await caller.reply(number)).only == b"waited"
        assert timer.cancelled()


# --- How many at once ----------------------------------------------------------------------------------------------


async def test_one_call_more_than_allowed_is_refused_and_may_be_made_again() -> None:
    async with serving(max_streams=2) as served, connection(served.address) as (reader, writer):
        assert (await heard(reader, Kind.SETTINGS)).payload[:6] == b"\x00\x03\x00\x00\x00\x02"
        writer.write(b"".join(call(number, WAIT, b"") for number in (1, 3, 5)))
        assert (await heard(reader, Kind.RST_STREAM, 5)).error == REFUSED_STREAM
        assert served.service.running <= 2
        served.service.may_end.set()
        for number in (1, 3):
            await until(lambda: served.service.running == 0)
            writer.write(call(number + 6, ECHO, b"again"))
            assert (await heard(reader, Kind.DATA, number + 6)).payload == framed(b"again")


async def test_calls_that_were_taken_back_count_until_they_are_unwound() -> None:
    async with serving(max_streams=2) as served, connection(served.address) as (reader, writer):
        writer.write(call(1, STUBBORN, b"") + call(3, STUBBORN, b""))
        await until(lambda: served.service.running == 2)
        writer.write(reset(1) + reset(3) + call(5, ECHO, b"x"))
        assert (await heard(reader, Kind.RST_STREAM, 5)).error == REFUSED_STREAM
        served.service.may_end.set()
        await until(lambda: served.service.running == 0)
        writer.write(call(7, ECHO, b"again"))
        assert (await heard(reader, Kind.DATA, 7)).payload == framed(b"again")


async def test_a_refused_upload_does_not_disturb_the_connection() -> None:
    async with serving(max_streams=1) as served, connection(served.address) as (reader, writer):
        writer.write(call(1, WAIT, b""))
        writer.write(frame(Kind.HEADERS, 3, call_fields(ECHO), END_HEADERS))
        for _ in range(100):
            writer.write(frame(Kind.DATA, 3, bytes(10_000)))
        writer.write(reset(3))
        assert (await heard(reader, Kind.RST_STREAM, 3)).error == REFUSED_STREAM
        served.service.may_end.set()
        assert (await heard(reader, Kind.DATA, 1)).payload == framed(b"waited")


async def test_the_library_waits_for_its_turn() -> None:
    async with serving(max_streams=3) as served, served.channel() as channel:
        replies = await asyncio.gather(*(channel.unary_unary(ECHO)(b"%d" % each, timeout=5) for each in range(30)))
        assert replies == [b"%d" % each for each in range(30)]


# --- Idle, old, silent connections ---------------------------------------------------------------------------------


async def test_an_idle_connection_is_closed_in_two_steps() -> None:
    async with serving(max_connection_idle_s=3) as served, calling(served) as caller:
        assert (await caller.ask(ECHO, b"hi")).only == b"hi"
        served.tick(2)
        assert (await caller.ask(ECHO, b"hi")).only == b"hi"
        assert not caller.of(Kind.GOAWAY)
        served.tick(4)
        first, second = await caller.farewells(2)
        assert (last_stream(first), first.error) == (EVERY_STREAM, NO_ERROR)
        assert (last_stream(second), second.error) == (3, NO_ERROR)
        await caller.end()


async def test_a_connection_with_a_call_is_not_idle() -> None:
    async with serving(max_connection_idle_s=3) as served, calling(served) as caller:
        number = caller.call(WAIT)
        await until(lambda: served.service.running == 1)
        served.tick(20)
        served.service.may_end.set()
        assert (await caller.reply(number)).only == b"waited"
        assert not caller.of(Kind.GOAWAY)


async def test_idle_time_begins_with_the_end_of_the_last_call() -> None:
    async with serving(max_connection_idle_s=0.3) as served, calling(served) as caller:
        number = caller.call(WAIT)
        await asyncio.sleep(0.4)  # the caller says nothing while it waits
        served.service.may_end.set()
        assert (await caller.reply(number)).only == b"waited"
        served.tick(0)
        assert (await caller.ask(ECHO, b"hi")).only == b"hi"
        assert not caller.of(Kind.GOAWAY)


async def test_an_old_connection_takes_calls_until_the_caller_has_heard_of_it() -> None:
    async with serving(max_connection_age_s=3) as served, connection(served.address) as (reader, writer):
        writer.write(call(1, WAIT, b""))
        await until(lambda: served.service.running == 1)
        for after_s in (2, 3.5, 4):
            served.tick(after_s)
        first = await heard(reader, Kind.GOAWAY)
        assert (last_stream(first), first.error) == (EVERY_STREAM, NO_ERROR)
        ping = await heard(reader, Kind.PING)
        writer.write(call(3, ECHO, b"crossing"))
        assert (await heard(reader, Kind.DATA, 3)).payload == framed(b"crossing")
        writer.write(call(5, ECHO, b"just in time") + frame(Kind.PING, 0, ping.payload, ACK) + call(7, ECHO, b"late"))
        assert last_stream(await heard(reader, Kind.GOAWAY)) == 5
        assert (await heard(reader, Kind.RST_STREAM, 7)).error == REFUSED_STREAM
        assert (await heard(reader, Kind.DATA, 5)).payload == framed(b"just in time")
        served.service.may_end.set()
        assert (await heard(reader, Kind.DATA, 1)).payload == framed(b"waited")
        await gone(reader)


async def test_a_caller_that_does_not_say_that_it_heard_the_farewell_is_left_soon() -> None:
    async with serving(max_connection_age_s=3) as served, calling(served) as caller:
        caller.silent = True
        served.tick(4)
        await caller.farewells()
        served.tick(10)
        await caller.farewells(2)
        await caller.end()


async def test_calls_of_an_old_connection_have_their_time_and_no_more() -> None:
    async with serving(max_connection_age_s=3) as served, calling(served) as caller:
        number = caller.call(WAIT)
        await until(lambda: served.service.running == 1)
        served.tick(4)
        await caller.farewells(2)
        for after_s in (100, 300, 600):
            served.tick(after_s)
            await settled(served)
        assert served.service.running == 1
        served.tick(604)
        assert (await caller.reply(number)).status == UNAVAILABLE
        await caller.end()


async def settled(served: Served) -> None:
    """Waits until every ping of the server was answered."""
    await until(lambda: served.connection._pinged_s is None)


async def test_no_call_of_the_library_is_lost_when_connections_grow_old() -> None:
    async with serving(max_connection_age_s=1000) as served, served.channel() as channel:
        seen = set()
        for step in range(20):
            calls = [channel.unary_unary(ECHO)(b"%d" % each, timeout=5) for each in range(20)]
            running = asyncio.gather(*calls)
            await until(lambda: bool(served.connections))
            seen |= served.connections
            if step % 3 == 2:
                for each in list(served.connections):
                    each.retire(0.0)
            assert await running == [b"%d" % each for each in range(20)]
        assert len(seen) > 3


async def test_a_caller_that_says_farewell_gets_its_replies() -> None:
    async with serving() as served, connection(served.address) as (reader, writer):
        writer.write(call(1, WAIT, b"") + frame(Kind.GOAWAY, 0, bytes(8)))
        await heard(reader, Kind.GOAWAY)
        served.service.may_end.set()
        assert (await heard(reader, Kind.DATA, 1)).payload == framed(b"waited")
        await gone(reader)


async def test_who_says_nothing_for_long_is_asked_and_then_closed() -> None:
    async with serving() as served, calling(served) as caller:
        caller.call(WAIT)
        await until(lambda: served.service.running == 1)
        served.tick(29)
        served.tick(31)
        await caller.until(lambda: len(caller.of(Kind.PING)) == 1)
        await settled(served)
        caller.silent = True
        served.tick(70)
        await caller.until(lambda: len(caller.of(Kind.PING)) == 2)
        served.tick(79)
        assert served.service.running == 1
        served.tick(81)
        await until(lambda: served.service.running == 0, within_s=0.1)
        await caller.end()


async def test_who_connects_and_does_not_speak_is_closed() -> None:
    async with serving() as served, silent(served) as reader:
        served.connection.data_received(PREFACE[:10])
        served.tick(9)
        assert served.connections
        served.tick(11)
        with suppress(ConnectionError):
            await gone(reader)
        await until(lambda: not served.connections)


async def test_who_does_not_close_its_half_of_an_ended_connection_is_cut_off() -> None:
    async with serving() as served, connection(served.address) as (reader, writer):
        writer.write(frame(Kind.GOAWAY, 0, bytes(8)))
        await gone(reader)  # the server's half is closed
        assert len(served.transport._terms.all()) == 1
        served.tick(9)
        assert len(served.transport._terms.all()) == 1
        served.tick(11)
        await until(lambda: not served.transport._terms.all())


async def test_an_upload_that_takes_too_long_is_ended() -> None:
    async with serving() as served, calling(served) as caller:
        number = caller.begin(ECHO)
        caller.h2.send_data(number, framed(b"half")[:-1])
        caller.flush()
        await until(lambda: bool(served.connection.streams))
        served.tick(59)
        served.tick(61)
        reply = await caller.reply(number)
        assert (reply.status, reply.message) == (DEADLINE_EXCEEDED, "the request took longer than 60 s")
        assert (await caller.ask(ECHO, b"after")).only == b"after"


# --- The end of the server -----------------------------------------------------------------------------------------


async def test_stop_lets_running_calls_end() -> None:
    async with serving() as served, calling(served) as caller, calling(served) as idle:
        number = caller.call(WAIT)
        await until(lambda: served.service.running == 1)
        stopping = asyncio.create_task(served.transport.stop(8))
        await idle.end()
        await caller.farewells(2)
        with pytest.raises(OSError, match="Connect"):
            await asyncio.open_connection("127.0.0.1", served.port)
        assert not stopping.done()
        served.service.may_end.set()
        assert (await caller.reply(number)).only == b"waited"
        await caller.end()
        await asyncio.wait_for(stopping, 0.5)


async def test_stop_ends_the_rest_after_the_grace() -> None:
    async with serving() as served, calling(served, 1000, gives_back=False) as caller:
        waiting, both, stuck, upload = caller.call(WAIT), caller.begin(BOTH), caller.call(ENDLESS), caller.begin(ECHO)
        await until(lambda: served.service.running == 3)
        await caller.until(lambda: len(caller.replies[stuck].data) == 1000)
        await asyncio.wait_for(served.transport.stop(0.1), 1)
        assert (await caller.reply(waiting)).status == UNAVAILABLE
        assert (await caller.reply(both)).status == UNAVAILABLE
        assert (await caller.reply(stuck)).error == CANCEL  # its status would have to wait for the window
        assert (await caller.reply(upload)).status == UNAVAILABLE
        await caller.end()
        assert served.service.running == 0


async def test_stop_does_not_wait_for_ever_for_a_handler_that_does_not_end() -> None:
    async with serving() as served, calling(served) as caller:
        caller.call(STUBBORN)
        await until(lambda: served.service.running == 1)
        await asyncio.wait_for(served.transport.stop(0.1), 3)
        await caller.end()
        assert not served.connections


async def test_stop_waits_for_nobody_without_a_call() -> None:
    async with serving() as served, calling(served), served.channel() as channel:
        assert await channel.unary_unary(ECHO)(b"hi", timeout=5) == b"hi"
        await asyncio.wait_for(served.transport.stop(8), 1)


async def test_stop_does_not_wait_for_who_never_spoke() -> None:
    async with serving() as served, silent(served):
        await asyncio.wait_for(served.transport.stop(8), 1)


async def test_the_library_is_told_that_the_server_stops() -> None:
    async with serving() as served, served.channel() as channel:
        running = channel.unary_unary(WAIT)(b"", timeout=8)
        await until(lambda: served.service.running == 1)
        await served.transport.stop(0.1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("opens_windows", [False, True])
@pytest.mark.parametrize("size", [100_000, MIB, MIB + 30_000, MIB + 60_000, 8 * MIB])
async def test_the_last_reply_of_a_connection_arrives_whole(size: int, opens_windows: bool) -> None:
    async with serving() as served, unread_socket(served) as sock:
        server_side = served.connection._transport.get_extra_info("socket")
        server_side.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200_000)
        loop, got = asyncio.get_running_loop(), bytearray()
        wide = frame(Kind.SETTINGS, 0, b"\x00\x04\x7f\xff\xff\xff") + window_update(2**30)
        farewell = frame(Kind.GOAWAY, 0, bytes(8))
        await loop.sock_sendall(sock, PREFACE + wide + call(1, FILL, b"%d" % size) + farewell)
        await until(lambda: bool(served.service.contexts) and served.service.running == 0)
        async with asyncio.timeout(10):
            while data := await loop.sock_recv(sock, 65_536):
                got += data
                if opens_windows:
                    with suppress(OSError):  # it may be closed behind the last byte
                        await loop.sock_sendall(sock, window_update(len(data)))
        found = list(parsed(bytes(got)))
        assert b"".join(each.payload for each in found if each.kind == Kind.DATA) == framed(pattern(size))
        assert [each.kind for each in found if each.stream == 1][-1] == Kind.HEADERS


def window_update(by: int) -> bytes:
    return frame(Kind.WINDOW_UPDATE, 0, by.to_bytes(4, "big"))


# --- The ring around the handlers ----------------------------------------------------------------------------------


class Raises:
    """An interceptor with a defect."""

    async def intercept_service(self, proceed: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        raise ZeroDivisionError


class Waits:
    """An interceptor that takes its time."""

    async def intercept_service(self, proceed: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        await asyncio.Event().wait()


async def test_an_interceptor_that_fails_ends_the_call() -> None:
    async with serving(ring=(Raises(),)) as served, calling(served) as caller:
        reply = await caller.ask(ECHO, b"hi")
        assert (reply.status, reply.message) == (2, "internal error")


async def test_a_deadline_ends_a_call_that_its_interceptors_hold() -> None:
    async with serving(ring=(Waits(),)) as served, calling(served) as caller:
        assert (await caller.ask(ECHO, b"hi", ("grpc-timeout", "50m"))).status == DEADLINE_EXCEEDED


async def test_stop_ends_a_call_that_has_just_come() -> None:
    async with serving() as served, silent(served) as reader:
        served.connection.data_received(PREFACE + frame(Kind.SETTINGS) + call(1, WAIT, b""))
        served.connection.end_calls()  # before the handler's first step
        assert b"grpc-status\x0214" in (await heard(reader, Kind.HEADERS, 1)).payload
        await gone(reader)


async def test_streamed_replies_give_others_a_turn() -> None:
    async with serving() as served, calling(served, 2**30) as caller:
        caller.open_window(2**30)
        many = caller.call(COUNT, b"3000 10")
        assert (await caller.ask(ECHO, b"hi")).only == b"hi"
        assert not caller.replies[many].over
        assert len((await caller.reply(many)).messages) == 3000
