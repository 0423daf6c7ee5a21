"""How the recordings of each vendor are played: the account that meets them, its words, and when a reply is whole."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from llmgateway_server.providers.vendors import VENDORS
from tests.recorded import azure, bedrock_converse, bedrock_invoke, cohere, differences, gemini, ollama, openai_alike

Json = Any


def _as_it_is(value: Json) -> Json:
    return value


@dataclass(frozen=True)
class Played:
    """A kind of recordings.

    Attributes:
        vendor: of the account.
        path: of the account's base URL, behind the address of a case.
        settings: more of the account.
        dialect: of the target; empty for the vendor's usual one.
        said: rewrites a neutral request whose words are the vendor's own into those that `neutral` knows.
        comparable: what of a request's body must be the client's.
        last: bytes that only the end of a stream has; it is whole once the line with them is there.
        framed: whether the end of a line ends an event; otherwise a stream is whole when its last byte is there.
    """

    vendor: str
    path: str = "/v1"
    settings: Mapping[str, Any] = field(default_factory=lambda: {"api_key": "recorded"})
    dialect: str = ""
    said: Callable[[Json], Json] = _as_it_is
    comparable: Callable[[Json], Json] = differences.comparable
    last: bytes = b"data: [DONE]"
    framed: bool = True

    def is_whole(self, case: Mapping[str, Any], mode: str) -> bool:
        """Tells whether what is delivered of a stream that breaks off holds all that its reply needs."""
        kind, _, share = mode.partition(":")
        data = b"".join(b64decode(chunk) for chunk in case["response"]["chunks_b64"])
        delivered = data[: max(1, int(len(data) * float(share)))]
        if not self.framed:
            return len(delivered) == len(data)
        found = delivered.rfind(self.last)
        last_line, newline, _ = delivered[found:].partition(b"\n")
        return found >= 0 and (bool(newline) or (kind == "cutclean" and last_line.endswith((b"]", b"}"))))


OPENAI = Played("openai")
ANTHROPIC = Played("anthropic", last=b'data: {"type":"message_stop"')

VERTEX_ANTHROPIC = replace(
    ANTHROPIC,
    vendor="vertex-anthropic",
    path="/v1/projects/p/locations/l/publishers/anthropic",
    comparable=bedrock_invoke.comparable,
)
INVOKED = Played("bedrock", path="", said=bedrock_invoke.said, comparable=bedrock_invoke.comparable, framed=False)
INVOKED_LLAMA = replace(INVOKED, dialect="bedrock_llama")
INVOKED_TEXT = replace(INVOKED, dialect="bedrock_text")
INVOKED_CHAT = replace(INVOKED, dialect="bedrock_chat")
INVOKED_ANTHROPIC = replace(INVOKED, vendor="bedrock-anthropic")
GEMINI = Played("google", path="/v1beta", said=gemini.said, comparable=gemini.comparable, last=gemini.LAST)
VERTEX = replace(GEMINI, vendor="vertex", path="/v1/projects/p/locations/l/publishers/google")
CONVERSE = Played("bedrock", path="", said=bedrock_converse.said, comparable=bedrock_converse.comparable, framed=False)
INVOKED_NOVA = replace(CONVERSE, dialect="bedrock_nova", comparable=bedrock_invoke.comparable_of_nova)


def alike(vendor: str) -> Played:
    """Returns how a speaker of chat completions is played; where none says `[DONE]`, the finish reason is the end."""
    last = Played.last if VENDORS[vendor].quirks.done_line_required else openai_alike.FINISHED
    return Played(vendor, comparable=openai_alike.comparable, last=last)


def played(case: Mapping[str, Any]) -> Played | None:
    """Returns how a case is played; None for what nobody plays yet."""
    name = "/".join([*(str(case[part]) for part in ("provider", "vendor", "api", "model")), *bedrock_invoke.form(case)])
    return next((row for pattern, row in ROWS if fnmatchcase(name, pattern)), None)


ROWS: tuple[tuple[str, Played], ...] = (
    ("openai/*", OPENAI),
    ("anthropic/vertex*/*", VERTEX_ANTHROPIC),
    ("anthropic/bedrock*/*", INVOKED_ANTHROPIC),
    ("anthropic/*", ANTHROPIC),
    ("bedrock/bedrock/converse/*", CONVERSE),
    ("bedrock/bedrock/invoke_model/*meta.*", INVOKED_LLAMA),
    ("bedrock/bedrock/invoke_model/*anthropic.*/messages", INVOKED_ANTHROPIC),
    ("bedrock/bedrock/invoke_model/*/text", INVOKED_TEXT),
    ("bedrock/bedrock/invoke_model/*/nova", INVOKED_NOVA),
    ("bedrock/bedrock/invoke_model/*/chat", INVOKED_CHAT),
    ("bedrock/bedrock/invoke_model/*", INVOKED_ANTHROPIC),
    ("azure_openai/*", Played("azure", path="/openai/v1", comparable=azure.comparable)),
    *((f"openai_compatible/{vendor}/*", alike(vendor)) for vendor in openai_alike.ROWED),
    ("openai_compatible/*", alike("openai-compatible")),
    ("gemini/gemini/*", GEMINI),
    ("gemini/vertex/*", VERTEX),
    ("cohere/*", Played("cohere", path="", said=cohere.said, last=cohere.LAST)),
    ("ollama/ollama/ollama_chat/*", Played("ollama", path="", comparable=ollama.comparable, last=ollama.LAST)),
    ("ollama/ollama/chat_completions/*", Played("ollama", dialect="openai_chat", comparable=openai_alike.comparable)),
)
"""By patterns of `provider/vendor/api/model` of a case; the first that matches counts."""
