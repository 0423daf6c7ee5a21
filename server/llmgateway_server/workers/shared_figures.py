"""The figures of all workers, as a worker asks its parent for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmgateway_server.core.errors import ShedError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.observe.figures import View
from llmgateway_server.observe.statistics import Period
from llmgateway_server.workers.messages import Answer, Ask, Question

ANSWER_S = 2.0
"""The parent itself waits one second for workers that do not report."""
RETRY_AFTER_S = 1.0


class SharedFigures:
    """Implements `FiguresSource`. Its own process's figures would be a part that looks like the whole: never given.

    Args:
        send: says something to the parent.
        answer_s: how long an answer may take.
    """

    def __init__(self, send: Callable[[Ask], None], answer_s: float = ANSWER_S) -> None:
        self._send = send
        self._answer_s = answer_s
        self._waiting: dict[int, asyncio.Future[View | None]] = {}
        self._asked_count = 0

    async def over(self, period: Period) -> View:
        return self._there(await self._ask(Question.OVER, period))

    async def recent(self) -> View:
        return self._there(await self._ask(Question.RECENT))

    async def reset(self) -> None:
        await self._ask(Question.RESET)

    def answered(self, answer: Answer) -> None:
        """Takes in what the parent said; too late is not at all."""
        waiting = self._waiting.get(answer.number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer.view)

    async def _ask(self, question: Question, period: Period = Period.ALL) -> View | None:
        self._asked_count += 1
        number = self._asked_count
        self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._send(Ask(number, question, period))
            async with asyncio.timeout(self._answer_s):
                return await self._waiting[number]
        except TimeoutError:
            raise ShedError(Reason.OVERLOADED, retry_after_s=RETRY_AFTER_S) from None
        finally:
            del self._waiting[number]

    def _there(self, view: View | None) -> View:
        if view is None:
            raise ShedError(Reason.OVERLOADED, retry_after_s=RETRY_AFTER_S)
        return view
