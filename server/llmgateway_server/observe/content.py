"""Texts of requests and replies for the records, where somebody asked for them: masked and bounded.

A reply is masked when it is whole, so it makes no difference how it came in pieces. What is cut away is cut behind the
place up to which it was masked, so that no half of a secret is left at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from llmgateway_server.core.calls import Call
from llmgateway_server.core.events import (
    MediaDelta,
    PartKind,
    PartStarted,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
)
from llmgateway_server.core.messages import (
    Content,
    MediaPart,
    Message,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from llmgateway_server.core.reply import Batch
from llmgateway_server.core.requests import CountTokensRequest, EmbedRequest, Request
from llmgateway_server.observe.masking import mask

MAX_CHARS = 8192
"""Of a request and of a reply; a record has both, less than 16 KiB of ASCII."""
MARGIN_CHARS = 1024
"""Looked at beyond the bound, because masks are shorter than what they stand for."""
DOUBTFUL_CHARS = 384
"""Not shown before a cut: the longest datum that is not told by its beginning is a mail address (RFC 5321)."""
MEDIA = "[MEDIA]"


class ContentLog:
    """Decides whose content is written, and prepares it.

    Args:
        tenants: whose. Empty: everybody's.
    """

    def __init__(self, tenants: tuple[str, ...] = ()) -> None:
        self._tenants = frozenset(tenants)

    def reading(self, call: Call) -> ContentReading | None:
        """Returns what collects the content of a call; None where nobody asked for it."""
        if self._tenants and call.principal.tenant not in self._tenants:
            return None
        return ContentReading(call.request)


@dataclass(slots=True)
class _PartText:
    label: str
    pieces: list[str] = field(default_factory=list)


class ContentReading:
    """The content of one call.

    Args:
        request: what was asked.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._parts: dict[int, _PartText] = {}
        self._kept_chars = 0

    def add(self, batch: Batch) -> None:
        """Takes events of the reply, in their order; what is beyond the bound is not kept."""
        for event in batch:
            match event:
                case PartStarted(part_index=index, kind=kind, tool_name=tool):
                    self._parts[index] = _PartText(_label(kind, tool), [MEDIA] if kind is PartKind.MEDIA else [])
                case TextDelta(part_index=index, text=text) | ReasoningDelta(part_index=index, text=text):
                    self._keep(index, text)
                case ToolArgumentsDelta(part_index=index, arguments_json=text):
                    self._keep(index, text)
                case MediaDelta():
                    pass

    def request_text(self) -> str:
        """Returns the request: the last messages that fit, each part in a line that begins with who says it."""
        return _fitted(_request_parts(self._request), newest=True)

    def reply_text(self) -> str:
        """Returns the reply as far as it came: each part in a line that begins with what it is."""
        parts = (self._parts[index] for index in sorted(self._parts))
        return _fitted([(part.label, "".join(part.pieces)) for part in parts], newest=False)

    def _keep(self, index: int, text: str) -> None:
        room = MAX_CHARS + MARGIN_CHARS - self._kept_chars
        if room > 0:
            self._parts.setdefault(index, _PartText("text")).pieces.append(text[:room])
            self._kept_chars += len(text)


def masked_within(text: str, max_chars: int) -> str:
    """Returns a masked text of at most `max_chars` characters; `…` at its end says that there was more."""
    seen = text[: max_chars + MARGIN_CHARS]
    masked = mask(seen)
    if len(seen) < len(text):
        masked = masked[: max(0, len(masked) - DOUBTFUL_CHARS)]
    elif len(masked) <= max_chars:
        return masked
    return f"{masked[: max_chars - 1]}…" if max_chars > 0 else ""


def _fitted(parts: list[tuple[str, str]], *, newest: bool) -> str:
    """Returns labelled lines that fit together, from the end of the list or from its beginning."""
    lines: list[str] = []
    room = MAX_CHARS - len("…\n")
    for label, text in reversed(parts) if newest else parts:
        line = f"{label}: {masked_within(text, room - len(label) - 3)}"
        if len(line) + 1 > room:
            lines.append("…")
            break
        lines.append(line)
        room -= len(line) + 1
    return "\n".join(reversed(lines) if newest else lines)


def _request_parts(request: Request) -> list[tuple[str, str]]:
    match request:
        case EmbedRequest(inputs=inputs):
            return [("input", text) for text in inputs]
        case CountTokensRequest(completion=completion):
            return _message_parts(completion.messages)
        case _:
            return _message_parts(request.messages)


def _message_parts(messages: list[Message]) -> list[tuple[str, str]]:
    return [
        (f"{message.role}", text) for message in messages for part in message.parts for text in _texts(part.content)
    ]


def _texts(content: Content) -> Iterator[str]:
    match content:
        case TextPart(text=text) | RefusalPart(text=text) | ReasoningPart(text=text):
            yield text
        case ToolCallPart(name=name, arguments_json=arguments):
            yield f"{name}({arguments})"
        case ToolResultPart(content=inside):
            for each in inside:
                yield from _texts(each)
        case MediaPart():
            yield MEDIA


def _label(kind: PartKind, tool: str) -> str:
    return f"{kind.lower()} {tool}" if tool else kind.lower()
