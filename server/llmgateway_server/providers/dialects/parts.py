"""Builds the events of a reply's parts, for every dialect: indexes, beginnings and ends, merging of deltas.

Text, reasoning and refusals are flows: most vendors send one after the other, and the next one ends the one before.
Others have one field for each kind, so that a kind is one part from its first word to the end of the reply. Tool calls
may be open side by side. Deltas of one part that come in one read are merged, except for the very first of the reply.
"""

from __future__ import annotations

from collections.abc import Hashable

from llmgateway_server.core.events import (
    Event,
    FinishReason,
    Logprob,
    MediaDelta,
    PartFinished,
    PartKind,
    PartStarted,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
)
from llmgateway_server.core.messages import Citation, ProviderState


class PartsBuilder:
    """Collects events; `take` hands out what is ready.

    Args:
        answer_tool: name of the tool whose arguments are the answer's text, see `structured`; empty for none.
        one_of_each: whether a flow stays open when another begins.
    """

    __slots__ = (
        "_answer_key",
        "_answer_said",
        "_answer_tool",
        "_events",
        "_first",
        "_flow",
        "_logprobs",
        "_next",
        "_one_of_each",
        "_open",
        "_pending",
        "_tools",
        "made_calls",
    )

    def __init__(self, answer_tool: str = "", *, one_of_each: bool = False) -> None:
        self._answer_tool = answer_tool
        self._answer_key: Hashable = None
        self._answer_said = False
        self._events: list[Event] = []
        self._next = 0
        self._one_of_each = one_of_each
        self._open: dict[PartKind, int] = {}
        """Open flows with their indexes."""
        self._flow: PartKind | None = None
        """Which of them is spoken now; pending text and log probabilities are its."""
        self._pending: list[str] = []
        self._logprobs: list[Logprob] = []
        self._first: Event | None = None
        self._tools: dict[Hashable, int] = {}
        self.made_calls = False
        """Whether the reply has a tool call."""

    def settled(self, reason: FinishReason) -> FinishReason:
        """Returns the reason that the reply's parts bear out, where the vendor's own word tells another.

        A forced tool choice often ends with "stop"; an answer by tool is no call.
        """
        if reason is FinishReason.STOP and self.made_calls:
            return FinishReason.TOOL_CALLS
        if reason is FinishReason.TOOL_CALLS and self._answer_key is not None and not self.made_calls:
            return FinishReason.STOP
        return reason

    def flow(self, kind: PartKind, text: str, logprobs: tuple[Logprob, ...] = ()) -> None:
        """Adds text of a text, reasoning or refusal part; nothing at all begins no part.

        Log probabilities beside empty text belong to a token that is not a whole character yet: they go with the next
        delta.
        """
        if not text and not logprobs:
            return
        if self._flow is not kind:
            self._turn_to(kind)
        if logprobs:
            self._logprobs.extend(logprobs)
        if text:
            self._pending.append(text)
            if self._first is None:
                self._flush()

    def end_flow(self) -> None:
        """Ends the open text, reasoning or refusal part, if there is one: the next text begins another part."""
        if self._flow is not None:
            self._close_flow(self._flow)

    def end_flow_with(
        self,
        kind: PartKind,
        state: ProviderState | None = None,
        citations: tuple[Citation, ...] = (),
        *,
        redacted: bool = False,
    ) -> None:
        """Ends a part of this kind with what stands beside it; opens an empty one where only that came."""
        if self._flow is not kind:
            self._turn_to(kind, redacted=redacted)
        self._close_flow(kind, state, citations)

    def tool(self, key: Hashable, call_id: str, name: str, arguments_json: str) -> None:
        """Adds a piece of the tool call `key`; the first piece begins the part with its id and name."""
        if self._answer_tool and self._is_answer(key, name):
            self.flow(PartKind.TEXT, arguments_json)
            self._answer_said = self._answer_said or bool(arguments_json)
            return
        index = self._tools.get(key)
        if index is None:
            self._turn_to(None)
            self.made_calls = True
            index = self._begin(PartStarted(self._next, PartKind.TOOL_CALL, tool_call_id=call_id, tool_name=name))
            self._tools[key] = index
        if not arguments_json:
            return
        self._flush()
        last = self._events[-1] if self._events else None
        if isinstance(last, ToolArgumentsDelta) and last.part_index == index and last is not self._first:
            last.arguments_json += arguments_json
        else:
            self._delta(ToolArgumentsDelta(index, arguments_json))

    def end_tool(self, key: Hashable, state: ProviderState | None = None) -> None:
        """Ends the tool call `key`, if it is open."""
        index = self._tools.pop(key, None)
        if index is not None:
            self._flush()
            self._events.append(PartFinished(index, state))
        elif self._answer_key is not None and key == self._answer_key:
            self._end_answer()

    def medium(self, mime_type: str, data: bytes, state: ProviderState | None = None) -> None:
        """Adds an image, a sound or a document that came whole."""
        self._turn_to(None)
        index = self._begin(PartStarted(self._next, PartKind.MEDIA, mime_type=mime_type))
        if data:
            self._delta(MediaDelta(index, data))
        self._events.append(PartFinished(index, state))

    def add(self, event: Event) -> None:
        """Adds an event that is not a part's, in its place."""
        self._flush()
        self._events.append(event)

    def close(self) -> None:
        """Ends every open part."""
        self._end_answer()
        self._turn_to(None)
        for kind in list(self._open):
            self._close_flow(kind)
        for index in self._tools.values():
            self._events.append(PartFinished(index))
        self._tools.clear()

    def take(self) -> list[Event]:
        """Returns the events that are ready and forgets them."""
        self._flush()
        events, self._events = self._events, []
        return events

    def _end_answer(self) -> None:
        """Ends an answer by tool; without arguments it is an empty object."""
        if self._answer_key is not None and not self._answer_said:
            self._answer_said = True
            self.flow(PartKind.TEXT, "{}")
        self.end_flow()

    def _is_answer(self, key: Hashable, name: str) -> bool:
        """Tells whether a piece belongs to the answer tool, which is named in its first piece."""
        if self._answer_key is None and name == self._answer_tool and key not in self._tools:
            self._answer_key = key
        return key == self._answer_key

    def _begin(self, started: PartStarted) -> int:
        self._events.append(started)
        self._next += 1
        return started.part_index

    def _turn_to(self, kind: PartKind | None, *, redacted: bool = False) -> None:
        """Goes on with another flow, or with none."""
        if self._flow is not None and self._one_of_each:
            self._flush_all(self._flow)
        else:
            self.end_flow()
        self._flow = kind
        if kind is not None and kind not in self._open:
            self._open[kind] = self._begin(PartStarted(self._next, kind, redacted=redacted))

    def _close_flow(
        self, kind: PartKind, state: ProviderState | None = None, citations: tuple[Citation, ...] = ()
    ) -> None:
        if self._flow is kind:
            self._flush_all(kind)
            self._flow = None
        self._events.append(PartFinished(self._open.pop(kind), state, citations))

    def _flush_all(self, kind: PartKind) -> None:
        self._flush()
        if self._logprobs:  # of tokens whose text never came
            self._delta(TextDelta(self._open[kind], "", tuple(self._logprobs)))
            self._logprobs.clear()

    def _flush(self) -> None:
        if not self._pending or self._flow is None:
            return
        index = self._open[self._flow]
        text = "".join(self._pending)
        self._pending.clear()
        if self._flow is PartKind.REASONING:
            self._delta(ReasoningDelta(index, text))
        else:
            self._delta(TextDelta(index, text, tuple(self._logprobs)))
            self._logprobs.clear()

    def _delta(self, event: Event) -> None:
        self._events.append(event)
        if self._first is None:
            self._first = event
