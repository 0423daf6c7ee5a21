"""The shape of replies and stages, the same for unary and streaming calls."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, Self

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
