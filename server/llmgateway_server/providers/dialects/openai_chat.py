"""The dialect `openai_chat`: chat completions of OpenAI and of everything that speaks like it.

Source: https://platform.openai.com/docs/api-reference/chat. Served: text, tools, reasoning text, refusals, log
probabilities, structured output. Media are refused by name.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import msgspec

from llmgateway_server.core.calls import Call
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Event, Finished, FinishReason, PartKind, Started, UsageSnapshot
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, Operation
from llmgateway_server.core.targets import Target
from llmgateway_server.providers.dialects.dialect import Quirks
from llmgateway_server.providers.dialects.openai_chat_answer import (
    Function,
    Logprobs,
    ReportedUsage,
    Said,
    ToolCall,
    decode_answer,
    embedded_error,
    logprobs_of,
    reason_by_message,
)
from llmgateway_server.providers.dialects.openai_chat_request import refuse_unsupported, request_body
from llmgateway_server.providers.dialects.parts import PartsBuilder
from llmgateway_server.providers.dialects.sse import SseDecoder
from llmgateway_server.providers.faults import malformed, status_error
from llmgateway_server.providers.wire.port import WireRequest

FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
    "error": FinishReason.ERROR,
}


UNREADABLE = (ValueError, RecursionError)
"""What decoding raises: msgspec's errors are ValueErrors, and so is text that is not UTF-8."""


class OpenAiChat:
    """See the module."""

    name = "openai_chat"
    operations = frozenset({Operation.COMPLETE})

    def encode_request(self, call: Call, target: Target, quirks: Quirks) -> WireRequest:
        """Writes the body of `POST /chat/completions`."""
        request = call.request
        if not isinstance(request, CompleteRequest):  # pragma: no cover: `operations` keeps others away
            raise TypeError(request)
        refuse_unsupported(self.name, call, request)
        body = request_body(request, target.upstream_model, quirks)
        if call.streaming:
            body["stream"] = True
            if quirks.stream_usage_option:
                body["stream_options"] = {"include_usage": True}
        accept = "text/event-stream" if call.streaming else "application/json"
        headers = (("content-type", "application/json"), ("accept", accept))
        return WireRequest("POST", "/chat/completions", headers, msgspec.json.encode(body))

    def decode_reply(self, call: Call, body: bytes) -> list[Event]:
        """Reads a chat completion object."""
        try:
            answer = decode_answer(body)
        except UNREADABLE as error:
            raise malformed("answer is not a chat completion") from error
        if answer.error is not None:
            raise embedded_error(answer.error)
        if not answer.choices:
            raise malformed("answer without choices")
        choice = answer.choices[0]
        parts = PartsBuilder()
        parts.add(Started(answer.id or "", answer.model or ""))
        if choice.message is not None:
            _Said(parts, call.scope.call_id).add(choice.message, choice.logprobs)
        return _finish(parts, choice.finish_reason, answer.usage)

    def stream_decoder(self, call: Call, quirks: Quirks) -> OpenAiChatStream:
        """Returns a decoder of chat completion chunks."""
        return OpenAiChatStream(quirks, call.scope.call_id)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> UpstreamError:
        """Reads `{"error": {...}}`; whatever else came is judged by its status alone."""
        try:
            problem = decode_answer(body).error
        except UNREADABLE:
            problem = None
        if problem is None:
            return status_error(status, headers, now_s=now_s)
        by_status = status_error(status, headers, now_s=now_s, detail=problem.summary())
        reason = problem.by_code() or reason_by_message(problem.message or "", status)
        if reason is None:
            return by_status
        return UpstreamError(
            reason, http_status=status, retry_after_s=by_status.retry_after_s, detail=problem.summary()
        )


class OpenAiChatStream:
    """Reads one stream of chat completion chunks.

    Args:
        quirks: of the vendor.
        call_id: of the call, for the ids of tool calls that come without one.
    """

    def __init__(self, quirks: Quirks, call_id: str) -> None:
        self._quirks = quirks
        self._sse = SseDecoder()
        self._parts = PartsBuilder()
        self._said = _Said(self._parts, call_id)
        self._started = False
        self._finish_reason: str | None = None
        self._usage: ReportedUsage | None = None
        self.failure: UpstreamError | None = None
        self.finished = False

    def feed(self, data: bytes) -> list[Event]:
        """Reads what arrived."""
        try:
            for _, payload in self._sse.feed(data):
                if self.finished:
                    break
                self._event(payload)
        except UpstreamError as failure:
            return self._fail(failure)
        return self._parts.take()

    def end(self) -> list[Event]:
        """Judges a clean end of the body."""
        if self.finished:
            return []
        try:
            for _, payload in self._sse.end():
                self._event(payload)
        except UpstreamError as failure:
            return self._fail(failure)
        return self._last()

    def _last(self) -> list[Event]:
        if self.finished:
            return self._parts.take()
        if self._finish_reason is None or self._quirks.done_line_required:
            return self._fail(
                UpstreamError(Reason.UPSTREAM_STREAM_INTERRUPTED, detail="stream ended without its last event")
            )
        self.finished = True
        return _finish(self._parts, self._finish_reason, self._usage)

    def _fail(self, failure: UpstreamError) -> list[Event]:
        """Hands out what came before the failure; the failure itself is raised by the reader's next turn."""
        events = self._parts.take()
        if not events:
            raise failure
        self.failure = failure
        return events

    def _event(self, payload: bytes) -> None:
        if payload[:1] != b"{":
            payload = payload.strip()
            if not payload:  # some proxies keep a connection alive with events that have no data
                return
            if payload == b"[DONE]":
                self._done()
                return
        try:
            chunk = decode_answer(payload)
        except UNREADABLE as error:
            raise malformed("event is not a chat completion chunk") from error
        if chunk.error is not None:
            raise embedded_error(chunk.error)
        if not self._started and (chunk.choices or chunk.id):  # a first chunk about filters names nobody yet
            self._started = True
            self._parts.add(Started(chunk.id or "", chunk.model or ""))
        if chunk.usage is not None:
            self._usage = chunk.usage
        for choice in chunk.choices or ():
            if choice.index:  # n > 1 is never asked for
                continue
            if choice.delta is not None:
                self._said.add(choice.delta, choice.logprobs)
            if choice.finish_reason:
                self._finish_reason = choice.finish_reason

    def _done(self) -> None:
        if self._finish_reason is None:
            raise UpstreamError(Reason.UPSTREAM_STREAM_INTERRUPTED, detail="[DONE] without a finish reason")
        self.finished = True
        for event in _finish(self._parts, self._finish_reason, self._usage):
            self._parts.add(event)


def _finish(parts: PartsBuilder, native_reason: str | None, usage: ReportedUsage | None) -> list[Event]:
    """Ends the reply: open parts, the provider's usage, the finish reason."""
    if native_reason is None:
        raise malformed("answer without a finish reason")
    reason = FINISH_REASONS.get(native_reason, FinishReason.UNSPECIFIED)
    if reason is FinishReason.STOP and parts.has_tools:  # a forced tool choice ends with "stop"
        reason = FinishReason.TOOL_CALLS
    parts.close()
    if usage is not None:
        parts.add(UsageSnapshot(usage.normalised()))
    parts.add(Finished(reason, native_reason))
    return parts.take()


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
