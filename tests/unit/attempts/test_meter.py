"""What an attempt is charged: from the provider's figures where they cover it, else from our own."""

from __future__ import annotations

from llmgateway_server.attempts.bounds import CutOff
from llmgateway_server.attempts.meter import Meter
from llmgateway_server.core.calls import Attempt, Charge, NoticeCode
from llmgateway_server.core.events import (
    Event,
    Finished,
    FinishReason,
    PartFinished,
    PartKind,
    PartStarted,
    Started,
    TextDelta,
    UsageSnapshot,
)
from llmgateway_server.core.messages import Citation, ProviderState
from llmgateway_server.core.requests import CompleteRequest, EmbedRequest, Operation
from llmgateway_server.core.usage import Usage, UsageSource
from llmgateway_server.observe.trace import NoTracing
from llmgateway_server.testing.clock import ManualClock
from tests.unit.attempts.attempt_kit import Said, attempt_of

BEGIN: list[Event] = [Started("", "m"), PartStarted(0, PartKind.TEXT), TextDelta(0, "eight ch")]
STOP = Finished(FinishReason.STOP, "stop")
ESTIMATE = Usage(3, 2, source=UsageSource.ESTIMATED)


def asked() -> Attempt:
    return attempt_of(CompleteRequest("m", [], input_byte_count=12))


async def metered(attempt: Attempt, *batches: list[Event]) -> list[Event]:
    meter = Meter(ManualClock(), NoTracing())
    async with meter.open(attempt, Said(batches).open) as reply:
        return [event async for batch in reply for event in batch]


async def test_the_last_report_counts() -> None:
    attempt = asked()
    early, late = Usage(5, 1), Usage(5, 7)
    events = await metered(attempt, [*BEGIN, UsageSnapshot(early)], [UsageSnapshot(late), STOP])
    assert (attempt.record.charge, attempt.record.usage) == (Charge.REPORTED, late)
    assert [event.usage for event in events if isinstance(event, UsageSnapshot)] == [early, late]


async def test_a_report_from_before_a_cut_is_not_the_whole() -> None:
    attempt = asked()
    events = await metered(attempt, [*BEGIN, UsageSnapshot(Usage(5, 1))], [CutOff(FinishReason.LENGTH)])
    assert (attempt.record.charge, attempt.record.usage) == (Charge.DELIVERED, ESTIMATE)
    assert isinstance(events[-1], Finished)
    assert events[-1].usage == ESTIMATE


async def test_a_report_that_cannot_be_is_seen_by_nobody() -> None:
    attempt = asked()
    events = await metered(attempt, BEGIN, [UsageSnapshot(Usage(10**12, 1)), STOP])
    assert (attempt.record.charge, attempt.record.usage) == (Charge.DELIVERED, ESTIMATE)
    assert [event.usage for event in events if isinstance(event, UsageSnapshot)] == [ESTIMATE]
    assert NoticeCode.USAGE_ESTIMATED in [notice.code for notice in attempt.call.notices]


async def test_a_report_that_can_be_makes_up_for_one_that_could_not() -> None:
    attempt = asked()
    await metered(attempt, [*BEGIN, UsageSnapshot(Usage(10**12, 1))], [UsageSnapshot(Usage(5, 7)), STOP])
    assert (attempt.record.charge, attempt.record.usage) == (Charge.REPORTED, Usage(5, 7))


async def test_sources_in_the_reply_explain_a_large_input() -> None:
    """The vendor's own tools have read pages."""
    attempt = asked()
    cited = PartFinished(0, citations=(Citation(uri="https://example.com"),))
    await metered(attempt, [*BEGIN, cited], [UsageSnapshot(Usage(22_397, 7)), STOP])
    assert (attempt.record.charge, attempt.record.usage) == (Charge.REPORTED, Usage(22_397, 7))


async def test_blocks_of_the_vendors_tools_explain_a_large_input() -> None:
    attempt = asked()
    block = PartFinished(0, ProviderState("anthropic", b'{"block":{}}'))
    await metered(attempt, [*BEGIN, block], [UsageSnapshot(Usage(9_000, 7)), STOP])
    assert attempt.record.charge is Charge.REPORTED


async def test_half_a_report_is_filled_at_the_end_only() -> None:
    attempt = asked()
    events = await metered(attempt, [*BEGIN, UsageSnapshot(Usage(5))], [STOP])
    expected = Usage(5, 2, source=UsageSource.ESTIMATED)
    assert (attempt.record.charge, attempt.record.usage) == (Charge.DELIVERED, expected)
    assert [event.usage for event in events if isinstance(event, UsageSnapshot)] == [Usage(5)]


async def test_embeddings_have_no_output_that_could_be_missing() -> None:
    attempt = attempt_of(EmbedRequest("m", ["x"], input_byte_count=12), streaming=False)
    attempt.call.operation = Operation.EMBED
    await metered(attempt, [UsageSnapshot(Usage(4)), Finished(FinishReason.STOP)])
    assert (attempt.record.charge, attempt.record.usage) == (Charge.REPORTED, Usage(4))
