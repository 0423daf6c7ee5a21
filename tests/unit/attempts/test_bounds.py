"""What is cut off and what never is: bounds of a stream, and how it ends at one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.attempts.bounds import (
    MAX_BYTES_PER_TOKEN,
    Bounds,
    BoundSettings,
    CutOff,
    output_token_cap,
    text_byte_bound,
)
from llmgateway_server.attempts.timeouts import DurationEndedError
from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import (
    Event,
    Finished,
    FinishReason,
    MediaDelta,
    PartFinished,
    PartKind,
    PartStarted,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolArgumentsDelta,
)
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, EmbedRequest
from llmgateway_server.core.targets import Profile
from llmgateway_server.providers.tokens.encodings import ENCODINGS, load
from tests.unit.attempts.attempt_kit import Said, attempt_of

BEGIN: list[Event] = [Started("", "m"), PartStarted(0, PartKind.TEXT)]
END: list[Event] = [PartFinished(0), Finished(FinishReason.STOP, "stop")]
CAP = 10
BOUND = (CAP + 64) * MAX_BYTES_PER_TOKEN


async def read(said: Said, attempt: Attempt, max_output_bytes: int = 10_000_000) -> list[Event]:
    bounds = Bounds(BoundSettings(max_output_bytes=max_output_bytes))
    async with bounds.open(attempt, said.open) as reply:
        return [event async for batch in reply for event in batch]


def capped(cap: int = CAP, *, streaming: bool = True) -> Attempt:
    return attempt_of(CompleteRequest("m", [], max_output_tokens=cap), streaming=streaming)


async def test_a_stream_within_its_bound_is_left_alone() -> None:
    batches: list[list[Event]] = [BEGIN, [TextDelta(0, "x" * BOUND)], END]
    assert await read(Said(batches), capped()) == [event for batch in batches for event in batch]


@pytest.mark.parametrize(
    "more",
    [TextDelta(0, "x"), ReasoningDelta(0, "x"), ToolArgumentsDelta(0, "x"), TextDelta(0, "é")],
    ids=["text", "reasoning", "arguments", "multi-byte"],
)
async def test_the_read_that_passes_the_bound_is_the_last(more: Event) -> None:
    said = Said([BEGIN, [TextDelta(0, "x" * BOUND)], [more], [TextDelta(0, "never read")]])
    events = await read(said, capped())
    assert events[-3:] == [more, PartFinished(0), CutOff(FinishReason.LENGTH)]
    assert TextDelta(0, "never read") not in events


async def test_bytes_count_and_not_characters() -> None:
    said = Said([BEGIN, [TextDelta(0, "é" * (BOUND // 2))], [TextDelta(0, "x")], []])
    assert isinstance((await read(said, capped()))[-1], CutOff)


async def test_the_provider_is_let_go_before_the_caller_reads_the_end() -> None:
    said = Said([[*BEGIN, TextDelta(0, "x" * (BOUND + 1))]])
    async with Bounds(BoundSettings()).open(capped(), said.open) as reply:
        batch = await reply.__anext__()
        assert isinstance(batch[-1], CutOff)
        assert said.closed
        with pytest.raises(StopAsyncIteration):
            await reply.__anext__()


async def test_every_open_part_is_closed_and_no_other() -> None:
    parts: list[Event] = [
        PartStarted(0, PartKind.REASONING),
        PartFinished(0),
        *(PartStarted(i, PartKind.TOOL_CALL) for i in (1, 2, 3)),
        PartFinished(2),
    ]
    events = await read(Said([parts, [ToolArgumentsDelta(3, "x" * (BOUND + 1))]]), capped())
    assert events[-3:] == [PartFinished(1), PartFinished(3), CutOff(FinishReason.LENGTH)]


async def test_a_reply_that_ends_with_this_read_is_whole() -> None:
    batches = [BEGIN, [TextDelta(0, "x" * (BOUND + 1)), *END]]
    assert (await read(Said(batches), capped()))[-1] == Finished(FinishReason.STOP, "stop")


async def test_whole_replies_are_left_alone() -> None:
    batches = [[*BEGIN, TextDelta(0, "x" * (BOUND + 1))], END]
    assert (await read(Said(batches), capped(streaming=False)))[-1] == Finished(FinishReason.STOP, "stop")


async def test_media_are_held_to_the_configured_bound_alone() -> None:
    picture = MediaDelta(0, b"x" * (BOUND + 1))
    assert (await read(Said([BEGIN, [picture], END]), capped()))[-1] == END[-1]
    assert isinstance((await read(Said([BEGIN, [picture], END]), capped(), BOUND))[-1], CutOff)


async def test_empty_batches_are_passed_on() -> None:
    said = Said([[], BEGIN, [], [TextDelta(0, "x"), *END]])
    async with Bounds(BoundSettings()).open(capped(), said.open) as reply:
        assert [len(batch) async for batch in reply] == [0, 2, 0, 3]


async def test_the_end_of_our_own_duration_is_the_end_of_the_reply() -> None:
    events = await read(Said([BEGIN, [TextDelta(0, "x")], DurationEndedError()]), attempt_of())
    assert events[-2:] == [PartFinished(0), CutOff(FinishReason.LENGTH)]


@pytest.mark.parametrize("reason", [Reason.UPSTREAM_TIMEOUT, Reason.UPSTREAM_STALLED, Reason.UPSTREAM_RESET])
async def test_other_ends_are_none_of_its_business(reason: Reason) -> None:
    with pytest.raises(UpstreamError, match=reason.value):
        await read(Said([BEGIN, [TextDelta(0, "x")], UpstreamError(reason)]), capped())


PROFILE = Profile(max_output_token_count=3)


@pytest.mark.parametrize(
    ("attempt", "cap"),
    [
        (attempt_of(CompleteRequest("m", [], max_output_tokens=1), profile=PROFILE, max_output_tokens=2), 1),
        (attempt_of(profile=PROFILE, max_output_tokens=2), 2),
        (attempt_of(profile=PROFILE), 3),
        (attempt_of(), None),
        (attempt_of(EmbedRequest("m", [])), None),
    ],
    ids=["caller's", "sent", "model's", "none", "no completion"],
)
def test_the_cap_in_force(attempt: Attempt, cap: int | None) -> None:
    assert output_token_cap(attempt) == cap
    assert text_byte_bound(attempt) == (math.inf if cap is None else (cap + 64) * MAX_BYTES_PER_TOKEN)


def test_the_cap_is_looked_for_after_the_request_was_encoded() -> None:
    """The dialect notes what it had to send while the attempt is opened."""
    attempt = attempt_of()
    assert text_byte_bound(attempt) == math.inf
    attempt.record.max_output_tokens = 100
    assert text_byte_bound(attempt) == (105 + 64) * MAX_BYTES_PER_TOKEN


def test_without_a_cap_the_default_is_sixteen_mebibytes() -> None:
    assert BoundSettings().max_output_bytes == 16 * 1024 * 1024


# --- what a model may say within its cap is never cut off --------------------------------------------------------

LINES = {
    "english": "All human beings are born free and equal in dignity and rights. ",
    "long words": " internationalization responsibilities straightforward nevertheless characteristics",
    "german": "Rechtsschutzversicherungsgesellschaften und Donaudampfschifffahrtskapitäne ",
    "hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। ",
    "common words of hindi": " सरकार प्रधानमंत्री जानकारी विश्वविद्यालय अंतर्राष्ट्रीय कार्यक्रम",
    "tamil": "மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர் ",
    "thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์ ",
    "georgian": "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებით ",
    "chinese": "人人生而自由，在尊严和权利上一律平等。",
    "russian": "Все люди рождаются свободными и равными в своем достоинстве и правах. ",
    "emoji": "😀👩‍👩‍👧‍👦🇫🇷",
    "python": "\n                                return self.something_or_other",
    "html": '\n                    <div class="container">',
    "table": "\n|----------------------|----------------------|----------------------|\n| name | value | note |",
    "ruler": "\n------------------------------------------------------------------------------\nHeading\n",
    "numbers": " 3.14159265358979 2026-11-20T23:49:02Z",
    "random": " 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}


@pytest.mark.parametrize("name", list(ENCODINGS))
@settings(deadline=None)  # the first example loads the tokenizer
@given(kinds=st.lists(st.sampled_from(sorted(LINES)), min_size=1, max_size=12), repeated=st.integers(1, 40))
def test_text_within_its_cap_is_within_its_bound(name: str, kinds: list[str], repeated: int) -> None:
    encoding = load(name)
    if encoding is None:
        pytest.skip("the tokenizer is not installed")
    text = "".join(LINES[kind] for kind in kinds) * repeated
    attempt = capped(len(encoding.encode(text)))
    assert len(text.encode()) <= text_byte_bound(attempt)
