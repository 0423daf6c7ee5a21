"""How far a stream has come: what the blocking and the asynchronous one share, without any waiting."""

from __future__ import annotations

from collections import deque

import grpc

from llmgateway.errors import Cancelled, GatewayError
from llmgateway.events import Assembly, StreamEvent
from llmgateway.v1.reply_pb2 import StreamCompleteResponse


class Progress:
    """Takes in messages, gives out events, and remembers how the stream ended."""

    def __init__(self) -> None:
        self.assembly = Assembly()
        self.ready: deque[StreamEvent] = deque()
        """Events that have arrived and were not yet handed out."""
        self.ended = False
        self.failure: GatewayError | None = None
        """Why it ended, unless it ended well."""

    def take(self, message: StreamCompleteResponse | None) -> None:
        """Takes in a message, or the end.

        Raises:
            BrokenStream: it is not what must come now.
        """
        if message is None:
            self.assembly.reply()
            self.ended = True
        else:
            self.ready.extend(self.assembly.take(message))

    def over(self) -> bool:
        """Tells whether nothing more will come.

        Raises:
            GatewayError: it ended badly, and everything that came before was handed out.
        """
        if self.failure is not None:
            raise self.failure
        return self.ended

    def fail(self, failure: GatewayError) -> None:
        """Notes the first failure."""
        if not self.ended:
            self.failure = failure
            self.ended = True

    def leave(self) -> bool:
        """Notes that the caller left; False if there is nothing to cancel any more."""
        if self.ended:
            return False
        self.ready.clear()
        self.fail(Cancelled("the stream was left before its end", code=grpc.StatusCode.CANCELLED))
        return True
