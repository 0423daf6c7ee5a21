"""Replies of the fake provider that a format can express in full, whatever else they are."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from llmgateway_server.testing.fake_provider import (
    FakeCitation,
    FakePart,
    FakeReasoning,
    FakeRefusal,
    FakeReply,
    FakeSearchResult,
    FakeServerTool,
    FakeText,
    FakeToolCall,
    FakeUsage,
    Finish,
    Format,
    Logprob,
    plays,
)

FINISHES: tuple[Finish, ...] = ("stop", "length", "content_filter", "refusal", "stop_sequence", "pause")
"""Beside `tool_calls`, which follows from the parts."""
ALWAYS = ("stop", "length", "content_filter")
NASTY_TEXTS = (
    "",
    " ",
    "\r\n\n",
    "data: [DONE]\n\n",
    "event: error\ndata: {}\n\n",
    ": comment",
    "\u2028\u2029\x85\x0b\x0c",
    "\0\x1b[31m",
    "\ufeff\u202e",
    "e\u0301👩‍🚀🇨🇭",
    '{"a":"}"} ',
    '\\" \\u00e9',
    "</thinking>",
)
MOST_PARTS = 5
MOST_TOKENS = 2**40

texts = st.one_of(st.sampled_from(NASTY_TEXTS), st.text(st.characters(codec="utf-8"), max_size=40))
names = st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True)
seals = st.from_regex(r"[A-Za-z0-9+/]{1,60}={0,2}", fullmatch=True)
urls = st.from_regex(r"https://[a-z]{1,12}\.example/[a-z0-9/?=&%.-]{0,20}", fullmatch=True)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), texts
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)


@st.composite
def arguments(draw: st.DrawFn) -> str:
    """JSON objects in the spellings that models use: with and without blanks and escapes."""
    found = draw(st.dictionaries(texts, values, max_size=3))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    return json.dumps(found, separators=separators, ensure_ascii=draw(st.booleans()))


@st.composite
def citations(draw: st.DrawFn, text: str, *, documents: bool) -> FakeCitation:
    """Sources of a stretch of the text, or of a document."""
    start, end = sorted(draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
    uri = draw(st.one_of(urls, st.just("")) if documents else urls)
    return FakeCitation(draw(texts), uri, draw(texts), start, end)


@st.composite
def tokens(draw: st.DrawFn, text: str) -> tuple[Logprob, ...]:
    """Tokens of a text, cut between any two bytes, with alternatives."""
    utf8 = text.encode()
    places = sorted(draw(st.sets(st.integers(1, max(len(utf8) - 1, 1)), max_size=6)) - {len(utf8)})
    cut = [utf8[start:end] for start, end in zip([0, *places], [*places, len(utf8)], strict=True)]
    return tuple(_token(piece, draw(st.floats(-20, 0)), draw(st.integers(0, 2))) for piece in cut if piece)


def _token(utf8: bytes, value: float, count: int) -> Logprob:
    said = utf8.decode(errors="backslashreplace")
    top = tuple((f"{said}{index}", value - index, f"{index}".encode()) for index in range(count))
    return Logprob(said, value, utf8, top)


@st.composite
def said(draw: st.DrawFn, format: Format) -> FakeText:
    """Texts with what a format plays beside them."""
    text = draw(texts)
    documents = plays("citations of documents", format)
    cited = draw(st.lists(citations(text, documents=documents), max_size=2))
    scored = plays("logprobs", format) and draw(st.booleans())
    return FakeText(text, tuple(cited), draw(tokens(text)) if scored else ())


def parts(format: Format) -> st.SearchStrategy[FakePart]:
    """Parts of the kinds that a format plays. Ids are set later, because they are unique in a reply."""
    kinds: dict[str, st.SearchStrategy[FakePart]] = {
        "text": said(format),
        "tool calls": st.builds(FakeToolCall, st.just(""), names, arguments()),
        "refusal text": st.builds(FakeRefusal, texts),
        "reasoning text": st.builds(FakeReasoning, texts, seals, plan=st.booleans()),
        "redacted reasoning": st.builds(FakeReasoning, redacted_data=seals),
        "web searches": st.builds(
            FakeServerTool,
            st.just(""),
            texts,
            st.lists(st.builds(FakeSearchResult, texts, urls, seals), max_size=2).map(tuple),
        ),
    }
    return st.one_of(*(kind for feature, kind in kinds.items() if plays(feature, format)))


@st.composite
def usages(draw: st.DrawFn) -> FakeUsage:
    """Figures whose parts are within their totals."""
    some = st.integers(0, MOST_TOKENS)
    read, write_5m, write_1h, heard, more_in = (draw(some) for _ in range(5))
    spoken, accepted, rejected, more_out = (draw(some) for _ in range(4))
    thought = draw(st.one_of(st.none(), some))
    return FakeUsage(
        input_tokens=read + write_5m + write_1h + heard + more_in,
        output_tokens=spoken + accepted + rejected + (thought or 0) + more_out,
        cache_read_tokens=read,
        cache_write_5m_tokens=write_5m,
        cache_write_1h_tokens=write_1h,
        reasoning_tokens=thought,
        input_audio_tokens=heard,
        output_audio_tokens=spoken,
        accepted_prediction_tokens=accepted,
        rejected_prediction_tokens=rejected,
    )


def _finish(draw: st.DrawFn, format: Format, found: list[FakePart]) -> Finish | None:
    """A refusal that Anthropic explains has to end as one; elsewhere any end that the format knows will do."""
    if format == "anthropic_messages" and any(isinstance(part, FakeRefusal) for part in found):
        return "refusal"
    known = [finish for finish in FINISHES if finish in ALWAYS or plays(f"finish {finish}", format)]
    return draw(st.one_of(st.none(), st.sampled_from(known)))


def _numbered(index: int, part: FakePart) -> FakePart:
    match part:
        case FakeToolCall(name=name, arguments_json=given):
            return FakeToolCall(f"call_{index}", name, given)
        case FakeServerTool(query=query, results=results):
            return FakeServerTool(f"srvtoolu_{index}", query, results)
        case _:
            return part


@st.composite
def fake_replies(draw: st.DrawFn, format: Format) -> FakeReply:
    """Replies of which a format says everything, to a request that asks for everything."""
    found = draw(st.lists(parts(format), max_size=MOST_PARTS))
    finish = _finish(draw, format, found)
    given: dict[str, Any] = {}
    if finish == "stop_sequence":
        given["stop_sequence"] = draw(texts.filter(str.strip))
    return FakeReply(
        parts=tuple(_numbered(index, part) for index, part in enumerate(found)),
        finish=finish,
        usage=draw(usages()),
        model=draw(st.one_of(st.just(""), names)),
        response_id=f"id_{draw(names)}",
        delta_chars=draw(st.integers(1, 20)),
        **given,
    )
