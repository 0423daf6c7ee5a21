"""A clock that moves only when it is told to."""

from __future__ import annotations

import asyncio


class ManualClock:
    """Implements `core.clock.Clock`.

    Args:
        wall_s: where its wall time starts.
    """

    def __init__(self, wall_s: float = 1_800_000_000.0) -> None:
        self._now_s = 1000.0
        self._wall_offset_s = wall_s - self._now_s
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def monotonic_s(self) -> float:
        return self._now_s

    def wall_s(self) -> float:
        return self._now_s + self._wall_offset_s

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now_s + seconds, future))
        await future

    def advance(self, seconds: float) -> None:
        """Moves time on and wakes whoever slept until then."""
        self._now_s += seconds
        due = [sleeper for sleeper in self._sleepers if sleeper[0] <= self._now_s]
        self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > self._now_s]
        for _, future in due:
            if not future.done():
                future.set_result(None)

    def jump_wall(self, seconds: float) -> None:
        """Moves the wall clock alone, as an NTP step does."""
        self._wall_offset_s += seconds
