"""What the streams of all dialects share: failing late, ending once."""

from __future__ import annotations

from typing import Protocol

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Event
from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.dialects.framing import Framed, Framing
from llmgateway_server.providers.dialects.parts import PartsBuilder
from llmgateway_server.providers.faults import malformed


class EventReader(Protocol):
    """A dialect's own half of a stream's decoder: it reads events and builds parts."""

    parts: PartsBuilder
    """Where it puts what it reads, `Finished` included."""

    def read(self, name: bytes, data: bytes) -> bool:
        """Reads one event and tells whether it was the last of the reply.

        Raises:
            UpstreamError: the event is an error, or cannot be read.
        """
        ...

    def body_ended(self) -> bool:
        """Tells whether the reply is complete although the body ended without its last event.

        Raises:
            UpstreamError: what is there cannot be a whole reply.
        """
        ...


class EventStream:
    """Turns one stream's bytes into events, however they are cut.

    Args:
        framing: divides the bytes.
        reader: the dialect's half.
    """

    def __init__(self, framing: Framing, reader: EventReader) -> None:
        self._framing = framing
        self._reader = reader
        self._began = False
        self.failure: UpstreamError | None = None
        """What is to be raised once the events that came before it are delivered."""
        self.finished = False
        """Whether the stream said that it is over; what follows is ignored."""

    def feed(self, data: bytes) -> list[Event]:
        """Returns the events of all that is complete so far; adjacent deltas are merged, except for the first.

        Raises:
            UpstreamError: the stream carries an error or cannot be read, and no event came before it; otherwise
                those events are returned and `failure` is set.
        """
        try:
            self._read(self._framing.feed(data))
        except UpstreamError as failure:
            return self._fail(failure)
        return self._reader.parts.take()

    def end(self) -> list[Event]:
        """Tells that the body ended cleanly.

        Raises:
            UpstreamError: UPSTREAM_STREAM_INTERRUPTED, the stream is not complete.
        """
        if self.finished:
            return []
        try:
            self._read_rest()
            self._judge_end()
        except UpstreamError as failure:
            return self._fail(failure)
        return self._reader.parts.take()

    def _read(self, events: Framed) -> None:
        read = self._reader.read
        self._began = self._began or bool(events)
        if self.finished:
            return
        for name, data in events:
            if read(name, data):
                self.finished = True  # whatever follows the last event is not looked at
                return

    def _read_rest(self) -> None:
        """Reads the event that the end of the body completes. What is no whole event there was cut."""
        try:
            self._read(self._framing.end())
        except UpstreamError as failure:
            if failure.reason is not Reason.UPSTREAM_MALFORMED:
                raise
            raise interrupted("stream ended inside an event") from failure

    def _judge_end(self) -> None:
        if not self._began:
            raise malformed("stream without an event")
        if not self.finished and not self._reader.body_ended():
            raise interrupted("stream ended without its last event")
        self.finished = True

    def _fail(self, failure: UpstreamError) -> list[Event]:
        """Hands out what came before the failure; the failure itself is raised by the caller's next turn."""
        events = self._reader.parts.take()
        if not events:
            raise failure
        self.failure = failure
        return events


def interrupted(detail: str) -> UpstreamError:
    """Returns the error for a stream that is not whole; `detail` names the place."""
    return UpstreamError(Reason.UPSTREAM_STREAM_INTERRUPTED, detail=detail)
