"""The decoder of server-sent events, against a plain reading of the standard."""

from __future__ import annotations

import itertools
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.dialects.sse import SseDecoder

Events = list[tuple[bytes, bytes]]

ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
TEXTS = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["\u2028", "a\u2029b", "\x85", "\x0b\x0c\x1c\x1d\x1e", "日本語", "🙂", " leading", "data: x", ":"]
)
LINES = st.one_of(
    st.just(""),
    st.just(""),
    TEXTS.map("data:{}".format),
    TEXTS.map("data: {}".format),
    st.text("abc_.", max_size=5).map("event: {}".format),
    TEXTS.map(": {}".format),
    TEXTS.map("id: {}".format),
    st.sampled_from(["data", "retry: 10", ":", "unknown", "dataset: x", "\ufeffdata: bom"]),
)


def plain_reading(body: bytes) -> Events:
    """Reads a whole body as the standard says, with the data at its end taken too."""
    events: Events = []
    name, data = "", list[str]()
    for line in [*re.split("\r\n|\r|\n", body.decode().removeprefix("\ufeff")), ""]:
        if not line:
            if data:
                events.append((name.encode(), "\n".join(data).encode()))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
    return events


def decoded(decoder: SseDecoder, pieces: list[bytes]) -> Events:
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.end()


def cut(body: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:stop] for start, stop in itertools.pairwise(bounds)]


@settings(deadline=None)
@given(st.lists(st.tuples(LINES, ENDS), max_size=12), st.booleans(), st.lists(st.integers(0, 10_000), max_size=20))
def test_any_cutting_gives_the_events_of_the_standard(
    lines: list[tuple[str, bytes]], bom: bool, places: list[int]
) -> None:
    body = (b"\xef\xbb\xbf" if bom else b"") + b"".join(line.encode() + end for line, end in lines)
    expected = plain_reading(body)
    assert decoded(SseDecoder(), [body]) == expected
    assert decoded(SseDecoder(), cut(body, places)) == expected
    assert decoded(SseDecoder(), [body[i : i + 1] for i in range(len(body))]) == expected


def test_names_of_events() -> None:
    body = b"event: error\ndata: 1\n\ndata: 2\n\nevent:ping\n\ndata: 3\n\n"
    assert decoded(SseDecoder(), [body]) == [(b"error", b"1"), (b"", b"2"), (b"", b"3")]


def test_several_lines_of_data_are_one_event() -> None:
    assert decoded(SseDecoder(), [b"data: {\ndata:  1\ndata\ndata: }\n\n"]) == [(b"", b"{\n 1\n\n}")]


def test_separators_of_unicode_do_not_end_lines() -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
    assert decoded(SseDecoder(), [f"data: {text}\n\n".encode()]) == [(b"", text.encode())]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_over_its_cap_is_refused(size: int, end: bytes) -> None:
    decoder = SseDecoder(max_line_bytes=100)
    body = b"data: " + b"x" * 95 + end
    with pytest.raises(UpstreamError) as caught:
        decoded(decoder, [body[at : at + size] for at in range(0, len(body), size)])
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


def test_a_line_at_its_cap_is_read() -> None:
    assert decoded(SseDecoder(max_line_bytes=100), [b"data: " + b"x" * 94 + b"\n\n"]) == [(b"", b"x" * 94)]


def test_an_event_over_its_cap_is_refused() -> None:
    decoder = SseDecoder(max_line_bytes=100, max_event_bytes=50)
    assert decoder.feed(b"data: " + b"x" * 30 + b"\n\n" + b"data: " + b"x" * 30 + b"\n") == [(b"", b"x" * 30)]
    with pytest.raises(UpstreamError):
        decoder.feed(b"data: " + b"x" * 30 + b"\n")


def test_a_mebibyte_in_single_bytes_takes_linear_time() -> None:
    def seconds(size: int) -> float:
        decoder = SseDecoder(max_line_bytes=2**21)
        began = time.process_time()
        for _ in range(size):
            decoder.feed(b"x")
        return time.process_time() - began

    quarter = min(seconds(2**18) for _ in range(3))
    assert seconds(2**20) < 4 * quarter * 2.5  # sixteen times as long if it were quadratic
