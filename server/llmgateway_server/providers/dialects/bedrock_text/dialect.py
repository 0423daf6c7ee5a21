"""Text models as a dialect: the class, and the reader that it gives to streams. See `bedrock_text`."""

from __future__ import annotations

from collections.abc import Mapping

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Event, Finished, PartKind, Started, UsageSnapshot
from llmgateway_server.core.messages import MediaPart
from llmgateway_server.core.requests import Operation
from llmgateway_server.providers.dialects.bedrock_common.error import aws_error
from llmgateway_server.providers.dialects.bedrock_invoke.chunks import INVOKED_STREAM, ChunkReader
from llmgateway_server.providers.dialects.bedrock_invoke.counts import counted_in_headers
from llmgateway_server.providers.dialects.bedrock_invoke.request import invoke
from llmgateway_server.providers.dialects.bedrock_invoke.text_only import completion_of
from llmgateway_server.providers.dialects.bedrock_text.answer import Told, decode_object
from llmgateway_server.providers.dialects.bedrock_text.families import FAMILIES, family_of
from llmgateway_server.providers.dialects.bedrock_text.places import found_at
from llmgateway_server.providers.dialects.bedrock_text.request import request_body
from llmgateway_server.providers.dialects.dialect import Quirks
from llmgateway_server.providers.dialects.parts import PartsBuilder
from llmgateway_server.providers.dialects.stream import EventReader
from llmgateway_server.providers.faults import malformed
from llmgateway_server.providers.wire.port import WireRequest


class BedrockText:
    """See the package."""

    name = "bedrock_text"
    state_vendor = ""
    operations = frozenset({Operation.COMPLETE})
    framings = INVOKED_STREAM

    def fetches(self, media: MediaPart) -> bool:
        """Media are refused, so there is nothing to fetch for them."""
        return True

    def encode_request(self, attempt: Attempt, quirks: Quirks) -> WireRequest:
        """Writes the body in the names of the model's family."""
        body = request_body(attempt, self.name)
        return invoke(attempt.target.upstream_model, body, streaming=attempt.call.streaming)

    def decode_reply(self, attempt: Attempt, quirks: Quirks, body: bytes) -> list[Event]:
        """Reads a whole answer without its headers."""
        return self.decode_answer(attempt, quirks, {}, body)

    def decode_answer(self, attempt: Attempt, quirks: Quirks, headers: Mapping[str, str], body: bytes) -> list[Event]:
        """Reads a whole answer; most families say nothing of tokens in it, so the service's headers do."""
        reply = _Reply(attempt)
        reply.told.know(counted_in_headers(headers))
        reply.add_whole(decode_object(body))
        return reply.parts.take()

    def stream_reader(self, attempt: Attempt, quirks: Quirks) -> EventReader:
        """Returns a reader of chunks."""
        return ChunkReader(_PieceReader(_Reply(attempt)))

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> UpstreamError:
        """Reads an exception of the service."""
        return aws_error(status, headers, body, now_s)


class _Reply:
    """What is known of a reply so far.

    Args:
        attempt: tells the model, and the texts that may stop it.
    """

    def __init__(self, attempt: Attempt) -> None:
        self._family = family_of(attempt.target.upstream_model) or FAMILIES[0]
        self._stops = completion_of(attempt).stop
        self.told = Told(self._family)
        self.parts = PartsBuilder()
        self.parts.add(Started("", ""))

    @property
    def is_whole(self) -> bool:
        """Whether it was told why the answer ends."""
        return bool(self.told.stop_reason)

    def add_whole(self, answer: dict[str, object]) -> None:
        """Reads a whole answer and ends the reply."""
        text = self.told.read(answer, self._family.answer)
        if text is None or not self.is_whole:
            raise malformed("answer without a text or a stop reason")
        self.parts.flow(PartKind.TEXT, text)
        self.finish()

    def add(self, chunk: dict[str, object]) -> None:
        """Reads a chunk; one in none of the family's shapes says nothing."""
        places = next((places for places in self._family.chunks if _has_shape(chunk, places.text)), None)
        places = places or next(iter(self._family.chunks), self._family.answer)
        self.parts.flow(PartKind.TEXT, self.told.read(chunk, places) or "")

    def finish(self) -> None:
        """Ends the reply: its text, the counts, the finish reason."""
        self.parts.close()
        if (usage := self.told.usage()) is not None:
            self.parts.add(UsageSnapshot(usage))
        self.parts.add(Finished(self.told.finish_reason(self._stops), self.told.stop_reason))


def _has_shape(chunk: dict[str, object], place: tuple[str | int, ...]) -> bool:
    return found_at(chunk, place) is not None


class _PieceReader:
    """Reads the chunks of a stream; see `stream.EventReader`.

    Args:
        reply: gets what they tell.
    """

    def __init__(self, reply: _Reply) -> None:
        self.parts = reply.parts
        self._reply = reply

    def read(self, name: bytes, data: bytes) -> bool:
        """Reads one chunk. The service's counts stand beside the last one; where none come, the body's end is it."""
        self._reply.add(decode_object(data))
        if not self._reply.is_whole or not self._reply.told.measured:
            return False
        self._reply.finish()
        return True

    def body_ended(self) -> bool:
        """A reply whose stop reason came is whole."""
        if not self._reply.is_whole:
            return False
        self._reply.finish()
        return True
