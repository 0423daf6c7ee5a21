"""Cohere's chat as a dialect: the class, and the reader that it gives to streams. See `cohere_chat`."""

from __future__ import annotations

from collections.abc import Mapping

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Event, Finished, FinishReason, Started, UsageSnapshot
from llmgateway_server.core.messages import MediaPart
from llmgateway_server.core.requests import Operation
from llmgateway_server.providers.dialects.cohere_chat.answer import (
    KNOWN_EVENTS,
    Content,
    Delta,
    Message,
    MessageDelta,
    StreamEvent,
    ToolCall,
    decode_answer,
    decode_event,
    only,
    said,
    usage_of,
    word,
)
from llmgateway_server.providers.dialects.cohere_chat.blocks import Blocks
from llmgateway_server.providers.dialects.cohere_chat.error import WORDS, read_problem
from llmgateway_server.providers.dialects.cohere_chat.request import answer_by_tool, request_body
from llmgateway_server.providers.dialects.cohere_chat.state import VENDOR
from llmgateway_server.providers.dialects.dialect import Quirks, json_post
from llmgateway_server.providers.dialects.media import MediaKind, kind_of
from llmgateway_server.providers.dialects.parts import PartsBuilder
from llmgateway_server.providers.dialects.problem import Problem, refusal
from llmgateway_server.providers.dialects.sse import SERVER_SENT_EVENTS
from llmgateway_server.providers.dialects.stream import EventReader, interrupted
from llmgateway_server.providers.faults import malformed
from llmgateway_server.providers.wire.port import WireRequest

PATH = "/v2/chat"
FINISH_REASONS = {
    "COMPLETE": FinishReason.STOP,
    "STOP_SEQUENCE": FinishReason.STOP_SEQUENCE,
    "MAX_TOKENS": FinishReason.LENGTH,
    "TOOL_CALL": FinishReason.TOOL_CALLS,
}
FAILURES = ("ERROR", "TIMEOUT")
"""Reasons for which an answer ends that is not whole."""


class CohereChat:
    """See the package."""

    name = "cohere_chat"
    state_vendor = VENDOR
    operations = frozenset({Operation.COMPLETE})
    framings = SERVER_SENT_EVENTS

    def fetches(self, media: MediaPart) -> bool:
        """Images are fetched by the vendor; there are no other media."""
        return kind_of(media) is MediaKind.IMAGE and (media.uri or "").startswith(("https://", "http://"))

    def encode_request(self, attempt: Attempt, quirks: Quirks) -> WireRequest:
        """Writes the body of `POST /v2/chat`."""
        body, streaming = request_body(attempt, self.name), attempt.call.streaming
        if streaming:
            body["stream"] = True
        return json_post(PATH, body, streaming=streaming)

    def decode_reply(self, attempt: Attempt, quirks: Quirks, body: bytes) -> list[Event]:
        """Reads a chat response."""
        answer = decode_answer(body)
        if isinstance(answer.message, str):
            raise Problem(message=answer.message).error(WORDS, None, None)
        if answer.message is None and answer.finish_reason is None:
            raise malformed("answer without a message")
        reply = _Reply(attempt)
        reply.start(answer.id)
        reply.blocks.whole(answer.message or Message(), answer.logprobs)
        reply.finish(answer.finish_reason, answer.usage, None)
        return reply.parts.take()

    def stream_reader(self, attempt: Attempt, quirks: Quirks) -> EventReader:
        """Returns a reader of a chat response's events."""
        return _EventReader(_Reply(attempt))

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> UpstreamError:
        """Reads `{"message": "..."}`; whatever else came is judged by its status alone."""
        return refusal(read_problem(status, body), WORDS, status, headers, now_s=now_s)


class _Reply:
    """What is known of a reply so far.

    Args:
        attempt: tells which tool stands for the answer, and the id of the call.
    """

    def __init__(self, attempt: Attempt) -> None:
        answer = answer_by_tool(attempt)
        self.parts = PartsBuilder(answer.name if answer else "")
        self.blocks = Blocks(self.parts, attempt.call.scope.call_id)
        self._started = False

    def start(self, response_id: object) -> None:
        """Begins the reply, once."""
        if not self._started:
            self._started = True
            self.parts.add(Started(word(response_id), ""))

    def finish(self, native_reason: object, usage: object, error: object) -> None:
        """Ends the reply: what is open, the tokens, the finish reason."""
        if not isinstance(native_reason, str):
            raise malformed("answer without a finish reason")
        if native_reason in FAILURES:
            raise Problem(message=error, type=native_reason).error(WORDS, None, None)
        parts = self.parts
        self.blocks.close()
        if (counted := usage_of(usage)) is not None:
            parts.add(UsageSnapshot(counted))
        reason = FINISH_REASONS.get(native_reason, FinishReason.UNSPECIFIED)
        parts.add(Finished(parts.settled(reason), native_reason))


class _EventReader:
    """Reads the events of a stream; see `stream.EventReader`.

    Args:
        reply: gets what they tell.
    """

    def __init__(self, reply: _Reply) -> None:
        self.parts = reply.parts
        self._reply = reply
        self._calls: dict[object, int] = {}
        """Open tool calls by their indexes."""

    def read(self, name: bytes, data: bytes) -> bool:
        """Reads one event; its type stands in its data too."""
        if not data or data.isspace():
            return False
        if data.strip() == b"[DONE]":
            raise interrupted("[DONE] without the end of the message")
        event = decode_event(data)
        if name == b"error" or event.type == "error" or (not event.type and event.message is not None):
            raise Problem(message=event.message).error(WORDS, None, None)
        if event.type not in KNOWN_EVENTS:
            return False
        self._reply.start(event.id)
        return self._read(event, event.delta or Delta())

    def body_ended(self) -> bool:
        """Only `message-end` ends a message."""
        return False

    def _read(self, event: StreamEvent, delta: Delta) -> bool:
        message = delta.message or MessageDelta()
        match event.type:
            case "content-delta":
                self._reply.blocks.add(only(message.content) or Content(), event.logprobs)
            case "tool-plan-delta":
                self._reply.blocks.plan(said(message.tool_plan))
            case "content-start":
                self._reply.blocks.begin(only(message.content) or Content())
            case "citation-start":
                if (cited := only(message.citations)) is not None:
                    self._reply.blocks.cite(cited)
            case "message-end":
                self._reply.finish(delta.finish_reason, delta.usage, delta.error)
                return True
            case _:
                self._read_call(event, only(message.tool_calls) or ToolCall())
        return False

    def _read_call(self, event: StreamEvent, call: ToolCall) -> None:
        """Reads an event of a tool call, if it is one."""
        index = event.index if isinstance(event.index, int) else None
        match event.type:
            case "tool-call-start":
                self._calls[index] = self._reply.blocks.begin_call(call)
            case "tool-call-delta":
                if index not in self._calls:
                    raise malformed("delta of a tool call that is not open")
                self._reply.blocks.add_arguments(self._calls[index], call)
            case "tool-call-end" if index in self._calls:
                self._reply.blocks.end_call(self._calls.pop(index))
