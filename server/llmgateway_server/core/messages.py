"""What is said: messages and their parts, as `message.proto` defines them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Who says a message."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(slots=True, frozen=True)
class ProviderState:
    """Opaque state of one vendor; goes back to that vendor unchanged and to no other."""

    vendor: str
    data: bytes


@dataclass(slots=True, frozen=True)
class Citation:
    """A source for a stretch of text; indexes count Unicode code points of the part's text."""

    title: str = ""
    uri: str = ""
    cited_text: str = ""
    start_index: int | None = None
    end_index: int | None = None


@dataclass(slots=True)
class TextPart:
    """Plain text."""

    text: str


@dataclass(slots=True)
class MediaPart:
    """An image, a sound or a document: either `data` or `uri` is set."""

    mime_type: str
    data: bytes | None = None
    uri: str | None = None
    filename: str = ""
    detail: str = ""
    """`low`, `high`, `auto` or empty for the vendor's default."""


@dataclass(slots=True)
class ToolCallPart:
    """A call of a tool by the model; the arguments are JSON text."""

    call_id: str
    name: str
    arguments_json: str


@dataclass(slots=True)
class ToolResultPart:
    """The result of a tool call."""

    call_id: str
    name: str
    content: list[TextPart | MediaPart]
    is_error: bool = False


@dataclass(slots=True)
class ReasoningPart:
    """Reasoning that the vendor showed, or whose text it withheld."""

    text: str
    redacted: bool = False


@dataclass(slots=True)
class RefusalPart:
    """The model declined."""

    text: str


Content = TextPart | MediaPart | ToolCallPart | ToolResultPart | ReasoningPart | RefusalPart


@dataclass(slots=True)
class Part:
    """One piece of a message with what stands beside it."""

    content: Content
    provider_state: ProviderState | None = None
    cache_lifetime: str | None = None
    """`default`, `5m` or `1h` where the part ends a prefix to be cached by the vendor; None for no mark."""
    citations: tuple[Citation, ...] = ()

    @property
    def is_bare(self) -> bool:
        """Whether nothing stands beside the content that a dialect would have to express."""
        return self.provider_state is None and self.cache_lifetime is None


@dataclass(slots=True)
class Message:
    """One message of a conversation."""

    role: Role
    parts: list[Part]
    name: str = ""
