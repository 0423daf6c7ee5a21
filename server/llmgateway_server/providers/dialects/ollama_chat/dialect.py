"""Ollama's chat as a dialect: the class, and the reader that it gives to streams. See `ollama_chat`."""

from __future__ import annotations

from collections.abc import Mapping

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Event, Finished, FinishReason, PartKind, Started, UsageSnapshot
from llmgateway_server.core.messages import MediaPart
from llmgateway_server.core.requests import Operation
from llmgateway_server.providers.dialects.dialect import Quirks, json_post
from llmgateway_server.providers.dialects.framing import Framings
from llmgateway_server.providers.dialects.lines import LineDecoder
from llmgateway_server.providers.dialects.ollama_chat.answer import (
    Answer,
    Function,
    ToolCall,
    arguments_of,
    decode_answer,
    logprobs_of,
    said,
    word,
)
from llmgateway_server.providers.dialects.ollama_chat.error import WORDS, problem_of, read_problem
from llmgateway_server.providers.dialects.ollama_chat.request import request_body
from llmgateway_server.providers.dialects.parts import PartsBuilder
from llmgateway_server.providers.dialects.problem import refusal
from llmgateway_server.providers.dialects.stream import EventReader
from llmgateway_server.providers.faults import malformed
from llmgateway_server.providers.wire.port import WireRequest

PATH = "/api/chat"
NDJSON = "application/x-ndjson"
FINISH_REASONS = {
    "": FinishReason.STOP,  # before 0.1.37 the last line said no more than that it was the last
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
}
"""Others exist, `load` and `unload` of questions without messages, and say nothing of an answer."""


class OllamaChat:
    """See the package."""

    name = "ollama_chat"
    state_vendor = "ollama"
    operations = frozenset({Operation.COMPLETE})
    framings: Framings = dict.fromkeys(
        (NDJSON, "application/ndjson", "application/jsonl", "application/json", "text/plain"), LineDecoder
    )
    """Proxies have other names for the lines."""

    def fetches(self, media: MediaPart) -> bool:
        """Ollama takes images as their bytes alone."""
        return False

    def encode_request(self, attempt: Attempt, quirks: Quirks) -> WireRequest:
        """Writes the body of `POST /api/chat`, with `stream`, whose default is true."""
        body = request_body(attempt, self.name)
        return json_post(PATH, body, streaming=attempt.call.streaming, stream_type=NDJSON)

    def decode_reply(self, attempt: Attempt, quirks: Quirks, body: bytes) -> list[Event]:
        """Reads a chat response."""
        answer = decode_answer(body)
        reader = _LineReader(attempt.call.scope.call_id)
        reader.add(answer)
        if answer.done is False or (answer.done is None and answer.message is None):
            raise malformed("answer that is not done")
        reader.finish(answer)
        return reader.parts.take()

    def stream_reader(self, attempt: Attempt, quirks: Quirks) -> EventReader:
        """Returns a reader of a chat response's lines."""
        return _LineReader(attempt.call.scope.call_id)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> UpstreamError:
        """Reads `{"error": "..."}`; whatever else came is judged by its status alone."""
        return refusal(read_problem(body), WORDS, status, headers, now_s=now_s)


class _LineReader:
    """Reads the lines of a stream, or a whole answer as if it were the only line; see `stream.EventReader`.

    Args:
        call_id: of the call, for the ids of tool calls that come without one.
    """

    def __init__(self, call_id: str) -> None:
        self.parts = PartsBuilder(one_of_each=True)
        self._call_id = call_id
        self._started = False
        self._calls = 0

    def read(self, name: bytes, data: bytes) -> bool:
        """Reads one line."""
        answer = decode_answer(data)
        self.add(answer)
        if answer.done is not True:
            return False
        self.finish(answer)
        return True

    def body_ended(self) -> bool:
        """Only a line that says so is the last."""
        return False

    def add(self, answer: Answer) -> None:
        """Adds what a line says; reasoning comes before the text that follows from it."""
        if answer.error:
            raise problem_of(answer.error).error(WORDS, None, None)
        if not self._started:
            self._started = True
            self.parts.add(Started("", word(answer.model)))
        message = answer.message
        if message is not None:
            self.parts.flow(PartKind.REASONING, said(message.thinking))
            self.parts.flow(PartKind.TEXT, said(message.content), logprobs_of(answer.logprobs))
            for call in message.tool_calls or ():
                self._tool(call)

    def finish(self, answer: Answer) -> None:
        """Ends the reply: open parts, the counts, the finish reason."""
        parts, native_reason = self.parts, word(answer.done_reason)
        parts.close()
        if (usage := answer.usage()) is not None:
            parts.add(UsageSnapshot(usage))
        reason = FINISH_REASONS.get(native_reason, FinishReason.UNSPECIFIED)
        parts.add(Finished(parts.settled(reason), native_reason))

    def _tool(self, call: ToolCall) -> None:
        self._calls += 1
        function = call.function or Function()
        call_id = word(call.id) or f"call_{self._call_id}_{self._calls}"
        self.parts.tool(self._calls, call_id, word(function.name), arguments_of(function))
        self.parts.end_tool(self._calls)
