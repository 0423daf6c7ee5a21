"""The process's back-stop: calls in flight, lag of the event loop, memory.

What it turns away was not begun (docs/reliability.md).
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType

from pydantic import BaseModel, ConfigDict, Field

from llmgateway_server.core.errors import ShedError
from llmgateway_server.core.reasons import Reason

PROBE_INTERVAL_S = 0.25
RETRY_AFTER_S = 1.0
STATM = Path("/proc/self/statm")
PAGE_BYTES = 4096


class GateSettings(BaseModel):
    """Bounds of one process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_in_flight: int = Field(default=1000, ge=1)
    """Calls at once; below the transport's limit of streams, so that callers meet this refusal and its reason."""
    max_loop_lag_s: float = Field(default=0.2, gt=0)
    """How late the event loop may run its timers, smoothed over about a second."""
    max_memory_bytes: int | None = Field(default=None, ge=1)
    """Resident memory above which no call is let in. None: not watched."""


class Gate:
    """Lets calls in while there is room.

    Args:
        settings: the bounds.
    """

    def __init__(self, settings: GateSettings) -> None:
        self._settings = settings
        self._probe: asyncio.Task[None] | None = None
        self._place = _Place(self)
        self._emptied: asyncio.Event | None = None
        self.in_flight = 0
        self.loop_lag_s = 0.0
        self.memory_bytes = 0
        self.draining = False

    def permit(self) -> AbstractContextManager[None]:
        """Returns what holds a place while the call runs.

        Raises:
            ShedError: on entering it, OVERLOADED or SERVER_DRAINING.
        """
        return self._place

    def enter(self) -> None:
        """Takes a place; `leave` must follow.

        Raises:
            ShedError: OVERLOADED or SERVER_DRAINING.
        """
        if self.draining:
            raise ShedError(Reason.SERVER_DRAINING, retry_after_s=RETRY_AFTER_S)
        if self._full():
            raise ShedError(Reason.OVERLOADED, retry_after_s=RETRY_AFTER_S)
        self.in_flight += 1

    def leave(self) -> None:
        """Gives a place back."""
        self.in_flight -= 1
        if self._emptied is not None and not self.in_flight:
            self._emptied.set()

    async def empty(self, within_s: float) -> None:
        """Waits until no call holds a place, and no longer than `within_s`."""
        self._emptied = asyncio.Event()
        if self.in_flight:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._emptied.wait()

    def _full(self) -> bool:
        settings = self._settings
        return (
            self.in_flight >= settings.max_in_flight
            or self.loop_lag_s > settings.max_loop_lag_s
            or (settings.max_memory_bytes is not None and self.memory_bytes > settings.max_memory_bytes)
        )

    def start(self) -> None:
        """Starts watching the loop and the memory."""
        self._probe = asyncio.create_task(self._watch(), name="gate-probe")

    async def stop(self) -> None:
        """Stops watching."""
        if self._probe is not None:
            self._probe.cancel()
            with suppress(asyncio.CancelledError):
                await self._probe

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PROBE_INTERVAL_S
            await asyncio.sleep(PROBE_INTERVAL_S)
            self.observe(max(0.0, loop.time() - due))

    def observe(self, lag_s: float) -> None:
        """Takes in one measurement: lag = (3 · lag + new) ÷ 4, and the memory where it is bounded."""
        self.loop_lag_s = (3 * self.loop_lag_s + lag_s) / 4
        if self._settings.max_memory_bytes is not None:
            with suppress(OSError, ValueError, IndexError):
                self.memory_bytes = int(STATM.read_text().split()[1]) * PAGE_BYTES


class _Place:
    """A place of a gate for any number of calls: what is held is a count."""

    __slots__ = ("_gate",)

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __enter__(self) -> None:
        self._gate.enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._gate.leave()
