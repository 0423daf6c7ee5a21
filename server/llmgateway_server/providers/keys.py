"""The keys of one provider account: where they come from, whose turn it is, and which are set aside.

A key that the provider refused is set aside for a while: others are used first. It is never thrown away, because a
refusal may be about one model only, or be over sooner than anybody thought; where all are set aside, the one that
returns first is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmgateway_server.core.clock import Clock
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.secret import Secret
from llmgateway_server.observe.events import KeySetAside
from llmgateway_server.observe.log import logger

SET_ASIDE_S: dict[Reason, float] = {
    Reason.PROVIDER_AUTH_FAILED: 300.0,
    Reason.PROVIDER_QUOTA_EXHAUSTED: 600.0,
}
"""Refusals that are about the key, and for how many seconds others go first."""

ReadSecret = Callable[[], Secret]
"""Returns the secret as it is now; what changed since the last call is in force at once."""
Tell = Callable[[KeySetAside], None]
"""Is told of each key that is set aside."""


@dataclass(slots=True)
class Key:
    """One credential. Its id names its place in the configuration, never the secret."""

    key_id: str
    read: ReadSecret
    secret: Secret
    back_at_s: float = 0.0
    """On the monotonic clock: until then others go first."""
    last_used: int = 0


class KeyRing:
    """Hands out keys, least recently used first.

    Args:
        provider: name of the account, for the log.
        sources: where the secrets are; none for an account without credentials.
        clock: for how long keys are set aside.
        tell: is told of each one; the log is written here.
    """

    def __init__(
        self, provider: str, sources: tuple[ReadSecret, ...], clock: Clock, tell: Tell = lambda _: None
    ) -> None:
        self._provider = provider
        self._clock = clock
        self._tell = tell
        self._uses = 0
        self._keys = [Key(f"key-{number}", read, read()) for number, read in enumerate(sources, 1)]
        self._log = logger("keys")

    def choose(self) -> Key | None:
        """Returns the key for the next attempt; None for an account without any."""
        if not self._keys:
            return None
        now_s = self._clock.monotonic_s()
        for key in self._keys:
            self._refresh(key)
        key = min(self._keys, key=lambda each: (max(0.0, each.back_at_s - now_s), each.last_used))
        self._uses += 1
        key.last_used = self._uses
        return key

    def refused(self, key: Key, reason: Reason, retry_after_s: float | None) -> bool:
        """Notes why an attempt with `key` failed, and tells whether another key should be tried at once."""
        if reason not in SET_ASIDE_S:
            return False
        now_s = self._clock.monotonic_s()
        for_s = retry_after_s or SET_ASIDE_S[reason]
        key.back_at_s = now_s + for_s
        self._log.error("key set aside", provider=self._provider, key_id=key.key_id, reason=reason.value)
        self._tell(KeySetAside(self._provider, key.key_id, reason, for_s))
        return any(each.back_at_s <= now_s for each in self._keys)

    def _refresh(self, key: Key) -> None:
        """Reads the secret again; a new one has not been refused by anybody."""
        secret = key.read()
        if secret is not key.secret:
            key.secret, key.back_at_s = secret, 0.0
