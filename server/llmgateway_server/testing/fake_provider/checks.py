"""What the checks of all vendors share: a refusal, the request as they see it, values and schemas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmgateway_server.testing.fake_provider.reply import FakeError, FakeReasoning, FakeReply

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""Names of tools and schemas."""


class Refused(Exception):
    """The vendor would not serve this request."""

    def __init__(self, error: FakeError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(slots=True)
class Memory:
    """What a provider said and must recognise when it comes back."""

    thoughts: set[tuple[str, str]] = field(default_factory=set)
    """Texts of thoughts with their signatures."""
    sealed: set[str] = field(default_factory=set)
    """Redacted and encrypted thoughts."""
    response_ids: set[str] = field(default_factory=set)

    def remember(self, reply: FakeReply) -> None:
        """Keeps what a reply signed, in every shape that a format may have sent it in."""
        self.response_ids.add(reply.response_id)
        for part in reply.parts:
            if isinstance(part, FakeReasoning):
                self.thoughts |= {(part.text, part.seal), ("", part.seal)}
                self.sealed.add(part.redacted_data or part.seal)


@dataclass(slots=True, frozen=True)
class Asked:
    """A request as the checks see it."""

    headers: Mapping[str, str]
    """Lower-case names."""
    body: Any
    """The decoded JSON; bytes where it was none."""
    memory: Memory
    models: tuple[str, ...] = ()
    """Models that exist; empty: every name does."""
    api_key: str = ""
    """The key that is right; empty: every key is."""
    path: str = ""
    """With its query."""


@dataclass(slots=True, frozen=True)
class Kind:
    """What a field may hold.

    Attributes:
        types: of the decoded JSON; a boolean is no number.
        low: the least number, included.
        high: the greatest number, included.
        words: the allowed strings; empty for any.
        nullable: whether null means that it was not given.
    """

    types: tuple[type[Any], ...]
    low: float | None = None
    high: float | None = None
    words: frozenset[str] = frozenset()
    nullable: bool = True

    def fault(self, value: Any) -> str:
        """Returns what is wrong with a value, or nothing."""
        if value is None:
            return "" if self.nullable else "is null"
        if not isinstance(value, self.types) or (isinstance(value, bool) and bool not in self.types):
            return f"is not of the type {' or '.join(kind.__name__ for kind in self.types)}"
        if self.low is not None and value < self.low:
            return f"is less than {self.low:g}"
        if self.high is not None and value > self.high:
            return f"is more than {self.high:g}"
        return "is not one of the known values" if self.words and value not in self.words else ""


def number(low: float, high: float | None = None, *, nullable: bool = True) -> Kind:
    """Returns the kind of a number in a range."""
    return Kind((int, float), low, high, nullable=nullable)


def whole(low: int, high: int | None = None, *, nullable: bool = True) -> Kind:
    """Returns the kind of an integer in a range."""
    return Kind((int,), low, high, nullable=nullable)


def word(*words: str, nullable: bool = True) -> Kind:
    """Returns the kind of a string, one of `words` where there are any."""
    return Kind((str,), words=frozenset(words), nullable=nullable)


FLAG = Kind((bool,))
LIST = Kind((list,))
OBJECT = Kind((dict,))
TEXT = Kind((str,))
ANY = Kind((str, list, dict, bool, int, float))


def objects(value: Any) -> list[dict[str, Any]]:
    """Returns the objects of a list, and none of what is no list."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def loose_schema(schema: Any, path: str = "") -> str | None:
    """Returns where a schema is not strict, None where it is.

    Strict: every object names all its properties as required and refuses others.
    """
    for place, node in _schemas(schema, path):
        if "properties" in node or node.get("type") == "object":
            if node.get("additionalProperties") is not False:
                return f"{place}.additionalProperties"
            if set(node.get("required", ())) != set(node.get("properties", ())):
                return f"{place}.required"
    return None


def _schemas(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(node, dict):
        return
    yield path, node
    for holder in ("properties", "$defs", "definitions"):
        for name, inner in (node.get(holder) or {}).items():
            yield from _schemas(inner, f"{path}.{holder}.{name}")
    for name in ("items", "additionalProperties"):
        yield from _schemas(node.get(name), f"{path}.{name}")
    for index, inner in enumerate(node.get("anyOf") or ()):
        yield from _schemas(inner, f"{path}.anyOf[{index}]")
