"""Small pieces of every format: compact JSON, server-sent events, deltas, paddings. The same input, the same bytes."""

from __future__ import annotations

import codecs
import json
import random
import string
from collections.abc import Iterator, Mapping
from typing import Any

from llmgateway_server.core.events import Logprob

LONGEST_PADDING = 16


def compact(payload: Any) -> str:
    """Returns JSON without blanks and with plain UTF-8, as the vendors send it."""
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False)


def frame(data: str, event: str = "") -> bytes:
    """Returns one server-sent event; without a name it has no `event` line."""
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {data}\n\n".encode()


def pieces(text: str, chars: int) -> list[str]:
    """Returns the deltas of a text: `chars` code points each, none for an empty text."""
    return [text[start : start + chars] for start in range(0, len(text), chars)]


def token_pieces(tokens: tuple[Logprob, ...]) -> list[tuple[str, Logprob]]:
    """Returns one delta per token. A token that ends inside a character says nothing, a later one says all of it."""
    decode = codecs.getincrementaldecoder("utf-8")().decode
    return [(decode(token.utf8), token) for token in tokens]


def paddings(seed: str) -> Iterator[str]:
    """Yields random text without end: what OpenAI hides the length of a delta with."""
    dice = random.Random(seed)
    while True:
        yield "".join(dice.choices(string.ascii_letters + string.digits, k=dice.randint(1, LONGEST_PADDING)))


def logprob(token: Logprob, top_count: int) -> dict[str, Any]:
    """Returns the log probability of a token in OpenAI's shape, with at most `top_count` alternatives."""
    return {
        "token": token.token,
        "logprob": token.logprob,
        "bytes": list(token.utf8),
        "top_logprobs": [
            {"token": text, "logprob": value, "bytes": list(utf8)} for text, value, utf8 in token.top[:top_count]
        ],
    }


def wish(request: Mapping[str, Any], *path: str, default: Any = None) -> Any:
    """Returns a value deep inside a request; the default where a step of the path is missing or null."""
    found: Any = request
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return default if found is None else found
