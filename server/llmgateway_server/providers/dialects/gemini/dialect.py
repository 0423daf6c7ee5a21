"""generateContent as a dialect: the class, and the reader that it gives to streams. See `gemini`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Event, Finished, FinishReason, Started, TokensCounted, UsageSnapshot
from llmgateway_server.core.messages import MediaPart
from llmgateway_server.core.requests import Operation
from llmgateway_server.providers.dialects.counts import believable_count
from llmgateway_server.providers.dialects.dialect import UNREADABLE, Quirks, json_post
from llmgateway_server.providers.dialects.framing import Framings
from llmgateway_server.providers.dialects.gemini.address import resource
from llmgateway_server.providers.dialects.gemini.answer import (
    NOTHING,
    Candidate,
    Chunk,
    ReportedUsage,
    decode_chunk,
    decode_token_count,
    object_in,
    word,
)
from llmgateway_server.providers.dialects.gemini.error import decode_error, error_within
from llmgateway_server.providers.dialects.gemini.finish import finish_reason, finish_word
from llmgateway_server.providers.dialects.gemini.grounding import repeated_in
from llmgateway_server.providers.dialects.gemini.logprobs import logprobs_of
from llmgateway_server.providers.dialects.gemini.media import is_fetched_by_vendor
from llmgateway_server.providers.dialects.gemini.pieces import Pieces
from llmgateway_server.providers.dialects.gemini.request import (
    Service,
    attempt_at_completion,
    count_body,
    request_body,
    tool_for_answer,
)
from llmgateway_server.providers.dialects.gemini.state import VENDOR
from llmgateway_server.providers.dialects.gemini.usage import merged, normalised
from llmgateway_server.providers.dialects.json_array import JsonArrayDecoder
from llmgateway_server.providers.dialects.parts import PartsBuilder
from llmgateway_server.providers.dialects.sse import MAX_EVENT_BYTES, SseDecoder
from llmgateway_server.providers.dialects.stream import EventReader
from llmgateway_server.providers.faults import malformed
from llmgateway_server.providers.wire.port import WireRequest

FRAMINGS: Framings = {
    "text/event-stream": partial(SseDecoder, max_line_bytes=MAX_EVENT_BYTES),
    "application/json": JsonArrayDecoder,
}
"""Events are asked for, each of one line, in which a whole image may stand. Where they are not understood, the same
chunks come as one array."""


class Gemini:
    """See the package.

    Args:
        service: how a vendor's own service departs from the other.
    """

    name = "gemini"
    state_vendor = VENDOR
    operations = frozenset({Operation.COMPLETE, Operation.COUNT_TOKENS})
    framings = FRAMINGS

    def __init__(self, service: Service = Service()) -> None:  # noqa: B008  # a constant, frozen
        self._service = service

    def fetches(self, media: MediaPart) -> bool:
        """Its own files, its own buckets and videos at YouTube are fetched by the vendor."""
        return is_fetched_by_vendor(media)

    def encode_request(self, attempt: Attempt, quirks: Quirks) -> WireRequest:
        """Writes the body of `generateContent`, `streamGenerateContent` or `countTokens`."""
        model = resource(attempt.target.upstream_model)
        if attempt.call.operation is Operation.COUNT_TOKENS:
            body = count_body(attempt, self.name, self._service, model)
            return json_post(f"/{model}:countTokens", body, streaming=False)
        body = request_body(attempt, self.name, self._service)
        if attempt.call.streaming:
            return json_post(f"/{model}:streamGenerateContent?alt=sse", body, streaming=True)
        return json_post(f"/{model}:generateContent", body, streaming=False)

    def decode_reply(self, attempt: Attempt, quirks: Quirks, body: bytes) -> list[Event]:
        """Reads a whole answer, or a count of tokens."""
        if attempt.call.operation is Operation.COUNT_TOKENS:
            return _counted(attempt, body)
        reply = _Reply(attempt)
        reply.read(decode_chunk(body))
        if not reply.answered:
            raise malformed("answer without a candidate")
        reply.finish()
        return reply.parts.take()

    def stream_reader(self, attempt: Attempt, quirks: Quirks) -> EventReader:
        """Returns a reader of chunks."""
        return _ChunkReader(_Reply(attempt))

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> UpstreamError:
        """Reads `{"error": {...}}`, alone or in an array; whatever else came is judged by its status alone."""
        return decode_error(status, headers, body, now_s=now_s)


def _counted(attempt: Attempt, body: bytes) -> list[Event]:
    try:
        answer = decode_token_count(body)
    except UNREADABLE as error:
        raise malformed("answer is not a token count") from error
    if answer.error is not None:
        raise error_within(answer.error)
    count = believable_count(answer.total_tokens)
    if count is None:
        raise malformed("answer without a token count")
    return [Started("", attempt.target.upstream_model), TokensCounted(count, "VENDOR"), Finished(FinishReason.STOP)]


class _Reply:
    """What is known of a reply so far.

    Args:
        attempt: tells which tool stands for the answer, and the id of the call.
    """

    def __init__(self, attempt: Attempt) -> None:
        answer = tool_for_answer(attempt_at_completion(attempt))
        self.parts = PartsBuilder(answer.name if answer else "")
        self.answered = False
        """Whether there was a candidate, or the prompt was blocked."""
        self.ended = False
        """Whether the vendor said why it ended."""
        self._pieces = Pieces(self.parts, attempt.call.scope.call_id)
        self._started = False
        self._finish_word = self._block_word = ""
        self._usage: ReportedUsage = {}
        self._grounding = NOTHING
        self._sources: dict[str, Any] = {}
        self._repeated: list[dict[str, Any]] = []

    def read(self, chunk: Chunk) -> None:
        """Takes over a chunk; the last word counts.

        Raises:
            UpstreamError: it is an error, or cannot be read.
        """
        if chunk.error is not None:
            raise error_within(chunk.error)
        if not self._started:
            self._started = True
            self.parts.add(Started(word(chunk.response_id), word(chunk.model_version)))
        self._usage = merged(self._usage, chunk.usage_metadata)
        feedback = chunk.prompt_feedback
        if feedback is not None and feedback.block_reason:
            self._block_word = str(feedback.block_reason)
            self.answered = self.ended = True
        for candidate in chunk.candidates or ():
            if candidate.index in (None, 0):  # one answer is all that is asked for
                self._read(candidate)

    def finish(self) -> None:
        """Ends the reply: the open part with its sources, the provider's usage, the finish reason."""
        self._pieces.finish(self._grounding, self._sources, self._repeated)
        self.parts.close()
        usage = normalised(self._usage)
        if usage is not None:
            self.parts.add(UsageSnapshot(usage))
        if not self._finish_word and self._block_word:
            self.parts.add(Finished(FinishReason.CONTENT_FILTER, self._block_word))
        else:
            self.parts.add(Finished(self.parts.settled(finish_reason(self._finish_word)), self._finish_word))

    def _read(self, candidate: Candidate) -> None:
        self.answered = True
        content = candidate.content
        if content is not None and content.parts:
            self._pieces.add(content.parts, logprobs_of(object_in(candidate.logprobs_result)))
        if (found := object_in(candidate.grounding_metadata)) and len(found) >= len(self._sources):
            self._sources, self._grounding = found, msgspec.Raw(bytes(candidate.grounding_metadata))
        self._repeated += repeated_in(object_in(candidate.citation_metadata))
        if end := finish_word(candidate.finish_reason):
            self._finish_word = end
            self.ended = True


class _ChunkReader:
    """Reads the chunks of a stream; see `stream.EventReader`.

    Args:
        reply: gets what they tell.
    """

    def __init__(self, reply: _Reply) -> None:
        self.parts = reply.parts
        self._reply = reply

    def read(self, name: bytes, data: bytes) -> bool:
        """Reads one chunk. None of them is the last: usage and empty parts may follow the finish reason."""
        if data and not data.isspace():
            self._reply.read(decode_chunk(data))
        return False

    def body_ended(self) -> bool:
        """The end of the body is the end of a reply whose finish reason was told."""
        if not self._reply.ended:
            return False
        self._reply.finish()
        return True
