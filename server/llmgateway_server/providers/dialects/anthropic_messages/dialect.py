"""Messages as a dialect: the class, and the reader that it gives to streams. See `anthropic_messages`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Event, Finished, FinishReason, Started, TokensCounted, UsageSnapshot
from llmgateway_server.core.messages import MediaPart
from llmgateway_server.core.requests import Operation
from llmgateway_server.providers.dialects.anthropic_messages.answer import (
    NOTHING,
    Message,
    ReportedUsage,
    StreamEvent,
    decode_event,
    decode_message,
    decode_token_count,
    merged,
    normalised,
    word,
)
from llmgateway_server.providers.dialects.anthropic_messages.blocks import Blocks
from llmgateway_server.providers.dialects.anthropic_messages.error import WORDS, problem_of
from llmgateway_server.providers.dialects.anthropic_messages.hosting import ANTHROPIC, Hosting
from llmgateway_server.providers.dialects.anthropic_messages.media import is_fetched_by_vendor
from llmgateway_server.providers.dialects.anthropic_messages.request import (
    attempt_at_completion,
    beta_features,
    count_body,
    request_body,
)
from llmgateway_server.providers.dialects.anthropic_messages.state import VENDOR
from llmgateway_server.providers.dialects.counts import believable_count
from llmgateway_server.providers.dialects.dialect import UNREADABLE, Quirks, json_post
from llmgateway_server.providers.dialects.parts import PartsBuilder
from llmgateway_server.providers.dialects.stream import EventReader
from llmgateway_server.providers.dialects.structured import answer_tool
from llmgateway_server.providers.faults import malformed
from llmgateway_server.providers.wire.port import WireRequest

FINISH_REASONS = {
    "end_turn": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "stop_sequence": FinishReason.STOP_SEQUENCE,
    "refusal": FinishReason.REFUSAL,
    "pause_turn": FinishReason.PAUSE,
}


class AnthropicMessages:
    """See the package.

    Args:
        hosting: where the messages are served.
    """

    name = "anthropic_messages"
    state_vendor = VENDOR

    def __init__(self, hosting: Hosting = ANTHROPIC) -> None:
        self._hosting = hosting
        self.framings = hosting.framings
        counts = {Operation.COUNT_TOKENS} if hosting.count_path else set()
        self.operations = frozenset({Operation.COMPLETE} | counts)

    def fetches(self, media: MediaPart) -> bool:
        """Images and PDFs at `https` addresses are fetched by some hosts."""
        return self._hosting.fetches and is_fetched_by_vendor(media)

    def encode_request(self, attempt: Attempt, quirks: Quirks) -> WireRequest:
        """Writes the body of a message, or of the question how many tokens it takes."""
        hosting = self._hosting
        counting = attempt.call.operation is Operation.COUNT_TOKENS
        write = count_body if counting else request_body
        body = write(attempt, self.name, hosting.lacks)
        streaming = attempt.call.streaming and not counting
        if not (hosting.model_in_body or counting):
            del body["model"]
        if streaming and hosting.stream_in_body:
            body["stream"] = True
        betas = beta_features(attempt, self.name)
        if betas and hosting.betas_in_body:
            body["anthropic_beta"] = betas
        headers: tuple[tuple[str, str], ...] = ()
        if hosting.version_in_body:
            body["anthropic_version"] = hosting.version
        else:
            headers += (("anthropic-version", hosting.version),)
        if betas and not hosting.betas_in_body:
            headers += (("anthropic-beta", ",".join(betas)),)
        path = hosting.count_path if counting else hosting.path(attempt.target.upstream_model, streaming)
        return json_post(path, body, streaming=streaming, headers=headers, stream_type=hosting.stream_type)

    def decode_reply(self, attempt: Attempt, quirks: Quirks, body: bytes) -> list[Event]:
        """Reads a message object, or a count of tokens."""
        if attempt.call.operation is Operation.COUNT_TOKENS:
            return _counted(attempt, body)
        message = decode_message(body)
        if message.error is not None or message.type == "error":
            raise problem_of(message.error).error(WORDS, None, None)
        if message.content is None:
            raise malformed("answer without content")
        reply = _Reply(attempt)
        reply.start(message)
        for block in message.content:
            reply.blocks.whole(block)
        reply.finish()
        return reply.parts.take()

    def stream_reader(self, attempt: Attempt, quirks: Quirks) -> EventReader:
        """Returns a reader of a message's events."""
        return self._hosting.opened(_EventReader(_Reply(attempt)))

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> UpstreamError:
        """Reads an error as its host writes it."""
        return self._hosting.refused(status, headers, body, now_s)


def _counted(attempt: Attempt, body: bytes) -> list[Event]:
    try:
        answer = decode_token_count(body)
    except UNREADABLE as error:
        raise malformed("answer is not a token count") from error
    if answer.error is not None:
        raise problem_of(answer.error).error(WORDS, None, None)
    count = believable_count(answer.input_tokens)
    if count is None:
        raise malformed("answer without a token count")
    return [Started("", attempt.target.upstream_model), TokensCounted(count, "VENDOR"), Finished(FinishReason.STOP)]


class _Reply:
    """What is known of a reply so far.

    Args:
        attempt: tells which tool stands for the answer, and the id of the call.
    """

    def __init__(self, attempt: Attempt) -> None:
        answer = answer_tool(attempt_at_completion(attempt), json_objects_too=True)
        self.parts = PartsBuilder(answer.name if answer else "")
        self.blocks = Blocks(self.parts, attempt.call.scope.call_id)
        self.started = False
        self._stop_reason: object = None
        self._usage: ReportedUsage = {}
        self._container = NOTHING

    def start(self, message: Message) -> None:
        """Begins the reply with what frames its content."""
        if self.started:
            raise malformed("message that begins twice")
        self.started = True
        self.parts.add(Started(word(message.id), word(message.model)))
        self.know(message.stop_reason, message.usage, message.container)

    def know(self, stop_reason: object, usage: ReportedUsage | None, container: msgspec.Raw) -> None:
        """Takes over what is told of the whole message; the last word counts."""
        self._usage = merged(self._usage, usage)
        if stop_reason is not None:
            self._stop_reason = stop_reason
        if bytes(container)[:1] == b"{":
            self._container = msgspec.Raw(bytes(container))

    def finish(self) -> None:
        """Ends the reply: the open block, the provider's usage, the finish reason."""
        if not isinstance(self._stop_reason, str):
            raise malformed("message without a stop reason")
        parts = self.parts
        self.blocks.close(self._container)
        parts.close()
        if self._usage:
            parts.add(UsageSnapshot(normalised(self._usage)))
        reason = FINISH_REASONS.get(self._stop_reason, FinishReason.UNSPECIFIED)
        parts.add(Finished(parts.settled(reason), self._stop_reason))


class _EventReader:
    """Reads the events of a stream; see `stream.EventReader`.

    Args:
        reply: gets what they tell.
    """

    def __init__(self, reply: _Reply) -> None:
        self.parts = reply.parts
        self._reply = reply

    def read(self, name: bytes, data: bytes) -> bool:
        """Reads one event; its type stands in its data too."""
        if not data or data.isspace():
            return False
        event = decode_event(data)
        if event.type == "error" or name == b"error":
            raise problem_of(event.error).error(WORDS, None, None)
        if event.type == "message_start":
            self._reply.start(event.message or Message())
            return False
        return self._read(event, data)

    def body_ended(self) -> bool:
        """Only `message_stop` ends a message."""
        return False

    def _read(self, event: StreamEvent, data: bytes) -> bool:
        reply = self._reply
        match event.type:
            case "content_block_delta" if event.delta is not None and reply.started:
                reply.blocks.add(event.index, event.delta, data)
            case "content_block_start" if reply.started:
                reply.blocks.begin(event.index, event.content_block)
            case "content_block_stop" if reply.started:
                reply.blocks.end(event.index)
            case "message_delta" if reply.started:
                delta = event.delta
                reply.know(delta.stop_reason if delta else None, event.usage, delta.container if delta else NOTHING)
            case "message_stop" if reply.started:
                reply.finish()
                return True
            case (
                "content_block_delta" | "content_block_start" | "content_block_stop" | "message_delta" | "message_stop"
            ):
                raise malformed("event out of its place")
        return False
