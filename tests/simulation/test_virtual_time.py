from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest

from llmgateway_server.core.alarm import Alarm, OverdueError
from llmgateway_server.testing.virtual_time import START_S, StuckError, VirtualClock, VirtualLoop, run


def _append(numbers: list[int], number: int, _: asyncio.Future[None]) -> None:
    numbers.append(number)


def order_of(seed: int, count: int = 6) -> list[int]:
    async def main() -> list[int]:
        seen: list[int] = []

        async def note(number: int) -> None:
            seen.append(number)

        await asyncio.gather(*(note(number) for number in range(count)))
        return seen

    return run(VirtualLoop(seed), main())


def test_minutes_take_no_time() -> None:
    loop = VirtualLoop()
    clock = VirtualClock(loop)
    wall_s = clock.wall_s()

    async def main() -> float:
        await clock.sleep(3600.0)
        await asyncio.sleep(3600.0)
        return clock.monotonic_s()

    began = time.monotonic()
    assert run(loop, main()) == START_S + 7200.0
    assert clock.wall_s() - wall_s == 7200.0
    assert time.monotonic() - began < 60.0


def test_a_seed_decides_the_order() -> None:
    orders = {seed: order_of(seed) for seed in range(20)}
    assert all(sorted(each) == list(range(6)) for each in orders.values())
    assert len(set(map(tuple, orders.values()))) > 10
    assert all(order_of(seed) == each for seed, each in orders.items())


@pytest.mark.parametrize("seed", range(10))
def test_callbacks_of_one_future_and_of_one_object_keep_their_order(seed: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        by_future: list[int] = []
        future = loop.create_future()
        for number in range(8):
            future.add_done_callback(partial(_append, by_future, number))
        future.set_result(None)
        by_object: list[int] = []
        for number in range(8):
            loop.call_soon(by_object.append, number)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert by_future == by_object == list(range(8))

    run(VirtualLoop(seed), main())


@pytest.mark.parametrize("seed", range(10))
def test_what_is_made_ready_waits_for_what_was_ready(seed: int) -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        seen: list[str] = []

        def first(name: str) -> None:
            seen.append(name)
            loop.call_soon(lambda: seen.append(name.upper()))

        for name in "abc":
            loop.call_soon(first, name)
        await asyncio.sleep(1)
        return seen

    seen = run(VirtualLoop(seed), main())
    assert sorted(seen[:3]) == list("abc")
    assert sorted(seen[3:]) == list("ABC")


def test_timers_ring_in_the_order_of_their_time_and_a_cancelled_one_never() -> None:
    async def main() -> list[float]:
        loop, rang = asyncio.get_running_loop(), []
        for delay_s in (3.0, 1.0, 2.0):
            loop.call_later(delay_s, lambda: rang.append(loop.time() - START_S))
        loop.call_later(2.5, rang.append, -1.0).cancel()
        await asyncio.sleep(10)
        return rang

    loop = VirtualLoop()
    assert run(loop, main()) == [1.0, 2.0, 3.0]
    assert loop.timer_count() == 0


def test_timeouts_queues_and_alarms_work_in_it() -> None:
    async def main() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(1)

        async def produce() -> None:
            for number in range(5):
                await queue.put(number)
                await asyncio.sleep(1)

        producer = asyncio.create_task(produce())
        got = [await queue.get() for _ in range(5)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await queue.get()
        alarm = Alarm()
        with pytest.raises(OverdueError), alarm.within(7):
            await queue.get()
        alarm.close()
        await producer
        return got

    loop = VirtualLoop(3)
    assert run(loop, main()) == [0, 1, 2, 3, 4]
    assert loop.time() == START_S + 4 + 5 + 7


def test_waiting_for_what_cannot_come_names_who_waits() -> None:
    async def main() -> None:
        never = asyncio.get_running_loop().create_future()
        waiter = asyncio.create_task(asyncio.wait({never}), name="waiter-1")
        await waiter

    with pytest.raises(StuckError, match=r"nothing will ever happen.*waiter-1"):
        run(VirtualLoop(), main())


def test_turning_round_and_round_is_told() -> None:
    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(StuckError, match="time stands still"):
        run(VirtualLoop(max_rounds_at_once=1000), main())


def test_threads_and_sockets_are_refused() -> None:
    async def main() -> None:
        with pytest.raises(NotImplementedError):
            await asyncio.to_thread(time.monotonic)
        with pytest.raises(NotImplementedError):
            asyncio.get_running_loop().add_reader(0, print)

    run(VirtualLoop(), main())


def test_exceptions_that_nobody_took_are_noted() -> None:
    async def main() -> None:
        def fail() -> None:
            raise ValueError("words that must not be noted")

        asyncio.get_running_loop().call_soon(fail)
        await asyncio.sleep(1)

    loop = VirtualLoop()
    run(loop, main())
    assert len(loop.problems) == 1
    assert "must not be noted" not in loop.problems[0]
