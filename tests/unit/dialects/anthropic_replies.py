"""Replies of Anthropic for tests: streams from whole answers, and what a caller puts together from events."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from llmgateway_server.core.calls import Attempt, AttemptRecord, Call, CallScope, Deadline
from llmgateway_server.core.events import (
    Event,
    Finished,
    PartFinished,
    PartKind,
    PartStarted,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolArgumentsDelta,
    UsageSnapshot,
)
from llmgateway_server.core.messages import Citation, ProviderState
from llmgateway_server.core.requests import CompleteRequest, Operation, Request
from llmgateway_server.core.targets import Target
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.anthropic_messages import AnthropicMessages
from llmgateway_server.providers.dialects.dialect import Quirks

DIALECT = AnthropicMessages()
TARGET = Target(provider="p", vendor="anthropic", upstream_model="upstream-1")
END = {"type": "message_stop"}


def attempt_of(request: Request | None = None, target: Target = TARGET, *, streaming: bool = True) -> Attempt:
    scope = CallScope("call-1", "/m", "peer", {}, 0.0, Deadline(10.0, from_client=False))
    request = request or CompleteRequest("m", [])
    operation = Operation.COMPLETE if isinstance(request, CompleteRequest) else Operation.COUNT_TOKENS
    return Attempt(Call(scope, operation, streaming, request), target, AttemptRecord(1, target))


@dataclass
class FoldedPart:
    """A part, put together."""

    kind: PartKind
    said: Any = ""
    """The text; of a tool call the arguments, parsed once they are whole."""
    tool_call_id: str = ""
    tool_name: str = ""
    redacted: bool = False
    state: ProviderState | None = None
    citations: tuple[Citation, ...] = ()


@dataclass
class Folded:
    """What a caller puts together from events."""

    started: Started | None = None
    parts: list[FoldedPart] = field(default_factory=list)
    usage: Usage | None = None
    finished: Finished | None = None

    def text(self, kind: PartKind = PartKind.TEXT) -> str:
        return "".join(part.said for part in self.parts if part.kind is kind)

    def plain(self) -> dict[str, Any]:
        """Returns what is worth writing down."""
        assert self.started is not None
        assert self.finished is not None
        parts = []
        for part in self.parts:
            said = {name: value for name, value in asdict(part).items() if value}
            if part.state is not None:
                said["state"] = part.state.data.decode()
                assert part.state.vendor == "anthropic"
            if part.citations:
                said["citations"] = [
                    {name: value for name, value in asdict(each).items() if value is not None}
                    for each in part.citations
                ]
            parts.append(said)
        usage = {} if self.usage is None else asdict(self.usage)
        return {
            "id": self.started.response_id,
            "model": self.started.provider_model,
            "parts": parts,
            "finish": [self.finished.finish_reason, self.finished.provider_finish_reason],
            "usage": {name: value for name, value in usage.items() if value is not None and name != "source"},
        }


def fold(events: list[Event]) -> Folded:
    """Holds events to the grammar and puts them together."""
    folded, still_open = Folded(), set[int]()
    for event in events:
        assert folded.finished is None
        assert isinstance(event, Started) == (folded.started is None)
        match event:
            case Started():
                folded.started = event
            case PartStarted():
                assert event.part_index == len(folded.parts)
                part = FoldedPart(event.kind, "", event.tool_call_id, event.tool_name, event.redacted)
                folded.parts.append(part)
                still_open.add(event.part_index)
            case TextDelta(part_index=index, text=text):
                assert index in still_open
                assert folded.parts[index].kind is PartKind.TEXT
                folded.parts[index].said += text
            case ReasoningDelta(part_index=index, text=text):
                assert index in still_open
                assert folded.parts[index].kind is PartKind.REASONING
                folded.parts[index].said += text
            case ToolArgumentsDelta(part_index=index, arguments_json=text):
                assert index in still_open
                assert folded.parts[index].kind is PartKind.TOOL_CALL
                folded.parts[index].said += text
            case PartFinished():
                still_open.remove(event.part_index)
                folded.parts[event.part_index].state = event.provider_state
                folded.parts[event.part_index].citations = event.citations
            case UsageSnapshot():
                folded.usage = event.usage
            case Finished():
                folded.finished = event
    assert not still_open
    assert folded.finished is not None
    for part in folded.parts:
        if part.kind is PartKind.TOOL_CALL:
            part.said = parsed(part.said)
    return folded


def parsed(arguments: str) -> Any:
    """Returns arguments with their numbers as they were spelled; what broke off stays text."""
    try:
        return json.loads(arguments, parse_float=str, parse_int=str)
    except ValueError:
        return arguments


def whole(answer: Any, request: CompleteRequest | None = None, target: Target = TARGET) -> Folded:
    """Reads a whole answer."""
    body = answer if isinstance(answer, bytes) else json.dumps(answer, ensure_ascii=False).encode()
    return fold(DIALECT.decode_reply(attempt_of(request, target), Quirks(), body))


def read_stream(
    body: bytes, bounds: list[int] | range = range(0), request: CompleteRequest | None = None, target: Target = TARGET
) -> list[list[Event]]:
    """Feeds a body cut at `bounds`; one batch per read. Raises what the reader would see."""
    decoder = DIALECT.stream_decoder(attempt_of(request, target), Quirks())
    batches = []
    for start, stop in itertools.pairwise([0, *bounds, len(body)]):
        batches.append(decoder.feed(body[start:stop]))
        if decoder.failure is not None:
            raise decoder.failure
    batches.append(decoder.end())
    if decoder.failure is not None:
        raise decoder.failure
    assert decoder.finished
    return batches


def streamed(
    body: bytes, bounds: list[int] | range = range(0), request: CompleteRequest | None = None, target: Target = TARGET
) -> Folded:
    """Reads a stream and puts it together."""
    return fold([event for batch in read_stream(body, bounds, request, target) for event in batch])


def sse(*events: dict[str, Any], end: str = "\n", pad: str = "") -> bytes:
    """Writes events as the vendor does, who pads them with blanks before the last brace."""
    written = ""
    for event in events:
        data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        written += f"event: {event['type']}{end}data: {data[:-1]}{pad}}}{end}{end}"
    return written.encode()


def start(**more: Any) -> dict[str, Any]:
    message = {"type": "message", "id": "msg_1", "model": "m-1", "content": [], "stop_reason": None, **more}
    return {"type": "message_start", "message": message}


def begin(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **more}}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def reason(stop_reason: str | None, **usage: Any) -> dict[str, Any]:
    told = {"type": "message_delta", "delta": {"stop_reason": stop_reason, "stop_sequence": None}}
    return {**told, "usage": usage} if usage else told


def text_events(*texts: str, index: int = 0) -> list[dict[str, Any]]:
    pieces = [delta(index, "text_delta", text=text) for text in texts]
    return [begin(index, {"type": "text", "text": ""}), *pieces, stop(index)]
