from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.calls import Call, CallScope, Deadline
from llmgateway_server.core.errors import RequestError
from llmgateway_server.core.events import (
    Event,
    Finished,
    FinishReason,
    Logprob,
    PartFinished,
    PartKind,
    PartStarted,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolArgumentsDelta,
)
from llmgateway_server.core.messages import (
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from llmgateway_server.core.reply import Batch, Reply
from llmgateway_server.core.requests import CompleteRequest, CountTokensRequest, EmbedRequest, Operation, Request, Tool
from llmgateway_server.guardrails.deny_list import DenyList
from llmgateway_server.pipeline.screen import Screen

TERMS = ("forbidden", "Straße", "x.y")
CHECK = DenyList(TERMS)
BAD = "a FORBIDDEN thing"
DELTAS = (TextDelta, ReasoningDelta, ToolArgumentsDelta)


class Said:
    def __init__(self, batches: list[Batch]) -> None:
        self._batches = iter(batches)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        batch = next(self._batches, None)
        if batch is None:
            raise StopAsyncIteration
        return batch


async def screened(request: Request, batches: list[Batch]) -> list[Event]:
    scope = CallScope("id", "/s/m", "p", {}, 0.0, Deadline(1.0, from_client=False))

    @asynccontextmanager
    async def following(call: Call) -> AsyncIterator[Reply]:
        yield Said(batches)

    async with Screen(CHECK).open(Call(scope, Operation.COMPLETE, streaming=True, request=request), following) as reply:
        return [event async for batch in reply for event in batch]


def asked(*contents: TextPart | ToolResultPart | ToolCallPart | ReasoningPart | RefusalPart) -> CompleteRequest:
    return CompleteRequest("m", [Message(Role.USER, [Part(content) for content in contents])])


def answer(kind: type, pieces: list[str]) -> list[Batch]:
    batches: list[Batch] = [[Started("id", "m"), PartStarted(0, PartKind.TEXT)]]
    batches += [[kind(0, piece)] for piece in pieces]
    return [*batches, [PartFinished(0), Finished(FinishReason.STOP)]]


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted({place % (len(text) + 1) for place in places}), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


def text_of(events: list[Event]) -> str:
    found = ""
    for event in events:
        if isinstance(event, TextDelta | ReasoningDelta):
            found += event.text
        elif isinstance(event, ToolArgumentsDelta):
            found += event.arguments_json
    return found


@given(
    before=st.text(max_size=30),
    term=st.sampled_from([*TERMS, "STRASSE", "FORbidden"]),
    after=st.text(max_size=30),
    places=st.lists(st.integers(0, 100), max_size=30),
    kind=st.sampled_from(DELTAS),
)
async def test_a_term_is_found_however_it_is_cut(
    before: str, term: str, after: str, places: list[int], kind: type
) -> None:
    with pytest.raises(RequestError) as caught:
        await screened(asked(), answer(kind, cut(before + term + after, places)))
    assert (caught.value.reason, caught.value.slots) == ("GUARDRAIL_BLOCKED", {"check": "deny_list"})


@given(text=st.text(max_size=80), places=st.lists(st.integers(0, 100), max_size=30), kind=st.sampled_from(DELTAS))
async def test_other_text_passes_unchanged(text: str, places: list[int], kind: type) -> None:
    if CHECK.found_in(text):
        return
    events = await screened(asked(), answer(kind, cut(text, places)))
    assert text_of(events) == text
    assert [type(event) for event in events if not isinstance(event, DELTAS)] == [
        Started,
        PartStarted,
        PartFinished,
        Finished,
    ]
    assert isinstance(events[-2], PartFinished)  # nothing is held back behind the end of its part


async def test_parts_are_kept_apart() -> None:
    parts: Batch = [PartStarted(0, PartKind.TEXT), PartStarted(1, PartKind.TEXT)]
    batch: Batch = [TextDelta(0, "for"), TextDelta(1, "bidden"), TextDelta(0, " you"), PartFinished(0), PartFinished(1)]
    assert sorted(text_of(await screened(asked(), [parts, batch]))) == sorted("for youbidden")


async def test_log_probabilities_go_with_their_text() -> None:
    batches: list[Batch] = [
        [TextDelta(0, word, (Logprob(word, -1.0),))] for word in ("one ", "two ", "three four five")
    ]
    events = await screened(asked(), [*batches, [PartFinished(0)]])
    tokens = [found.token for event in events if isinstance(event, TextDelta) for found in event.logprobs]
    assert tokens == ["one ", "two ", "three four five"]


@pytest.mark.parametrize(
    "request_",
    [
        asked(TextPart("fine"), TextPart(BAD)),
        asked(ToolResultPart("c", "t", [TextPart(BAD)])),
        asked(ToolCallPart("c", "t", f'{{"a":"{BAD}"}}')),
        asked(ReasoningPart(BAD)),
        asked(RefusalPart(BAD)),
        CompleteRequest("m", [], tools=[Tool("t", description=BAD)]),
        CompleteRequest("m", [], tools=[Tool("t", parameters_json_schema=f'{{"description":"{BAD}"}}')]),
        CountTokensRequest(asked(TextPart(BAD))),
        EmbedRequest("m", ["fine", BAD]),
    ],
)
async def test_requests_are_screened(request_: Request) -> None:
    with pytest.raises(RequestError):
        await screened(request_, [])


def test_an_empty_list_finds_nothing() -> None:
    for check in (DenyList([]), DenyList([""])):
        assert not check.found_in("anything")
        assert check.window_chars == 0
    assert DenyList(["x.y"]).found_in("X.Y")
    assert not DenyList(["x.y"]).found_in("xzy")
