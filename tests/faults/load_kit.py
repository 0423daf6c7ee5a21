"""What the tests under load share: callers who come by the clock, whatever became of those before them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

CALLS_PER_S = 200
MAX_CALLERS = 400
"""Callers at once. More would only wait for the two cores that gateway, providers and callers share."""


async def offered(one: Callable[[int], Awaitable[T]], for_s: float, per_s: float = CALLS_PER_S) -> list[T]:
    """Makes `per_s · for_s` calls, each at its time, and returns what became of them in the order of their begin.

    A machine that is too slow for the pace makes the test longer and no call fewer.

    Args:
        one: makes the call of a number and returns what the test wants to know of it; its errors end the test.
        for_s: seconds.
        per_s: calls per second.
    """
    places = asyncio.Semaphore(MAX_CALLERS)
    began_s = time.monotonic()

    async def caller(number: int) -> T:
        try:
            return await one(number)
        finally:
            places.release()

    async with asyncio.TaskGroup() as callers:
        tasks = []
        for number in range(int(per_s * for_s)):
            await asyncio.sleep(max(0.0, began_s + number / per_s - time.monotonic()))
            await places.acquire()
            tasks.append(callers.create_task(caller(number)))
    return [task.result() for task in tasks]
