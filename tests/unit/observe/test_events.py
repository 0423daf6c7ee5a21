"""The hub of events: who watches is told all of it, or how much is missing, and never holds anybody up."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from llmgateway_server.core.errors import ShedError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.observe.events import (
    MAX_WAITING,
    MAX_WATCHERS,
    DrainBegun,
    Dropped,
    Events,
    MetricsReset,
    TargetEnabledChanged,
    Told,
    Watch,
)
from llmgateway_server.testing.clock import ManualClock

RESET = MetricsReset()


def switched(number: int) -> TargetEnabledChanged:
    return TargetEnabledChanged("p", f"m-{number}", enabled=False)


async def test_everybody_who_watches_is_told_with_the_time() -> None:
    clock = ManualClock()
    events = Events(clock)
    events.tell(RESET)
    with events.watch() as one, events.watch() as other:
        events.tell(switched(1))
        clock.advance(5)
        events.tell(switched(2))
        expected = [Told(clock.wall_s() - 5, switched(1)), Told(clock.wall_s(), switched(2))]
        assert await one.next() == expected
        assert await other.next() == expected
    assert events.watcher_count == 0


async def test_a_watcher_is_woken() -> None:
    events = Events(ManualClock())
    with events.watch() as watch:
        waiting = asyncio.ensure_future(watch.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        events.tell(RESET)
        assert [told.event for told in await waiting] == [RESET]


async def test_the_oldest_are_dropped_and_counted() -> None:
    events = Events(ManualClock())
    with events.watch() as slow, events.watch() as quick:
        for number in range(MAX_WAITING + 3):
            events.tell(switched(number))
            assert len(await quick.next()) == 1
        found = [told.event for told in await slow.next()]
        assert found == [Dropped(3), *map(switched, range(3, MAX_WAITING + 3))]
        events.tell(RESET)
        assert [told.event for told in await slow.next()] == [RESET]


async def test_the_drain_ends_every_watch_with_a_word() -> None:
    events = Events(ManualClock())
    with events.watch() as watch:
        ended = []
        watch.on_end = lambda: ended.append(True)
        waiting = asyncio.ensure_future(watch.next())
        await asyncio.sleep(0)
        events.begin_drain()
        events.begin_drain()
        assert [told.event for told in await waiting] == [DrainBegun()]
        assert await watch.next() == []
        assert ended == [True]
    with events.watch() as late:
        assert [told.event for told in await late.next()] == [DrainBegun()]
        assert await late.next() == []


async def test_the_drain_is_told_to_who_has_no_room() -> None:
    watch = Watch(max_waiting=2)
    for event in (RESET, RESET, DrainBegun()):
        watch.tell(Told(1.0, event))
    watch.end()
    assert [told.event for told in await watch.next()] == [Dropped(1), RESET, DrainBegun()]
    assert await watch.next() == []


def test_watchers_are_bounded() -> None:
    events = Events(ManualClock())
    with ExitStack() as stack:
        for _ in range(MAX_WATCHERS):
            stack.enter_context(events.watch())
        with pytest.raises(ShedError) as refused, events.watch():
            pass
    assert refused.value.reason is Reason.RATE_LIMITED_CONCURRENCY
    with events.watch():
        assert events.watcher_count == 1
