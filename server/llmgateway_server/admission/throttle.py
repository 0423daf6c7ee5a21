"""Turns floods away, locally and cheaply: calls per key, failed logins per address."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from pydantic import BaseModel, ConfigDict, Field

from llmgateway_server.admission.bucket import Buckets
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import ShedError
from llmgateway_server.core.principal import Principal
from llmgateway_server.core.reasons import Reason


class ThrottleSettings(BaseModel):
    """Floods; real quotas are another matter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls_per_minute: int = Field(default=1_200_000, ge=1)
    """Per key; far above honest use."""
    calls_burst: int = Field(default=20_000, ge=1)
    """How many of them may come at once."""
    failed_logins_per_minute: int = Field(default=30, ge=1)
    """Per address; IPv6 addresses of one /64 network count as one, because one host has them all."""
    failed_logins_burst: int = Field(default=20, ge=1)
    """How many of them may come at once."""


class Throttle:
    """See the module.

    Args:
        settings: the rates.
        clock: monotonic time of the buckets.
    """

    def __init__(self, settings: ThrottleSettings, clock: Clock) -> None:
        self._clock = clock
        self._calls = Buckets(settings.calls_per_minute, settings.calls_burst)
        self._failures = Buckets(settings.failed_logins_per_minute, settings.failed_logins_burst)

    def call(self, principal: Principal) -> None:
        """Counts a call of a key.

        Raises:
            ShedError: RATE_LIMITED_RPM with the time until the next one fits.
        """
        self._raise_for(self._calls.take(principal.key_id, self._clock.monotonic_s()))

    def before_login(self, peer: str) -> None:
        """Refuses an address that failed too often, before its key is looked at.

        Raises:
            ShedError: RATE_LIMITED_RPM.
        """
        self._raise_for(self._failures.delay_s(origin_of(peer), self._clock.monotonic_s()))

    def login_failed(self, peer: str) -> None:
        """Counts a failed login of an address."""
        self._failures.take(origin_of(peer), self._clock.monotonic_s())

    def _raise_for(self, delay_s: float) -> None:
        if delay_s > 0:
            raise ShedError(Reason.RATE_LIMITED_RPM, retry_after_s=delay_s)


@lru_cache(4096)  # bounded: callers choose their addresses
def origin_of(peer: str) -> str:
    """Returns what failed logins of an address are counted on: the address, of IPv6 its /64 network."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])  # without the interface of a link-local address
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return peer
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
