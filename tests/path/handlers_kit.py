"""Handlers that the tests let a gateway load, and what they leave behind."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

from llmgateway_server.providers.handlers import (
    Answer,
    Finish,
    FinishReason,
    HandlerError,
    Kind,
    Piece,
    Reasoning,
    Refusal,
    Request,
    ToolCall,
    Usage,
)

CANARY = "sk-canary-4711"
MODULE = __name__

seen: list[Request] = []
"""What handlers were asked."""
marks = SimpleNamespace(began=0, closed=0, cancelled=0, yielded=0, running=0, most_running=0, keys=[])
release = threading.Event()
"""Lets handlers in threads go on."""


def reset() -> None:
    """Forgets what came before."""
    seen.clear()
    vars(marks).update(began=0, closed=0, cancelled=0, yielded=0, running=0, most_running=0, keys=[])
    release.clear()


def account(name: str, **settings: Any) -> dict[str, Any]:
    """Returns the settings of an account with one of these handlers."""
    return {"vendor": "python", "handler": f"{MODULE}:{name}", **settings}


# --- the four forms ----------------------------------------------------------------------------------------------


async def whole(request: Request) -> str:
    seen.append(request)
    return "one two three"


async def streamed(request: Request) -> AsyncIterator[str]:
    seen.append(request)
    for word in ("one ", "two ", "three"):
        await asyncio.sleep(0)
        yield word


def blocking(request: Request) -> str:
    seen.append(request)
    time.sleep(0.001)
    return "one two three"


def blocking_stream(request: Request) -> Iterator[str]:
    seen.append(request)
    for word in ("one ", "two ", "three"):
        time.sleep(0.001)
        yield word


class Answering:
    """An object is a handler as well."""

    async def __call__(self, request: Request) -> str:
        return await whole(request)


callable_object = Answering()

# --- answers -----------------------------------------------------------------------------------------------------


async def full(request: Request) -> Answer:
    return Answer(
        "Let me look.",
        reasoning="A question about the weather.",
        tool_calls=(ToolCall("c-1", "look", '{"at": "sky"}'), ToolCall("", "look")),
        usage=Usage(11, 7, cache_read_token_count=3, reasoning_token_count=2),
    )


async def full_stream(request: Request) -> AsyncIterator[Piece]:
    yield ""
    yield Usage(1, 0)
    yield Reasoning("A question ")
    yield Reasoning("about the weather.")
    yield "Let me "
    yield "look."
    for arguments in ('{"at": ', '"sky"}'):
        yield ToolCall("c-1", "look", arguments)
    yield ToolCall("", "look")
    yield Usage(11, 7, cache_read_token_count=3, reasoning_token_count=2)


async def refuses(request: Request) -> AsyncIterator[Piece]:
    yield Finish(FinishReason.REFUSAL)
    yield Refusal("Not that.")


async def nothing(request: Request) -> str:
    return ""


# --- failures ----------------------------------------------------------------------------------------------------


async def says(request: Request) -> str:
    """Fails as its model is named: a kind of `HandlerError`."""
    kind: Kind = request.model  # type: ignore[assignment]
    raise HandlerError(kind, retry_after_s=7, option="seed")


async def raises(request: Request) -> str:
    raise ValueError(f"{CANARY} {request.messages[-1].text}")


async def raises_midway(request: Request) -> AsyncIterator[str]:
    yield "so far "
    await asyncio.sleep(0)
    raise ValueError(CANARY)


def raises_in_thread(request: Request) -> str:
    raise ValueError(CANARY)


async def exits(request: Request) -> str:
    sys.exit(CANARY)


async def cancels_itself(request: Request) -> str:
    raise asyncio.CancelledError(CANARY)


async def wrong(request: Request) -> Any:
    return {"text": CANARY}


async def surrogate(request: Request) -> str:
    return "\ud800"


def coroutine_in_thread(request: Request) -> Any:
    return whole(request)


async def refuses_keys(request: Request) -> str:
    assert request.api_key is not None
    key = request.api_key.reveal()
    marks.keys.append(key)
    if key == "bad":
        raise HandlerError("unauthorized")
    return f"with {key}"


# --- time --------------------------------------------------------------------------------------------------------


async def hangs(request: Request) -> str:
    marks.began += 1
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        marks.cancelled += 1
        raise
    return "never"


async def hangs_midway(request: Request) -> AsyncIterator[str]:
    marks.began += 1
    try:
        yield "so far "
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        marks.cancelled += 1
        raise
    finally:
        marks.closed += 1


async def deaf(request: Request) -> str:
    """Goes on although it was cancelled, until the test ends it."""
    marks.began += 1
    while not release.is_set():
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            marks.cancelled += 1
    marks.closed += 1
    return "too late"


async def endless(request: Request) -> AsyncIterator[str]:
    try:
        while True:
            marks.yielded += 1
            yield "x" * 1024
    finally:
        marks.closed += 1


def waits(request: Request) -> str:
    marks.running += 1
    marks.most_running = max(marks.most_running, marks.running)
    release.wait(30)
    marks.running -= 1
    return "at last"


def hangs_midway_in_thread(request: Request) -> Iterator[str]:
    try:
        while True:
            marks.yielded += 1
            yield "so far "
            time.sleep(0.001)
    finally:
        marks.closed += 1
