"""What a target does instead of answering, by row of docs/reliability.md, for tests with several targets.

Each stands for the many forms of its row that `test_provider_*.py` try at a single target.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from llmgateway_server.testing.upstream import (
    END,
    STREAM_HEAD,
    Exchange,
    Script,
    Step,
    chunk,
    close,
    delta,
    event,
    hang,
    head,
    json_answer,
    raw,
    reset,
    stream,
)
from tests.faults.provider_answers import problem, refusal
from tests.faults.provider_kit import EVENTS_HEAD, JSON_HEAD, by_kind, whole

FIRST_TOKEN_S = 0.3
"""What a stream may take to its first token where these tests need a limit."""
CONTEXT = {"max_output_tokens": 100}
PAUSE_S = 0.02
MIB = 1024 * 1024

_NO_CONTENT = event({"id": "a", "choices": [{"index": 0, "delta": {"role": "assistant"}}]})
_UNARY_HEAD = head(200, {**JSON_HEAD, "content-length": "9999"})
_CHUNKED_JSON = head(200, {**JSON_HEAD, "transfer-encoding": "chunked"})


@dataclass(slots=True, frozen=True)
class Fault:
    """One fault of the first target before its first content.

    Attributes:
        row: of docs/reliability.md.
        what: in a few words.
        script: what the target does.
        reason: its attempt's.
        verdict: what its breaker is told.
        status: of its HTTP answer; None where there was none.
    """

    row: str
    what: str
    script: Script
    reason: str
    verdict: str = "failure"
    status: int | None = None


def for_ever(step: Step) -> Step:
    """Plays a step again and again, with pauses, until the caller leaves."""

    async def repeat(exchange: Exchange) -> None:
        while True:
            await step(exchange)
            await asyncio.sleep(PAUSE_S)

    return repeat


def flood(begin: Step, piece: bytes) -> list[Step]:
    """Begins and then sends the same piece for as long as the caller takes it."""
    send = chunk(piece)

    async def repeat(exchange: Exchange) -> None:
        while True:
            await send(exchange)

    return [begin, repeat]


def both(streamed: list[Step], unary: list[Step]) -> Step:
    return by_kind(streamed, unary)


def _saying(text: str) -> dict[str, Any]:
    """Returns a whole reply without figures."""
    return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}


def refused(row: str, status: int, reason: str, verdict: str = "failure", **headers: str) -> Fault:
    return Fault(row, str(status), refusal(status, None, **headers), reason, verdict, status)


_BOMB = raw(b"\x1f\x8b" + bytes(1000))
_HTML = whole(b"<html>busy</html>", {"content-type": "text/html"})
_NAN = b'{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":NaN}'
_DEEP = b'{"choices":' + b"[" * 5000 + b"]" * 5000 + b"}"
_ERROR = {"error": {"message": "no", "type": "overloaded_error"}}

TIMED = [
    Fault("P5", "no head", hang, "UPSTREAM_TIMEOUT"),
    Fault(
        "P6",
        "pings or drops",
        both([STREAM_HEAD, for_ever(chunk(b": ping\n\n"))], [_UNARY_HEAD, for_ever(raw(b" "))]),
        "UPSTREAM_TIMEOUT",
        status=200,
    ),
]
"""Those that end by one of our clocks."""
AT_ONCE = [
    Fault("P7", "cut", both([STREAM_HEAD, _NO_CONTENT, close], [_UNARY_HEAD, close]), "UPSTREAM_RESET", status=200),
    Fault("P7", "reset", reset, "UPSTREAM_RESET"),
    Fault(
        "P8",
        "no last event",
        both([STREAM_HEAD, _NO_CONTENT, END], [_CHUNKED_JSON, chunk(b'{"choices":'), close]),
        "UPSTREAM_RESET",
        status=200,
    ),
    Fault(
        "P9",
        "no JSON",
        both([STREAM_HEAD, event("{nonsense")], [*whole(b"{nonsense", JSON_HEAD)]),
        "UPSTREAM_MALFORMED",
        status=200,
    ),
    Fault(
        "P10",
        "an error after 200",
        both([STREAM_HEAD, event(_ERROR), END], [*whole(problem(type="overloaded_error"), JSON_HEAD)]),
        "UPSTREAM_OVERLOADED",
        status=200,
    ),
    Fault("P11", "HTML", _HTML, "UPSTREAM_MALFORMED", status=200),
    Fault(
        "P12",
        "gzip",
        both(
            [head(200, {**EVENTS_HEAD, "content-encoding": "gzip", "content-length": "1002"}), _BOMB],
            [head(200, {**JSON_HEAD, "content-encoding": "gzip", "content-length": "1002"}), _BOMB],
        ),
        "UPSTREAM_MALFORMED",
        status=200,
    ),
    Fault(
        "P13",
        "a flood",
        both(flood(STREAM_HEAD, b"data: " + b"x" * 65536), flood(_CHUNKED_JSON, b" " * MIB)),
        "UPSTREAM_MALFORMED",
        status=200,
    ),
    Fault(
        "P14",
        "deep or no number",
        both([STREAM_HEAD, chunk(b"data: " + _NAN + b"\n\n")], [*whole(_DEEP, JSON_HEAD)]),
        "UPSTREAM_MALFORMED",
        status=200,
    ),
    refused("P16", 401, "PROVIDER_AUTH_FAILED", "neutral"),
    refused("P16", 403, "PROVIDER_AUTH_FAILED", "neutral"),
    refused("P17", 402, "PROVIDER_QUOTA_EXHAUSTED", "neutral"),
    refused("P18", 404, "MODEL_NOT_FOUND", "neutral"),
    refused("P19", 408, "UPSTREAM_TIMEOUT"),
    refused("P23", 429, "UPSTREAM_RATE_LIMITED", "neutral", retry_after="30"),
    refused("P24", 429, "UPSTREAM_RATE_LIMITED", "neutral"),
    refused("P25", 500, "UPSTREAM_ERROR"),
    refused("P25", 502, "UPSTREAM_ERROR"),
    refused("P25", 503, "UPSTREAM_OVERLOADED"),
    refused("P25", 504, "UPSTREAM_TIMEOUT"),
    refused("P25", 529, "UPSTREAM_OVERLOADED"),
    Fault("P27", "nothing", both([STREAM_HEAD, END], [*whole(b"", JSON_HEAD)]), "UPSTREAM_MALFORMED", status=200),
    Fault(
        "P31",
        "a redirect",
        whole(b"", {"location": "http://127.0.0.1:9/v1"}, 307),
        "UPSTREAM_REDIRECT",
        status=307,
    ),
    Fault(
        "P32",
        "bad framing",
        raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"),
        "UPSTREAM_MALFORMED",
        status=None,
    ),
]
"""Those that are known as soon as they arrive."""
BLEMISHES: dict[str, Script] = {
    "p27": both(stream(""), [json_answer(_saying(""))]),
    "p28": both(
        [*stream("hello"), *stream("more")[1:]],
        [*whole(json.dumps(_saying("hello")).encode(), JSON_HEAD), raw(b"HTTP/1.1 200 OK\r\n")],
    ),
    "p30": both(
        stream("hello", figures={"prompt_tokens": 10**12, "completion_tokens": -1}),
        [json_answer({**_saying("hello"), "usage": {"prompt_tokens": -1, "completion_tokens": 10**12}})],
    ),
}
"""Answers that are odd and none the less answers, by row."""


def rows(faults: list[Fault], wanted: Callable[[Fault], bool] = lambda _fault: True) -> pytest.MarkDecorator:
    """Returns the parametrization of a test by `fault`; ids begin with the row."""
    named = [pytest.param(each, id=f"{each.row.lower()} {each.what}") for each in faults if wanted(each)]
    return pytest.mark.parametrize("fault", named)


def cut_after(*texts: str) -> list[Step]:
    """Begins a stream, says some texts and ends the connection."""
    return [STREAM_HEAD, *(event(delta(text)) for text in texts), close]
