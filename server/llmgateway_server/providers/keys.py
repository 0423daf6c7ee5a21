"""The keys of one provider account: where they come from, whose turn it is, and which are set aside.

A key is anything that a request is authorized with: an API key, the keys of a cloud's account, a token that is renewed
(`credentials.source`). One that the provider refused is set aside for a while: others are used first. It is never
thrown away, because a refusal may be about one model only, or be over sooner than anybody thought; where all are set
aside, the one that returns first is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.secret import Secret
from llmgateway_server.observe.events import KeySetAside
from llmgateway_server.observe.log import logger
from llmgateway_server.providers.credentials.schemes import Authorize
from llmgateway_server.providers.credentials.source import Credential, Source

SET_ASIDE_S: dict[Reason, float] = {
    Reason.PROVIDER_AUTH_FAILED: 300.0,
    Reason.PROVIDER_QUOTA_EXHAUSTED: 600.0,
}
"""Refusals that are about the key, and for how many seconds others go first."""
NOT_GIVEN_S = 5.0
"""For how many seconds others go before one whose token could not be had."""

Tell = Callable[[KeySetAside], None]
"""Is told of each key that is set aside."""


@dataclass(slots=True)
class Key:
    """One credential. Its id names its place in the configuration, never the secret."""

    key_id: str
    source: Source
    authorize: Authorize
    secret: Secret | None = None
    """As of the last time that it was looked at; None where it has to be waited for."""
    back_at_s: float = 0.0
    """On the monotonic clock: until then others go first."""
    last_used: int = 0


class KeyRing:
    """Hands out keys, least recently used first.

    Args:
        provider: name of the account, for the log.
        credentials: where the secrets are; none for an account without. They are closed with the ring.
        clock: for how long keys are set aside.
        tell: is told of each one; the log is written here.
    """

    def __init__(
        self, provider: str, credentials: tuple[Credential, ...], clock: Clock, tell: Tell = lambda _: None
    ) -> None:
        self._provider = provider
        self._clock = clock
        self._tell = tell
        self._uses = 0
        self._keys = [Key(f"key-{number}", each.source, each.authorize) for number, each in enumerate(credentials, 1)]
        self._log = logger("keys")

    def choose(self) -> Key | None:
        """Returns the key for the next attempt; None for an account without any."""
        if not self._keys:
            return None
        now_s = self._clock.monotonic_s()
        for key in self._keys:
            self._refresh(key)
        key = min(self._keys, key=lambda each: (max(0.0, each.back_at_s - now_s), each.secret is None, each.last_used))
        self._uses += 1
        key.last_used = self._uses
        return key

    async def secret_of(self, key: Key) -> Secret:
        """Returns the secret of a key that was chosen, at once if it is there.

        Raises:
            UpstreamError: it cannot be had; the key is set aside.
        """
        if key.secret is not None:
            return key.secret
        try:
            key.secret = await key.source.fetched()
        except UpstreamError as error:
            error.another_key = self._not_given(key, error.reason)
            raise
        key.back_at_s = 0.0
        return key.secret

    def refused(self, key: Key, reason: Reason, retry_after_s: float | None, secret: Secret | None = None) -> bool:
        """Notes why an attempt with `key` failed, and tells whether another secret should be tried at once.

        Args:
            key: that was used.
            reason: why it failed.
            retry_after_s: when the provider will take it again, if it says so.
            secret: of the key at that time, if another one may come in its place.
        """
        if reason not in SET_ASIDE_S:
            return False
        if secret is not None and reason is Reason.PROVIDER_AUTH_FAILED and key.source.refused(secret):
            return True
        now_s = self._clock.monotonic_s()
        for_s = retry_after_s or SET_ASIDE_S[reason]
        key.back_at_s = now_s + for_s
        self._log.error("key set aside", provider=self._provider, key_id=key.key_id, reason=reason.value)
        self._tell(KeySetAside(self._provider, key.key_id, reason, for_s))
        return any(each.back_at_s <= now_s for each in self._keys)

    def warm_up(self) -> None:
        """Begins to fetch what has to be fetched, so that no call waits for it."""
        for key in self._keys:
            key.source.warm_up()

    async def aclose(self) -> None:
        """Ends what runs, and closes connections."""
        for key in self._keys:
            await key.source.aclose()

    def _not_given(self, key: Key, reason: Reason) -> bool:
        if reason in SET_ASIDE_S:
            return self.refused(key, reason, None)
        now_s = self._clock.monotonic_s()
        key.back_at_s = now_s + NOT_GIVEN_S
        return any(each.back_at_s <= now_s for each in self._keys)

    def _refresh(self, key: Key) -> None:
        """Looks at the secret again; a new one has not been refused by anybody."""
        secret = key.source.current()
        if secret is not None and secret is not key.secret:
            key.back_at_s = 0.0
        key.secret = secret
