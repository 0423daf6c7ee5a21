"""Messages out of the bytes of a stream, however they come."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.transport.http2.headers import RequestHead
from llmgateway_server.transport.http2.status import INTERNAL, RESOURCE_EXHAUSTED, UNIMPLEMENTED
from llmgateway_server.transport.http2.stream import MessageError, Stream, framed

MAX_BYTES = 1000
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


def stream(encoding: str = "identity") -> Stream:
    return Stream(1, RequestHead("/a.B/C", None, encoding, ()), 65_535, 0.0)


def flagged(data: bytes, flag: int = 1) -> bytes:
    """Returns the frame of a message that says it is compressed."""
    return bytes((flag,)) + framed(data)[1:]


def taken(made: Stream, data: bytes, max_bytes: int = MAX_BYTES) -> bytes | None:
    made.body += data
    return made.message(max_bytes)


def refusal(made: Stream, data: bytes, max_bytes: int = MAX_BYTES) -> int:
    with pytest.raises(MessageError) as caught:
        taken(made, data, max_bytes)
    return caught.value.code


@st.composite
def chunkings(draw: st.DrawFn) -> tuple[list[bytes], list[bytes]]:
    """Returns messages, and their bytes cut anywhere."""
    messages = draw(st.lists(st.binary(max_size=60), max_size=6))
    data = b"".join(map(framed, messages))
    cuts = [0, *sorted(draw(st.lists(st.integers(0, len(data)), max_size=10))), len(data)]
    return messages, [data[begin:end] for begin, end in pairwise(cuts)]


@given(chunkings())
def test_messages_come_out_whole_however_they_are_cut(given: tuple[list[bytes], list[bytes]]) -> None:
    messages, chunks = given
    made, found = stream(), []
    for chunk in chunks:
        made.body += chunk
        while (message := made.message(MAX_BYTES)) is not None:
            found.append(message)
    assert found == messages
    assert not made.body


def test_nothing_is_no_message_and_an_empty_message_is_one() -> None:
    assert taken(stream(), b"") is None
    assert taken(stream(), framed(b"")[:4]) is None
    assert taken(stream(), framed(b"")) == b""


@pytest.mark.parametrize("encoding", COMPRESSIONS)
@given(data=st.binary(max_size=MAX_BYTES))
def test_compressed_messages(encoding: str, data: bytes) -> None:
    assert taken(stream(encoding), flagged(COMPRESSIONS[encoding](data)), 2 * MAX_BYTES) == data


@pytest.mark.parametrize("encoding", [*COMPRESSIONS, "br", "identity"])
def test_a_message_that_is_not_flagged_is_taken_as_it_is(encoding: str) -> None:
    assert taken(stream(encoding), framed(b"plain")) == b"plain"


@pytest.mark.parametrize("encoding", COMPRESSIONS)
@pytest.mark.parametrize(("beyond", "refused"), [(0, False), (1, True), (10_000, True)])
def test_what_counts_is_the_size_after_decompression(encoding: str, beyond: int, refused: bool) -> None:
    data = flagged(COMPRESSIONS[encoding](bytes(MAX_BYTES + beyond)))
    if refused:
        assert refusal(stream(encoding), data) == RESOURCE_EXHAUSTED
    else:
        assert taken(stream(encoding), data) == bytes(MAX_BYTES)


@pytest.mark.parametrize("encoding", COMPRESSIONS)
def test_a_bomb_costs_no_more_than_the_bound(encoding: str) -> None:
    bomb = flagged(COMPRESSIONS[encoding](bytes(64 * 1024 * 1024)))
    max_bytes = 1024 * 1024
    assert len(bomb) < max_bytes
    tracemalloc.start()
    try:
        assert refusal(stream(encoding), bomb, max_bytes) == RESOURCE_EXHAUSTED
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * max_bytes


@pytest.mark.parametrize("encoding", COMPRESSIONS)
@pytest.mark.parametrize(
    "spoil",
    [lambda data: b"", lambda data: data[:-1], lambda data: data[:5], lambda data: b"x" + data, lambda data: b"plain"],
    ids=["empty", "last_byte_missing", "head_only", "byte_before", "not_compressed"],
)
def test_a_message_that_cannot_be_decompressed(encoding: str, spoil: Callable[[bytes], bytes]) -> None:
    assert refusal(stream(encoding), flagged(spoil(COMPRESSIONS[encoding](b"message")))) == INTERNAL


@pytest.mark.parametrize("encoding", COMPRESSIONS)
@pytest.mark.parametrize(
    "more", [b"more", b"\0", zlib.compress(b"more"), gzip.compress(b"more")], ids=["text", "nul", "deflate", "gzip"]
)
def test_nothing_behind_the_compressed_data_is_lost_in_silence(encoding: str, more: bytes) -> None:
    assert refusal(stream(encoding), flagged(COMPRESSIONS[encoding](b"message") + more)) == INTERNAL


@pytest.mark.parametrize(("encoding", "code"), [("br", UNIMPLEMENTED), ("GZIP", UNIMPLEMENTED), ("identity", INTERNAL)])
def test_a_compression_that_is_not_known(encoding: str, code: int) -> None:
    assert refusal(stream(encoding), flagged(b"message")) == code


@pytest.mark.parametrize("flag", [2, 128, 255])
def test_a_flag_that_says_neither(flag: int) -> None:
    assert refusal(stream("gzip"), flagged(gzip.compress(b"message"), flag)) == INTERNAL


def test_too_large_is_said_at_the_head_already() -> None:
    head = framed(bytes(MAX_BYTES + 1))[:5]
    assert refusal(stream(), head) == RESOURCE_EXHAUSTED
    made = stream()
    made.body += head
    with pytest.raises(MessageError) as caught:
        made.check(MAX_BYTES)
    assert caught.value.code == RESOURCE_EXHAUSTED
    assert taken(stream(), framed(bytes(MAX_BYTES))) == bytes(MAX_BYTES)


def test_a_second_message_is_seen_while_it_comes_in() -> None:
    made = stream()
    made.body += framed(b"one")
    made.check(MAX_BYTES)
    made.body += b"\x00"
    with pytest.raises(MessageError) as caught:
        made.check(MAX_BYTES)
    assert caught.value.code == INTERNAL
