"""Header blocks in both directions; `hpack` itself is the judge."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import unquote_to_bytes

import pytest
from hpack import Decoder, Encoder, HPACKError
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.transport.http2 import headers
from llmgateway_server.transport.http2.frames import Code, ConnectionFaultError
from llmgateway_server.transport.http2.headers import MAX_METADATA_BYTES, OVERHEAD_BYTES, HeaderReader, RequestHead

Fields = list[tuple[str, str]]
REQUEST: Fields = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/a.B/C"),
    (":authority", "localhost"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]
visible = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40).map(str.strip)
names = st.sampled_from(["x-a", "x-b", "x-c", "authorization", "user-agent"])
requests = st.builds(
    lambda path, more: [*REQUEST[:2], (":path", path), *REQUEST[3:], *more],
    st.sampled_from(["/a.B/C", "/a.B/D"]),
    st.lists(st.tuples(names, visible), max_size=6),
)


def encoded(fields: Fields, *, huffman: bool = False) -> bytes:
    return Encoder().encode(fields, huffman=huffman)


def read(fields: Fields) -> RequestHead:
    return HeaderReader().read(encoded(fields))


def fault_of(fields: Fields) -> Code:
    with pytest.raises(ConnectionFaultError) as caught:
        read(fields)
    return caught.value.code


def decoded(block: bytes) -> Fields:
    return [(str(name), str(value)) for name, value in Decoder().decode(block)]


# --- What callers send ---------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(requests, st.booleans(), st.none() | st.sampled_from([0, 64, 200, 1000, 4096])),
        min_size=1,
        max_size=12,
    )
)
def test_every_request_is_read_as_it_was_encoded(
    sent: list[tuple[Fields, bool, int | None]],
) -> None:
    encoder, reader = Encoder(), HeaderReader()
    for fields, huffman, table_bytes in sent:
        if table_bytes is not None:
            encoder.header_table_size = table_bytes
        head = reader.read(encoder.encode(fields, huffman=huffman))
        assert head.method == dict(fields)[":path"]
        assert list(head.metadata) == fields[len(REQUEST) :]


@st.composite
def recordings(draw: st.DrawFn) -> list[bytes]:
    """Returns blocks of one encoder, some of them again and at a time when they may mean something else."""
    encoder, blocks = Encoder(), list[bytes]()
    for fields in draw(st.lists(requests, min_size=2, max_size=8)):
        encoder.header_table_size = draw(st.sampled_from([4096, 4096, 4096, 150, 0]))
        blocks.append(encoder.encode(fields, huffman=draw(st.booleans())))
        blocks.append(encoder.encode(fields))  # by now all of it stands in the table: a block to remember
    order = draw(st.lists(st.integers(0, len(blocks) - 1), max_size=20))
    return blocks + [blocks[number] for number in order]


def expected(decoder: Decoder, block: bytes) -> RequestHead | Code:
    """Returns what a block means to a reader without a memory."""
    try:
        return headers._head([(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)])
    except ConnectionFaultError as fault:
        return fault.code
    except HPACKError:
        return Code.COMPRESSION_ERROR


@settings(max_examples=300, deadline=None)
@given(recordings(), st.data())
def test_memory_of_known_blocks_is_never_stale(blocks: list[bytes], data: st.DataObject) -> None:
    plain, reader = Decoder(), HeaderReader()
    for block in blocks:
        want = expected(plain, block)
        try:
            found: RequestHead | Code = reader.read(block)
        except ConnectionFaultError as fault:
            found = fault.code
        assert found == want
        if isinstance(found, Code):
            return  # it ends the connection


def indexed(*numbers: int) -> bytes:
    return bytes(0x80 | number for number in numbers)


def added(name: str, value: str) -> bytes:
    """Returns a field that the table takes in (RFC 7541, 6.2.1)."""
    return b"\x40" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()


def resized(size: int) -> bytes:
    """Returns a new size of the table below 31 + 128 (RFC 7541, 6.3)."""
    return bytes((0x20 | size,)) if size < 31 else bytes((0x3F, size - 31))


KNOWN = indexed(3, 6, 4) + indexed(62)  # POST, http, `/` and the newest field of the table


@pytest.mark.parametrize(
    ("between", "skipped"),
    [
        pytest.param(indexed(3, 6, 4) + added("x-b", "2"), False, id="the_table_grew"),
        pytest.param(added("x-b", "2"), True, id="the_table_grew_by_trailers"),
        pytest.param(resized(40) + indexed(3, 6, 4) + added("x-b", "2"), False, id="the_old_field_was_evicted"),
    ],
)
def test_a_known_block_means_what_the_table_says_now(between: bytes, skipped: bool) -> None:
    reader = HeaderReader()
    reader.read(indexed(3, 6, 4) + added("x-a", "1"))
    for _ in range(3):
        assert reader.read(KNOWN).metadata == (("x-a", "1"),)
    if skipped:
        reader.skip(between)
    else:
        reader.read(between)
    for _ in range(3):
        assert reader.read(KNOWN).metadata == (("x-b", "2"),)


@pytest.mark.parametrize(
    "emptied",
    [resized(0) + indexed(3, 6, 4), resized(33) + indexed(3, 6, 4), indexed(3, 6, 4) + added("x-l", "l" * 120) * 40],
    ids=["size_0", "too_small", "pushed_out"],
)
def test_a_known_block_whose_field_is_gone_ends_the_connection_or_means_another(emptied: bytes) -> None:
    plain, reader = Decoder(), HeaderReader()
    for block in (indexed(3, 6, 4) + added("x-a", "1"), KNOWN, KNOWN, emptied):
        assert reader.read(block) == expected(plain, block)
    want = expected(plain, KNOWN)
    if isinstance(want, Code):
        with pytest.raises(ConnectionFaultError) as caught:
            reader.read(KNOWN)
        assert caught.value.code is want
    else:
        assert reader.read(KNOWN) == want != RequestHead("/", None, "identity", (("x-a", "1"),))


def test_memory_is_bounded() -> None:
    reader = HeaderReader()
    for number in range(1000):
        block = b"".join(headers.literal(*each) for each in (*REQUEST, ("x-a", f"{number}" * 1000)))
        reader.read(block)
    assert sum(map(len, reader._known)) <= headers.REMEMBERED_COUNT * headers.REMEMBERED_BYTES


@pytest.mark.parametrize(
    "block",
    [b"\x80", indexed(62), b"\xff" * 10, b"\x40\x05ab", b"\x00\x81\xff\x00", b"\x3f\xff\x7f"],
    ids=["index_0", "no_such_index", "endless_number", "cut_off", "bad_huffman", "table_too_large"],
)
def test_a_block_that_cannot_be_decoded_ends_the_connection(block: bytes) -> None:
    with pytest.raises(ConnectionFaultError) as caught:
        HeaderReader().read(block)
    assert caught.value.code is Code.COMPRESSION_ERROR


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_end_the_connection(block: bytes) -> None:
    for take in (HeaderReader().read, HeaderReader().skip):
        with suppress(ConnectionFaultError):
            take(block)


# --- What they may ask for -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1H", 3600.0),
        ("2M", 120.0),
        ("3S", 3.0),
        ("4m", 0.004),
        ("5u", 5e-6),
        ("6n", 6e-9),
        ("99999999H", 99999999 * 3600.0),
        ("00000001S", 1.0),
        ("0S", 0.0),
        ("100000000S", None),
        ("", None),
        ("S", None),
        ("1", None),
        ("1s", None),
        ("-1S", None),
        ("1.5S", None),
        ("1 S", None),
        ("1S ", None),
        ("٣S", None),
        ("1S\n", None),
    ],
)
def test_timeouts(text: str, seconds: float | None) -> None:
    found = headers.timeout_s(text)
    assert found == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("change", "position"),
    [
        *[
            ((name, "x"), 6)
            for name in ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade")
        ],
        (("te", "gzip"), 4),
        (("X-Upper", "x"), 6),
        (("", "x"), 6),
        (("x a", "x"), 6),
        (("x\na", "x"), 6),
        ((":status", "200"), 0),
        ((":protocol", "websocket"), 0),
        ((":path", "/again"), 3),
        ((":late", "x"), 6),
        ((":authority", "late"), 6),
    ],
    ids=str,
)
def test_headers_that_http2_forbids_end_the_connection(change: tuple[str, str], position: int) -> None:
    fields = [each for each in REQUEST if each[0] != ":authority" or change[0] != ":authority"]
    assert fault_of([*fields[:position], change, *fields[position:]]) is Code.PROTOCOL_ERROR


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", "a\r\nx-forged: 1"], ids=repr)
def test_no_value_may_hold_a_line_end_or_nul(value: str) -> None:
    assert fault_of([*REQUEST, ("x-a", value)]) is Code.PROTOCOL_ERROR
    assert fault_of([*REQUEST[:2], (":path", f"/a{value}"), *REQUEST[3:]]) is Code.PROTOCOL_ERROR


@pytest.mark.parametrize("name", [":method", ":scheme", ":path"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_request_without_a_pseudo_header_ends_the_connection(name: str, value: str | None) -> None:
    fields = [each for each in REQUEST if each[0] != name]
    assert fault_of(fields if value is None else [(name, value), *fields]) is Code.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        (":method", "GET", "405"),
        (":method", "PUT", "405"),
        ("content-type", "application/json", "415"),
        ("content-type", "", "415"),
        ("content-type", "application/grpc", None),
        ("content-type", "application/grpc+proto", None),
        ("content-type", "application/grpc;charset=utf-8", None),
    ],
)
def test_what_is_no_call_is_refused_as_http(name: str, value: str, status: str | None) -> None:
    refusal = read([(each, value if each == name else was) for each, was in REQUEST]).refusal
    assert dict(decoded(refusal)).get(":status") == status


def test_headers_of_the_protocol_are_no_metadata() -> None:
    more = [
        ("grpc-timeout", "1S"),
        ("grpc-encoding", "gzip"),
        ("grpc-accept-encoding", "gzip"),
        ("user-agent", "grpc-test/1"),
        ("x-a", "1"),
        ("x-a", "2"),
    ]
    head = read([*REQUEST, *more])
    assert (head.timeout_s, head.encoding) == (1.0, "gzip")
    assert head.metadata == (("user-agent", "grpc-test/1"), ("x-a", "1"), ("x-a", "2"))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("AAH/", [b"\x00\x01\xff"]),
        ("AA==", [b"\x00"]),
        ("AA", [b"\x00"]),
        ("", [b""]),
        ("AA==,Af8", [b"\x00", b"\x01\xff"]),
        ("AA,Af8=", [b"\x00", b"\x01\xff"]),
    ],
)
def test_binary_metadata(text: str, values: list[bytes]) -> None:
    assert read([*REQUEST, ("x-bin", text)]).metadata == tuple(("x-bin", value) for value in values)


@given(st.binary(max_size=200), st.booleans())
def test_any_binary_metadata(value: bytes, padded: bool) -> None:
    text = b64encode(value).decode()
    head = read([*REQUEST, ("x-bin", text if padded else text.rstrip("="))])
    assert head.metadata == (("x-bin", value),)


def size(fields: Fields) -> int:
    return sum(len(name) + len(value) + OVERHEAD_BYTES for name, value in fields)


@pytest.mark.parametrize(("beyond", "refused"), [(0, False), (1, True)])
def test_metadata_is_bounded_as_the_settings_say(beyond: int, refused: bool) -> None:
    fields = [*REQUEST, ("x-a", "")]
    fields[-1] = ("x-a", "v" * (MAX_METADATA_BYTES - size(fields) + beyond))
    assert read(fields).too_large is refused


@pytest.mark.parametrize("repeated", [1, 20], ids=["one_value", "one_field_of_the_table_again_and_again"])
def test_headers_far_beyond_the_bound_end_the_connection(repeated: int) -> None:
    value = "v" * (70_000 // repeated)
    assert fault_of([*REQUEST, *[("x-a", value)] * repeated]) is Code.ENHANCE_YOUR_CALM


def test_a_small_block_cannot_grow_large_by_the_table() -> None:
    reader = HeaderReader()
    reader.read(encoded(REQUEST) + added("x-a", "v" * 126))
    with pytest.raises(ConnectionFaultError) as caught:
        reader.read(indexed(3, 6, 4) + indexed(62) * 10_000)
    assert caught.value.code is Code.ENHANCE_YOUR_CALM


# --- What we send --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 254, 255, 300, 16_383, 16_384, 40_000])
def test_values_of_any_length(length: int) -> None:
    assert decoded(headers.literal("x-a", "v" * length)) == [("x-a", "v" * length)]
    name = "n" * max(1, length)
    assert decoded(headers.literal(name, "v")) == [(name, "v")]


@given(st.binary(max_size=400))
def test_values_of_bytes(value: bytes) -> None:
    ((name, text),) = decoded(headers.literal("x-bin", value))
    assert name == "x-bin"
    assert text == b64encode(value).decode().rstrip("=")


def percent(text: str) -> Iterator[str]:
    """Yields a message as PROTOCOL-HTTP2.md writes it, piece by piece."""
    for each in text.encode():
        yield chr(each) if 0x20 <= each <= 0x7E and each != 0x25 else f"%{each:02X}"


@given(st.integers(0, 16), st.text(max_size=300), st.lists(st.tuples(names, visible), max_size=3))
def test_trailers_say_what_they_were_given(code: int, message: str, metadata: Fields) -> None:
    status, *rest = decoded(headers.trailers(code, message, metadata))
    assert status == ("grpc-status", str(code))
    if message:
        (name, text), *rest = rest
        assert (name, text) == ("grpc-message", "".join(percent(message)))
        assert unquote_to_bytes(text).decode() == message
    assert rest == metadata


def test_replies_begin_with_what_grpc_says() -> None:
    assert decoded(headers.OK_HEADERS) == [(":status", "200"), ("content-type", "application/grpc")]
    assert decoded(headers.NEW_TABLE_SIZE_0 + headers.OK_HEADERS) == decoded(headers.OK_HEADERS)
