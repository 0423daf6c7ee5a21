"""What a parent and a worker say to each other: over a real socket pair, whatever arrives on it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from llmgateway_server.core.errors import ShedError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.observe.figures import View
from llmgateway_server.observe.statistics import Figures, Period, Sums, Taken, Tally
from llmgateway_server.workers.channel import LENGTH_BYTES, MAX_FRAME_BYTES, Channel
from llmgateway_server.workers.messages import (
    Answer,
    Ask,
    Drain,
    End,
    Question,
    Refused,
    Report,
    ReportNow,
    Setup,
    Started,
    ToParent,
    ToWorker,
)
from llmgateway_server.workers.shared_figures import SharedFigures

FIGURES = Figures(
    5.5,
    Tally(1, 2, 3, 4, 0.5, 6, 7, 1 << 60, {-3: 4, 20: 1}, 0.25, 1),
    {"p": Tally(failed=1)},
    {"m": Sums(succeeded=2)},
    cache_hits=1,
)
TO_WORKER = [Setup("{}"), ReportNow(), Drain(0.5), End(), Answer(1, None), Answer(2, View(FIGURES, {"p": 3}, 1.5, 2))]
TO_PARENT = [
    Started(),
    Refused(2, "a: b"),
    Report(Taken(FIGURES, {"p": 1}, {"n": [(("a", "b"), [1, 2.5])]}), {"x": 1, "y": 0.5}, asked=True),
    Ask(3, Question.OVER, Period.WEEK),
]


@asynccontextmanager
async def ends() -> AsyncIterator[tuple[Channel[Any], Channel[Any]]]:
    one, other = socket.socketpair()
    parent: Channel[Any] = await Channel.over(one, ToParent)
    worker: Channel[Any] = await Channel.over(other, ToWorker)
    try:
        yield parent, worker
    finally:
        parent.close()
        worker.close()


async def test_every_message_arrives_as_it_was_said() -> None:
    async with ends() as (parent, worker):
        for message in TO_WORKER:
            parent.send(message)
        for said in TO_PARENT:
            worker.send(said)
        assert [await worker.receive() for _ in TO_WORKER] == TO_WORKER
        assert [await parent.receive() for _ in TO_PARENT] == TO_PARENT


async def test_the_end_is_no_message() -> None:
    async with ends() as (parent, worker):
        parent.send(End())
        parent.close()
        assert await worker.receive() == End()
        assert await worker.receive() is None
        worker.send(Started())  # nobody is there; nothing happens
        await worker.flush(1.0)


@pytest.mark.parametrize(
    "data",
    [
        (MAX_FRAME_BYTES + 1).to_bytes(LENGTH_BYTES, "big"),
        b"\x00\x00\x00\x01\xc1",
        b"\x00\x00\x00\x09" + msgspec.msgpack.encode({"type": "No"}),
        b"\x00\x00",
        b"\x00\x00\x00\x05ab",
    ],
    ids=["too long", "not MessagePack", "unknown", "half a length", "half a message"],
)
async def test_nonsense_ends_the_talk(data: bytes) -> None:
    one, other = socket.socketpair()
    worker: Channel[Any] = await Channel.over(other, ToWorker)
    with one:
        one.sendall(data)
    async with asyncio.timeout(15):
        assert await worker.receive() is None
    worker.close()


async def test_an_end_that_does_not_read_is_seen() -> None:
    async with ends() as (parent, worker):
        said = 0
        while not worker.clogged:
            worker.send(Refused(1, "x" * 100_000))
            said += 1
            await asyncio.sleep(0)
        assert said < 100
        await worker.flush(0.01)  # it gives up when its time is over
        for _ in range(said):
            await parent.receive()
        await worker.flush(15.0)
        assert not worker.clogged


async def test_answers_find_who_asked() -> None:
    asked: list[Ask] = []
    figures = SharedFigures(asked.append)
    week = asyncio.create_task(figures.over(Period.WEEK))
    recent = asyncio.create_task(figures.recent())
    reset = asyncio.create_task(figures.reset())
    while len(asked) < 3:
        await asyncio.sleep(0)
    views = [View(Figures(start), {}, 0.0, 0) for start in (1.0, 2.0)]
    assert [(each.question, each.period) for each in asked] == [
        (Question.OVER, Period.WEEK),
        (Question.RECENT, Period.ALL),
        (Question.RESET, Period.ALL),
    ]
    figures.answered(Answer(asked[2].number, None))
    figures.answered(Answer(asked[1].number, views[1]))
    figures.answered(Answer(asked[0].number, views[0]))
    figures.answered(Answer(asked[0].number, views[1]))  # twice
    figures.answered(Answer(99, views[1]))  # nobody asked
    assert [await week, await recent] == views
    await reset


async def test_a_silent_parent_is_an_overload_and_never_a_part_of_the_figures() -> None:
    figures = SharedFigures(lambda _: None, answer_s=0.01)
    for call in (figures.over(Period.ALL), figures.recent(), figures.reset()):
        with pytest.raises(ShedError) as caught:
            await call
        assert caught.value.reason is Reason.OVERLOADED
        assert caught.value.retry_after_s
