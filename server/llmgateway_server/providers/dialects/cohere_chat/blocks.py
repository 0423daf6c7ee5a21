"""How what a message holds becomes parts of a reply, the same whether it comes whole or in pieces. See `cohere_chat`.

Content blocks, the plan and tool calls follow one another: the beginning of one is the end of the one before it. Only
then a block is over: citations come behind the words that they are about.
"""

from __future__ import annotations

from dataclasses import replace

from llmgateway_server.core.events import Logprob, PartKind
from llmgateway_server.core.messages import Citation
from llmgateway_server.providers.dialects.cohere_chat.answer import (
    Cited,
    Content,
    Function,
    LogprobItem,
    Message,
    ToolCall,
    citations_of,
    logprob_of,
    said,
    word,
)
from llmgateway_server.providers.dialects.cohere_chat.state import Place, reasoning_state
from llmgateway_server.providers.dialects.parts import PartsBuilder

PLACES = {"THINKING_CONTENT": Place.THINKING, "PLAN": Place.PLAN}
"""What a citation is about, by its type; others are about the text."""


class Blocks:
    """Adds what a message holds to a reply's parts.

    Args:
        parts: of the reply.
        call_id: of the call, for the ids of tool calls that come without one.
    """

    def __init__(self, parts: PartsBuilder, call_id: str) -> None:
        self._parts = parts
        self._call_id = call_id
        self._place: Place | None = None
        """The open block."""
        self._said = False
        """Whether it has words."""
        self._citations: list[Citation] = []
        self._homeless: list[Citation] = []
        """Citations that came when no block was open that they could be about."""
        self._logprobs: list[Logprob] = []
        """Of words that are no text, until text comes."""
        self._calls = 0

    def whole(self, message: Message, logprobs: list[LogprobItem] | None) -> None:
        """Adds a whole message."""
        for item in logprobs or ():
            self.score(item)
        citations = list(message.citations or ())
        content = message.content
        blocks = [Content(text=content)] if isinstance(content, str) else content or []
        for i, block in enumerate(blocks):
            place = self.begin(block)
            for cited in [each for each in citations if _is_about(each, place, i)]:
                citations.remove(cited)
                self.cite(cited)
        self.plan(said(message.tool_plan))
        for cited in citations:
            self.cite(cited)
        for call in message.tool_calls or ():
            self.end_call(self.begin_call(call))

    def begin(self, block: Content) -> Place:
        """Begins a content block with what is told of it at once; tells where it stands."""
        place = Place.THINKING if block.type == "thinking" or block.thinking is not None else Place.TEXT
        self._turn_to(place)
        self.add(block)
        return place

    def add(self, piece: Content, item: LogprobItem | None = None) -> None:
        """Adds a piece to the open block; begins one where nobody did."""
        if item is not None:
            self.score(item)
        for place, text in ((Place.THINKING, said(piece.thinking)), (Place.TEXT, said(piece.text))):
            if text:
                self._say(place, text)

    def plan(self, text: str) -> None:
        """Adds words of the plan."""
        if text:
            self._say(Place.PLAN, text)

    def score(self, item: LogprobItem) -> None:
        """Notes log probabilities, which go with the next text."""
        self._logprobs += logprob_of(item)

    def cite(self, cited: Cited) -> None:
        """Adds a citation to the open block that it is about."""
        if PLACES.get(word(cited.type), Place.TEXT) is self._place:
            self._citations += citations_of(cited)
        else:
            self._homeless += citations_of(cited)

    def begin_call(self, call: ToolCall) -> int:
        """Begins a tool call with what is told of it at once; returns what tells it from others."""
        self._end()
        self._calls += 1
        function = call.function or Function()
        call_id = word(call.id) or f"call_{self._call_id}_{self._calls}"
        self._parts.tool(self._calls, call_id, word(function.name), said(function.arguments))
        return self._calls

    def add_arguments(self, key: int, call: ToolCall) -> None:
        """Adds a piece of a tool call's arguments."""
        self._parts.tool(key, "", "", said((call.function or Function()).arguments))

    def end_call(self, key: int) -> None:
        """Ends a tool call."""
        self._parts.end_tool(key)

    def close(self) -> None:
        """Ends what is open. What could not be put beside its words stands beside an empty text, without places."""
        self._end()
        if self._logprobs:
            self._parts.flow(PartKind.TEXT, "", tuple(self._logprobs))
        if self._homeless:
            bare = (replace(each, start_index=None, end_index=None) for each in self._homeless)
            self._parts.end_flow_with(PartKind.TEXT, citations=tuple(bare))
        self._parts.close()

    def _say(self, place: Place, text: str) -> None:
        if self._place is not place:
            self._turn_to(place)
        self._said = True
        if place is Place.TEXT:
            self._parts.flow(PartKind.TEXT, text, tuple(self._logprobs))
            self._logprobs.clear()
        else:
            self._parts.flow(PartKind.REASONING, text)

    def _turn_to(self, place: Place) -> None:
        self._end()
        self._place = place

    def _end(self) -> None:
        """Ends the open block; one without words was none."""
        place, said_something, citations = self._place, self._said, tuple(self._citations)
        self._place, self._said = None, False
        self._citations.clear()
        if not said_something:
            self._homeless += citations
        elif place is Place.TEXT:
            self._parts.end_flow_with(PartKind.TEXT, citations=citations)
        elif place is not None:
            self._parts.end_flow_with(PartKind.REASONING, reasoning_state(place), citations)


def _is_about(cited: Cited, place: Place, index: int) -> bool:
    """Tells whether a citation is about a content block; without the block's index, the first of its place is meant."""
    return PLACES.get(word(cited.type), Place.TEXT) is place and cited.content_index in (None, index)
