"""What messages and answers are made of, as handlers see it: small, immutable, free of any wire."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, frozen=True)
class Text:
    """Plain text of a message. In an answer text is a `str`."""

    text: str


@dataclass(slots=True, frozen=True)
class Media:
    """An image, a sound or a document, always by content: the gateway has fetched what came as an address."""

    mime_type: str
    """For example `image/png`; empty where neither the caller nor the address's server said it."""
    data: bytes = field(repr=False)
    filename: str = ""
    detail: str = ""
    """How closely an image is to be looked at: `low`, `high`, `auto`, or empty for the default."""


@dataclass(slots=True, frozen=True)
class Reasoning:
    """What the model thinks before it answers."""

    text: str


@dataclass(slots=True, frozen=True)
class Refusal:
    """The model's words for declining."""

    text: str


@dataclass(slots=True, frozen=True)
class ToolCall:
    """A call of one of the request's tools.

    In a stream a call may come in pieces: each has the same id, and their arguments put together are the JSON text.
    """

    id: str
    """Empty: the gateway makes one, and the call is whole."""
    name: str
    arguments_json: str = "{}"
    """JSON text of an object."""


@dataclass(slots=True, frozen=True)
class ToolResult:
    """What a tool gave back to an earlier call."""

    call_id: str
    name: str
    parts: tuple[Text | Media, ...]
    is_error: bool = False


Part = Text | Media | Reasoning | Refusal | ToolCall | ToolResult
"""One piece of a message."""
