"""Chat completions as a dialect: the class, and the reader that it gives to streams. See `openai_chat`."""

from __future__ import annotations

from collections.abc import Mapping

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Event, Started
from llmgateway_server.core.messages import Citation, MediaPart
from llmgateway_server.core.requests import Operation
from llmgateway_server.providers.dialects.dialect import UNREADABLE, Quirks, json_post
from llmgateway_server.providers.dialects.json_body import decode_again
from llmgateway_server.providers.dialects.media import MediaKind, kind_of
from llmgateway_server.providers.dialects.openai_chat.answer import (
    Answer,
    ReportedUsage,
    decode_answer,
    pages_of,
)
from llmgateway_server.providers.dialects.openai_chat.request import answer_tool_of, request_body
from llmgateway_server.providers.dialects.openai_chat.said import Speech
from llmgateway_server.providers.dialects.openai_common.error import WORDS
from llmgateway_server.providers.dialects.openai_common.shapes import problem_in, problem_of
from llmgateway_server.providers.dialects.parts import PartsBuilder
from llmgateway_server.providers.dialects.problem import refusal
from llmgateway_server.providers.dialects.sse import SERVER_SENT_EVENTS
from llmgateway_server.providers.dialects.stream import EventReader, interrupted
from llmgateway_server.providers.faults import malformed
from llmgateway_server.providers.wire.port import WireRequest


class OpenAiChat:
    """See the package.

    Args:
        fetches_images: whether the vendor fetches images by their addresses.
    """

    name = "openai_chat"
    state_vendor = "openai"
    operations = frozenset({Operation.COMPLETE})
    framings = SERVER_SENT_EVENTS

    def __init__(self, *, fetches_images: bool = True) -> None:
        self._fetches_images = fetches_images

    def fetches(self, media: MediaPart) -> bool:
        """Images are fetched by most vendors; sounds and documents must be sent."""
        is_remote = (media.uri or "").startswith(("https://", "http://"))
        return self._fetches_images and is_remote and kind_of(media) is MediaKind.IMAGE

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
        _raise_error(answer, body)
        if not answer.choices:
            raise malformed("answer without choices")
        choice = answer.choices[0]
        parts = _parts(attempt, quirks)
        parts.add(_started(answer))
        speech = Speech(parts, attempt.call.scope.call_id, quirks.state_vendor)
        if choice.message is not None:
            speech.add_words(choice.message, choice.logprobs)
            speech.add_whole_calls(choice.message.tool_calls or [])
        speech.finish(choice.finish_reason, answer.told_usage, pages_of(answer))
        return parts.take()

    def stream_reader(self, attempt: Attempt, quirks: Quirks) -> EventReader:
        """Returns a reader of chat completion chunks."""
        return _ChunkReader(_parts(attempt, quirks), attempt.call.scope.call_id, quirks)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> UpstreamError:
        """Reads the error in the body; what is none (a web page of a proxy) is judged by its status alone."""
        return refusal(problem_in(body), WORDS, status, headers, now_s=now_s)


def _parts(attempt: Attempt, quirks: Quirks) -> PartsBuilder:
    answer = answer_tool_of(attempt, quirks)
    return PartsBuilder(answer.name if answer else "", one_of_each=True)


def _started(answer: Answer) -> Started:
    return Started("" if answer.id is None else str(answer.id), answer.model or "")


def _raise_error(answer: Answer, body: bytes) -> None:
    """Raises the error of an answer with status 200, wherever it stands."""
    if answer.error is not None:
        raise problem_of(answer.error).error(WORDS, None, None)
    if answer.choices:
        if (error := answer.choices[0].error) is not None:
            raise problem_of(error).error(WORDS, None, None)
    elif answer.usage is None and (problem := problem_in(body)) is not None:
        raise problem.error(WORDS, None, None)


class _ChunkReader:
    """Reads chat completion chunks; see `stream.EventReader`.

    Args:
        parts: of the reply.
        call_id: of the call, for the ids of tool calls that come without one.
        quirks: of the vendor.
    """

    def __init__(self, parts: PartsBuilder, call_id: str, quirks: Quirks) -> None:
        self.parts = parts
        self._speech = Speech(parts, call_id, quirks.state_vendor)
        self._done_line_required = quirks.done_line_required
        self._started = False
        self._finish_reason: str | int | None = None
        self._usage: ReportedUsage | None = None
        self._pages: tuple[Citation, ...] = ()

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
        if chunk.error is not None or not chunk.choices:
            _raise_error(chunk, data)
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
            self.parts.add(_started(chunk))
        if chunk.usage is not None or chunk.x_groq is not None:
            self._usage = chunk.told_usage or self._usage
        if chunk.search_results is not None or chunk.citations is not None:
            self._pages = pages_of(chunk)
        for choice in chunk.choices or ():
            if choice.index:  # n > 1 is never asked for
                continue
            if choice.error is not None:
                raise problem_of(choice.error).error(WORDS, None, None)
            delta = choice.delta
            if delta is not None:
                self._speech.add_words(delta, choice.logprobs)
                if delta.tool_calls:
                    self._speech.add_calls(delta.tool_calls)
            if choice.finish_reason:
                self._finish_reason = choice.finish_reason

    def _finish(self) -> bool:
        self._speech.finish(self._finish_reason, self._usage, self._pages)
        return True
