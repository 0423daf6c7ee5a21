"""What a peer may send for nothing, counted per connection: a flood ends the connection and costs the others nothing.

    pings       2 strikes for one within 10 s of the last while nothing was sent between (as gRPC's own servers count)
    resets      2,000 calls taken back before a word was answered, refilled by 200 a second (CVE-2023-44487)
    frames      20,000 that carry nothing, refilled by 10,000 a second; a SETTINGS counts for 100 of them, a window
                that opens for what was sent for none

Header blocks are bounded where they are collected (CONTINUATION floods), and a stream's fault is the connection's
(`frames.ConnectionFaultError`), so that nobody can make us reset streams (CVE-2025-8671).
"""

from __future__ import annotations

from llmgateway_server.transport.http2.frames import Code, ConnectionFaultError

PING_INTERVAL_S = 10.0
MAX_PING_STRIKES = 2


class Bucket:
    """A bucket of tokens that refills with time.

    Args:
        size: of the full bucket, with which it begins.
        per_s: how much comes back in a second.
        now_s: monotonic time.
    """

    __slots__ = ("_at_s", "_left", "_per_s", "_size")

    def __init__(self, size: float, per_s: float, now_s: float) -> None:
        self._size = self._left = size
        self._per_s = per_s
        self._at_s = now_s

    def take(self, now_s: float, cost: float = 1.0) -> bool:
        """Takes tokens and tells whether there were enough."""
        self._left = min(self._size, self._left + (now_s - self._at_s) * self._per_s) - cost
        self._at_s = now_s
        return self._left >= 0


class Guard:
    """See the module.

    Args:
        now_s: monotonic time of the connection's beginning.
    """

    __slots__ = ("_frames", "_pinged_s", "_resets", "_strikes")

    def __init__(self, now_s: float) -> None:
        self._frames = Bucket(20_000, 10_000, now_s)
        self._resets = Bucket(2_000, 200, now_s)
        self._pinged_s = -PING_INTERVAL_S
        self._strikes = 0

    def ping(self, now_s: float, *, sent: bool) -> None:
        """Counts a ping.

        Args:
            now_s: monotonic time.
            sent: whether something of a call was sent since the last one: it is then nothing unusual.

        Raises:
            ConnectionFaultError: there are too many.
        """
        if sent:
            self._strikes = 0
        elif now_s - self._pinged_s < PING_INTERVAL_S:
            self._strikes += 1
            if self._strikes > MAX_PING_STRIKES:
                raise ConnectionFaultError(Code.ENHANCE_YOUR_CALM, "too_many_pings")  # clients know this word
        self._pinged_s = now_s

    def reset(self, now_s: float) -> None:
        """Counts a call that was taken back before anything was answered.

        Raises:
            ConnectionFaultError: there are too many.
        """
        if not self._resets.take(now_s):
            raise ConnectionFaultError(Code.ENHANCE_YOUR_CALM, "too many calls are taken back")

    def nothing(self, now_s: float, cost: float = 1.0) -> None:
        """Counts a frame that carries nothing.

        Raises:
            ConnectionFaultError: there are too many.
        """
        if not self._frames.take(now_s, cost):
            raise ConnectionFaultError(Code.ENHANCE_YOUR_CALM, "too many frames that carry nothing")
