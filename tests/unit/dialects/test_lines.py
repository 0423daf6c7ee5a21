"""The decoder of a JSON document per line: any cutting gives the same lines, and none is longer than its cap."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.dialects.framing import Framed
from llmgateway_server.providers.dialects.lines import LineDecoder

CAP = 10

LINES = st.one_of(
    st.sampled_from([b"", b" ", b"\t \r", b"{}", b' {"a":1} ', b"\r", b"\r\r", b"not JSON"]),
    st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=12).map(str.encode),
    st.sampled_from(['"\u2028"', '"\x85"', '"日本語 🙂"']).map(str.encode),
)
BODIES = st.tuples(st.lists(LINES, max_size=10), st.sampled_from([b"\n", b"\r\n"]), st.booleans()).map(
    lambda made: made[1].join(made[0]) + (made[1] if made[2] else b"")
)
PLACES = st.lists(st.integers(0, 10_000), max_size=20)


def plain_reading(body: bytes) -> Framed:
    return [(b"", line.strip()) for line in body.split(b"\n") if line.strip()]


def decoded(decoder: LineDecoder, pieces: list[bytes]) -> Framed:
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.end()


def cut(body: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:stop] for start, stop in itertools.pairwise(bounds)]


def every_byte(body: bytes) -> list[bytes]:
    return [body[i : i + 1] for i in range(len(body))]


@settings(deadline=None)
@given(BODIES, PLACES)
def test_any_cutting_gives_the_same_lines(body: bytes, places: list[int]) -> None:
    expected = plain_reading(body)
    for pieces in ([body], cut(body, places), every_byte(body)):
        assert decoded(LineDecoder(), pieces) == expected


@settings(deadline=None)
@given(BODIES, PLACES)
def test_a_line_over_its_cap_is_refused_however_it_is_cut(body: bytes, places: list[int]) -> None:
    too_long = any(len(line) > CAP for line in body.split(b"\n"))
    for pieces in ([body], cut(body, places), every_byte(body)):
        if too_long:
            with pytest.raises(UpstreamError) as caught:
                decoded(LineDecoder(CAP), pieces)
            assert caught.value.reason is Reason.UPSTREAM_MALFORMED
        else:
            assert decoded(LineDecoder(CAP), pieces) == plain_reading(body)


def test_a_line_comes_out_as_soon_as_it_ends() -> None:
    decoder = LineDecoder()
    assert decoder.feed(b'{"a":1}') == []
    assert decoder.feed(b'\n{"b"') == [(b"", b'{"a":1}')]
    assert decoder.feed(b":2}\r\n\r\n") == [(b"", b'{"b":2}')]
    assert decoder.end() == []


def test_the_last_line_may_lack_its_end() -> None:
    decoder = LineDecoder()
    assert decoder.feed(b'{"a":1} ') == []
    assert decoder.end() == [(b"", b'{"a":1}')]
    assert decoder.end() == []


def test_the_cap_is_for_a_line_and_not_for_a_read() -> None:
    line = b"x" * CAP
    assert decoded(LineDecoder(CAP), [b"\n".join([line] * 1000)]) == [(b"", line)] * 1000


def test_one_byte_reads_of_a_long_line_stay_linear() -> None:
    began_s = time.process_time()
    assert len(decoded(LineDecoder(), every_byte(b"x" * 200_000))) == 1
    assert time.process_time() - began_s < 5
