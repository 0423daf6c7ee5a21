"""Builds the events of a reply's parts, for every dialect: indexes, beginnings and ends, merging of deltas.

A reply has at most one open text, reasoning or refusal part, because vendors send those one after the other; tool
calls may be open side by side. Deltas of one part that come in one read are merged, except for the very first of the
reply.
"""

from __future__ import annotations

from collections.abc import Hashable

from llmgateway_server.core.events import (
    Event,
    Logprob,
    PartFinished,
    PartKind,
    PartStarted,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
)


class PartsBuilder:
    """Collects events; `take` hands out what is ready."""

    __slots__ = ("_events", "_first", "_flow", "_flow_index", "_logprobs", "_next", "_pending", "_tools")

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._next = 0
        self._flow: PartKind | None = None
        self._flow_index = 0
        self._pending: list[str] = []
        self._logprobs: list[Logprob] = []
        self._first: Event | None = None
        self._tools: dict[Hashable, int] = {}

    def flow(self, kind: PartKind, text: str, logprobs: tuple[Logprob, ...] = ()) -> None:
        """Adds text of a text, reasoning or refusal part; empty text begins no part.

        Log probabilities beside empty text belong to a token that is not a whole character yet: they go with the next
        delta.
        """
        if not text:
            if self._flow is kind:
                self._logprobs.extend(logprobs)
            return
        if self._flow is not kind:
            self._close_flow()
            self._flow = kind
            self._flow_index = self._begin(PartStarted(self._next, kind))
        self._pending.append(text)
        if logprobs:
            self._logprobs.extend(logprobs)
        if self._first is None:
            self._flush()

    def tool(self, key: Hashable, call_id: str, name: str, arguments_json: str) -> None:
        """Adds a piece of the tool call `key`; the first piece begins the part with its id and name."""
        index = self._tools.get(key)
        if index is None:
            self._close_flow()
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

    def add(self, event: Event) -> None:
        """Adds an event that is not a part's, in its place."""
        self._flush()
        self._events.append(event)

    def close(self) -> None:
        """Ends every open part."""
        self._close_flow()
        for index in self._tools.values():
            self._events.append(PartFinished(index))
        self._tools.clear()

    @property
    def has_tools(self) -> bool:
        """Whether a tool call is open."""
        return bool(self._tools)

    def take(self) -> list[Event]:
        """Returns the events that are ready and forgets them."""
        self._flush()
        events, self._events = self._events, []
        return events

    def _begin(self, started: PartStarted) -> int:
        self._events.append(started)
        self._next += 1
        return started.part_index

    def _close_flow(self) -> None:
        if self._flow is not None:
            self._flush()
            if self._logprobs:  # of tokens whose text never came
                self._delta(TextDelta(self._flow_index, "", tuple(self._logprobs)))
                self._logprobs.clear()
            self._events.append(PartFinished(self._flow_index))
            self._flow = None

    def _flush(self) -> None:
        if not self._pending:
            return
        text = "".join(self._pending)
        self._pending.clear()
        if self._flow is PartKind.REASONING:
            self._delta(ReasoningDelta(self._flow_index, text))
        else:
            self._delta(TextDelta(self._flow_index, text, tuple(self._logprobs)))
            self._logprobs.clear()

    def _delta(self, event: Event) -> None:
        self._events.append(event)
        if self._first is None:
            self._first = event
