"""What a stream yields: the typed events of the contract, ready for `match`, and their assembly into a reply."""

from __future__ import annotations

import grpc

from llmgateway.errors import BrokenStream
from llmgateway.fold import Fold
from llmgateway.reply import Reply
from llmgateway.v1.reply_pb2 import (
    PART_KIND_TEXT,
    Event,
    Finished,
    GuardrailVerdict,
    Heartbeat,
    MediaDelta,
    PartFinished,
    PartStarted,
    ReasoningDelta,
    Started,
    StreamCompleteResponse,
    TargetSwitched,
    TextDelta,
    ToolArgumentsDelta,
    UsageSnapshot,
)

__all__ = [
    "Assembly",
    "Finished",
    "GuardrailVerdict",
    "Heartbeat",
    "MediaDelta",
    "PartFinished",
    "PartStarted",
    "ReasoningDelta",
    "Started",
    "StreamEvent",
    "TargetSwitched",
    "TextDelta",
    "ToolArgumentsDelta",
    "UsageSnapshot",
    "event_of",
]

StreamEvent = (
    Started
    | PartStarted
    | TextDelta
    | ReasoningDelta
    | ToolArgumentsDelta
    | MediaDelta
    | PartFinished
    | UsageSnapshot
    | GuardrailVerdict
    | TargetSwitched
    | Heartbeat
    | Finished
)
"""One typed event; `started` comes first, `finished` last."""


def event_of(event: Event) -> StreamEvent | None:
    """Returns what happened; None for a kind that is newer than this client."""
    kind = event.WhichOneof("event")
    return None if kind is None else getattr(event, kind)


class Assembly:
    """Takes in the messages of a stream as they come, and is the reply in the end."""

    def __init__(self) -> None:
        self._fold = Fold()
        self._texts: set[int] = set()

    def take(self, message: StreamCompleteResponse) -> list[StreamEvent]:
        """Takes in the next message and returns its events.

        Raises:
            BrokenStream: an event is missing, doubled or out of place.
        """
        try:
            for event in message.events:
                self._fold.add(event)
        except ValueError as error:
            raise _broken(error) from None
        events = [found for found in map(event_of, message.events) if found is not None]
        self._texts.update(
            each.part_index for each in events if isinstance(each, PartStarted) and each.kind == PART_KIND_TEXT
        )
        return events

    def text_of(self, event: StreamEvent) -> str:
        """Returns the text of an event, as far as it belongs to the answer's text and not to a refusal."""
        return event.text if isinstance(event, TextDelta) and event.part_index in self._texts else ""

    def reply(self) -> Reply:
        """Returns the reply of a stream that is complete.

        Raises:
            BrokenStream: it is not.
        """
        try:
            return Reply(self._fold.response())
        except ValueError as error:
            raise _broken(error) from None

    def so_far(self) -> Reply:
        """Returns what has arrived."""
        return Reply(self._fold.so_far())


def _broken(error: ValueError) -> BrokenStream:
    return BrokenStream(str(error), code=grpc.StatusCode.DATA_LOSS)
