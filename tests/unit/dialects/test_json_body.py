"""What is mended of JSON that the decoder refused, and what is not."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.dialects.json_body import MAX_MENDED_BYTES, decode_again, mend

LONE = "\ufffd"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (rb'"\ud800"', LONE),
        (rb'"a\udc00b"', f"a{LONE}b"),
        (rb'"\uD800\n"', f"{LONE}\n"),
        (rb'"\ud83d\ude00"', "😀"),
        (rb'"\ud83d\ud83d\ude00\ude00"', f"{LONE}😀{LONE}"),
        (rb'"\ud800\u0041"', f"{LONE}A"),
        (rb'"\\ud800"', r"\ud800"),
        (rb'"\\\ud800"', f"\\{LONE}"),
        (rb'"\\ud83d\ude00"', rf"\ud83d{LONE}"),
        (b'\xef\xbb\xbf"a"', "a"),
        ('"\u20ac\\ud800"'.encode(), f"€{LONE}"),
    ],
)
def test_what_is_mended(body: bytes, text: str) -> None:
    assert msgspec.json.decode(mend(body)) == text


@given(st.lists(st.sampled_from([*'au\\"{d8€😀', "\ud800", "\udfff", "\ud83d", "\ude00", "\\u", "\\ud800"])))
def test_mended_text_is_what_a_lenient_reader_makes_of_it(pieces: list[str]) -> None:
    text = "".join(pieces)
    body = json.dumps(text).encode()
    lenient = json.loads(body).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert msgspec.json.decode(mend(body)) == lenient


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"NaN",
        b'{"a":-Infinity}',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        rb'"\ud800',
        rb'"\ud8"',
        b"[" * 100_000,
        rb'"\ud800"' + b" " * MAX_MENDED_BYTES,
    ],
)
def test_what_is_beyond_mending(body: bytes) -> None:
    decode = msgspec.json.Decoder(object).decode
    with pytest.raises((ValueError, RecursionError)) as refused:
        decode(body)
    with pytest.raises(UpstreamError) as raised:
        decode_again(decode, body, "the place", refused.value)
    assert (raised.value.reason, raised.value.detail) == (Reason.UPSTREAM_MALFORMED, "the place")
