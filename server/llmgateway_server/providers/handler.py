"""A provider that is somebody's Python: translates the call, lets the handler work, tells what it gives."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Self

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import GatewayError, UpstreamError
from llmgateway_server.core.events import Event, Finished, FinishReason, Started, TokensCounted
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Batch, Opened, Reply
from llmgateway_server.core.requests import CompleteRequest, CountTokensRequest, Operation
from llmgateway_server.core.targets import Model
from llmgateway_server.observe.log import logger
from llmgateway_server.providers.egress.fetch import Egress
from llmgateway_server.providers.faults import malformed
from llmgateway_server.providers.handlers.answer import size_of
from llmgateway_server.providers.handlers.load import Form, Handler
from llmgateway_server.providers.handlers.request import Request
from llmgateway_server.providers.handlers.threads import Threads
from llmgateway_server.providers.handlers.view import (
    Telling,
    messages_of,
    metadata_of,
    options_of,
    refuse_inexpressible,
    tools_of,
)
from llmgateway_server.providers.handlers.work import Work, awaited
from llmgateway_server.providers.http_provider import MAX_ANSWER_BYTES
from llmgateway_server.providers.keys import Key, KeyRing
from llmgateway_server.providers.media import with_media_inline
from llmgateway_server.providers.models import model_of, target_of
from llmgateway_server.providers.tokens.count import count_input

OPERATIONS = frozenset({Operation.COMPLETE, Operation.COUNT_TOKENS})
UNENDING_S = 10.0
"""A handler that was cancelled so long ago and still runs is taken for one that does not end."""
MAX_UNENDING = 64
"""With so many of them an account is asked for nothing more."""
CLOSE_S = 1.0
"""How long cancelled handlers may take to end when the gateway stops."""


@dataclass(slots=True, frozen=True)
class HandlerAccount:
    """What the configuration says of an account with a handler."""

    name: str
    vendor: str
    models: tuple[str, ...] = ()
    """All that it can be asked for, under names that are public too; empty: whatever a target or a caller names."""
    base_url: str = ""


class HandlerProvider:
    """An account behind a handler.

    Args:
        account: names and models.
        handler: answers.
        keys: are handed to the handler in turns.
        egress: fetches media, so that a handler gets them by content.
        clock: measures what is left of a call.
    """

    operations = OPERATIONS

    def __init__(self, account: HandlerAccount, handler: Handler, keys: KeyRing, egress: Egress, clock: Clock) -> None:
        self.name = account.name
        self.vendor = account.vendor
        self.region = ""
        self._account = account
        self._handler = handler
        self._threads = Threads(max(1, handler.thread_count))
        self._keys = keys
        self._egress = egress
        self._clock = clock
        self._leaving: dict[asyncio.Task[None], float] = {}
        """Cancelled handlers that still run, and since when on the monotonic clock; in this order."""

    def models(self) -> tuple[Model, ...]:
        """Returns the models that the account's settings name."""
        return tuple(
            model_of(name, (target_of(self.name, self.vendor, name),), OPERATIONS)
            for name in dict.fromkeys(self._account.models)
        )

    async def aclose(self) -> None:
        """Cancels handlers that still run once more, and waits for them shortly."""
        if leaving := set(self._leaving):
            for task in leaving:
                task.cancel()
            await asyncio.wait(leaving, timeout=CLOSE_S)

    def open(self, attempt: Attempt) -> Opened:
        """See `Provider.open`."""
        return _HandlerReply(self, attempt)

    async def begin(self, attempt: Attempt, request: CompleteRequest) -> tuple[Work, Key | None]:
        """Lets the handler begin, and returns it at work with the key that it was given.

        Raises:
            UpstreamError: it is not asked: MODEL_NOT_FOUND, UPSTREAM_OVERLOADED.
            RequestError: UNSUPPORTED_OPTION, EGRESS_REFUSED.
        """
        target, call = attempt.target, attempt.call
        if self._account.models and target.upstream_model not in self._account.models:
            raise UpstreamError(Reason.MODEL_NOT_FOUND)
        since_s = next(islice(self._leaving.values(), MAX_UNENDING - 1, None), math.inf)
        if self._clock.monotonic_s() - since_s >= UNENDING_S:
            raise UpstreamError(Reason.UPSTREAM_OVERLOADED, detail="too many cancelled handlers that go on")
        refuse_inexpressible(call, request)
        filled = await with_media_inline(
            request,
            lambda _: True,
            self._egress,
            deadline_s=math.inf,  # the attempt's own timer ends it, with its own reason
        )
        if filled is not request:
            call.request = request = filled  # another target finds them there
        key = self._keys.choose()
        if key is not None:
            attempt.record.key_id = key.key_id
        seen = Request(
            model=target.upstream_model,
            messages=messages_of(request),
            tools=tools_of(request),
            options=options_of(request),
            metadata=metadata_of(request),
            deadline_s=call.deadline.remaining_s(self._clock.monotonic_s()),
            streaming=call.streaming,
            call_id=call.scope.call_id,
            provider=self.name,
            base_url=self._account.base_url,
            api_key=key.secret if key is not None else None,
        )

        def begun() -> None:
            attempt.request_sent = True

        return Work(self._given(seen, begun), lambda what: self._report(attempt, what)), key

    def refused(self, key: Key | None, error: GatewayError) -> None:
        """Sets a key aside that the handler says was refused, and lets the call go on with another one."""
        if key is not None and isinstance(error, UpstreamError):
            error.another_key = self._keys.refused(key, error.reason, error.retry_after_s)

    def leave(self, work: Work) -> None:
        """Cancels a handler; one that goes on is kept in mind."""
        task = work.leave()
        if task is not None:
            self._leaving[task] = self._clock.monotonic_s()
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._leaving.pop(task, None)

    def _given(self, request: Request, begun: Callable[[], None]) -> AsyncIterator[object]:
        function = self._handler.function
        if self._handler.form is Form.IN_THREAD:
            return self._threads.run(function, request, begun)
        begun()
        if self._handler.form is Form.COROUTINE:
            return awaited(function, request)
        given: AsyncIterator[object] = function(request)
        return given

    def _report(self, attempt: Attempt, what: str) -> None:
        """Tells the operator of an exception: its type and its place, never its text."""
        logger("handlers").warning(
            "handler raised",
            provider=self.name,
            model=attempt.target.upstream_model,
            call_id=attempt.call.scope.call_id,
            error=what,
        )


class _HandlerReply:
    """The lifetime of an attempt at a handler, and its reply: one batch for what is ready together."""

    __slots__ = ("_attempt", "_counted", "_finished", "_key", "_left_bytes", "_provider", "_telling", "_work")

    def __init__(self, provider: HandlerProvider, attempt: Attempt) -> None:
        self._provider = provider
        self._attempt = attempt
        self._key: Key | None = None
        self._work: Work | None = None
        self._counted: Batch = []
        self._telling = Telling(attempt.target.upstream_model)
        self._left_bytes = math.inf if attempt.call.streaming else MAX_ANSWER_BYTES
        self._finished = False

    async def __aenter__(self) -> Reply:
        match self._attempt.call.request:
            case CountTokensRequest(completion=completion):
                self._counted = await _counted_here(self._attempt, completion)
            case CompleteRequest() as request:
                self._work, self._key = await self._provider.begin(self._attempt, request)
                try:
                    await self._wait(self._work)
                except BaseException:
                    self._provider.leave(self._work)
                    raise
            case other:  # pragma: no cover: the catalogue refuses other operations
                raise TypeError(other)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._work is not None:
            self._provider.leave(self._work)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        work = self._work
        if self._finished:
            raise StopAsyncIteration
        if work is None:
            self._finished = True
            return self._counted
        await self._wait(work)
        for piece in work.take():
            self._left_bytes -= size_of(piece)
            self._telling.add(piece)
        if self._left_bytes < 0:
            raise malformed("answer over its cap")
        self._finished = work.over
        return self._telling.end() if self._finished else self._telling.take()

    async def _wait(self, work: Work) -> None:
        try:
            await work.wait()
        except GatewayError as error:
            self._provider.refused(self._key, error)
            raise


async def _counted_here(attempt: Attempt, completion: CompleteRequest) -> list[Event]:
    """Returns the events of a token count: no handler is asked for one."""
    counted = await count_input(completion, attempt.target)
    return [
        Started("", attempt.target.upstream_model),
        TokensCounted(counted.input_token_count, counted.method),
        Finished(FinishReason.STOP),
    ]
