"""One attempt as it runs: opened, read, closed; and what its end teaches about the target."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from llmgateway_server.core.calls import Attempt, AttemptRecord, Outcome
from llmgateway_server.core.errors import GatewayError
from llmgateway_server.core.reply import Batch, OpenAttempt, Opened, Reply
from llmgateway_server.routing.retry_budget import RetryBudgets
from llmgateway_server.routing.standing import Standings


class Reading(Protocol):
    """What failover reads from: one attempt, or two that race."""

    @property
    def record(self) -> AttemptRecord:
        """Of the attempt that is read; of a race without a winner yet, the one that began first."""
        ...

    async def open(self) -> None:
        """Begins. Errors of the attempt come from here or from `read`; it has then ended."""
        ...

    def read(self) -> Coroutine[Any, Any, Batch]:
        """Returns the next batch, once it is awaited.

        Raises:
            StopAsyncIteration: there is none.
        """
        ...

    async def close(self, error: BaseException | None) -> None:
        """Ends what still runs and lets its stages see why; an error that they are told of is not raised again."""
        ...


class Direct:
    """An attempt in the task of its call.

    Args:
        open_attempt: opens the attempt ring.
        attempt: what is tried.
        standings: learn how it ends.
        budgets: likewise.
        again: whether it is a retry, which its budget has paid.
    """

    def __init__(
        self, open_attempt: OpenAttempt, attempt: Attempt, standings: Standings, budgets: RetryBudgets, *, again: bool
    ) -> None:
        self._attempt = attempt
        self._opened: Opened = open_attempt(attempt)
        self._standings = standings
        self._budgets = budgets
        self._again = again
        self._runs = False
        self._reply: Reply | None = None
        self.record = attempt.record

    async def open(self) -> None:
        target = self._attempt.target
        self._runs = True
        self._standings.began(target)
        if not self._again:
            self._budgets.began(target)
        try:
            self._reply = await self._opened.__aenter__()
        except BaseException:
            self._learn()
            raise

    def read(self) -> Coroutine[Any, Any, Batch]:
        if self._reply is None:
            raise StopAsyncIteration
        return self._reply.__anext__()

    async def close(self, error: BaseException | None) -> None:
        if not self._runs:
            return
        try:
            await self._opened.__aexit__(
                type(error) if error is not None else None, error, error.__traceback__ if error else None
            )
        except GatewayError:
            pass
        finally:
            self._learn()

    def _learn(self) -> None:
        if not self._runs:
            return
        self._runs = False
        record = self.record
        self._standings.ended(record, streamed=self._attempt.call.streaming)
        self._budgets.ended(record.target, again=self._again, succeeded=record.outcome is Outcome.SUCCEEDED)
