"""Three handlers: one that streams, one that answers at once, one that blocks.

They stand for calls of your own models: put the call of your library where the words are made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from llmgateway_server.providers.handlers import Answer, Finish, FinishReason, HandlerError, Piece, Request, Usage

MAX_WORDS = 2000


async def answer(request: Request) -> AsyncIterator[str | Piece]:
    """Says the question backwards, word by word, and stops where the caller's cap is."""
    words = question(request).split()
    if len(words) > MAX_WORDS:
        raise HandlerError("too_long")
    cap = request.options.max_output_tokens
    said = list(reversed(words))[:cap]
    for word in said:
        await asyncio.sleep(0.01)
        yield f"{word} "
    if len(said) < len(words):
        yield Finish(FinishReason.LENGTH)
    yield Usage(input_token_count=len(words), output_token_count=len(said))


async def count(request: Request) -> Answer:
    """Answers at once, and knows what it took."""
    words = question(request).split()
    return Answer(f"{len(words)} words", usage=Usage(input_token_count=len(words), output_token_count=2))


def think(request: Request) -> str:
    """Blocks, so the configuration gives it threads."""
    time.sleep(0.05)
    return f"I thought about it: {question(request)}"


def question(request: Request) -> str:
    """Returns what was said last."""
    return request.messages[-1].text
