"""The benchmark's own parts: callers see whole streams, no process stays behind, the report says what was measured."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import growth, hotspots, load, payloads, report
from tests.bench.budget import Line
from tests.bench.callers import CallFailedError, GrpcCaller, HttpCaller, Stream, pinned
from tests.bench.crowd import Crowd
from tests.bench.frames import StreamCaller
from tests.bench.load import Contestant
from tests.bench.measure import Figures
from tests.bench.processes import ROOT, Child, child

STREAMED = [payloads.ONCE, payloads.PIECES, payloads.PACED, payloads.QUICK]


@pytest.fixture(scope="module")
def provider() -> Iterator[Child]:
    with child("provider", ["-m", "tests.bench.provider"]) as started:
        yield started


@pytest.fixture(scope="module")
def thin(provider: Child) -> Iterator[Child]:
    with child("thin", ["-m", "tests.bench.contestants", "thin", provider.address]) as started:
        yield started


@pytest.mark.parametrize("kind", STREAMED, ids=lambda kind: kind.name)
async def test_every_kind_of_stream_arrives_whole(provider: Child, thin: Child, kind: payloads.Kind) -> None:
    async with (
        HttpCaller.direct(provider.address) as direct,
        GrpcCaller(thin.address) as caller,
        StreamCaller(thin.address, pinned(kind)) as frames,
    ):
        for each in (direct, caller, frames):
            assert (await each.stream(kind)).tokens == kind.tokens


async def test_paced_streams_keep_their_pace(provider: Child) -> None:
    async with HttpCaller.direct(provider.address) as direct:
        began = time.perf_counter()
        await direct.stream(payloads.PACED)
    assert time.perf_counter() - began >= payloads.PACED.duration_s - 0.01


async def test_many_streams_share_a_connection(thin: Child) -> None:
    async with StreamCaller(thin.address, pinned(payloads.PACED)) as caller:
        streams = await asyncio.gather(*(caller.stream(payloads.PACED) for _ in range(50)))
    assert {stream.tokens for stream in streams} == {payloads.PACED.tokens}
    assert min(stream.messages for stream in streams) > 1


async def test_a_lost_connection_fails_its_streams(provider: Child) -> None:
    with child("echo", ["-m", "tests.bench.contestants", "echo", provider.address]) as echo:
        async with StreamCaller(echo.address, pinned(payloads.PACED)) as caller:
            assert (await caller.stream(payloads.PACED)).tokens == payloads.PACED.tokens
            echo.signal(signal.SIGKILL)
            with pytest.raises(CallFailedError):
                await caller.stream(payloads.PACED)


async def test_a_load_counts_calls_and_the_time_of_the_process(provider: Child) -> None:
    async with HttpCaller.direct(provider.address) as direct:
        result = await load.unary_closed(Contestant(provider, direct), in_flight=4, seconds=0.2)
    assert result.calls > 0
    assert 0 < result.cpu_s <= 2 * result.seconds


def test_a_child_ends_with_its_block() -> None:
    class FoundError(Exception):
        pass

    pid = 0
    with pytest.raises(FoundError), child("provider", ["-m", "tests.bench.provider"]) as started:  # noqa: PT012
        pid = started.pid
        assert started.rss_mb() <= started.peak_mb()
        raise FoundError
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_child_that_does_not_start_is_told_with_its_words() -> None:
    with pytest.raises(RuntimeError, match="no address today"), child("mute", ["-c", "print('no address today')"]):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_benchmark_that_is_stopped_leaves_nobody_behind(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench", "--length", "short"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as bench:
        assert bench.stderr is not None
        assert bench.stderr.readline().startswith("round 1")
        children = Path(f"/proc/{bench.pid}/task/{bench.pid}/children").read_text().split()
        bench.send_signal(number)
        assert bench.stderr.read().endswith("stopped\n")
    assert bench.returncode == 130
    assert len(children) >= 5
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(1.2, "within, stretch too"), (1.5, "within"), (1.7, "**missed**"), (None, "not measured")],
)
def test_verdicts(value: float | None, verdict: str) -> None:
    assert Line("cost", lambda _run, _name: None, 1.6, 1.3).verdict(value) == verdict


def test_a_verdict_of_a_figure_that_must_be_large() -> None:
    line = Line("calls", lambda _run, _name: None, 15, 22, "{:.0f}×", at_least=True)
    assert [line.verdict(value) for value in (30, 20, 10)] == ["within, stretch too", "within", "**missed**"]
    assert line.bound(line.budget) == "≥ 15×"


def test_ratios_are_taken_inside_each_round() -> None:
    mine, theirs = Figures(), Figures()
    for a, b in ((2.0, 1.0), (40.0, 20.0), (6.0, 2.0)):
        mine.note("cost", a)
        theirs.note("cost", b)
    assert mine.over(theirs, "cost") == 2.0
    assert mine.above(theirs, "cost") == 4.0


def test_growth_is_told_per_further_kilobyte() -> None:
    measured = growth.Growth({growth.BASE: [100.0, 200.0], "keys": [110.0, 220.0]}, {1: [10.0], 100: [109.0]})
    assert measured.times("keys") == pytest.approx(1.1)
    assert measured.per_kb(1, 100) == pytest.approx(1.0)


def test_a_crowd_counts_the_streams_that_stood_still() -> None:
    waits = ((0.1, 0.1), (0.1, 0.4), (0.1, 0.6), (0.7, 0.1))
    gathered = Crowd([Stream(first_token_s=first, worst_gap_s=gap, messages=2, tokens=4) for first, gap in waits])
    assert (gathered.stalled, gathered.worst_stall_ms, gathered.tokens_per_message) == (2, 700.0, 2.0)


def test_a_crowd_that_falls_behind_is_told_how_many_cores_it_needs() -> None:
    assert Crowd([Stream(tokens=16)], cpu_s=1600e-6).cores == pytest.approx(100e-6 * 1000 * 20)


def test_a_report_is_put_between_the_marks() -> None:
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    once = report.pasted(page, "new\n")
    assert once == f"before\n{report.BEGIN}\nnew\n{report.END}\nafter\n"
    assert report.pasted(once, "new\n") == once
    with pytest.raises(ValueError, match="needs a line"):
        report.pasted("no marks", "new")


@pytest.mark.parametrize(
    ("path", "place", "room"),
    [
        ("/x/server/llmgateway_server/providers/wire/pool.py", "providers/wire/pool.py", "providers"),
        ("/x/server/llmgateway_server/app.py", "app.py", "app"),
        ("/x/lib/python3.11/site-packages/grpc/aio/_server.py", "grpc/aio/_server.py", "(grpc)"),
        ("/x/lib/python3.11/contextlib.py", "3.11/contextlib.py", "(standard library)"),
        ("~", "~", "built in"),
    ],
)
def test_functions_are_sorted_by_room(path: str, place: str, room: str) -> None:
    assert (hotspots.short(path), hotspots.room(path)) == (place, room)
