"""An event loop without real time: it waits for nothing, and a seed decides what runs next.

Nothing moves its time but timers: when no callback is ready, it jumps to the next one. So minutes of a gateway's life
take as long as their own work, and the same seed gives the same run, step by step.

A loop of asyncio runs what is ready in the order in which it became ready. That order is chance in a real process: it
is that of packets and timers. Here it is drawn. What asyncio promises stays: whatever is ready runs before anything
that it makes ready, the callbacks of one future run in the order in which they were added, and those of one object (a
task, a future, an alarm) run in the order of their calls.

There are no sockets, signals, threads or child processes: whoever asks for one gets NotImplementedError.

Idea: simulation as in FoundationDB, https://apple.github.io/foundationdb/testing.html.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Coroutine
from functools import partial
from random import Random
from typing import Any, NoReturn, TypeVar

START_S = 1000.0
"""Where virtual time begins; not at zero, where a difference and an instant look alike."""
MAX_ROUNDS_AT_ONCE = 100_000
"""Rounds of callbacks without a timer between them, after which something waits by turning round and round."""

T = TypeVar("T")


class StuckError(RuntimeError):
    """The run cannot go on. The message names the tasks that are not done, and nothing else."""


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module. To be used from one thread, best by `run`.

    Args:
        seed: of the order of what is ready at once.
        start_s: monotonic time at the beginning.
        max_rounds_at_once: see `MAX_ROUNDS_AT_ONCE`.
    """

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _stopping: bool

    def __init__(
        self, seed: int = 0, *, start_s: float = START_S, max_rounds_at_once: int = MAX_ROUNDS_AT_ONCE
    ) -> None:
        super().__init__()
        self._rng = Random(seed)
        self._now_s = start_s
        self._max_rounds_at_once = max_rounds_at_once
        self._rounds_at_once = 0
        self.step_count = 0
        """Callbacks that were run."""
        self.problems: list[str] = []
        """What asyncio told of exceptions that nobody took: its words, without the exception's own."""
        self.set_exception_handler(lambda _, context: self.problems.append(str(context.get("message", ""))))

    def time(self) -> float:
        """Returns virtual seconds."""
        return self._now_s

    def timer_count(self) -> int:
        """Returns how many timers are set: what a finished piece of work must not leave behind."""
        return sum(not timer.cancelled() for timer in self._scheduled)

    def run_in_executor(self, executor: object, func: object, *args: object) -> NoReturn:
        """Refuses: a thread would bring real time and a chance that no seed decides.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a virtual loop has no threads")

    def _write_to_self(self) -> None:
        """Does nothing: a loop that never sleeps need not be woken."""

    def _run_once(self) -> None:
        """Runs one round: what is ready now, in a drawn order. Called by `run_forever`."""
        self._wake()
        if not self._ready and not self._stopping:
            self._jump()
        turn = [(handle, _strands(handle)) for handle in self._ready if not handle.cancelled()]
        self._ready.clear()
        while turn:
            handle = self._draw(turn)
            if not handle.cancelled():
                self.step_count += 1
                handle._run()  # noqa: SLF001  # what a loop is for; there is no public name
        self._rounds_at_once += 1
        if self._rounds_at_once > self._max_rounds_at_once:
            raise StuckError(f"time stands still; not done: {self._waiting()}")

    def _draw(self, turn: list[tuple[asyncio.Handle, frozenset[int]]]) -> asyncio.Handle:
        """Takes out one of those that have no earlier one of the same strand before them."""
        if len(turn) == 1:
            return turn.pop()[0]
        before: set[int] = set()
        free = []
        for i, (_, strands) in enumerate(turn):
            if before.isdisjoint(strands):
                free.append(i)
            before |= strands
        return turn.pop(self._rng.choice(free))[0]

    def _jump(self) -> None:
        """Moves time to the next timer.

        Raises:
            StuckError: there is none.
        """
        while self._scheduled and self._scheduled[0].cancelled():
            heapq.heappop(self._scheduled)
        if not self._scheduled:
            raise StuckError(f"nothing will ever happen; not done: {self._waiting()}")
        self._now_s = max(self._now_s, self._scheduled[0].when())
        self._rounds_at_once = 0
        self._wake()

    def _wake(self) -> None:
        while self._scheduled and self._scheduled[0].when() <= self._now_s:
            self._ready.append(heapq.heappop(self._scheduled))

    def _waiting(self) -> str:
        return ", ".join(sorted(task.get_name() for task in asyncio.all_tasks(self))) or "nothing but a future"


class VirtualClock:
    """Implements `core.clock.Clock` on a loop's time.

    Args:
        loop: whose time it tells, and the only one in which its `sleep` may be called.
        wall_s: wall time at the loop's time zero, in seconds since the epoch.
    """

    def __init__(self, loop: VirtualLoop, wall_s: float = 1_800_000_000.0) -> None:
        self._loop = loop
        self._wall_s = wall_s

    def monotonic_s(self) -> float:
        return self._loop.time()

    def wall_s(self) -> float:
        return self._wall_s + self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run(loop: VirtualLoop, main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine in a new loop to its end, ends what it left running, and closes the loop.

    Raises:
        StuckError: it waits for something that cannot come, or turns round and round without time passing.
    """
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main)


def _strands(handle: asyncio.Handle) -> frozenset[int]:
    """Returns to whom a callback belongs: the object that is called, and the futures that it is called with."""
    callback, owners = getattr(handle, "_callback", None), []
    while isinstance(callback, partial):
        owners += [arg for arg in callback.args if asyncio.isfuture(arg)]
        callback = callback.func
    if (owner := getattr(callback, "__self__", None)) is not None:
        owners.append(owner)
    owners += [arg for arg in handle._args if asyncio.isfuture(arg)]  # noqa: SLF001
    return frozenset(map(id, owners))
