"""What each type of output item tells: a message, reasoning, a function call, anything else. See `openai_responses`.

What deltas did not bring is taken from what comes when a piece, an item or the response is done, so that nothing is
missing and nothing is told twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from llmgateway_server.core.events import PartKind
from llmgateway_server.core.messages import Citation, ProviderState
from llmgateway_server.providers.dialects.openai_responses.answer import (
    Content,
    Event,
    Item,
    citations_of,
    contents_of,
    decode_content,
    index_of,
    logprobs_of,
    text_of,
)
from llmgateway_server.providers.dialects.openai_responses.state import State
from llmgateway_server.providers.dialects.parts import PartsBuilder
from llmgateway_server.providers.faults import malformed


@dataclass(slots=True)
class ReplyInItems:
    """What the items of a reply share."""

    parts: PartsBuilder
    call_id: str
    reasoned: bool = False
    """Whether reasoning with a state came already: the vendor binds what follows to it by the items' ids."""
    call_count: int = 0


class Teller(Protocol):
    """Tells one item."""

    def meet(self, item: Item) -> None:
        """Takes what is known of the item when it begins, and when it is done."""
        ...

    def read(self, kind: str, event: Event) -> None:
        """Reads an event of the item."""
        ...

    def complete(self, item: Item, raw: msgspec.Raw) -> None:
        """Tells what is left of the whole item, and ends its parts."""
        ...

    def close(self) -> None:
        """Ends the parts of an item that never came whole."""
        ...


class _Message:
    """Texts and refusals; each is a part."""

    def __init__(self, reply: ReplyInItems) -> None:
        self._reply = reply
        self._id = ""
        self._phase = ""
        self._at: tuple[int, PartKind] = (0, PartKind.TEXT)
        self._over: set[tuple[int, PartKind]] = set()
        self._chars = 0
        self._tokens = 0
        self._citations: list[Citation] = []

    def meet(self, item: Item) -> None:
        self._id = text_of(item.id) or self._id
        self._phase = text_of(item.phase) or self._phase

    def read(self, kind: str, event: Event) -> None:
        index = index_of(event.content_index)
        place = self._at[0] if index is None else index
        match kind:
            case "response.output_text.delta":
                self._say(place, PartKind.TEXT, text_of(event.delta), event.logprobs)
            case "response.refusal.delta":
                self._say(place, PartKind.REFUSAL, text_of(event.delta), None)
            case "response.output_text.done":
                self._settle(place, PartKind.TEXT, text_of(event.text), event.logprobs)
            case "response.refusal.done":
                self._settle(place, PartKind.REFUSAL, text_of(event.refusal), None)
            case "response.output_text.annotation.added":
                if (found := citations_of([event.annotation])) and self._turn(place, PartKind.TEXT, says=True):
                    self._citations += found
            case "response.content_part.done" if event.part:
                self._settle_content(place, decode_content(event.part))

    def complete(self, item: Item, raw: msgspec.Raw) -> None:
        for place, content in enumerate(contents_of(item.content)):
            self._settle_content(place, content)
        self.close()

    def close(self) -> None:
        """Ends the open part with what stands beside it; one that said nothing never began."""
        if self._chars or self._tokens or self._citations:
            state = State(id=self._id if self._reply.reasoned else "", phase=self._phase)
            written = state.written() if state.id or state.phase else None
            self._reply.parts.end_flow_with(self._at[1], written, tuple(self._citations))
            self._over.add(self._at)
        self._chars = self._tokens = 0
        self._citations = []

    def _turn(self, place: int, kind: PartKind, *, says: bool) -> bool:
        """Goes to a part that says something, and tells whether anything may still be said in it."""
        if (place, kind) in self._over:
            return False
        if (place, kind) != self._at and says:
            self.close()
            self._at = (place, kind)
        return (place, kind) == self._at

    def _say(self, place: int, kind: PartKind, text: str, logprobs: object) -> None:
        if self._turn(place, kind, says=bool(text or logprobs)):
            tokens = logprobs_of(logprobs)
            self._chars += len(text)
            self._tokens += len(tokens)
            self._reply.parts.flow(kind, text, tokens)

    def _settle(self, place: int, kind: PartKind, text: str, logprobs: object) -> None:
        """Says what is missing of a part that is now whole."""
        if self._turn(place, kind, says=bool(text or logprobs)):
            left = logprobs[self._tokens :] if isinstance(logprobs, list) else None
            self._say(place, kind, text[self._chars :], left)

    def _settle_content(self, place: int, content: Content) -> None:
        if isinstance(content.refusal, str):
            self._settle(place, PartKind.REFUSAL, content.refusal, None)
        elif isinstance(content.text, str):
            self._settle(place, PartKind.TEXT, content.text, content.logprobs)
            found = citations_of(content.annotations)
            if found and self._turn(place, PartKind.TEXT, says=True):
                self._citations = list(found)


class _Reasoning:
    """One part: the summaries, or the reasoning itself where it is shown, with blank lines between them."""

    def __init__(self, reply: ReplyInItems) -> None:
        self._reply = reply
        self._source = ""
        self._chars: dict[int, int] = {}
        self._last = -1

    def meet(self, item: Item) -> None:
        """Its id counts only when it is done."""

    def read(self, kind: str, event: Event) -> None:
        place = index_of(event.summary_index) or index_of(event.content_index) or 0
        match kind:
            case "response.reasoning_summary_text.delta":
                self._say("summary", place, text_of(event.delta))
            case "response.reasoning_text.delta":
                self._say("content", place, text_of(event.delta))
            case "response.reasoning_summary_text.done":
                self._settle("summary", place, text_of(event.text))
            case "response.reasoning_text.done":
                self._settle("content", place, text_of(event.text))
            case "response.reasoning_summary_part.done" if event.part:
                self._settle("summary", place, text_of(decode_content(event.part).text))
            case "response.content_part.done" if event.part:
                self._settle("content", place, text_of(decode_content(event.part).text))

    def complete(self, item: Item, raw: msgspec.Raw) -> None:
        summary = [text_of(each.text) for each in contents_of(item.summary)]
        content = [text_of(each.text) for each in contents_of(item.content)]
        for source, texts in (("summary", summary), ("content", content)):
            for place, text in enumerate(texts):
                self._settle(source, place, text)
        state = State(
            id=text_of(item.id),
            summary=summary,
            content=content or None,
            encrypted_content=text_of(item.encrypted_content),
        )
        self._end(state.written() if state.id or state.encrypted_content else None)

    def close(self) -> None:
        self._end(None)

    def _end(self, state: ProviderState | None) -> None:
        if state is not None:
            self._reply.reasoned = True
        if state is not None or self._source:
            self._reply.parts.end_flow_with(PartKind.REASONING, state, redacted=not self._source)

    def _say(self, source: str, place: int, text: str) -> None:
        """Says more of the source that spoke first; the other one goes into the state alone."""
        if not text or source != (self._source or source):
            return
        self._source = source
        if place != self._last and self._last >= 0:
            self._reply.parts.flow(PartKind.REASONING, "\n\n")
        self._last = place
        self._chars[place] = self._chars.get(place, 0) + len(text)
        self._reply.parts.flow(PartKind.REASONING, text)

    def _settle(self, source: str, place: int, text: str) -> None:
        if place == self._last or place not in self._chars:
            self._say(source, place, text[self._chars.get(place, 0) :])


class _FunctionCall:
    """A tool call. It begins once its name and id are known."""

    def __init__(self, reply: ReplyInItems) -> None:
        self._reply = reply
        self._item_id = ""
        self._call_id = ""
        self._name = ""
        self._begun = False
        self._bound = False
        self._held: list[str] = []
        self._chars = 0

    def meet(self, item: Item) -> None:
        self._item_id = text_of(item.id) or self._item_id
        self._call_id = self._call_id or text_of(item.call_id)
        self._name = self._name or text_of(item.name)
        if self._name and self._call_id:
            self._begin()

    def read(self, kind: str, event: Event) -> None:
        if kind == "response.function_call_arguments.delta":
            self._say(text_of(event.delta))
        else:
            self._say(text_of(event.arguments)[self._chars :])

    def complete(self, item: Item, raw: msgspec.Raw) -> None:
        if not (item.arguments is None or isinstance(item.arguments, str)):
            raise malformed("arguments of a function call are no text")
        self._say(text_of(item.arguments)[self._chars :])
        self.close()

    def close(self) -> None:
        self._begin()
        state = State(id=self._item_id) if self._bound and self._item_id else None
        self._reply.parts.end_tool(self, state.written() if state else None)

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        self._bound = self._reply.reasoned
        self._reply.call_count += 1
        self._call_id = self._call_id or f"call_{self._reply.call_id}_{self._reply.call_count}"
        self._reply.parts.tool(self, self._call_id, self._name, "".join(self._held))

    def _say(self, arguments: str) -> None:
        self._chars += len(arguments)
        if self._begun:
            self._reply.parts.tool(self, self._call_id, self._name, arguments)
        else:
            self._held.append(arguments)


class _Other:
    """An item that no part can say, such as a search by the vendor: an empty text with the item as its state."""

    def __init__(self, reply: ReplyInItems) -> None:
        self._reply = reply

    def meet(self, item: Item) -> None:
        """Nothing of it can be told before it is whole."""

    def read(self, kind: str, event: Event) -> None:
        """Nothing of it can be told before it is whole."""

    def complete(self, item: Item, raw: msgspec.Raw) -> None:
        written = msgspec.json.format(bytes(raw).decode(), indent=-1)
        state = State(item=msgspec.Raw(written.encode()))
        self._reply.parts.end_flow_with(PartKind.TEXT, state.written())

    def close(self) -> None:
        """Nothing of it was told."""


TELLERS: dict[str, Callable[[ReplyInItems], Teller]] = {
    "message": _Message,
    "reasoning": _Reasoning,
    "function_call": _FunctionCall,
}


def teller_of(kind: str, reply: ReplyInItems) -> Teller:
    """Returns what tells an item of this type."""
    return TELLERS.get(kind, _Other)(reply)
