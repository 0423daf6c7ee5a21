"""Puts the events of a stream together: `fold` makes of them what `Complete` would have answered.

Example:
    `fold(event for message in stub.StreamComplete(request) for event in message.events)`
"""

from __future__ import annotations

from collections.abc import Iterable

from llmgateway.v1 import message_pb2, reply_pb2

_SAME_IN_STARTED = ("response_id", "call_id", "model", "provider_model")
_SAME_IN_FINISHED = ("finish_reason", "provider_finish_reason")
_MESSAGES_IN_FINISHED = ("usage", "cost", "routing_decision", "cache", "timings", "effective_settings", "trace")


def fold(events: Iterable[reply_pb2.Event]) -> reply_pb2.CompleteResponse:
    """Folds a whole stream into the reply that `Complete` gives.

    A reply that another target began afresh (`TargetSwitched.restarted`) holds nothing of the one before: its parts and
    log probabilities are dropped, and parts are numbered from 0 again. What broke off is told by `target_switches`.

    Args:
        events: of all messages of one StreamComplete call, in order. Kinds of events that are newer than this client
            are passed over.

    Raises:
        ValueError: the events are not a whole stream. A sequence number is missing or doubled, the first event (but
            for heartbeats) is not `started`, an event belongs to a part that did not begin, is over or is of another
            kind, something stands behind `finished`, or `finished` is missing.
    """
    folded = Fold()
    for event in events:
        folded.add(event)
    return folded.response()


class _Part:
    """A part while it grows: pieces are joined once, at its end."""

    def __init__(self, started: reply_pb2.PartStarted) -> None:
        self.started = started
        self.texts: list[str] = []
        self.data: list[bytes] = []
        self.finished: reply_pb2.PartFinished | None = None

    def message(self) -> message_pb2.Part:
        """Returns the part as messages hold it; one of an unknown kind has no content."""
        part, started = message_pb2.Part(), self.started
        text = "".join(self.texts)
        match started.kind:
            case reply_pb2.PART_KIND_TEXT:
                part.text = text
            case reply_pb2.PART_KIND_REASONING:
                part.reasoning.CopyFrom(message_pb2.Reasoning(text=text, redacted=started.redacted))
            case reply_pb2.PART_KIND_REFUSAL:
                part.refusal.CopyFrom(message_pb2.Refusal(text=text))
            case reply_pb2.PART_KIND_TOOL_CALL:
                call = message_pb2.ToolCall(id=started.tool_call_id, name=started.tool_name, arguments_json=text)
                part.tool_call.CopyFrom(call)
            case reply_pb2.PART_KIND_MEDIA:
                part.media.CopyFrom(message_pb2.Media(mime_type=started.mime_type, data=b"".join(self.data)))
        if self.finished is not None:
            if self.finished.HasField("provider_state"):
                part.provider_state.CopyFrom(self.finished.provider_state)
            part.citations.extend(self.finished.citations)
        return part


class Fold:
    """A reply while it grows, event by event."""

    def __init__(self) -> None:
        self._reply = reply_pb2.CompleteResponse()
        self._parts: list[_Part] = []
        self._seq = 0
        self._started = False
        self._finished = False

    def add(self, event: reply_pb2.Event) -> None:
        """Takes in the next event.

        Raises:
            ValueError: it cannot stand here; as `fold`.
        """
        if self._finished:
            raise ValueError(f"event {event.seq} stands behind finished")
        if event.seq != self._seq + 1:
            raise ValueError(f"event {event.seq} follows event {self._seq}")
        self._seq = event.seq
        kind = event.WhichOneof("event")
        if kind == "heartbeat":
            return
        if self._started == (kind == "started"):
            raise ValueError(f"event {event.seq} is a second started" if self._started else "the stream did not start")
        self._add(kind, event)

    def response(self) -> reply_pb2.CompleteResponse:
        """Returns the reply of a stream that is complete.

        Raises:
            ValueError: it is not.
        """
        if not self._finished:
            raise ValueError("the stream did not finish")
        return self.so_far()

    def so_far(self) -> reply_pb2.CompleteResponse:
        """Returns what has arrived, whole or not; later events do not change it."""
        reply = reply_pb2.CompleteResponse()
        reply.CopyFrom(self._reply)
        reply.parts.extend(part.message() for part in self._parts)
        return reply

    def _add(self, kind: str | None, event: reply_pb2.Event) -> None:
        match kind:
            case "started":
                self._start(event.started)
            case "part_started":
                if event.part_started.part_index != len(self._parts):
                    raise ValueError(f"part {event.part_started.part_index} began as number {len(self._parts)}")
                self._parts.append(_Part(event.part_started))
            case "text_delta":
                part = self._part(event.text_delta.part_index, reply_pb2.PART_KIND_TEXT, reply_pb2.PART_KIND_REFUSAL)
                part.texts.append(event.text_delta.text)
                self._reply.logprobs.extend(event.text_delta.logprobs)
            case "reasoning_delta":
                part = self._part(event.reasoning_delta.part_index, reply_pb2.PART_KIND_REASONING)
                part.texts.append(event.reasoning_delta.text)
            case "tool_arguments_delta":
                part = self._part(event.tool_arguments_delta.part_index, reply_pb2.PART_KIND_TOOL_CALL)
                part.texts.append(event.tool_arguments_delta.arguments_json)
            case "media_delta":
                part = self._part(event.media_delta.part_index, reply_pb2.PART_KIND_MEDIA)
                part.data.append(event.media_delta.data)
            case "part_finished":
                self._part(event.part_finished.part_index).finished = event.part_finished
            case "guardrail_verdict":
                self._reply.guardrail_verdicts.append(event.guardrail_verdict)
            case "target_switched":
                self._switch(event.target_switched)
            case "finished":
                self._finish(event.finished)

    def _part(self, index: int, *kinds: reply_pb2.PartKind.ValueType) -> _Part:
        """Returns an open part, which is of one of `kinds` if any are named."""
        if not 0 <= index < len(self._parts):
            raise ValueError(f"part {index} did not begin")
        part = self._parts[index]
        if part.finished is not None:
            raise ValueError(f"part {index} is over")
        if kinds and part.started.kind not in kinds:
            raise ValueError(f"a delta of another kind came for part {index}")
        return part

    def _start(self, started: reply_pb2.Started) -> None:
        self._started = True
        for field in _SAME_IN_STARTED:
            setattr(self._reply, field, getattr(started, field))
        if started.HasField("target"):
            self._reply.target.CopyFrom(started.target)

    def _switch(self, switched: reply_pb2.TargetSwitched) -> None:
        self._reply.target_switches.append(switched)
        self._reply.target.CopyFrom(switched.target)
        if switched.restarted:
            self._parts.clear()
            del self._reply.logprobs[:]

    def _finish(self, finished: reply_pb2.Finished) -> None:
        self._finished = True
        for field in _SAME_IN_FINISHED:
            setattr(self._reply, field, getattr(finished, field))
        for field in _MESSAGES_IN_FINISHED:
            if finished.HasField(field):  # type: ignore[arg-type]  # the names are those of the message
                getattr(self._reply, field).CopyFrom(getattr(finished, field))
        self._reply.attempts.extend(finished.attempts)
        self._reply.notices.extend(finished.notices)
