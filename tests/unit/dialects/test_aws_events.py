"""Amazon's binary events: however they are cut, with every fault, against the reader of the vendor's own client."""

from __future__ import annotations

import itertools
import struct
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer, ParserError
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.dialects.aws_events import (
    AWS_EVENTS,
    MAX_HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    MEDIA_TYPE,
    AwsEventDecoder,
)
from llmgateway_server.providers.dialects.framing import Framed, framing_for
from llmgateway_server.testing.fake_provider.bedrock_converse_frames import event, exception, message

HELLO = event("contentBlockDelta", b'{"text":"hello"}')
NAMES = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=12)
WORDS = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES = st.one_of(
    st.booleans().map(lambda value: bytes([0 if value else 1])),
    st.binary(min_size=1, max_size=1).map(b"\x02".__add__),
    st.binary(min_size=2, max_size=2).map(b"\x03".__add__),
    st.binary(min_size=4, max_size=4).map(b"\x04".__add__),
    st.binary(min_size=8, max_size=8).map(b"\x05".__add__),
    st.binary(max_size=20).map(lambda value: b"\x06" + struct.pack(">H", len(value)) + value),
    WORDS.map(lambda value: b"\x07" + struct.pack(">H", len(value.encode())) + value.encode()),
    st.binary(min_size=8, max_size=8).map(b"\x08".__add__),
    st.binary(min_size=16, max_size=16).map(b"\x09".__add__),
)
"""Headers' values of every type."""


def wrapped(headers: bytes, payload: bytes) -> bytes:
    """Writes a message around headers that are as they should be, or not."""
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    begun = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return begun + struct.pack(">I", crc32(begun))


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Messages with headers of all types; some tell what they are."""
    told = draw(
        st.sampled_from(
            [
                {},
                {":message-type": "event", ":event-type": "metadata"},
                {":message-type": "exception", ":exception-type": "throttlingException"},
                {":message-type": "error", ":error-code": "InternalFailure", ":error-message": "x"},
            ]
        )
    )
    others = draw(st.dictionaries(NAMES, VALUES, max_size=3))
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in told.items()
    )
    headers += b"".join(
        bytes([len(name)]) + name.encode() + value for name, value in others.items() if name not in told
    )
    return wrapped(headers, draw(st.binary(max_size=60)))


def read(body: bytes, bounds: list[int] | range = range(0)) -> Framed:
    decoder = AwsEventDecoder()
    found: Framed = []
    for start, stop in itertools.pairwise([0, *bounds, len(body)]):
        found += decoder.feed(body[start:stop])
    return found + decoder.end()


def judged(body: bytes) -> Framed:
    """Returns what the vendor's own client reads, in our words."""
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    found = []
    for each in buffer:
        kind = each.headers.get(":message-type", "event")
        name = {"event": ":event-type", "exception": ":exception-type", "error": ":error-code"}[kind]
        mark = "" if kind == "event" else "!"
        found.append((f"{mark}{each.headers.get(name, '')}".encode(), each.payload))
    return found


def is_nothing_to_the_vendors_client(body: bytes) -> bool:
    """Tells whether the client refuses a body, or waits for more of it."""
    try:
        return judged(body) == []
    except ParserError:
        return True


def assert_malformed(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        read(body)
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


@given(st.lists(messages(), max_size=4), st.data())
def test_what_the_vendors_client_reads_is_read_however_it_is_cut(bodies: list[bytes], data: st.DataObject) -> None:
    body = b"".join(bodies)
    expected = judged(body)
    assert len(expected) == len(bodies)
    bounds = data.draw(st.lists(st.integers(0, len(body)), max_size=10).map(sorted))
    for cut in ([], bounds, range(1, len(body))):
        assert read(body, cut) == expected


@given(st.text(NAMES, max_size=0) | NAMES, st.binary(max_size=60))
def test_what_is_written_is_what_the_vendors_client_reads(name: str, payload: bytes) -> None:
    assert judged(event(name, payload)) == read(event(name, payload)) == [(name.encode(), payload)]
    assert judged(exception(name, payload)) == read(exception(name, payload)) == [(b"!" + name.encode(), payload)]


@pytest.mark.parametrize("bit", range(8))
def test_no_bit_can_change(bit: int) -> None:
    """In the prelude, in the headers, in the payload, in both checksums."""
    for at in range(len(HELLO)):
        changed = bytearray(HELLO)
        changed[at] ^= 1 << bit
        assert_malformed(bytes(changed))
        assert is_nothing_to_the_vendors_client(bytes(changed))


@settings(deadline=None)
@given(st.lists(messages(), min_size=1, max_size=3), st.data())
def test_a_change_anywhere_is_an_error_and_what_came_before_is_read(bodies: list[bytes], data: st.DataObject) -> None:
    body = bytearray(b"".join(bodies))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    assert_malformed(bytes(body))
    whole = list(itertools.takewhile(lambda stop: stop <= at, itertools.accumulate(map(len, bodies))))
    decoder = AwsEventDecoder()
    for start, stop in itertools.pairwise([0, *whole]):
        assert len(decoder.feed(bytes(body[start:stop]))) == 1


@given(st.binary(min_size=1, max_size=80))
def test_noise_is_no_event(noise: bytes) -> None:
    assert_malformed(noise)


@pytest.mark.parametrize("stop", range(1, len(HELLO)))
def test_a_body_that_ends_inside_an_event_was_cut(stop: int) -> None:
    assert_malformed(HELLO + HELLO[:stop])


def test_an_empty_body_is_no_event() -> None:
    assert read(b"") == []


# ---------------------------------------------------------------------------------------------------------------------
# Lengths
# ---------------------------------------------------------------------------------------------------------------------


def prelude(total: int, header_bytes: int) -> bytes:
    lengths = struct.pack(">II", total, header_bytes)
    return lengths + struct.pack(">I", crc32(lengths))


@pytest.mark.parametrize(
    ("total", "header_bytes"),
    [
        (0, 0),
        (15, 0),
        (16, 1),
        (100, 85),
        (2**32 - 1, 0),
        (2**32 - 1, 2**32 - 1),
        (MAX_PAYLOAD_BYTES + 17, 0),
        (MAX_HEADER_BYTES + 17, MAX_HEADER_BYTES + 1),
    ],
)
def test_an_impossible_length_is_refused_before_anything_else_comes(total: int, header_bytes: int) -> None:
    with pytest.raises(UpstreamError) as caught:
        AwsEventDecoder().feed(prelude(total, header_bytes))
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


@pytest.mark.parametrize(
    ("total", "header_bytes"),
    [(16, 0), (MAX_PAYLOAD_BYTES + 16, 0), (MAX_HEADER_BYTES + 16, MAX_HEADER_BYTES)],
)
def test_the_largest_messages_are_waited_for(total: int, header_bytes: int) -> None:
    assert AwsEventDecoder().feed(prelude(total, header_bytes)) == []
    buffer = EventStreamBuffer()
    buffer.add_data(prelude(total, header_bytes))
    assert list(buffer) == []


def test_the_bounds_are_those_of_the_vendors_client() -> None:
    for total, header_bytes in ((MAX_PAYLOAD_BYTES + 17, 0), (MAX_HEADER_BYTES + 17, MAX_HEADER_BYTES + 1)):
        buffer = EventStreamBuffer()
        buffer.add_data(prelude(total, header_bytes))
        with pytest.raises(ParserError):
            next(buffer)


# ---------------------------------------------------------------------------------------------------------------------
# Headers
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        b"\x05name",
        b"\x04name",
        b"\x04name\x0a",
        b"\x04name\xff\x00\x01a",
        b"\x04name\x07",
        b"\x04name\x07\x00",
        b"\x04name\x07\x00\x05abcd",
        b"\x04name\x04\x00\x00",
        b"\x04name\x07\x00\x01\xff",
        b"\x01\xff\x07\x00\x01a",
        b"\x01a\x00\x01a\x00",
        b"\x01a\x07\x00\x01x\x01a\x07\x00\x01y",
    ],
)
def test_headers_that_do_not_fill_their_place_are_malformed(headers: bytes) -> None:
    assert_malformed(wrapped(headers, b"{}"))


def test_a_message_without_a_kind_is_an_event() -> None:
    assert read(message({":event-type": "x"}, b"{}")) == [(b"x", b"{}")]
    assert read(wrapped(b"", b"{}")) == [(b"", b"{}")]


def test_an_unknown_kind_is_a_failure_by_its_own_name() -> None:
    assert read(message({":message-type": "novelty", ":event-type": "x"}, b"{}")) == [(b"!novelty", b"{}")]
    assert read(message({":message-type": "exception"}, b"{}")) == [(b"!exception", b"{}")]


@pytest.mark.parametrize(
    "content_type", [MEDIA_TYPE, f"{MEDIA_TYPE}; x=y", "", "**REDACTED**", "application/octet-stream"]
)
def test_the_framing_is_found_by_its_type(content_type: str) -> None:
    assert isinstance(framing_for(AWS_EVENTS, content_type), AwsEventDecoder)


def test_another_type_is_no_stream() -> None:
    with pytest.raises(UpstreamError):
        framing_for(AWS_EVENTS, "application/json")
