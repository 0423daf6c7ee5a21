"""What the tests of all dialects share: attempts, what a caller puts together from events, readers of replies."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import strategies as st

from llmgateway.v1 import completion_pb2
from llmgateway_server.contract.requests_in import complete_request
from llmgateway_server.core.calls import Attempt, AttemptRecord, Call, CallScope, Deadline, NoticeCode
from llmgateway_server.core.errors import RequestError, UpstreamError
from llmgateway_server.core.events import (
    DELTAS,
    Event,
    Finished,
    Logprob,
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
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, CountTokensRequest, Operation
from llmgateway_server.core.targets import Profile, ReasoningStyle, Target
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.dialect import Dialect, Quirks
from llmgateway_server.providers.dialects.framing import framing_for
from llmgateway_server.providers.dialects.stream import EventStream

Json = dict[str, Any]
SaidDelta = TextDelta | ReasoningDelta | ToolArgumentsDelta

TARGET = Target(provider="p", vendor="v", upstream_model="upstream-1")
NOW_S = 1_700_000_000.0
GOLDEN = Path(__file__).parents[2] / "golden"


def attempt_of(
    request: CompleteRequest | CountTokensRequest | None = None, target: Target = TARGET, *, streaming: bool = False
) -> Attempt:
    scope = CallScope("call-1", "/m", "peer", {}, 0.0, Deadline(10.0, from_client=False))
    request = request or CompleteRequest("m", [])
    operation = Operation.COUNT_TOKENS if isinstance(request, CountTokensRequest) else Operation.COMPLETE
    return Attempt(Call(scope, operation, streaming, request), target, AttemptRecord(1, target))


# ---------------------------------------------------------------------------------------------------------------------
# What is asked
# ---------------------------------------------------------------------------------------------------------------------


def golden_names(folder: str) -> list[str]:
    return sorted(path.stem for path in (GOLDEN / folder).glob("*.json"))


def golden_of(folder: str, name: str) -> Json:
    golden: Json = json.loads((GOLDEN / folder / f"{name}.json").read_text("utf-8"))
    return golden


def golden_attempt(golden: Json, *, counting: bool = False) -> Attempt:
    """Returns the attempt of a golden file: a message of the contract as JSON, with a profile of the model."""
    request = complete_request(json_format.ParseDict(golden["request"], completion_pb2.CompleteRequest()))
    profile = dict(golden.get("profile", {}))
    if "reasoning" in profile:
        profile["reasoning"] = ReasoningStyle(profile["reasoning"])
    target = replace(TARGET, profile=Profile(**profile))
    streaming = golden.get("streaming", False)
    return attempt_of(CountTokensRequest(request) if counting else request, target, streaming=streaming)


def asked(dialect: Dialect, attempt: Attempt) -> tuple[Json, list[tuple[NoticeCode, str]]]:
    """Returns the body and the notices; a second target says nothing new."""
    dialect.encode_request(attempt, Quirks())
    body: Json = json.loads(dialect.encode_request(attempt, Quirks()).body)
    return body, [(notice.code, notice.subject) for notice in attempt.call.notices]


def refused_fields(dialect: Dialect, attempt: Attempt) -> list[str]:
    with pytest.raises(RequestError) as caught:
        dialect.encode_request(attempt, Quirks())
    assert caught.value.reason is Reason.UNSUPPORTED_OPTION
    return [violation.field for violation in caught.value.violations]


# ---------------------------------------------------------------------------------------------------------------------
# What a caller puts together
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class FoldedPart:
    """A part, put together."""

    kind: PartKind
    said: Any = ""
    """The text; of a tool call the arguments, as text or parsed."""
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
    logprobs: list[Logprob] = field(default_factory=list)
    usage: Usage | None = None
    finished: Finished | None = None

    @property
    def texts(self) -> list[Any]:
        return [part.said for part in self.parts]

    @property
    def calls(self) -> list[tuple[str, str, Any]]:
        """Id, name and arguments of each tool call."""
        calls = (part for part in self.parts if part.kind is PartKind.TOOL_CALL)
        return [(part.tool_call_id, part.tool_name, part.said) for part in calls]

    @property
    def states(self) -> list[Any]:
        return [json.loads(part.state.data) if part.state else None for part in self.parts]

    def text(self, kind: PartKind = PartKind.TEXT) -> str:
        return "".join(part.said for part in self.parts if part.kind is kind)


DELTAS_OF: dict[PartKind, type[SaidDelta]] = {
    PartKind.TEXT: TextDelta,
    PartKind.REFUSAL: TextDelta,
    PartKind.REASONING: ReasoningDelta,
    PartKind.TOOL_CALL: ToolArgumentsDelta,
}


def fold(events: Iterable[Event], *, arguments: Callable[[str], Any] = str) -> Folded:
    """Holds events to the grammar and puts them together.

    Args:
        events: of a whole reply.
        arguments: what a tool call's arguments are compared as, once they are whole.
    """
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
            case TextDelta() | ReasoningDelta() | ToolArgumentsDelta():
                assert event.part_index in still_open
                part = folded.parts[event.part_index]
                assert isinstance(event, DELTAS_OF[part.kind])
                part.said += text_of(event)
                if isinstance(event, TextDelta):
                    assert event.text or event.logprobs
                    folded.logprobs += event.logprobs
            case PartFinished():
                still_open.remove(event.part_index)
                part = folded.parts[event.part_index]
                part.state, part.citations = event.provider_state, event.citations
                if part.kind is PartKind.TOOL_CALL:
                    part.said = arguments(part.said)
            case UsageSnapshot():
                folded.usage = event.usage
            case Finished():
                folded.finished = event
            case _:
                pytest.fail(f"not an event of a dialect's reply: {event}")
    assert not still_open
    assert folded.finished is not None
    return folded


def text_of(delta: SaidDelta) -> str:
    return delta.arguments_json if isinstance(delta, ToolArgumentsDelta) else delta.text


def flat(batches: Iterable[Sequence[Event]]) -> list[Event]:
    return [event for batch in batches for event in batch]


def parsed(arguments: str) -> Any:
    """Returns arguments with their numbers as they were spelled; what broke off stays text."""
    try:
        return json.loads(arguments, parse_float=str, parse_int=str)
    except ValueError:
        return arguments


# ---------------------------------------------------------------------------------------------------------------------
# Reading replies
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Reader:
    """Reads the replies of one dialect.

    Attributes:
        dialect: which one.
        arguments: see `fold`.
    """

    dialect: Dialect
    arguments: Callable[[str], Any] = str

    def whole(self, answer: Any, attempt: Attempt | None = None) -> Folded:
        """Reads a whole answer: its bytes, or what is written as JSON."""
        body = answer if isinstance(answer, bytes) else json.dumps(answer, ensure_ascii=False).encode()
        return self.fold(self.dialect.decode_reply(attempt or attempt_of(), Quirks(), body))

    def read_stream(
        self, body: bytes, bounds: Iterable[int] = (), attempt: Attempt | None = None, quirks: Quirks | None = None
    ) -> list[list[Event]]:
        """Feeds a body cut at `bounds`; one batch per read. Raises what the reader would see."""
        decoder = self.decoder(attempt, quirks)
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
        self, body: bytes, bounds: Iterable[int] = (), attempt: Attempt | None = None, quirks: Quirks | None = None
    ) -> Folded:
        """Reads a stream and puts it together."""
        return self.fold(flat(self.read_stream(body, bounds, attempt, quirks)))

    def decoder(self, attempt: Attempt | None = None, quirks: Quirks | None = None) -> EventStream:
        reader = self.dialect.stream_reader(attempt or attempt_of(streaming=True), quirks or Quirks())
        return EventStream(framing_for(self.dialect.framings, ""), reader)

    def fold(self, events: Iterable[Event]) -> Folded:
        return fold(events, arguments=self.arguments)


def assert_same_however_cut(reader: Reader, body: bytes, stream: bytes, bounds: list[int]) -> None:
    """Holds a stream, at once, cut at `bounds` and cut everywhere, to what the whole answer says."""
    expected = reader.whole(body)
    for cut in ([], bounds, range(1, len(stream))):
        assert reader.streamed(stream, cut) == expected


def assert_never_whole(reader: Reader, body: bytes, stream: bytes) -> None:
    """Holds an answer and a stream that break off to an error with a reason."""
    with pytest.raises(UpstreamError):
        reader.whole(body)
    with pytest.raises(UpstreamError) as caught:
        reader.read_stream(stream)
    assert caught.value.reason in (Reason.UPSTREAM_STREAM_INTERRUPTED, Reason.UPSTREAM_MALFORMED)


def assert_merged(events: list[Event]) -> None:
    """Holds one read to its form: the first delta travels alone, those after it are merged."""
    deltas = [event for event in events if isinstance(event, DELTAS)]
    for one, other in itertools.pairwise(events):
        if deltas and one is not deltas[0] and isinstance(one, TextDelta | ReasoningDelta):
            assert not isinstance(other, type(one))


def assert_told_first(decoder: EventStream, body: bytes, reason: Reason) -> None:
    """Holds a stream that says one thing and then fails to telling what came before the failure."""
    assert [type(event) for event in decoder.feed(body)] == [Started, PartStarted, TextDelta]
    assert decoder.failure is not None
    assert decoder.failure.reason is reason
    assert not decoder.finished


def assert_classified(dialect: Dialect, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    """Holds an error body, however strange, to an error that can be told."""
    found = dialect.decode_error(status, headers or {}, body, now_s=NOW_S)
    assert isinstance(found, UpstreamError)
    assert found.http_status == status
    assert found.detail.isprintable()


# ---------------------------------------------------------------------------------------------------------------------
# Generated replies
# ---------------------------------------------------------------------------------------------------------------------

SAID = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
COUNT = st.none() | st.integers(0, 10**6)
STATUS = st.integers(100, 999)
LINE_ENDS = st.sampled_from(["\n", "\r", "\r\n"])


def cut_off(body: bytes, most: int | None = None) -> st.SearchStrategy[bytes]:
    """Returns beginnings of a body.

    Args:
        body: the whole of it.
        most: of its bytes; without it all but the last.
    """
    return st.integers(0, len(body) - 1 if most is None else most).map(lambda stop: body[:stop])


def bounds_in(body: bytes) -> st.SearchStrategy[list[int]]:
    """Returns places to cut a body at."""
    return st.lists(st.integers(0, len(body)), max_size=30).map(sorted)


def pieces(text: str) -> st.SearchStrategy[list[str]]:
    """Returns a text in pieces, none of them empty."""
    places = st.lists(st.integers(0, len(text)), max_size=4).map(sorted)
    return places.map(lambda at: [text[a:b] for a, b in itertools.pairwise([0, *at, len(text)]) if a < b])


def error_bodies(fields: list[str], inner_fields: list[str]) -> st.SearchStrategy[bytes]:
    """Returns bodies of refusals: noise, and objects of the vendor's fields that hold what they never should.

    Args:
        fields: of an error object and of what it stands in.
        inner_fields: of objects further inside.
    """
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.just("²²²"),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(inner_fields), inner),
        max_leaves=4,
    )
    keys = st.sampled_from(fields)
    objects = st.dictionaries(keys, values | st.dictionaries(keys, values))
    return st.binary(max_size=40) | objects.map(lambda said: json.dumps(said).encode())
