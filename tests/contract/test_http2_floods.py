"""Callers of the http2 transport who send much for nothing, and those who only look like it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count, islice

import pytest

from tests.contract.http2_kit import (
    BOTH,
    COUNT,
    ECHO,
    ENDLESS,
    NAME,
    WAIT,
    Served,
    any_frame,
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
    END_STREAM,
    ENHANCE_YOUR_CALM,
    PREFACE,
    Frame,
    Kind,
    call,
    call_fields,
    connection,
    fields,
    frame,
    frames,
)

MIB = 1024 * 1024
PADDED = 0x8
PRIORITY, UNKNOWN = 2, 0x42
MANY = 60_000
"""Frames that carry nothing: more than the bucket holds, and than comes back while they are read."""
HELLO = PREFACE + frame(Kind.SETTINGS)
OPEN = frame(Kind.HEADERS, 1, call_fields(BOTH), END_HEADERS)
LAST = 1_000_001
WIDE = frame(Kind.SETTINGS, 0, b"\x00\x04\x7f\xff\xff\xff") + frame(Kind.WINDOW_UPDATE, 0, (2**30).to_bytes(4, "big"))
CLOSED_WINDOWS = frame(Kind.SETTINGS, 0, b"\x00\x04\x00\x00\x00\x00")
LOOP_BLOCKED_S = 0.1
"""No read may hold the loop up for longer; ten times of what is needed, because the machine is shared."""


def reset(number: int) -> bytes:
    return frame(Kind.RST_STREAM, number, CANCEL.to_bytes(4, "big"))


def head(number: int, method: str) -> bytes:
    return frame(Kind.HEADERS, number, call_fields(method), END_HEADERS)


def window(number: int, by: int = 1) -> bytes:
    return frame(Kind.WINDOW_UPDATE, number, by.to_bytes(4, "big"))


def streams(one: Callable[[int], bytes], many: int, first: int = 3) -> bytes:
    return b"".join(map(one, islice(count(first, 2), many)))


async def flooded(served: Served, flood: bytes) -> Frame | None:
    """Sends a flood and a call, and returns the farewell; None where the call was answered or refused."""
    loop, got = asyncio.get_running_loop(), bytearray()
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", served.port))
        sending = asyncio.create_task(loop.sock_sendall(sock, HELLO + flood + call(LAST, ECHO, b"")))
        async with asyncio.timeout(10):
            with suppress(ConnectionError):  # it was closed with our flood unread
                while data := await loop.sock_recv(sock, 65_536):
                    got += data
                    if LAST.to_bytes(4, "big") in got:
                        break
        await asyncio.wait([sending])
        with suppress(ConnectionError):
            await sending
    found = list(parsed(bytes(got)))
    farewells = [each for each in found if each.kind == Kind.GOAWAY]
    ended = [each for each in farewells if each.error]
    assert ended or found[-1].stream == LAST, "the connection ended without a word"
    return ended[-1] if ended else None


FLOODS = {
    "pings": frame(Kind.PING, 0, bytes(8)) * 4,
    "settings": frame(Kind.SETTINGS) * 1000,
    "settings_acknowledged_again_and_again": frame(Kind.SETTINGS, flags=ACK) * 1000,
    "priorities": any_frame(PRIORITY, 1, b"\0\0\0\0\x0f") * MANY,
    "empty_data": OPEN + frame(Kind.DATA, 1) * MANY,
    "padding_without_data": OPEN + frame(Kind.DATA, 1, b"\0", PADDED) * MANY,
    "empty_continuations": frame(Kind.HEADERS, 1, call_fields(BOTH)) + frame(Kind.CONTINUATION, 1) * MANY,
    "unknown_frames": any_frame(UNKNOWN, 0) * MANY,
    "windows_of_the_connection": window(0) * MANY,
    "windows_of_a_stream": OPEN + window(1) * MANY,
    "windows_of_a_stream_that_is_over": OPEN + reset(1) + window(1) * MANY,
    "resets_of_a_stream_that_is_over": OPEN + reset(1) * MANY,
    "answers_to_pings_that_nobody_sent": frame(Kind.PING, 0, bytes(8), ACK) * MANY,
    "farewells": call(1, WAIT, b"") + frame(Kind.GOAWAY, 0, bytes(8)) * MANY,
    "rapid_reset": streams(lambda number: call(number, WAIT, b"") + reset(number), 4000),
    "rapid_reset_without_a_message": streams(lambda number: head(number, WAIT) + reset(number), 4000),
    "rapid_reset_of_streams": streams(lambda number: head(number, BOTH) + reset(number), 4000),
    "refused_calls": streams(lambda number: call(number, WAIT, b""), MANY // 2),
}


MAX_STREAMS = {"refused_calls": 1}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_ends_its_connection_and_no_other(name: str) -> None:
    async with serving(max_streams=MAX_STREAMS.get(name, 10_000)) as served, calling(served) as other:
        farewell = await flooded(served, FLOODS[name])
        assert farewell is not None, "it goes on for ever"
        assert farewell.error == ENHANCE_YOUR_CALM
        assert (await other.ask(ECHO, b"hi")).only == b"hi"
        await until(lambda: served.service.running == 0)


CALM = {
    "some_settings": frame(Kind.SETTINGS) * 50,
    "some_priorities": any_frame(PRIORITY, 1, b"\0\0\0\0\x0f") * 5000,
    "some_pings": frame(Kind.PING, 0, bytes(8)) * 3,
    "calls_taken_back": streams(lambda number: call(number, WAIT, b"") + reset(number), 1000),
    "a_message_in_single_bytes": OPEN + b"".join(frame(Kind.DATA, 1, bytes((each,))) for each in framed(bytes(30_000))),
    "a_refused_upload": frame(Kind.HEADERS, 1, call_fields(ECHO), END_HEADERS)
    + frame(Kind.DATA, 1, b"\0\xff\xff\xff\xff")
    + frame(Kind.DATA, 1, bytes(16_000)) * 60,
}


@pytest.mark.parametrize("name", CALM)
async def test_what_callers_do_is_no_flood(name: str) -> None:
    async with serving() as served:
        assert await flooded(served, CALM[name]) is None


async def test_pings_between_replies_are_no_flood() -> None:
    async with serving() as served, connection(served.address) as (reader, writer):
        for number in range(1, 201, 2):
            writer.write(call(number, ECHO, b"hi") + frame(Kind.PING, 0, bytes(8)))
            await heard(reader, Kind.PING)


@pytest.mark.parametrize(("many", "size"), [(1, 10_000), (10, 2000)])
async def test_a_window_update_for_every_message_is_no_flood(many: int, size: int) -> None:
    """10,000 messages of a stream, and 20,000 of ten, whose caller gives every byte back at once, twice."""
    async with serving() as served, connection(served.address) as (reader, writer):
        writer.write(streams(lambda number: call(number, COUNT, b"%d 10" % size), many, first=1))
        ended, last = 0, Frame(Kind.GOAWAY, 0, 0, b"")
        async for last in frames(reader):
            ended += bool(last.kind == Kind.HEADERS and last.flags & END_STREAM)
            if ended == many or last.kind == Kind.GOAWAY:
                break
            if last.kind == Kind.DATA:
                writer.write(window(0, len(last.payload)) + window(last.stream, len(last.payload)))
        assert (ended, last.kind) == (many, Kind.HEADERS), last.payload


# --- Callers who do not read ---------------------------------------------------------------------------------------


def many_fields(number: int) -> bytes:
    """Returns a small call whose metadata is too large: one field of the table, again and again."""
    block = call_fields(ECHO)
    if number == 1:
        return frame(Kind.HEADERS, 1, block + b"\x40\x03x-a\x7f\xa1\x1e" + b"v" * 4000, END_HEADERS | END_STREAM)
    return frame(Kind.HEADERS, number, block + b"\xbe" * 5, END_HEADERS | END_STREAM)


HUNGRY: dict[str, Callable[[int], bytes]] = {
    "pings_and_calls": lambda number: call(number, f"/{NAME}/None", b"") + frame(Kind.PING, 0, bytes(8)),
    "calls": lambda number: call(number, ECHO, b"x" * 1000),
    "calls_with_too_much_metadata": many_fields,
    "requests_that_are_no_calls": lambda number: frame(
        Kind.HEADERS, number, fields({":method": "GET", ":scheme": "http", ":path": "/"}), END_HEADERS | END_STREAM
    ),
    "streams": lambda number: call(number, ENDLESS, b""),
    "settings": lambda number: frame(Kind.SETTINGS),
}


@pytest.mark.parametrize("name", HUNGRY)
async def test_who_sends_and_does_not_read_fills_no_memory(name: str) -> None:
    async with serving(max_streams=100) as served, unread_socket(served) as sock:
        sending = asyncio.create_task(send_for_ever(sock, PREFACE + WIDE, HUNGRY[name]))
        connection = served.connection
        most = 0

        def stopped() -> bool:
            nonlocal most
            most = max(most, served.unsent_bytes())
            assert most < 4 * MIB
            return not served.connections or not connection._transport.is_reading()

        try:
            await until(stopped)
        finally:
            sending.cancel()
            await asyncio.wait([sending])
        sock.close()
        await until(lambda: not served.connections and served.service.running == 0)


async def send_for_ever(sock: socket.socket, hello: bytes, one: Callable[[int], bytes]) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, hello)
    numbers: Iterator[int] = count(1, 2)
    with suppress(ConnectionError):
        while True:
            await loop.sock_sendall(sock, b"".join(map(one, islice(numbers, 500))))


async def test_who_reads_again_is_read_again() -> None:
    async with serving() as served, unread_socket(served) as sock:
        sending = asyncio.create_task(send_for_ever(sock, PREFACE + WIDE, many_fields))
        connection = served.connection
        await until(lambda: not connection._transport.is_reading())
        loop, got = asyncio.get_running_loop(), 0
        async with asyncio.timeout(10):
            while got < 8 * MIB:  # more than the buffers of both sides hold
                got += len(await loop.sock_recv(sock, 65_536))
        sending.cancel()
        await asyncio.wait([sending])


async def test_who_reads_again_gets_all_answers() -> None:
    async with serving() as served, unread_socket(served) as sock:
        loop, many, answers = asyncio.get_running_loop(), 500, list[bytes]()
        asked = streams(lambda number: call(number, ECHO, pattern(10_000)), many, first=1)
        sending = asyncio.create_task(loop.sock_sendall(sock, PREFACE + WIDE + asked))
        connection = served.connection
        await until(lambda: not connection._transport.is_reading() or connection.sender.paused)
        async with asyncio.timeout(10):
            await sending
            reader, writer = await asyncio.open_connection(sock=sock)
            async for each in frames(reader):
                if each.kind == Kind.DATA:
                    answers.append(each.payload)
                if len(answers) == many:
                    break
        writer.transport.abort()
        assert answers == [framed(pattern(10_000))] * many


# --- Small frames that are much work -------------------------------------------------------------------------------


WORK: dict[str, bytes] = {
    "settings": frame(Kind.SETTINGS, 0, b"\x00\x04\x00\x00\x00\x00" * 2700),
    "windows_of_the_connection": window(0) * 2000,
    "windows_of_one_stream": window(1) * 2000,
    "windows_of_all_streams": streams(window, 999),
}


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("method", [WAIT, ENDLESS], ids=["without_replies", "with_replies_that_wait"])
async def test_small_frames_are_little_work_however_many_streams_are_open(name: str, method: str) -> None:
    async with serving() as served, connection(served.address) as (_, writer):
        writer.write(CLOSED_WINDOWS + streams(lambda number: call(number, method, b""), 1000, first=1))
        await until(lambda: served.service.running == 1000)
        took_s = min(timed(served, WORK[name]) for _ in range(3))
        print(f"{name}: {took_s * 1000:.0f} ms")
        assert took_s < LOOP_BLOCKED_S


def timed(served: Served, data: bytes) -> float:
    began_s = time.perf_counter()
    served.connection.data_received(data)
    return time.perf_counter() - began_s
