"""A streamed reply of the blocking client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from llmgateway.errors import GatewayError
from llmgateway.events import StreamEvent
from llmgateway.progress import Progress
from llmgateway.reply import Reply
from llmgateway.status import translated

T = TypeVar("T")


class Stream:
    """The events of a reply as they arrive. Leaving a loop over it, or its `with` block, cancels what is left.

    Iterating raises `GatewayError` where the reply breaks; what came before can be had from `so_far`.

    Args:
        call: as the stub gives it; an interceptor may put a plain generator in its place.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._progress = Progress()

    def __iter__(self) -> Iterator[StreamEvent]:
        return _Loop(self, lambda event: event)

    @property
    def text(self) -> Iterator[str]:
        """The pieces of the answer's text alone."""
        text_of = self._progress.assembly.text_of
        return _Loop(self, lambda event: text_of(event) or None)

    def reply(self) -> Reply:
        """Waits for the end and returns the whole reply, as `Client.complete` would have.

        Raises:
            GatewayError: the stream broke or was left.
        """
        while self._pull():
            pass
        return self._progress.assembly.reply()

    def so_far(self) -> Reply:
        """Returns what has arrived, without waiting."""
        return self._progress.assembly.so_far()

    def close(self) -> None:
        """Cancels the call if it still runs; the gateway then stops the provider."""
        if self._progress.leave():
            self._cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def next_event(self) -> StreamEvent | None:
        """Waits for the next event; None at the end. Unlike a loop it never cancels."""
        while not self._progress.ready:
            if not self._pull():
                return None
        return self._progress.ready.popleft()

    def _pull(self) -> bool:
        """Waits for the next message; False at the end."""
        if self._progress.over():
            return False
        try:
            with translated():
                message = next(self._call, None)
            self._progress.take(message)
        except GatewayError as failure:
            self._progress.fail(failure)
            self._cancel()
            raise
        return message is not None

    def _cancel(self) -> None:
        # an interceptor's generator has no `cancel`: closing it drops the call, which cancels it
        stop = getattr(self._call, "cancel", None) or self._call.close
        stop()


class _Loop(Generic[T]):
    """An iterator that belongs to one loop: when the loop drops it, the stream is left."""

    def __init__(self, stream: Stream, choose: Callable[[StreamEvent], T | None]) -> None:
        self._stream = stream
        self._choose = choose
        self._begun = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        self._begun = True
        while (event := self._stream.next_event()) is not None:
            chosen = self._choose(event)
            if chosen is not None:
                return chosen
        raise StopIteration

    def __del__(self) -> None:
        if self._begun:
            self._stream.close()
