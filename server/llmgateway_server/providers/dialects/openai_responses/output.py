"""In which order output items of Responses are told. See `items` for what they say.

Parts stand in the order in which their items began. An item that is told while another one is still open would tear it
apart: it waits. Function calls alone may be open side by side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import msgspec

from llmgateway_server.providers.dialects.openai_responses.answer import Event, Item, decode_item, index_of, text_of
from llmgateway_server.providers.dialects.openai_responses.items import ReplyInItems, Teller, teller_of
from llmgateway_server.providers.dialects.parts import PartsBuilder

KIND_OF_EVENT = {
    "response.content_part.done": "message",
    "response.output_text.delta": "message",
    "response.output_text.done": "message",
    "response.output_text.annotation.added": "message",
    "response.refusal.delta": "message",
    "response.refusal.done": "message",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning_summary_text.done": "reasoning",
    "response.reasoning_summary_part.done": "reasoning",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_text.done": "reasoning",
    "response.function_call_arguments.delta": "function_call",
    "response.function_call_arguments.done": "function_call",
}
"""The events that tell a piece of an item, and the type of item that they imply where nobody announced it."""
ITEM_EVENTS = frozenset({"response.output_item.added", "response.output_item.done", *KIND_OF_EVENT})
"""The events that tell of items."""


@dataclass(slots=True, eq=False)
class _Place:
    """An item's place in the reply."""

    kind: str
    id: str
    alone: bool
    """Whether nothing else may begin while it is open."""
    teller: Teller
    over: bool = False
    waits: bool = False
    held: list[Callable[[], None]] = field(default_factory=list)
    """What is to be told once it is its turn."""


class OutputItems:
    """The items of one reply.

    Args:
        parts: of the reply.
        call_id: of the call, for the ids of tool calls that come without one.
        answer_tool: name of the tool whose arguments are the answer's text, see `structured`; empty for none.
    """

    def __init__(self, parts: PartsBuilder, call_id: str, answer_tool: str) -> None:
        self._reply = ReplyInItems(parts, call_id)
        self._answer_tool = answer_tool
        self._places: list[_Place] = []
        self._at: dict[int | None, _Place] = {}
        self._open: _Place | None = None
        self._queue: deque[_Place] = deque()

    def read(self, kind: str, event: Event) -> None:
        """Reads one of `ITEM_EVENTS`.

        Raises:
            ValueError: what it brings cannot be read.
            RecursionError: it is too deep.
            UpstreamError: UPSTREAM_MALFORMED, the same.
        """
        index = index_of(event.output_index)
        place = self._at.get(index) if index is not None else self._places[-1] if self._places else None
        match kind:
            case "response.output_item.added" if event.item:
                self._added(index, place, decode_item(event.item))
            case "response.output_item.done" if event.item:
                item = decode_item(event.item)
                if place is None or not _is_of(place, item):
                    place = self._begin(text_of(item.type), item, index)
                self._complete(place, item, event.item)
            case _ if implied := KIND_OF_EVENT.get(kind):
                if place is None:
                    place = self._begin(implied, Item(), index)
                self._tell(place, partial(place.teller.read, kind, event))

    def finish(self, output: list[msgspec.Raw]) -> None:
        """Tells what is missing of the whole response's items, and ends all of them.

        The n-th item of a type is the n-th of that type that was told: some vendors give other ids at the end.
        """
        told: dict[str, deque[_Place]] = {}
        for place in self._places:
            told.setdefault(place.kind, deque()).append(place)
        whole: dict[_Place, tuple[Item, msgspec.Raw]] = {}
        new: list[tuple[Item, msgspec.Raw]] = []
        if len(output) > len(self._places) or not all(place.over for place in self._places):
            for raw in output:
                item = decode_item(raw)
                if of_kind := told.get(text_of(item.type)):
                    whole[of_kind.popleft()] = (item, raw)
                else:
                    new.append((item, raw))
        for place in self._places:
            if place in whole:
                self._complete(place, *whole[place])
            else:
                self._tell(place, place.teller.close, last=True)
        for item, raw in new:
            self._complete(self._begin(text_of(item.type), item, None), item, raw)

    def _added(self, index: int | None, place: _Place | None, item: Item) -> None:
        """Begins an item, be it under the index of another one: some vendors give all of them the same."""
        item_id = text_of(item.id)
        if place is None or index is None or place.over or not _is_of(place, item) or place.id not in ("", item_id):
            self._begin(text_of(item.type), item, index)
        else:
            place.id = item_id
            self._tell(place, partial(place.teller.meet, item))

    def _begin(self, kind: str, item: Item, index: int | None) -> _Place:
        is_known_call = kind == "function_call" and text_of(item.name) and text_of(item.call_id)
        alone = not is_known_call or item.name == self._answer_tool
        place = _Place(kind, text_of(item.id), alone, teller_of(kind, self._reply))
        self._places.append(place)
        self._at[index] = place
        if self._open is not None:
            place.waits = True
            self._queue.append(place)
        elif alone:
            self._open = place
        self._tell(place, partial(place.teller.meet, item))
        return place

    def _complete(self, place: _Place, item: Item, raw: msgspec.Raw) -> None:
        self._tell(place, partial(place.teller.meet, item))
        self._tell(place, partial(place.teller.complete, item, raw), last=True)

    def _tell(self, place: _Place, action: Callable[[], None], *, last: bool = False) -> None:
        """Does something for an item when it is its turn; `last` ends it, and what comes later is too late."""
        if place.over:
            return
        place.over = last
        if place.waits:
            place.held.append(action)
            return
        action()
        if last and place is self._open:
            self._next()

    def _next(self) -> None:
        """Lets those speak that wait, up to one that stays open."""
        self._open = None
        while self._queue and self._open is None:
            place = self._queue.popleft()
            place.waits = False
            for action in place.held:
                action()
            place.held.clear()
            if place.alone and not place.over:
                self._open = place


def _is_of(place: _Place, item: Item) -> bool:
    """Tells whether a whole item is the one of a place, and not another one under the same index."""
    return place.kind == text_of(item.type) and (not place.over or place.id == text_of(item.id))
