"""The decoder of a JSON array in pieces: any cutting gives the same elements, and none is longer than its cap."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.dialects.framing import Framed
from llmgateway_server.providers.dialects.json_array import JsonArrayDecoder

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ['"', "\\", '\\"', "]", "}", "[{", '"}]', "\\\\", "🙂"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ELEMENTS = st.lists(st.dictionaries(TEXTS, VALUES, max_size=3), max_size=5)
BLANKS = st.sampled_from(["", " ", "\r\n", "\n\n  "])
PLACES = st.lists(st.integers(0, 10_000), max_size=20)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Arrays as vendors write them, with blanks anywhere between elements, and their elements."""
    pretty, ascii_only = draw(st.booleans()), draw(st.booleans())
    elements = [
        json.dumps(each, indent=1 if pretty else None, ensure_ascii=ascii_only).encode() for each in draw(ELEMENTS)
    ]
    body = b"["
    for i, element in enumerate(elements):
        body += draw(BLANKS).encode() + (b"," if i else b"") + draw(BLANKS).encode() + element
    return draw(BLANKS).encode() + body + draw(BLANKS).encode() + b"]" + draw(BLANKS).encode(), elements


def decoded(decoder: JsonArrayDecoder, pieces: list[bytes]) -> Framed:
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.end()


def cut(body: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:stop] for start, stop in itertools.pairwise(bounds)]


def every_byte(body: bytes) -> list[bytes]:
    return [body[i : i + 1] for i in range(len(body))]


def failure(decoder: JsonArrayDecoder, pieces: list[bytes]) -> Reason:
    with pytest.raises(UpstreamError) as caught:
        decoded(decoder, pieces)
    return caught.value.reason


@settings(deadline=None)
@given(bodies(), PLACES)
def test_any_cutting_gives_the_same_elements(made: tuple[bytes, list[bytes]], places: list[int]) -> None:
    body, elements = made
    expected = [(b"", element) for element in elements]
    for pieces in ([body], cut(body, places), every_byte(body)):
        assert decoded(JsonArrayDecoder(), pieces) == expected


@settings(deadline=None)
@given(bodies(), PLACES, st.integers(1, 40))
def test_an_element_over_its_cap_is_refused_however_it_is_cut(
    made: tuple[bytes, list[bytes]], places: list[int], cap: int
) -> None:
    body, elements = made
    for pieces in ([body], cut(body, places), every_byte(body)):
        if any(len(element) > cap for element in elements):
            assert failure(JsonArrayDecoder(cap), pieces) is Reason.UPSTREAM_MALFORMED
        else:
            assert decoded(JsonArrayDecoder(cap), pieces) == [(b"", element) for element in elements]


@settings(deadline=None)
@given(bodies(), st.data())
def test_an_array_that_breaks_off_is_not_whole(made: tuple[bytes, list[bytes]], data: st.DataObject) -> None:
    body = made[0].rstrip()
    at = data.draw(st.integers(0, len(body) - 1))
    assert failure(JsonArrayDecoder(), [body[:at]]) is Reason.UPSTREAM_MALFORMED


@settings(deadline=None)
@given(st.text('[]{}"\\a, ', max_size=20), PLACES)
def test_noise_is_the_same_however_it_is_cut(noise: str, places: list[int]) -> None:
    def outcome(pieces: list[bytes]) -> Any:
        try:
            return decoded(JsonArrayDecoder(), pieces)
        except UpstreamError as error:
            return error.reason

    body = noise.encode()
    assert outcome(cut(body, places)) == outcome(every_byte(body)) == outcome([body])


@pytest.mark.parametrize("body", [b'{"a":1}', b'["a"]', b"[[1]]", b'"a"', b"}", b"[}]", b'[{}"'])
def test_what_is_no_array_of_objects_is_refused(body: bytes) -> None:
    assert failure(JsonArrayDecoder(), [body]) is Reason.UPSTREAM_MALFORMED


def test_an_element_comes_out_as_soon_as_it_ends() -> None:
    decoder = JsonArrayDecoder()
    assert decoder.feed(b'[{"a": "}') == []
    assert decoder.feed(b'\\"]"}') == [(b"", b'{"a": "}\\"]"}')]
    assert decoder.feed(b'\n,\r\n{"b":[{}]},{') == [(b"", b'{"b":[{}]}')]
    assert decoder.feed(b"}]") == [(b"", b"{}")]
    assert decoder.end() == []


def test_what_follows_the_array_is_not_looked_at() -> None:
    assert decoded(JsonArrayDecoder(), [b"[{}]}}}", b'"{"', b"x" * 100]) == [(b"", b"{}")]


def test_one_byte_reads_of_a_long_element_stay_linear() -> None:
    body = b'[{"a":"' + b"x" * 200_000 + b'"}]'
    began_s = time.process_time()
    assert len(decoded(JsonArrayDecoder(), every_byte(body))) == 1
    assert time.process_time() - began_s < 10
