"""Meta's models as a dialect: the class, and the reader that it gives to streams. See `bedrock_llama`."""

from __future__ import annotations

from collections.abc import Mapping

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Event, Finished, FinishReason, PartKind, Started, UsageSnapshot
from llmgateway_server.core.messages import MediaPart
from llmgateway_server.core.requests import Operation
from llmgateway_server.providers.dialects.bedrock_common.error import aws_error
from llmgateway_server.providers.dialects.bedrock_invoke.chunks import INVOKED_STREAM, ChunkReader
from llmgateway_server.providers.dialects.bedrock_invoke.request import invoke
from llmgateway_server.providers.dialects.bedrock_llama.answer import Answer, Counts, decode_answer
from llmgateway_server.providers.dialects.bedrock_llama.prompt import echoes_of
from llmgateway_server.providers.dialects.bedrock_llama.request import prompt_sent, request_body
from llmgateway_server.providers.dialects.bedrock_llama.said import SaidInChunks
from llmgateway_server.providers.dialects.bedrock_llama.template import LLAMA_3, template_of
from llmgateway_server.providers.dialects.dialect import Quirks
from llmgateway_server.providers.dialects.parts import PartsBuilder
from llmgateway_server.providers.dialects.stream import EventReader
from llmgateway_server.providers.faults import malformed
from llmgateway_server.providers.wire.port import WireRequest

FINISH_REASONS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


class BedrockLlama:
    """See the package."""

    name = "bedrock_llama"
    state_vendor = ""
    operations = frozenset({Operation.COMPLETE})
    framings = INVOKED_STREAM

    def fetches(self, media: MediaPart) -> bool:
        """Media are refused, so there is nothing to fetch for them."""
        return True

    def encode_request(self, attempt: Attempt, quirks: Quirks) -> WireRequest:
        """Writes the conversation as one text."""
        body = request_body(attempt, self.name)
        return invoke(attempt.target.upstream_model, body, streaming=attempt.call.streaming)

    def decode_reply(self, attempt: Attempt, quirks: Quirks, body: bytes) -> list[Event]:
        """Reads a whole answer, which is like the only chunk of a stream."""
        answer = decode_answer(body)
        reply = _Reply(attempt, self.name)
        reply.add(answer)
        if answer.generation is None or not reply.is_whole:
            raise malformed("answer without a generation or a stop reason")
        reply.finish()
        return reply.parts.take()

    def stream_reader(self, attempt: Attempt, quirks: Quirks) -> EventReader:
        """Returns a reader of chunks."""
        return ChunkReader(_AnswerReader(_Reply(attempt, self.name)))

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> UpstreamError:
        """Reads an exception of the service."""
        return aws_error(status, headers, body, now_s)


class _Reply:
    """What is known of a reply so far.

    Args:
        attempt: tells the prompt, which the answer may repeat.
        dialect: its name.
    """

    def __init__(self, attempt: Attempt, dialect: str) -> None:
        template = template_of(attempt.target.upstream_model) or LLAMA_3
        echoes = echoes_of(prompt_sent(attempt, dialect, template), template)
        self.parts = PartsBuilder()
        self.parts.add(Started("", ""))
        self._said = SaidInChunks(echoes, template)
        self._counts = Counts()
        self._stop_reason = ""

    @property
    def is_whole(self) -> bool:
        """Whether it was told why the answer ends."""
        return bool(self._stop_reason)

    def add(self, answer: Answer) -> None:
        """Takes over a chunk, or a whole answer."""
        self._counts.know(answer)
        self.parts.flow(PartKind.TEXT, self._said.add(answer.generation or "", self._counts.generated))
        if isinstance(answer.stop_reason, str):
            self._stop_reason = answer.stop_reason

    def finish(self) -> None:
        """Ends the reply. A model that was cut off behind the end of its turn had ended it."""
        parts, usage = self.parts, self._counts.usage()
        parts.flow(PartKind.TEXT, self._said.end())
        parts.close()
        if usage is not None:
            parts.add(UsageSnapshot(usage))
        reason = FINISH_REASONS.get(self._stop_reason, FinishReason.UNSPECIFIED)
        parts.add(Finished(FinishReason.STOP if self._said.over else reason, self._stop_reason))


class _AnswerReader:
    """Reads the chunks of a stream; see `stream.EventReader`.

    Args:
        reply: gets what they tell.
    """

    def __init__(self, reply: _Reply) -> None:
        self.parts = reply.parts
        self._reply = reply

    def read(self, name: bytes, data: bytes) -> bool:
        """Reads one chunk. The service's counts stand beside the last one; where none come, the body's end is it."""
        answer = decode_answer(data)
        self._reply.add(answer)
        if not self._reply.is_whole or answer.metrics is None:
            return False
        self._reply.finish()
        return True

    def body_ended(self) -> bool:
        """A reply whose stop reason came is whole."""
        if not self._reply.is_whole:
            return False
        self._reply.finish()
        return True
