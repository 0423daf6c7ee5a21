"""Chat completions as a dialect: the class, and the reader that it gives to streams. See `openai_chat`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Event, Finished, FinishReason, PartKind, Started, UsageSnapshot
from llmgateway_server.core.messages import MediaPart
from llmgateway_server.core.requests import Operation
from llmgateway_server.providers.dialects.dialect import UNREADABLE, Quirks, json_post
from llmgateway_server.providers.dialects.json_body import decode_again
from llmgateway_server.providers.dialects.media import MediaKind, kind_of
from llmgateway_server.providers.dialects.openai_chat.answer import (
    Annotation,
    Answer,
    Function,
    Logprobs,
    ReportedUsage,
    Said,
    ToolCall,
    citations_of,
    decode_answer,
    logprobs_of,
)
from llmgateway_server.providers.dialects.openai_chat.request import request_body
from llmgateway_server.providers.dialects.openai_common.error import WORDS
from llmgateway_server.providers.dialects.parts import PartsBuilder
from llmgateway_server.providers.dialects.problem import refusal
from llmgateway_server.providers.dialects.stream import SseStream, interrupted
from llmgateway_server.providers.dialects.structured import answer_tool
from llmgateway_server.providers.faults import malformed
from llmgateway_server.providers.wire.port import WireRequest

FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
    "error": FinishReason.ERROR,
}


class OpenAiChat:
    """See the package."""

    name = "openai_chat"
    state_vendor = "openai"
    operations = frozenset({Operation.COMPLETE})

    def fetches(self, media: MediaPart) -> bool:
        """Images are fetched by the vendor; sounds and documents must be sent."""
        return kind_of(media) is MediaKind.IMAGE and (media.uri or "").startswith(("https://", "http://"))

    def encode_request(self, attempt: Attempt, quirks: Quirks) -> WireRequest:
        """Writes the body of `POST /chat/completions`."""
        body = request_body(attempt, quirks, self.name)
        streaming = attempt.call.streaming
        if streaming:
            body["stream"] = True
            if quirks.stream_usage_option:
                body["stream_options"] = {"include_usage": True}
        return json_post("/chat/completions", body, streaming=streaming)

    def decode_reply(self, attempt: Attempt, quirks: Quirks, body: bytes) -> list[Event]:
        """Reads a chat completion object."""
        try:
            answer = decode_answer(body)
        except UNREADABLE as error:
            answer = decode_again(decode_answer, body, "answer is not a chat completion", error)
        if answer.error is not None:
            raise answer.error.error(WORDS, None, None)
        if not answer.choices:
            raise malformed("answer without choices")
        choice = answer.choices[0]
        parts = _parts(attempt)
        parts.add(Started(answer.id or "", answer.model or ""))
        said = _Said(parts, attempt.call.scope.call_id)
        if choice.message is not None:
            said.add(choice.message, choice.logprobs)
        said.finish(choice.finish_reason, answer.usage)
        return parts.take()

    def stream_decoder(self, attempt: Attempt, quirks: Quirks) -> SseStream:
        """Returns a decoder of chat completion chunks."""
        return SseStream(_ChunkReader(_parts(attempt), attempt.call.scope.call_id, quirks))

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> UpstreamError:
        """Reads `{"error": {...}}`; whatever else came is judged by its status alone."""
        try:
            problem = decode_answer(body).error
        except UNREADABLE:
            problem = None
        return refusal(problem, WORDS, status, headers, now_s=now_s)


def _parts(attempt: Attempt) -> PartsBuilder:
    answer = answer_tool(attempt)
    return PartsBuilder(answer.name if answer else "", one_of_each=True)


class _ChunkReader:
    """Reads chat completion chunks; see `stream.EventReader`.

    Args:
        parts: of the reply.
        call_id: of the call, for the ids of tool calls that come without one.
        quirks: of the vendor.
    """

    def __init__(self, parts: PartsBuilder, call_id: str, quirks: Quirks) -> None:
        self.parts = parts
        self._said = _Said(parts, call_id)
        self._done_line_required = quirks.done_line_required
        self._started = False
        self._finish_reason: str | None = None
        self._usage: ReportedUsage | None = None

    def read(self, name: bytes, data: bytes) -> bool:
        """Reads one event; its name says nothing that its data does not."""
        if data[:1] != b"{":
            data = data.strip()
            if not data:  # some proxies keep a connection alive with events that have no data
                return False
            if data == b"[DONE]":
                if self._finish_reason is None:
                    raise interrupted("[DONE] without a finish reason")
                return self._finish()
        try:
            chunk = decode_answer(data)
        except UNREADABLE as error:
            chunk = decode_again(decode_answer, data, "event is not a chat completion chunk", error)
        if chunk.error is not None:
            raise chunk.error.error(WORDS, None, None)
        self._read(chunk)
        return False

    def body_ended(self) -> bool:
        """Some vendors end their bodies without `[DONE]`; then the finish reason is the end."""
        if self._finish_reason is None or self._done_line_required:
            return False
        return self._finish()

    def _read(self, chunk: Answer) -> None:
        if not self._started and (chunk.choices or chunk.id):  # a first chunk about filters names nobody yet
            self._started = True
            self.parts.add(Started(chunk.id or "", chunk.model or ""))
        if chunk.usage is not None:
            self._usage = chunk.usage
        for choice in chunk.choices or ():
            if choice.index:  # n > 1 is never asked for
                continue
            if choice.delta is not None:
                self._said.add(choice.delta, choice.logprobs)
            if choice.finish_reason:
                self._finish_reason = choice.finish_reason

    def _finish(self) -> bool:
        self._said.finish(self._finish_reason, self._usage)
        return True


class _Said:
    """Adds what messages say to a reply's parts, and knows which piece belongs to which tool call.

    Args:
        parts: of the reply.
        call_id: of the call, for the ids of tool calls that come without one.
    """

    def __init__(self, parts: PartsBuilder, call_id: str) -> None:
        self._parts = parts
        self._call_id = call_id
        self._keys: set[Hashable] = set()
        self._last_key: Hashable = None
        self._at_index: dict[int, str] = {}
        """Which call, by its id, an index stands for now."""
        self._annotations: list[Annotation] = []

    def add(self, said: Said, logprobs: Logprobs | None) -> None:
        """Adds what one chunk or a whole message says; reasoning comes before the text that follows from it."""
        parts = self._parts
        reasoning = said.reasoning_content or said.reasoning
        if reasoning:
            parts.flow(PartKind.REASONING, reasoning)
        if said.content is not None:
            parts.flow(PartKind.TEXT, said.content, logprobs_of(logprobs.content) if logprobs else ())
        if said.refusal:
            parts.flow(PartKind.REFUSAL, said.refusal, logprobs_of(logprobs.refusal) if logprobs else ())
        if said.tool_calls:
            for position, call in enumerate(said.tool_calls):
                self._tool(self._key(call, position), call.id, call.function)
        if said.function_call is not None:
            self._tool("function_call", None, said.function_call)
        if said.annotations:
            self._annotations += said.annotations

    def finish(self, native_reason: str | None, usage: ReportedUsage | None) -> None:
        """Ends the reply: open parts, the provider's usage, the finish reason."""
        if native_reason is None:
            raise malformed("answer without a finish reason")
        parts = self._parts
        if self._annotations:
            parts.end_flow_with(PartKind.TEXT, citations=citations_of(self._annotations))
        parts.close()
        if usage is not None:
            parts.add(UsageSnapshot(usage.normalised()))
        reason = FINISH_REASONS.get(native_reason, FinishReason.UNSPECIFIED)
        parts.add(Finished(parts.settled(reason), native_reason))

    def _tool(self, key: Hashable, given_id: str | None, function: Function | None) -> None:
        self._keys.add(key)
        self._last_key = key
        function = function or Function()
        call_id = given_id or f"call_{self._call_id}_{len(self._keys)}"
        self._parts.tool(key, call_id, function.name or "", function.arguments or "")

    def _key(self, call: ToolCall, position: int) -> Hashable:
        """Returns what tells the call from others: its index, else its id, else its place.

        A piece with none of them and no name goes on with the call before it. Some vendors give all calls the same
        index: a piece that names a function under another id begins another call.
        """
        named = call.function is not None and bool(call.function.name)
        if call.index is not None:
            if call.id and (named or call.index not in self._at_index):
                self._at_index[call.index] = call.id
            return (call.index, self._at_index.get(call.index))
        if call.id:
            return call.id
        if self._keys and not named:
            return self._last_key
        return ("nameless", len(self._keys), position)
