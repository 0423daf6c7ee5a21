"""Requests to the http2 transport: however they are cut, padded, compressed or wrong."""

from __future__ import annotations

import asyncio
import gzip
import socket
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import grpc
import grpc.aio
import pytest
from h2.settings import SettingCodes

from tests.contract.http2_kit import (
    BOTH,
    COLLECT,
    COUNT,
    ECHO,
    FAIL,
    FILL,
    META,
    NAME,
    Reply,
    Served,
    any_frame,
    calling,
    framed,
    pattern,
    request_headers,
    serving,
)
from tests.contract.raw_server import until
from tests.faults.h2 import (
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    PREFACE,
    Frame,
    Kind,
    call,
    call_fields,
    fields,
    frame,
    frames,
)

KIB, MIB = 1024, 1024 * 1024
PADDED, WITH_PRIORITY = 0x8, 0x20
PRIORITY, UNKNOWN = 2, 0x42
DEPENDENCY = b"\x00\x00\x00\x00\x0f"
NO_ERROR, PROTOCOL_ERROR = 0, 1
RESOURCE_EXHAUSTED, UNIMPLEMENTED = 8, 12
LARGE = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


# --- Cut anywhere --------------------------------------------------------------------------------------------------

HEAD = call_fields(ECHO)
BODY = framed(b"hello")
HEADERS = frame(Kind.HEADERS, 1, HEAD, END_HEADERS)
DATA = frame(Kind.DATA, 1, BODY, END_STREAM)


def padded(content: bytes, size: int) -> bytes:
    return bytes((size,)) + content + bytes(size)


def continued(head: bytes, size: int) -> bytes:
    """Returns a header block in parts of so many bytes."""
    parts = [head[at : at + size] for at in range(0, len(head), size)]
    last = len(parts) - 1
    return frame(Kind.HEADERS, 1, parts[0]) + b"".join(
        frame(Kind.CONTINUATION, 1, part, END_HEADERS if number == last else 0)
        for number, part in enumerate(parts)
        if number
    )


FORMS = {
    "plain": HEADERS + DATA,
    "padded": frame(Kind.HEADERS, 1, padded(HEAD, 7), END_HEADERS | PADDED)
    + frame(Kind.DATA, 1, padded(BODY, 200), END_STREAM | PADDED),
    "padded_with_nothing": frame(Kind.HEADERS, 1, padded(HEAD, 0), END_HEADERS | PADDED)
    + frame(Kind.DATA, 1, padded(BODY, 0), END_STREAM | PADDED),
    "priority": any_frame(PRIORITY, 1, DEPENDENCY)
    + frame(Kind.HEADERS, 1, DEPENDENCY + HEAD, END_HEADERS | WITH_PRIORITY)
    + any_frame(PRIORITY, 1, DEPENDENCY)
    + DATA,
    "padded_with_priority": frame(Kind.HEADERS, 1, padded(DEPENDENCY + HEAD, 9), END_HEADERS | PADDED | WITH_PRIORITY)
    + DATA,
    "continued": continued(HEAD, 50) + DATA,
    "continued_byte_by_byte": continued(HEAD, 1) + DATA,
    "message_byte_by_byte": HEADERS
    + b"".join(frame(Kind.DATA, 1, bytes((each,))) for each in BODY)
    + frame(Kind.DATA, 1, b"", END_STREAM),
    "message_in_padding": HEADERS
    + b"".join(frame(Kind.DATA, 1, padded(bytes((each,)), 3), PADDED) for each in BODY)
    + frame(Kind.DATA, 1, padded(b"", 3), END_STREAM | PADDED),
    "ended_by_trailers": HEADERS
    + frame(Kind.DATA, 1, BODY)
    + frame(Kind.HEADERS, 1, b"\x00\x03x-a\x011", END_STREAM | END_HEADERS),
    "unknown_frames_between": any_frame(UNKNOWN, 0, b"?") + HEADERS + any_frame(UNKNOWN, 1, b"?") + DATA,
    "reserved_bit": frame(Kind.HEADERS, 1 | 1 << 31, HEAD, END_HEADERS) + DATA,
    "unknown_flags": frame(Kind.HEADERS, 1, HEAD, END_HEADERS | 0xC0) + frame(Kind.DATA, 1, BODY, END_STREAM | 0xC0),
}
HELLO = PREFACE + frame(Kind.SETTINGS)


async def frames_until_end(reader: asyncio.StreamReader, last: int = 1) -> AsyncIterator[Frame]:
    async with asyncio.timeout(5):
        async for each in frames(reader):
            yield each
            if each.stream == last and each.kind != Kind.RST_STREAM and each.flags & END_STREAM:
                return


async def answered(served: Served, *parts: bytes, last: int = 1) -> list[Frame]:
    """Lets the server read these parts, one at a time, and returns what it says until the last stream ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    await until(lambda: len(served.connections) == 1)
    connection = served.connection
    for part in parts:
        connection.data_received(part)
    found = [each async for each in frames_until_end(reader, last)]
    writer.transport.abort()
    await until(lambda: not served.connections)
    return found


def of_stream(found: list[Frame]) -> list[tuple[int, int, bytes]]:
    return [(each.kind, each.flags, each.payload) for each in found if each.stream == 1]


@pytest.mark.parametrize("form", FORMS)
async def test_every_form_of_a_request_gets_the_same_reply(form: str) -> None:
    async with serving() as served:
        usual = of_stream(await answered(served, HELLO + FORMS["plain"]))
        assert [kind for kind, _, _ in usual] == [Kind.HEADERS, Kind.DATA, Kind.HEADERS]
        assert usual[1][2] == BODY
        assert of_stream(await answered(served, HELLO + FORMS[form])) == usual
        data = HELLO + FORMS[form]
        assert of_stream(await answered(served, *(data[at : at + 1] for at in range(len(data))))) == usual


async def test_a_request_that_is_cut_at_any_byte_gets_the_same_reply() -> None:
    async with serving() as served:
        data = HELLO + FORMS["padded_with_priority"]
        whole = await answered(served, data)
        for at in range(1, len(data)):
            assert await answered(served, data[:at], data[at:]) == whole, at


async def test_a_request_that_comes_byte_by_byte_over_the_socket() -> None:
    async with serving() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for each in HELLO + FORMS["plain"]:
            writer.write(bytes((each,)))
            await asyncio.sleep(0)  # the server's turn
        ended = [each async for each in frames_until_end(reader)]
        assert [each.payload for each in ended if each.kind == Kind.DATA] == [BODY]
        writer.transport.abort()


@pytest.mark.parametrize("data", [frame(Kind.PING, 0, bytes(8)), HEADERS + DATA], ids=["ping", "headers"])
@pytest.mark.parametrize("step", [1, 24, 1000])
async def test_the_first_frame_is_settings_however_it_is_cut(data: bytes, step: int) -> None:
    async with serving() as served:
        data = PREFACE + data
        found = await answered(served, *(data[at : at + step] for at in range(0, len(data), step)))
        assert [(each.kind, each.error) for each in found[2:]] == [(Kind.GOAWAY, PROTOCOL_ERROR)]
        assert not served.service.contexts


NOT_HTTP2 = {
    "http1": b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "almost": b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + frame(Kind.SETTINGS),
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize(("name", "step"), [*((name, 1000) for name in NOT_HTTP2), ("almost", 1), ("almost", 24)])
async def test_who_does_not_speak_http2_is_cut_off(name: str, step: int) -> None:
    """A browser is told why, in a way that people can read; nobody else would understand it."""
    async with serving() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        await until(lambda: len(served.connections) == 1)
        connection, data = served.connection, NOT_HTTP2[name]
        for at in range(0, len(data), step):
            connection.data_received(data[at : at + step])
        async with asyncio.timeout(5):
            said = await reader.read()
        writer.transport.abort()
        await until(lambda: not served.connections)
        if name == "http1":
            assert said.startswith(b"HTTP/1.1 400 ")
            assert said.endswith(b"This address speaks gRPC over HTTP/2, which the request is not.\n")
        else:
            assert said == b""
        assert not served.service.contexts


async def test_a_compression_that_is_not_known_is_refused_with_those_that_are() -> None:
    async with serving() as served, calling(served) as caller:
        number = caller.begin(ECHO, ("grpc-encoding", "br"))
        await caller.send(number, b"\x01" + framed(b"x")[1:], end=True)
        refused = await caller.reply(number)
        assert refused.status == UNIMPLEMENTED
        assert (refused.trailers or refused.headers)["grpc-accept-encoding"] == "identity,deflate,gzip"


# --- Large ---------------------------------------------------------------------------------------------------------


async def test_an_upload_larger_than_the_windows() -> None:
    async with serving() as served, calling(served, 2**30) as caller:
        caller.open_window(2**30)
        number, data = caller.begin(ECHO), pattern(8 * MIB)
        await caller.send(number, framed(data), end=True)
        assert (await caller.reply(number)).only == data


async def test_uploads_at_once_share_the_connection() -> None:
    async with serving() as served, calling(served, 2**30) as caller:
        caller.open_window(2**30)

        async def upload(size: int) -> bytes:
            number = caller.begin(ECHO)
            await caller.send(number, framed(pattern(size)), end=True)
            return (await caller.reply(number)).only

        sizes = [MIB + each * 1001 for each in range(8)]
        assert await asyncio.gather(*map(upload, sizes)) == [pattern(size) for size in sizes]


@pytest.mark.parametrize("connections", [1, 9])
async def test_requests_that_never_become_whole_have_a_bound(connections: int) -> None:
    """Of one connection four times the largest message, of all of them 32 times: nobody's key is looked at before."""
    largest = 64 * KIB
    data = bytes(largest - 100)
    part = framed(data)[:-1]
    async with serving(max_message_bytes=largest) as served, AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(calling(served)) for _ in range(connections)]
        begun = [(caller, caller.begin(ECHO)) for caller in callers for _ in range(4)]
        for caller, number in begun:
            await caller.send(number, part, end=False)
        first = callers[0]
        one_more = first.begin(ECHO)
        await first.send(one_more, part, end=False)
        assert (await first.reply(one_more)).status == RESOURCE_EXHAUSTED
        await until(lambda: served.kept_bytes() <= 32 * largest)
        kept = [each for each in begun if not each[0].replies[each[1]].over]
        assert len(kept) == min(4 * connections, 32)
        for caller, number in kept:
            await caller.send(number, b"\0", end=True)
            assert (await caller.reply(number)).only == data
        assert served.kept_bytes() == 0


async def test_a_request_that_is_taken_back_is_kept_no_longer() -> None:
    async with serving() as served, calling(served) as caller:
        number = caller.begin(ECHO)
        await caller.send(number, framed(pattern(MIB // 4))[:-1], end=False)
        await until(lambda: served.kept_bytes() > 0)
        caller.cancel(number)
        await until(lambda: served.kept_bytes() == 0)


async def test_messages_that_a_handler_does_not_take_stay_with_the_caller() -> None:
    async with serving() as served, calling(served) as caller:
        number, size = caller.begin(COLLECT), 100 * KIB
        sending = asyncio.create_task(caller.send(number, framed(pattern(size)) * 80, end=True))
        await until(lambda: caller.h2.local_flow_control_window(number) == 0)
        (stream,) = served.connection.streams.values()
        await until(lambda: len(stream.body) + sum(map(len, stream.messages or ())) > 900 * KIB)
        assert (await caller.ask(ECHO, b"others go on")).only == b"others go on"
        assert caller.h2.local_flow_control_window(number) == 0
        assert len(stream.body) + sum(map(len, stream.messages or ())) <= MIB
        served.service.may_end.set()
        await sending
        assert (await caller.reply(number)).messages == [b" ".join([b"%d" % size] * 80)]


async def test_a_message_as_large_as_allowed_and_one_byte_more() -> None:
    async with serving(max_message_bytes=MIB) as served, calling(served, 2**30) as caller:
        caller.open_window(2**30)
        number = caller.begin(ECHO)
        await caller.send(number, framed(pattern(MIB)), end=True)
        assert (await caller.reply(number)).only == pattern(MIB)
        number = caller.begin(ECHO)
        caller.h2.send_data(number, framed(pattern(MIB + 1))[:100])
        caller.flush()
        reply = await caller.reply(number)
        assert (reply.status, reply.message) == (8, f"the message is larger than {MIB} bytes")
        await caller.until(lambda: bool(caller.of(Kind.RST_STREAM)))
        assert [(each.stream, each.error) for each in caller.of(Kind.RST_STREAM)] == [(number, NO_ERROR)]
        assert (await caller.ask(ECHO, b"after")).only == b"after"


async def test_what_was_under_way_to_a_refused_upload_is_let_pass() -> None:
    too_large = b"\x00\xff\xff\xff\xff"
    upload = b"".join(frame(Kind.DATA, 1, data) for data in (too_large, *[bytes(10_000)] * 50))
    trailers = frame(Kind.HEADERS, 1, b"\x00\x03x-a\x011", END_STREAM | END_HEADERS)
    async with serving() as served:
        found = await answered(served, HELLO + HEADERS, upload, trailers, call(3, ECHO, b"after"), last=3)
        assert [(each.stream, each.payload) for each in found if each.kind == Kind.DATA] == [(3, framed(b"after"))]


# --- Messages that are none ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "body", "encoding", "status"),
    [
        (ECHO, b"", "identity", 13),
        (ECHO, framed(b"half")[:3], "identity", 13),
        (ECHO, framed(b"half")[:-1], "identity", 13),
        (ECHO, framed(b"one") + framed(b"two"), "identity", 13),
        (ECHO, framed(b"one") + b"\x00", "identity", 13),
        (COUNT, framed(b"1 1") + framed(b"1 1"), "identity", 13),
        (COUNT, b"", "identity", 13),
        (BOTH, framed(b"half")[:-1], "identity", 13),
        (BOTH, framed(b"one") + framed(b"half")[:-1], "identity", 13),
        (BOTH, framed(bytes(20_000)), "identity", 8),
        (ECHO, framed(bytes(20_000)), "identity", 8),
        (ECHO, framed(gzip.compress(bytes(20_000), mtime=0), 1), "gzip", 8),
        (ECHO, framed(b"x", 1), "gzip", 13),
        (ECHO, framed(b"x", 1), "identity", 13),
        (ECHO, framed(b"x", 1), "br", 12),
        (BOTH, framed(b"x", 1), "br", 12),
        (ECHO, framed(b"x"), "br", 0),
        (ECHO, framed(gzip.compress(b"x", mtime=0), 1), "gzip", 0),
        (BOTH, framed(zlib.compress(b"x"), 1) + framed(b"y"), "deflate", 0),
        (BOTH, b"", "identity", 0),
    ],
)
async def test_what_a_body_may_be(method: str, body: bytes, encoding: str, status: int) -> None:
    async with serving(max_message_bytes=10_000) as served, calling(served) as caller:
        number = caller.begin(method, ("grpc-encoding", encoding))
        for at in range(0, len(body), 7000):
            caller.h2.send_data(number, body[at : at + 7000])
        caller.h2.end_stream(number)
        caller.flush()
        reply = await caller.reply(number)
        assert (reply.ended, reply.status) == (True, status)
        assert (await caller.ask(ECHO, b"after")).only == b"after"


@pytest.mark.parametrize(("length", "good"), [("10", True), ("9", False), ("11", False), ("0", False)])
@pytest.mark.parametrize("method", [ECHO, BOTH])
async def test_a_request_is_as_long_as_it_says(method: str, length: str, good: bool) -> None:
    async with serving() as served:
        head = frame(Kind.HEADERS, 1, call_fields(method) + fields({"content-length": length}), END_HEADERS)
        found = await answered(served, HELLO + head + frame(Kind.DATA, 1, BODY, END_STREAM))
        if good:
            assert [each.payload for each in found if each.kind == Kind.DATA] == [BODY]
        else:
            assert found[-1].error == PROTOCOL_ERROR


async def test_a_caller_may_take_its_table_of_headers_away() -> None:
    async with serving() as served, calling(served) as caller:
        for size in (0, 4096, 100, 0):
            caller.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: size})
            assert (await caller.ask(ECHO, b"hi")).only == b"hi"
            assert (await caller.ask(f"/{NAME}/None")).status == 12


async def test_a_request_without_a_body_at_all() -> None:
    async with serving() as served, calling(served) as caller:
        assert (await caller.reply(caller.begin(ECHO, end=True))).status == 13
        assert (await caller.reply(caller.begin(BOTH, end=True))).status == 0


async def test_a_stream_of_requests_is_answered_as_it_comes() -> None:
    async with serving() as served, calling(served) as caller:
        number = caller.begin(BOTH)
        reply = caller.replies[number]
        for count in range(1, 20):
            caller.h2.send_data(number, framed(b"%d" % count))
            caller.flush()
            await caller.until(partial(has_messages, reply, count))
        caller.h2.end_stream(number)
        caller.flush()
        assert (await caller.reply(number)).messages == [b"%d" % count for count in range(1, 20)]


def has_messages(reply: Reply, count: int) -> bool:
    return len(reply.messages) == count


# --- Who is asked, and how -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({":method": "GET"}, "405"),
        ({":method": "PUT"}, "405"),
        ({"content-type": "application/json"}, "415"),
        ({"content-type": ""}, "415"),
        ({"content-type": None}, "415"),
        ({"content-type": "application/grpc+proto"}, "200"),
        ({"te": None}, "200"),
    ],
    ids=str,
)
async def test_only_calls_of_grpc_are_answered_by_grpc(change: dict[str, str | None], status: str) -> None:
    async with serving() as served, calling(served) as caller:
        headers = dict(request_headers(ECHO)) | change
        number = caller.h2.get_next_available_stream_id()
        caller.h2.send_headers(number, [(name, value) for name, value in headers.items() if value is not None])
        caller.h2.send_data(number, BODY, end_stream=True)
        caller.flush()
        reply = await caller.reply(number)
        assert (reply.ended, reply.headers[":status"]) == (True, status)
        assert len(served.service.contexts) == (status == "200")
        assert (await caller.ask(ECHO, b"after")).only == b"after"


@pytest.mark.parametrize("method", [f"/{NAME}/None", "/none.None/Echo", "/", "/%", "no/path", f"{ECHO}/", "//"])
async def test_a_method_that_is_not_served(method: str) -> None:
    async with serving() as served, calling(served) as caller:
        for _ in range(2):
            reply = await caller.ask(method, b"hi")
            assert (reply.status, reply.trailers, bytes(reply.data)) == (12, {}, b"")
        assert (await caller.ask(ECHO, b"after")).only == b"after"


async def test_metadata_arrives_and_comes_back() -> None:
    async with serving() as served, calling(served) as caller:
        sent = [
            ("x-a", "1"),
            ("x-a", "2"),
            ("x-long", "v" * 5000),
            ("x-empty", ""),
            ("x-bytes-bin", "AAH/"),
            ("x-padded-bin", "AA=="),
            ("x-unpadded-bin", "AA"),
            ("user-agent", "kit/1"),
            ("grpc-timeout", "20S"),
        ]
        reply = await caller.ask(META, b"", *sent)
        (context,) = served.service.contexts
        assert list(context.invocation_metadata()) == [
            *sent[:4],
            ("x-bytes-bin", b"\x00\x01\xff"),
            ("x-padded-bin", b"\x00"),
            ("x-unpadded-bin", b"\x00"),
            ("user-agent", "kit/1"),
        ]
        assert 15 < context.time_remaining() <= 20
        assert reply.trailers == {
            "grpc-status": "0",
            "x-a": "2",  # the kit keeps the last one
            "x-long": "v" * 5000,
            "x-empty": "",
            "x-bytes-bin": "AAH/",
            "x-padded-bin": "AA",
            "x-unpadded-bin": "AA",
        }


async def test_trailers_larger_than_a_frame() -> None:
    async with serving() as served, calling(served) as caller:
        text = "ü" * 8000
        reply = await caller.ask(FAIL, text.encode())
        assert (reply.status, reply.message) == (9, text)
        assert len([each for each in caller.frames if each.kind == Kind.CONTINUATION]) == 2


async def test_metadata_beyond_the_bound_is_refused_and_far_beyond_ends_the_connection() -> None:
    async with serving() as served, calling(served) as caller:
        reply = await caller.ask(ECHO, b"", *[(f"x-{number}", "v" * 1000) for number in range(17)])
        assert reply.status == 8
        assert "metadata" in reply.message
        assert not served.service.contexts
        assert (await caller.ask(ECHO, b"after")).only == b"after"
        caller.begin(ECHO, *[(f"x-{number}", "v" * 1000) for number in range(70)])
        (farewell,) = await caller.farewells()
        assert farewell.error == ENHANCE_YOUR_CALM
        await caller.end()
        assert len(served.service.contexts) == 1


@pytest.mark.parametrize("size", [1, 2**14])
async def test_headers_that_never_end_are_bounded(size: int) -> None:
    async with serving() as served, calling(served) as caller:
        caller.write(frame(Kind.HEADERS, 1, HEAD))
        for _ in range(0, 70 * KIB, size):
            caller.write(frame(Kind.CONTINUATION, 1, bytes(size)))
        (farewell,) = await caller.farewells()
        assert farewell.error == ENHANCE_YOUR_CALM


async def test_frames_of_other_streams_may_not_come_between_the_parts_of_headers() -> None:
    async with serving() as served:
        for between in (frame(Kind.PING, 0, bytes(8)), any_frame(UNKNOWN, 0, b""), frame(Kind.CONTINUATION, 3, b"")):
            found = await answered(served, HELLO + frame(Kind.HEADERS, 1, HEAD) + between)
            assert found[-1].error == PROTOCOL_ERROR


# --- The gRPC library as a caller ----------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", grpc.Compression)
async def test_the_library_calls_every_kind_of_method(compression: grpc.Compression) -> None:
    async with serving() as served, served.channel() as channel:
        options: dict[str, Any] = {"compression": compression, "timeout": 10}
        for size in (0, 1, 16_378, 16_379, 16_380, MIB):
            assert await channel.unary_unary(ECHO)(pattern(size), **options) == pattern(size)
        counted = channel.unary_stream(COUNT)(b"50 20000", **options)
        assert [each async for each in counted] == [pattern(20_000)] * 50
        sent = [pattern(size) for size in (0, 1, 100_000, 5)]
        assert [each async for each in channel.stream_stream(BOTH)(iter(sent), **options)] == sent


async def test_the_library_uploads_and_downloads_8_mib() -> None:
    async with serving() as served, served.channel(*LARGE) as channel:
        assert await channel.unary_unary(ECHO)(pattern(8 * MIB), timeout=10) == pattern(8 * MIB)
        assert await channel.unary_unary(FILL)(b"%d" % (8 * MIB), timeout=10) == pattern(8 * MIB)


@pytest.mark.parametrize(
    "text", ["", "plain", "50 % of it", "%41", "ü€😀", "a\nb\t\0", " spaces ", "~" * 5000], ids=repr
)
async def test_the_library_reads_every_status(text: str) -> None:
    async with serving() as served, served.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(FAIL)(text.encode(), timeout=10)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert caught.value.details() == text
        assert list(caught.value.trailing_metadata()) == [("x-why", "so"), ("x-why-bin", b"\x00\xff")]


async def test_the_library_sends_metadata() -> None:
    async with serving() as served, served.channel() as channel:
        sent = [("x-a", "1"), ("x-a", "2"), ("x-b-bin", b"\x00\x01\xff"), ("x-b-bin", b""), ("x-c", "v" * 5000)]
        for _ in range(3):  # known blocks included
            call = channel.unary_unary(META)(b"", metadata=sent, timeout=10)
            assert await call == b""
            assert [each for each in served.service.contexts[-1].invocation_metadata() if each[0][:2] == "x-"] == sent
            assert list(await call.trailing_metadata()) == sent
