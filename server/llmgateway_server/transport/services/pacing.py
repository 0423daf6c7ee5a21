"""Lets the tokens of a stream travel together when very many streams are open: messages are what streaming costs.

    messages of all streams in the last quarter of a second > 3/4 of `max_messages_per_s`:
        a stream rests for  open streams ÷ max_messages_per_s  seconds after each message
    otherwise: not at all

While a stream rests, what arrives is collected behind the wire's buffer. A thousand streams of 20 tokens a second would
be 20,000 messages a second, more than one process can write; with 6,000 each rests for 0.17 s, and three or four tokens
travel together. A first token is never late, and few streams are never slowed down.
"""

from __future__ import annotations

from llmgateway_server.core.clock import Clock

WINDOW_S = 0.25
BUSY_SHARE = 0.75


class Pacing:
    """Counts the messages of a process and says how long a stream should rest.

    Args:
        max_messages_per_s: that all streams together should write.
        clock: monotonic time.
    """

    def __init__(self, max_messages_per_s: int, clock: Clock) -> None:
        self._max_messages_per_s = max_messages_per_s
        self._clock = clock
        self._since_s = clock.monotonic_s()
        self._written = 0
        self._busy = False
        self.open_streams = 0
        """Kept by the streams themselves."""

    def wrote(self) -> float:
        """Counts a message and returns how long its stream should rest, in seconds."""
        self._written += 1
        now_s = self._clock.monotonic_s()
        passed_s = now_s - self._since_s
        if passed_s >= WINDOW_S:
            self._busy = self._written > BUSY_SHARE * self._max_messages_per_s * passed_s
            self._since_s, self._written = now_s, 0
        return self.open_streams / self._max_messages_per_s if self._busy else 0.0
