"""Converse as a dialect: the class, and the reader that it gives to streams. See `bedrock_converse`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Event, Finished, FinishReason, Started, UsageSnapshot
from llmgateway_server.core.messages import MediaPart
from llmgateway_server.core.requests import Operation
from llmgateway_server.providers.dialects.aws_events import AWS_EVENTS, MEDIA_TYPE
from llmgateway_server.providers.dialects.bedrock_common.address import model_path
from llmgateway_server.providers.dialects.bedrock_common.error import aws_error, aws_exception, is_failure
from llmgateway_server.providers.dialects.bedrock_converse.answer import ReportedUsage, decode_answer, decode_event
from llmgateway_server.providers.dialects.bedrock_converse.answer import normalised as usage_of
from llmgateway_server.providers.dialects.bedrock_converse.blocks import Blocks
from llmgateway_server.providers.dialects.bedrock_converse.media import is_fetched_by_service
from llmgateway_server.providers.dialects.bedrock_converse.request import request_body
from llmgateway_server.providers.dialects.bedrock_converse.state import VENDOR
from llmgateway_server.providers.dialects.bedrock_converse.tools import wanted_answer
from llmgateway_server.providers.dialects.dialect import Quirks
from llmgateway_server.providers.dialects.parts import PartsBuilder
from llmgateway_server.providers.dialects.stream import EventReader
from llmgateway_server.providers.faults import malformed
from llmgateway_server.providers.wire.port import WireRequest

FINISH_REASONS = {
    "end_turn": FinishReason.STOP,
    "tool_use": FinishReason.TOOL_CALLS,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "stop_sequence": FinishReason.STOP_SEQUENCE,
    "guardrail_intervened": FinishReason.CONTENT_FILTER,
    "content_filtered": FinishReason.CONTENT_FILTER,
    "refusal": FinishReason.REFUSAL,
    "pause_turn": FinishReason.PAUSE,
    "malformed_model_output": FinishReason.ERROR,
    "malformed_tool_use": FinishReason.ERROR,
}
"""The last but two before the end are words of Anthropic's models that pass through."""
KNOWN_EVENTS = frozenset(
    {
        *(b"messageStart", b"messageStop", b"metadata"),
        *(b"contentBlockStart", b"contentBlockDelta", b"contentBlockStop"),
    }
)
"""Others may come and say nothing of the reply."""


class BedrockConverse:
    """See the package."""

    name = "bedrock_converse"
    state_vendor = VENDOR
    operations = frozenset({Operation.COMPLETE})
    framings = AWS_EVENTS

    def fetches(self, media: MediaPart) -> bool:
        """What lies in S3 is fetched by the service."""
        return is_fetched_by_service(media)

    def encode_request(self, attempt: Attempt, quirks: Quirks) -> WireRequest:
        """Writes the body of `POST /model/{model}/converse`, or of `…/converse-stream`."""
        streaming = attempt.call.streaming
        path = model_path(attempt.target.upstream_model, "converse-stream" if streaming else "converse")
        accept = MEDIA_TYPE if streaming else "application/json"
        headers = (("content-type", "application/json"), ("accept", accept))
        return WireRequest("POST", path, headers, msgspec.json.encode(request_body(attempt, self.name)))

    def decode_reply(self, attempt: Attempt, quirks: Quirks, body: bytes) -> list[Event]:
        """Reads a whole answer."""
        answer = decode_answer(body)
        message = answer.output.message if answer.output is not None else None
        if message is None:
            raise malformed("answer without a message")
        reply = _Reply(attempt)
        reply.start()
        for block in message.content or ():
            reply.blocks.whole(block)
        reply.know(answer.stop_reason, answer.usage)
        reply.finish()
        return reply.parts.take()

    def stream_reader(self, attempt: Attempt, quirks: Quirks) -> EventReader:
        """Returns a reader of a message's events."""
        return _EventReader(_Reply(attempt))

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> UpstreamError:
        """Reads the exception that is named in a header; whatever else came is judged by its status alone."""
        return aws_error(status, headers, body, now_s)


class _Reply:
    """What is known of a reply so far.

    Args:
        attempt: tells which tool stands for the answer, and the id of the call.
    """

    def __init__(self, attempt: Attempt) -> None:
        answer = wanted_answer(attempt)
        self.parts = PartsBuilder(answer.name if answer else "")
        self.started = False
        self.blocks = Blocks(self.parts, attempt.call.scope.call_id)
        self.stop_reason: object = None
        self._usage: ReportedUsage | None = None

    def start(self) -> None:
        """Begins the reply, which nothing names."""
        if not self.started:
            self.started = True
            self.parts.add(Started("", ""))

    def know(self, stop_reason: object, usage: ReportedUsage | None) -> None:
        """Takes over what is told of the whole message; absent is not told."""
        if stop_reason is not None:
            self.stop_reason = stop_reason
        if usage is not None:
            self._usage = usage

    def finish(self) -> None:
        """Ends the reply: the open blocks, the service's usage, the finish reason."""
        if not isinstance(self.stop_reason, str):
            raise malformed("message without a stop reason")
        parts = self.parts
        self.blocks.close()
        parts.close()
        if self._usage:
            parts.add(UsageSnapshot(usage_of(self._usage)))
        reason = FINISH_REASONS.get(self.stop_reason, FinishReason.UNSPECIFIED)
        parts.add(Finished(parts.settled(reason), self.stop_reason))


class _EventReader:
    """Reads the events of a stream; see `stream.EventReader`.

    A reply is whole once both its stop reason and the metadata have come. The metadata come last and hold the usage, so
    a stream that ends without them was cut, however cleanly.

    Args:
        reply: gets what they tell.
    """

    def __init__(self, reply: _Reply) -> None:
        self.parts = reply.parts
        self._reply = reply
        self._measured = False

    def read(self, name: bytes, data: bytes) -> bool:
        """Reads one event; what is not known says nothing of the reply."""
        if is_failure(name):
            raise aws_exception(name, data)
        reply = self._reply
        if name in KNOWN_EVENTS:
            reply.start()
        match name:
            case b"contentBlockDelta":
                event = decode_event(data)
                if event.delta is not None:
                    reply.blocks.add(event.content_block_index, event.delta, data)
            case b"contentBlockStart":
                event = decode_event(data)
                reply.blocks.begin(event.content_block_index, event.start)
            case b"contentBlockStop":
                reply.blocks.end(decode_event(data).content_block_index)
            case b"messageStop":
                reply.know(decode_event(data).stop_reason, None)
                return self._ended()
            case b"metadata":
                self._measured = True
                reply.know(None, decode_event(data).usage)
                return self._ended()
        return False

    def body_ended(self) -> bool:
        """Only the metadata end a message."""
        return False

    def _ended(self) -> bool:
        if not self._measured or self._reply.stop_reason is None:
            return False
        self._reply.finish()
        return True
