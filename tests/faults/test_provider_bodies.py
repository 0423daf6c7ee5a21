"""Bodies that are not what they should be: P9 malformed events, P11 wrong content types, P14 hostile JSON."""

from __future__ import annotations

import grpc
import pytest

from llmgateway_server.testing.fake_provider import FakeReply, FakeText, cuts
from llmgateway_server.testing.upstream import END, Script, Upstream, chunk
from tests.faults.provider_kit import (
    BOTH,
    JSON_HEAD,
    PROVIDER_KEY,
    SPOKEN,
    STREAM_HEAD,
    WORDS,
    assert_planted,
    body_of,
    by_kind,
    frames_of,
    planted,
    rewritten,
    said,
    whole,
)

TEXT = "Zürich → 漢字 😀 e\u0301"
CHUNKS = [
    b'{"choices":[{"delta":{"content":"Z\xc3\xbcrich "}}]}',
    '{"choices":[{"delta":{"content":"→ 漢字 "}}]}'.encode(),
    '{"choices":[{"delta":{"content":"😀 e\u0301"},"finish_reason":"stop"}]}'.encode(),
    b"[DONE]",
]
PLAIN = b"".join(b"data: " + data + b"\n\n" for data in CHUNKS)


def by_lines(*ends: bytes) -> bytes:
    """Ends the stream's lines with these, in turn."""
    lines = PLAIN.split(b"\n")[:-1]
    return b"".join(line + ends[i % len(ends)] for i, line in enumerate(lines))


FORMS: dict[str, bytes] = {
    "plain": PLAIN,
    "CRLF": by_lines(b"\r\n"),
    "CR": by_lines(b"\r"),
    "mixed": by_lines(b"\r\n", b"\n", b"\n", b"\r", b"\r", b"\r\n"),
    "byte order mark": b"\xef\xbb\xbf" + PLAIN,
    "several lines of data": PLAIN.replace(b'"choices"', b'\ndata: "choices"').replace(b"[{", b"[\ndata:{"),
    "no space": PLAIN.replace(b"data: ", b"data:"),
    "comments": PLAIN.replace(b"data: ", b": a comment\n:\n\n: another\ndata: "),
    "other fields": PLAIN.replace(b"data: ", b"id: 7\nretry: 10\nfoo: bar\ndatum: x\nid\ndata: "),
    "events without data": PLAIN.replace(b"data: ", b"event: alive\n\ndata:\n\ndata\n\ndata: "),
    "unknown events": PLAIN.replace(b"data: ", b'event: ping\ndata: {"type":"ping","new":[{}]}\n\ndata: '),
    "names": PLAIN.replace(b"data: ", b"event: message\ndata: "),
    "no end of the last line": PLAIN.removesuffix(b"\n\n"),
    "more after the end": PLAIN + b'data: {"choices":[{"delta":{"content":"!"}}]}\n\ndata: nonsense\n\n',
}
"""The same text in every form that the standard of server-sent events allows, and in some that vendors send."""
CUTS: dict[str, cuts.Cut] = {
    "whole": cuts.whole,
    "one byte": cuts.one_byte,
    "inside characters": cuts.inside_utf8,
    "inside line ends": cuts.inside_line_ends,
    **{f"seed {seed}": cuts.seeded(seed) for seed in range(3)},
}


@pytest.mark.parametrize("form", list(FORMS))
async def test_p9_every_form_and_every_cut_is_the_same_text(form: str) -> None:
    async with Upstream() as upstream, planted(upstream) as it:
        for name, cut in CUTS.items():
            upstream.then([STREAM_HEAD, *map(chunk, cut(FORMS[form])), END])
            ended = await it.call(streaming=True)
            assert (ended.code, ended.text) == (grpc.StatusCode.OK, TEXT), name


BAD_JSON: dict[str, bytes] = {
    "words": WORDS.encode(),
    "HTML": f"<html>{WORDS} {PROVIDER_KEY}</html>".encode(),
    "half of an object": f'{{"id":"{WORDS}","choices":[{{'.encode(),
    "two objects": b'{"choices":[]}{"choices":[]}',
    "a list": b"[]",
    "null": b"null",
    "a text": f'"{WORDS}"'.encode(),
    "wrong types": f'{{"choices":{{"a":"{WORDS}"}}}}'.encode(),
    "wrong types deep inside": f'{{"choices":[{{"message":["{WORDS}"],"delta":["{WORDS}"]}}]}}'.encode(),
    "a control character": b'{"id":"a\x01b","choices":[]}',
    "no UTF-8": b'{"id":"\xff\xfe","choices":[]}',
    "a surrogate in UTF-8": b'{"id":"\xed\xa0\x80","choices":[]}',
    "UTF-16": '{"choices":[]}'.encode("utf-16"),
    "NaN": b'{"choices":[],"created":NaN}',
    "infinity": b'{"choices":[],"usage":{"prompt_tokens":-Infinity}}',
    "a number that is too large": b'{"choices":[{"index":1e999}]}',
    "nesting where nobody looks": b'{"new":' + b"[" * 200_000 + b"]" * 200_000 + b',"choices":[]}',
    "nesting of objects": b'{"new":' + b'{"a":' * 100_000,
    "nesting where somebody looks": b'{"choices":' + b"[" * 500 + b"]" * 500 + b"}",
}


@pytest.mark.parametrize("what", list(BAD_JSON))
async def test_p9_and_p14_malformed_events(what: str) -> None:
    bad = chunk(b"data: " + BAD_JSON[what] + b"\n\n")
    async with Upstream() as upstream, planted(upstream) as it:
        upstream.then([STREAM_HEAD, bad, END], [*said("some ", "text"), bad, END])
        before, after = [await it.call(streaming=True) for _ in range(2)]
        assert_planted(upstream.requests[0])
    before.assert_refused("UPSTREAM_MALFORMED")
    after.assert_broken("UPSTREAM_MALFORMED", "some text")


@pytest.mark.parametrize("what", ["", *BAD_JSON])
async def test_p9_and_p14_malformed_answers(what: str) -> None:
    body = BAD_JSON.get(what, b"")
    async with Upstream(whole(body, JSON_HEAD)) as upstream, planted(upstream) as it:
        ended = await it.call(streaming=False)
    ended.assert_refused("UPSTREAM_MALFORMED")
    assert ended.attempt["http_status"] == 200


# --- P11 ---------------------------------------------------------------------------------------------------------

PAGE = f"<!doctype html><title>{WORDS}</title>Sign in with {PROVIDER_KEY}".encode()


@pytest.mark.parametrize("kind", ["text/html", "text/html; charset=utf-8", "text/plain", "TEXT/PLAIN", "image/png"])
@BOTH
async def test_p11_wrong_content_type(streaming: bool, kind: str) -> None:
    async with Upstream(whole(PAGE, {"content-type": kind})) as upstream, planted(upstream) as it:
        ended = await it.call(streaming=streaming)
        assert_planted(upstream.requests[0])
    ended.assert_refused("UPSTREAM_MALFORMED")
    assert ended.attempt["http_status"] == 200


@pytest.mark.parametrize("kind", ["text/html", "text/plain", "application/json"])
async def test_p11_a_stream_is_not_read_under_another_name(kind: str) -> None:
    """What says that it is no stream is none, however well it reads."""
    async with Upstream(whole(PLAIN, {"content-type": kind})) as upstream, planted(upstream) as it:
        (await it.call(streaming=True)).assert_refused("UPSTREAM_MALFORMED")


# --- P14 ---------------------------------------------------------------------------------------------------------

LONE = "\ufffd"
HALVES = {
    "first half": (rb"\ud83d", LONE),
    "second half": (rb"\ude00", LONE),
    "upper case": (rb"\uD83D", LONE),
    "two first halves": (rb"\ud83d\ud83d", LONE * 2),
    "the wrong way round": (rb"\ude00\ud83d", LONE * 2),
    "a half and a pair": (rb"\ud83d\ud83d\ude00", f"{LONE}😀"),
    "a pair": (rb"\ud83d\ude00", "😀"),
    "no escape at all": (rb"\\ud83d", r"\ud83d"),
}


@pytest.mark.parametrize("dialect", sorted(SPOKEN))
@BOTH
async def test_p14_half_a_surrogate_pair_is_a_replacement_character(streaming: bool, dialect: str) -> None:
    reply = FakeReply.of(FakeText("before-X-after"))
    async with Upstream() as upstream, planted(upstream, dialect=dialect) as it:
        for name, (escaped, text) in HALVES.items():
            frames = [rewritten(dialect, frame, b"-X-", escaped) for frame in frames_of(dialect, reply)]
            body = body_of(dialect, reply).replace(b"-X-", escaped)
            upstream.then(by_kind([STREAM_HEAD, *map(chunk, frames), END], whole(body, JSON_HEAD)))
            ended = await it.call(streaming=streaming)
            assert (ended.code, ended.text) == (grpc.StatusCode.OK, f"before{text}after"), name


@pytest.mark.parametrize("depth", [64, 65, 500])
@BOTH
async def test_p14_nesting_where_nobody_looks_is_skipped(streaming: bool, depth: int) -> None:
    extra = b'"new":' + b'[{"a":' * (depth // 2) + b"0" + b"}]" * (depth // 2)
    answer = b'{%s,"choices":[{"%%s":{"content":"hello",%s},"finish_reason":"stop"}]}' % (extra, extra)
    stream: Script = [STREAM_HEAD, chunk(b"data: " + answer % b"delta" + b"\n\ndata: [DONE]\n\n"), END]
    async with Upstream(by_kind(stream, whole(answer % b"message", JSON_HEAD))) as upstream, planted(upstream) as it:
        ended = await it.call(streaming=streaming)
    assert (ended.code, ended.text) == (grpc.StatusCode.OK, "hello")


@pytest.mark.parametrize("field", ["type", "code", "message", "param"])
@BOTH
async def test_p14_nesting_in_an_error_does_not_hide_it(streaming: bool, field: str) -> None:
    """All depths at which the decoder still has room and what reads its result might not."""
    async with Upstream() as upstream, planted(upstream) as it:
        for depth in range(850, 1000):
            body = b'{"error":{"%s":%s%s}}' % (field.encode(), b"[" * depth, b"]" * depth)
            upstream.then(whole(body, JSON_HEAD, 503))
            (await it.call(streaming=streaming)).assert_refused("UPSTREAM_OVERLOADED")
