"""Time as a port, so that no test waits and no code reads a clock of its own."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from. Durations are measured on the monotonic side only."""

    def monotonic_s(self) -> float:
        """Returns seconds since an arbitrary start; never goes back."""
        ...

    def wall_s(self) -> float:
        """Returns seconds since the Unix epoch, UTC; may jump. For display and windows, never for durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds`, at once when not positive."""
        ...


class SystemClock:
    """The machine's clocks, without a function of our own around them: a call reads them some twenty times."""

    monotonic_s = staticmethod(time.monotonic)
    wall_s = staticmethod(time.time)

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds`."""
        await asyncio.sleep(seconds)
