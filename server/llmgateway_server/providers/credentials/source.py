"""Where secrets come from: the configuration, or somebody who gives tokens for a while.

A token is fetched at the start and again before it expires, in the background: a call finds one that is valid, and
waits only where there is none. However many calls need one, it is asked for once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Protocol

from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.secret import Secret
from llmgateway_server.observe.log import logger
from llmgateway_server.providers.credentials.schemes import Authorize, bearer

ReadSecret = Callable[[], Secret]
"""Returns the secret as it is now; what changed since the last call is in force at once."""

RENEW_BEFORE_S = 300.0
"""How long before its end a token is renewed, or a fifth of its lifetime if that is less."""
LEFT_TO_ARRIVE_S = 10.0
"""A token that ends within this time, or a twentieth of its lifetime, is not sent: it could end on the way."""
LONGEST_LIFE_S = 24 * 3600.0
"""No token is kept for longer, whatever is said of it."""
FETCH_S = 20.0
"""How long a token may take from the first byte to the last."""
WAIT_S = 5.0
"""How long a call waits for its first token."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
"""Pauses between tries that fail: they double, and are drawn from their upper half."""
REFUSED_AFTER_S = 60.0
"""A token that the provider refuses is replaced if it is at least this old: a fresh one would be refused, too."""


class Source(Protocol):
    """Where one secret comes from."""

    def current(self) -> Secret | None:
        """Returns the secret as it is now, without waiting; None where there is none, and then one is on its way.

        The same secret is the same object.
        """
        ...

    async def fetched(self) -> Secret:
        """Returns the secret, which may be waited for.

        Raises:
            UpstreamError: there is none.
        """
        ...

    def refused(self, secret: Secret) -> bool:
        """Takes note that the provider refused a secret, and tells whether another one is there or on its way."""
        ...

    def warm_up(self) -> None:
        """Begins to fetch what has to be fetched."""
        ...

    async def aclose(self) -> None:
        """Ends what runs, and closes connections."""
        ...


@dataclass(slots=True, frozen=True)
class Credential:
    """A source of a secret, and how the secret is put into requests."""

    source: Source
    authorize: Authorize = bearer


class Given:
    """A secret of the configuration.

    Args:
        read: returns it.
    """

    def __init__(self, read: ReadSecret) -> None:
        self._read = read

    def current(self) -> Secret:
        """See `Source.current`."""
        return self._read()

    async def fetched(self) -> Secret:
        """See `Source.fetched`."""
        return self._read()

    def refused(self, secret: Secret) -> bool:
        """See `Source.refused`; a file may hold another secret by now."""
        return self._read() is not secret

    def warm_up(self) -> None:
        """See `Source.warm_up`."""

    async def aclose(self) -> None:
        """See `Source.aclose`."""


@dataclass(slots=True, frozen=True)
class Token:
    """A secret for a while."""

    secret: Secret
    lifetime_s: float
    """Seconds for which it is valid, from the time at which it was asked for."""


class Issuer(Protocol):
    """Somebody who gives tokens."""

    async def issue(self) -> Token:
        """Asks for a token.

        Raises:
            UpstreamError: none was given: PROVIDER_AUTH_FAILED for credentials that are refused or cannot be read,
                else UPSTREAM_UNREACHABLE.
        """
        ...

    async def aclose(self) -> None:
        """Closes connections."""
        ...


class Renewed:
    """Tokens of an issuer, see the module.

    Args:
        issuer: gives them; closed with the source.
        clock: for their lifetimes.
        provider: name of the account, for the log.
        key_id: of the credential, for the log.
        rng: draws the pauses between tries.
    """

    def __init__(
        self, issuer: Issuer, clock: Clock, *, provider: str = "", key_id: str = "", rng: Random | None = None
    ) -> None:
        self._issuer = issuer
        self._clock = clock
        self._rng = rng or Random()
        self._log = logger("credentials")
        self._whose = {"provider": provider, "key_id": key_id}
        self._secret: Secret | None = None
        self._asked_at_s = 0.0
        self._ends_at_s = 0.0
        self._again_at_s = 0.0
        """Until then nobody asks because a call wants it."""
        self._failures = 0
        self._why = (Reason.UPSTREAM_UNREACHABLE, "no token yet")
        self._settled = asyncio.Event()
        """Set while nobody is being asked."""
        self._settled.set()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def current(self) -> Secret | None:
        """See `Source.current`."""
        now_s = self._clock.monotonic_s()
        if self._secret is not None and now_s < self._ends_at_s:
            return self._secret
        if now_s >= self._again_at_s:
            self.warm_up()
        return None

    async def fetched(self) -> Secret:
        """See `Source.fetched`; who gives up waiting ends nothing for others."""
        secret = self.current()
        reason, detail = self._why
        if secret is None and not self._settled.is_set():
            reason, detail = Reason.UPSTREAM_UNREACHABLE, "the token is a long time coming"
            with suppress(TimeoutError):
                async with asyncio.timeout(WAIT_S):
                    await self._settled.wait()
                    secret, (reason, detail) = self.current(), self._why
        if secret is None:
            raise UpstreamError(reason, detail=detail)
        return secret

    def refused(self, secret: Secret) -> bool:
        """See `Source.refused`."""
        if secret is not self._secret:
            return True
        if self._clock.monotonic_s() - self._asked_at_s < REFUSED_AFTER_S:
            return False
        self._log.warning("token refused; another one is fetched", **self._whose)
        self._secret = None
        self.warm_up()
        return True

    def warm_up(self) -> None:
        """See `Source.warm_up`."""
        if self._closed or not self._settled.is_set():
            return
        self._settled.clear()
        if self._task is not None:
            self._task.cancel()  # it sleeps
        self._task = asyncio.get_running_loop().create_task(self._renew(), name="credentials")

    async def aclose(self) -> None:
        """See `Source.aclose`."""
        self._closed = True
        self._settled.set()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self._issuer.aclose()

    async def _renew(self) -> None:
        while True:
            self._settled.clear()
            try:
                pause_s = await self._asked()
            finally:
                self._settled.set()
            await self._clock.sleep(pause_s)

    async def _asked(self) -> float:
        """Asks for a token, and returns after how many seconds the next one is due."""
        began_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(FETCH_S):
                token = await self._issuer.issue()
        except UpstreamError as error:
            return self._failed(error.reason, error.detail)
        except TimeoutError:
            return self._failed(Reason.UPSTREAM_UNREACHABLE, "the token took too long")
        except Exception as error:  # noqa: BLE001  # a defect here must not end the renewing
            return self._failed(Reason.UPSTREAM_UNREACHABLE, f"defect: {type(error).__name__}")
        lifetime_s = min(token.lifetime_s, LONGEST_LIFE_S)
        if not lifetime_s > 0:
            return self._failed(Reason.UPSTREAM_UNREACHABLE, "the token was over when it came")
        if self._failures:
            self._log.info("token fetched again", **self._whose)
        now_s = self._clock.monotonic_s()
        self._failures = 0
        self._secret, self._asked_at_s = token.secret, began_s
        self._ends_at_s = began_s + lifetime_s - min(LEFT_TO_ARRIVE_S, lifetime_s / 20)
        self._again_at_s = now_s + FIRST_PAUSE_S
        return max(FIRST_PAUSE_S, began_s + lifetime_s - min(RENEW_BEFORE_S, lifetime_s / 5) - now_s)

    def _failed(self, reason: Reason, detail: str) -> float:
        now_s = self._clock.monotonic_s()
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._failures, 16)) * self._rng.uniform(0.5, 1.0)
        self._failures += 1
        self._why, self._again_at_s = (reason, detail), now_s + pause_s
        valid = self._secret is not None and now_s < self._ends_at_s
        write = self._log.warning if valid else self._log.error
        write("token not fetched", reason=reason.value, detail=detail, one_is_valid=valid, **self._whose)
        return pause_s
