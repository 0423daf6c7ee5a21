"""Attempts, and replies that say what a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from llmgateway_server.core.calls import Attempt, AttemptRecord, Call, CallScope, Deadline
from llmgateway_server.core.events import Event
from llmgateway_server.core.reply import Batch, OpenAttempt, Reply
from llmgateway_server.core.requests import CompleteRequest, Operation, Request
from llmgateway_server.core.targets import NO_PROFILE, Profile, Target


def attempt_of(
    request: Request | None = None, *, profile: Profile = NO_PROFILE, streaming: bool = True, **record: Any
) -> Attempt:
    target = Target(provider="p", vendor="v", upstream_model="upstream-1", profile=profile)
    scope = CallScope("call-1", "/m", "peer", {}, 0.0, Deadline(1e9, from_client=False))
    call = Call(scope, Operation.COMPLETE, streaming=streaming, request=request or CompleteRequest("m", []))
    return Attempt(call, target, AttemptRecord(1, target, **record))


class Said:
    """A reply of these batches; an exception among them is raised in its turn.

    Args:
        batches: what it says.
    """

    def __init__(self, batches: Sequence[list[Event] | Exception]) -> None:
        self._rest = list(batches)
        self.closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        assert not self.closed, "a reply that is closed was read"
        if not self._rest:
            raise StopAsyncIteration
        batch = self._rest.pop(0)
        if isinstance(batch, Exception):
            raise batch
        return batch

    @asynccontextmanager
    async def _open(self, attempt: Attempt) -> AsyncIterator[Reply]:
        try:
            yield self
        finally:
            self.closed = True

    @property
    def open(self) -> OpenAttempt:
        return self._open
