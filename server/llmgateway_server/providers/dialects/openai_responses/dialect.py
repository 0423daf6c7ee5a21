"""Responses as a dialect: the class, and the reader that it gives to streams. See `openai_responses`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NoReturn

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Event, Finished, FinishReason, Started, TokensCounted, UsageSnapshot
from llmgateway_server.core.messages import MediaPart
from llmgateway_server.core.requests import CountTokensRequest, Operation
from llmgateway_server.providers.dialects.counts import believable_count
from llmgateway_server.providers.dialects.dialect import UNREADABLE, Quirks, json_post
from llmgateway_server.providers.dialects.json_body import decode_again
from llmgateway_server.providers.dialects.media import MediaKind, kind_of
from llmgateway_server.providers.dialects.openai_common.error import WORDS
from llmgateway_server.providers.dialects.openai_common.shapes import problem_in
from llmgateway_server.providers.dialects.openai_responses.answer import (
    Event as ResponseEvent,
)
from llmgateway_server.providers.dialects.openai_responses.answer import (
    Response,
    decode_count,
    decode_event,
    decode_response,
    finish_of,
    problem_of,
    text_of,
    usage_of,
)
from llmgateway_server.providers.dialects.openai_responses.output import ITEM_EVENTS, OutputItems
from llmgateway_server.providers.dialects.openai_responses.request import request_body
from llmgateway_server.providers.dialects.openai_responses.state import VENDOR
from llmgateway_server.providers.dialects.parts import PartsBuilder
from llmgateway_server.providers.dialects.problem import Problem, refusal
from llmgateway_server.providers.dialects.sse import SERVER_SENT_EVENTS
from llmgateway_server.providers.dialects.stream import EventReader, interrupted
from llmgateway_server.providers.dialects.structured import answer_tool
from llmgateway_server.providers.faults import malformed
from llmgateway_server.providers.wire.port import WireRequest

BEGINNINGS = frozenset({"response.created", "response.queued", "response.in_progress"})
ENDINGS = {"response.completed": "completed", "response.incomplete": "incomplete"}
"""The last events of a reply, and the status that each means."""

COUNTED_FIELDS = frozenset(
    {
        *("model", "input", "tools", "tool_choice", "parallel_tool_calls"),
        *("text", "reasoning", "truncation", "previous_response_id"),
    }
)
"""What a token count takes of a request for a response."""


class OpenAiResponses:
    """See the package."""

    name = "openai_responses"
    state_vendor = VENDOR
    operations = frozenset({Operation.COMPLETE, Operation.COUNT_TOKENS})
    framings = SERVER_SENT_EVENTS

    def fetches(self, media: MediaPart) -> bool:
        """Images and documents are fetched by the vendor."""
        address = media.uri or ""
        match kind_of(media):
            case MediaKind.IMAGE:
                return address.startswith(("https://", "http://"))
            case MediaKind.DOCUMENT:
                return address.startswith("https://")
            case _:
                return False

    def encode_request(self, attempt: Attempt, quirks: Quirks) -> WireRequest:
        """Writes the body of `POST /responses`, or of `POST /responses/input_tokens` where tokens are to be counted."""
        request, streaming = attempt.call.request, attempt.call.streaming
        if isinstance(request, CountTokensRequest):
            body = request_body(_completing(attempt, request), quirks, self.name)
            counted = {key: value for key, value in body.items() if key in COUNTED_FIELDS}
            return json_post("/responses/input_tokens", counted, streaming=False)
        body = request_body(attempt, quirks, self.name)
        if streaming:
            body["stream"] = True
        return json_post("/responses", body, streaming=streaming)

    def decode_reply(self, attempt: Attempt, quirks: Quirks, body: bytes) -> list[Event]:
        """Reads a response object or a token count."""
        try:
            if isinstance(attempt.call.request, CountTokensRequest):
                return _counted(attempt, body)
            return _whole(attempt, decode_response(body) or Response())
        except UNREADABLE as error:
            raise malformed("answer is not a response") from error

    def stream_reader(self, attempt: Attempt, quirks: Quirks) -> EventReader:
        """Returns a reader of response events."""
        return _EventReader(attempt)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> UpstreamError:
        """Reads the error in whatever shape it came; what cannot be read is judged by its status alone."""
        return refusal(problem_in(body), WORDS, status, headers, now_s=now_s)


def _completing(attempt: Attempt, request: CountTokensRequest) -> Attempt:
    """Returns an attempt at the completion whose tokens are to be counted; notices go to the same call."""
    return replace(attempt, call=replace(attempt.call, request=request.completion))


def _counted(attempt: Attempt, body: bytes) -> list[Event]:
    answer = decode_count(body)
    _raise_if_any(problem_of(answer.error))
    count = believable_count(answer.input_tokens)
    if count is None:
        raise malformed("token count without a count")
    return [
        Started("", attempt.target.upstream_model),
        TokensCounted(count, "VENDOR"),
        Finished(FinishReason.STOP),
    ]


def _whole(attempt: Attempt, answer: Response) -> list[Event]:
    _raise_if_any(problem_of(answer.error))
    if answer.output is None:
        raise malformed("response without output")
    parts, items = _beginning(attempt)
    parts.add(Started(text_of(answer.id), text_of(answer.model)))
    _finish(parts, items, answer, text_of(answer.status) or "completed")
    return parts.take()


def _beginning(attempt: Attempt) -> tuple[PartsBuilder, OutputItems]:
    answer = answer_tool(attempt)
    name = answer.name if answer else ""
    parts = PartsBuilder(name)
    return parts, OutputItems(parts, attempt.call.scope.call_id, name)


def _finish(parts: PartsBuilder, items: OutputItems, answer: Response, status: str) -> None:
    """Ends a reply: items, the vendor's usage, the finish reason.

    Args:
        status: of the answer; of work that is not over it is an error.
    """
    if status == "failed":
        _raise(problem_of(answer.error) or Problem())
    if status not in ENDINGS.values():
        raise malformed("response that is not over")
    items.finish(answer.output or [])
    parts.close()
    usage = usage_of(answer)
    if usage is not None:
        parts.add(UsageSnapshot(usage))
    reason, native = finish_of(answer, status)
    parts.add(Finished(parts.settled(reason), native))


def _raise_if_any(problem: Problem | None) -> None:
    if problem is not None:
        _raise(problem)


def _raise(problem: Problem) -> NoReturn:
    raise problem.error(WORDS, None, None)


class _EventReader:
    """Reads response events; see `stream.EventReader`.

    Args:
        attempt: whose reply it is.
    """

    def __init__(self, attempt: Attempt) -> None:
        self.parts, self._items = _beginning(attempt)
        self._started = False

    def read(self, name: bytes, data: bytes) -> bool:
        """Reads one event. What it is stands in its data; its name is looked at where that says nothing."""
        if data[:1] != b"{":
            data = data.strip()
            if not data:
                return False
            if data == b"[DONE]":
                raise interrupted("[DONE] without a last event")
        try:
            event = decode_event(data)
        except UNREADABLE as error:
            event = decode_again(decode_event, data, "event is not one of a response", error)
        try:
            return self._read(text_of(event.type) or name.decode("ascii", "replace"), event)
        except UNREADABLE as error:
            raise malformed("event is not one of a response") from error

    def body_ended(self) -> bool:
        """A response has a last event; without it the body was cut."""
        return False

    def _read(self, kind: str, event: ResponseEvent) -> bool:
        if kind in ("error", ""):
            _raise_if_any(problem_of(event.error))
            if kind:
                _raise(Problem(event.message, None, event.code, event.param))
        elif kind in BEGINNINGS:
            self._start(_response(event))
        elif kind == "response.failed":
            _raise(problem_of(_response(event).error) or Problem())
        elif kind in ENDINGS:
            answer = _response(event)
            _raise_if_any(problem_of(answer.error))
            self._start(answer)
            _finish(self.parts, self._items, answer, ENDINGS[kind])
            return True
        elif kind in ITEM_EVENTS:
            self._start(Response())
            self._items.read(kind, event)
        return False

    def _start(self, answer: Response) -> None:
        if not self._started:
            self._started = True
            self.parts.add(Started(text_of(answer.id), text_of(answer.model)))


def _response(event: ResponseEvent) -> Response:
    return (decode_response(event.response) if event.response else None) or Response()
