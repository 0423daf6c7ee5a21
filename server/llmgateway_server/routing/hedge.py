"""A second attempt beside a slow first one: whichever brings content first is the reply, the other one is cancelled.

Each attempt runs in a task of its own, with its own stages and timers, and hands batches over a bounded queue, so that
the caller's pace still holds the winner back. Both attempts are in the reply's records with their costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmgateway_server.core.calls import AttemptRecord
from llmgateway_server.core.errors import GatewayError, UpstreamError
from llmgateway_server.core.events import Finished, has_content
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Batch
from llmgateway_server.routing.reading import Direct
from llmgateway_server.routing.tries import STOP, row_of

QUEUED_BATCHES = 2
"""Batches of the winner that may wait for the caller."""


class Race:
    """Reads from whichever of two attempts brings content first; see `Reading`.

    Args:
        first: begins at once.
        delay_s: how long it may take before it gets company.
        second: returns the other attempt, None if there may be none any more.
        fell: told of an attempt that failed before its first content while the other one may still answer.
    """

    def __init__(
        self,
        first: Direct,
        delay_s: float,
        second: Callable[[], Direct | None],
        fell: Callable[[AttemptRecord, GatewayError], None],
    ) -> None:
        self._fell = fell
        self._runners = [_Runner(first)]
        self._delay_s = delay_s
        self._second = second
        self._winner: _Runner | None = None

    @property
    def record(self) -> AttemptRecord:
        return (self._winner or self._runners[0]).record

    async def open(self) -> None:
        self._runners[0].start()

    async def read(self) -> Batch:
        if self._winner is None:
            return await self._first_content()
        return await self._winner.read()

    async def close(self, error: BaseException | None) -> None:
        for runner in self._runners:  # all first: a second cancel of the caller must leave none of them running
            runner.cancel()
        for runner in self._runners:
            await runner.stop()

    async def _first_content(self) -> Batch:
        waits = {self._runners[0].begun}
        done, waits = await asyncio.wait(waits, timeout=self._delay_s)
        if not done and (other := self._second()) is not None:
            runner = _Runner(other)
            self._runners.append(runner)
            runner.start()
            waits.add(runner.begun)
        while waits and not self._decided():
            _, waits = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        told = self._decided() or self._worst()
        for runner in self._runners:
            if runner is told:
                continue
            if isinstance(runner.failure, GatewayError):
                self._fell(runner.record, runner.failure)
            await runner.stop()
        self._winner = told
        return told.begun.result()

    def _decided(self) -> _Runner | None:
        """Returns the attempt that ends the race: by content, or by a failure that the other one would meet, too."""
        over = [each for each in self._runners if each.begun.done()]
        won = (each for each in over if not each.failure)
        return next(won, None) or next((each for each in over if _is_final(each.failure)), None)

    def _worst(self) -> _Runner:
        """Returns, of attempts that all failed, the last one that reached its provider."""
        reached = [each for each in self._runners if not _is_unbegun(each.failure)]
        return (reached or self._runners)[-1]


def _is_final(failure: BaseException | None) -> bool:
    return isinstance(failure, Exception) and (not isinstance(failure, GatewayError) or row_of(failure) is STOP)


def _is_unbegun(failure: BaseException | None) -> bool:
    return isinstance(failure, GatewayError) and failure.reason is Reason.CIRCUIT_OPEN


class _Runner:
    """One attempt in its own task."""

    def __init__(self, attempt: Direct) -> None:
        self._attempt = attempt
        self._queue: asyncio.Queue[Batch | Exception | None] = asyncio.Queue(QUEUED_BATCHES)
        self._task: asyncio.Task[None] | None = None
        self.record = attempt.record
        self.begun: asyncio.Future[Batch] = asyncio.get_running_loop().create_future()
        """Everything up to the first content, or the error before it."""

    @property
    def failure(self) -> BaseException | None:
        """Why it failed before its first content; None as long as it did not."""
        return self.begun.exception() if self.begun.done() and not self.begun.cancelled() else None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="hedged-attempt")

    async def read(self) -> Batch:
        item = await self._queue.get()
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, Exception):
            raise item
        return item

    def cancel(self) -> None:
        """Cancels the attempt, once: another cancel would break into what it does to let everything go."""
        if self._task is not None and not self._task.cancelling():
            self._task.cancel()

    async def stop(self) -> None:
        """Cancels the attempt and waits until everything of it is let go."""
        if self._task is None:
            return
        self.cancel()
        await asyncio.wait({self._task})  # a cancel of the caller ends this wait, and is not taken for the task's own
        if self.begun.done() and not self.begun.cancelled():
            self.begun.exception()  # it was somebody's to know, and nobody is left

    async def _run(self) -> None:
        attempt = self._attempt
        ending: Exception | None = None
        try:
            await attempt.open()
            await self._pump()
        except StopAsyncIteration:
            await attempt.close(None)
        except Exception as error:  # noqa: BLE001  # it is the reader's: a defect as much as a failure
            await attempt.close(error)
            ending = error
        except BaseException as error:
            await attempt.close(error)
            raise
        if self.begun.done():
            await self._queue.put(ending)
        else:
            self.begun.set_exception(ending or UpstreamError(Reason.UPSTREAM_RESET, detail="reply without content"))

    async def _pump(self) -> None:
        held: Batch = []
        while True:
            batch = await self._attempt.read()
            if self.begun.done():
                await self._queue.put(batch)
                continue
            held += batch
            if has_content(batch) or (batch and isinstance(batch[-1], Finished)):
                self.begun.set_result(held)
