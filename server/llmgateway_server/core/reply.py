"""The shape of replies and stages, the same for unary and streaming calls."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from llmgateway_server.core.calls import Attempt, Call
from llmgateway_server.core.events import Event

Batch = list[Event]
"""Events that are ready together: they travel in one message."""


class Reply(Protocol):
    """The events of a call in batches.

    Valid inside the `async with` that opened it; leaving that is the only way to close it. After the batch that ends
    with `Finished` the iteration ends. Errors are raised by `__anext__`, after everything that came before them was
    returned.
    """

    def __aiter__(self) -> Self:
        """Returns itself."""
        ...

    async def __anext__(self) -> Batch:
        """Returns the next batch; empty when the provider is alive but brought no content."""
        ...


Opened = AbstractAsyncContextManager[Reply]
"""A reply with the lifetime of everything that was acquired for it."""


OpenCall = Callable[[Call], Opened]
OpenAttempt = Callable[[Attempt], Opened]


T = TypeVar("T", Call, Attempt)


class Around(ABC, Generic[T]):
    """What a stage holds of one call or attempt: `begin` before everything that follows, `end` after it, come what may.

    A class and not a generator with `@asynccontextmanager`, which costs as much as a stage's own work on every call.

    Args:
        subject: the call or the attempt.
        following: opens what comes next; the reply that it enters with is `reply`.
    """

    __slots__ = ("following", "inner", "reply", "subject")

    reply: Reply

    def __init__(self, subject: T, following: Callable[[T], Opened]) -> None:
        self.subject: T = subject
        self.following: Callable[[T], Opened] = following
        self.inner: Opened | None = None

    def begin(self) -> None:
        """Acquires what the stage holds; what it raises ends here and reaches `end`."""

    def end(self, error: BaseException | None) -> None:
        """Releases what the stage holds. `error` is what the call or the attempt ended with."""

    async def __aenter__(self) -> Reply:
        try:
            self.begin()
            self.inner = self.following(self.subject)
            self.reply = await self.inner.__aenter__()
        except BaseException as error:
            self.end(error)
            raise
        return self.entered()

    def entered(self) -> Reply:
        """Returns the reply for the stage before: a stage that watches events returns its own around `reply`."""
        return self.reply

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self.inner is not None:
                await self.inner.__aexit__(kind, error, traceback)
        except BaseException as raised:
            self.end(raised)
            raise
        self.end(error)


class CallStage(Protocol):
    """A step of the request ring: once per call, around everything that follows it."""

    name: str
    why: str
    """Why it stands where it stands, for `llmgateway path`."""

    def open(self, call: Call, following: OpenCall) -> Opened:
        """Opens the reply of `following` with this step around it."""
        ...


class AttemptStage(Protocol):
    """A step of the attempt ring: once per try, on the chosen target."""

    name: str
    why: str

    def open(self, attempt: Attempt, following: OpenAttempt) -> Opened:
        """Opens the reply of `following` with this step around it."""
        ...


class Gateway(Protocol):
    """What the doors call: opens the reply of a call that went through the call ring."""

    def open(self, call: Call) -> Opened:
        """Opens the reply of `call`; see `Reply` for its shape and errors."""
        ...
