"""What a handler gives back: text, or an `Answer`, or these pieces one by one."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, fields

from llmgateway_server.core.events import FinishReason
from llmgateway_server.providers.faults import malformed
from llmgateway_server.providers.handlers.content import Reasoning, Refusal, ToolCall

MAX_PIECE_CHARS = 16 * 1024
"""Longer texts are cut: a message of a stream stays under the 4 MiB that gRPC clients read by default."""
MAX_COUNT = 2**53 - 1
"""Largest count of tokens; no client of the contract reads a larger one wrongly."""


@dataclass(slots=True, frozen=True)
class Usage:
    """Tokens that the answer took. None: not known, the gateway estimates it and says so.

    Totals include their details. In a stream each `Usage` replaces the one before it.

    Raises:
        ValueError: a count is no integer, or below zero.
    """

    input_token_count: int | None = None
    output_token_count: int | None = None
    cache_read_token_count: int | None = None
    """Of the input: read from a cache."""
    reasoning_token_count: int | None = None
    """Of the output: reasoning, shown or not."""

    def __post_init__(self) -> None:
        for each in fields(self):
            count = getattr(self, each.name)
            if count is not None and not (type(count) is int and 0 <= count <= MAX_COUNT):
                raise ValueError(f"{each.name} must be an integer from 0 to {MAX_COUNT}")


@dataclass(slots=True, frozen=True)
class Finish:
    """Why the answer ends, where it is not STOP (or TOOL_CALLS, after calls); anywhere in a stream, once.

    Raises:
        ValueError: there is no such reason.
    """

    reason: FinishReason

    def __post_init__(self) -> None:
        FinishReason(self.reason)


@dataclass(slots=True, frozen=True)
class Answer:
    """A whole answer.

    Raises:
        ValueError: there is no such finish reason.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str = ""
    finish_reason: FinishReason = FinishReason.STOP
    """After tool calls STOP becomes TOOL_CALLS."""
    usage: Usage | None = None
    """None: the gateway estimates it and says so."""

    def __post_init__(self) -> None:
        FinishReason(self.finish_reason)

    def pieces(self) -> Iterator[Piece]:
        """Yields the same answer as a stream would bring it."""
        yield Reasoning(self.reasoning)
        yield self.text
        yield Refusal(self.refusal)
        yield from self.tool_calls
        if self.usage is not None:
            yield self.usage
        yield Finish(self.finish_reason)


Piece = str | Reasoning | Refusal | ToolCall | Usage | Finish
"""What a handler may yield. An empty `str` says that it is alive, and nothing else."""


def pieces_of(given: object) -> Iterator[Piece]:
    """Yields what a handler gave in pieces that events can be made of: checked, and cut where they are long.

    Raises:
        UpstreamError: UPSTREAM_MALFORMED, it is nothing that a handler may give.
    """
    match given:
        case Answer():
            for piece in given.pieces():
                yield from pieces_of(piece)
        case str():
            yield from _cut(given)
        case Reasoning(text=text):
            yield from map(Reasoning, _cut(text))
        case Refusal(text=text):
            yield from map(Refusal, _cut(text))
        case ToolCall(id=call_id, name=name):
            _check_text(call_id, "id of a tool call")
            if not _check_text(name, "name of a tool call"):
                raise malformed("a handler's tool call without a name")
            yield from _calls(given)
        case Usage() | Finish():
            yield given
        case _:
            if inspect.iscoroutine(given):
                given.close()  # or the interpreter complains that it was never awaited
            raise malformed(f"a handler gave a {type(given).__name__}")


def size_of(piece: Piece) -> int:
    """Returns the UTF-8 bytes of a piece's content."""
    match piece:
        case str() as text:
            pass
        case Reasoning(text=text) | Refusal(text=text) | ToolCall(arguments_json=text):
            pass
        case _:
            return 0
    return len(text) if text.isascii() else len(text.encode())


def _calls(call: ToolCall) -> Iterator[ToolCall]:
    """Yields a call whose arguments are cut; one without an id stays whole, because an id is what joins pieces."""
    if not call.id:
        _check_text(call.arguments_json, "arguments of a tool call")
        yield call
        return
    for arguments in _cut(call.arguments_json):
        yield ToolCall(call.id, call.name, arguments)


def _cut(text: str) -> Iterator[str]:
    _check_text(text, "text")
    if len(text) <= MAX_PIECE_CHARS:
        yield text
        return
    for start in range(0, len(text), MAX_PIECE_CHARS):
        yield text[start : start + MAX_PIECE_CHARS]


def _check_text(text: object, what: str) -> str:
    """Returns the text of a piece if it is one that can be sent: a lone surrogate has no UTF-8."""
    if not isinstance(text, str):
        raise malformed(f"a handler's {what} is a {type(text).__name__}")
    try:
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError:
        raise malformed(f"a handler's {what} is not Unicode") from None
    return text
