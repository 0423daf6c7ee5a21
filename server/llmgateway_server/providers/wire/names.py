"""Where a provider's name leads to, and what is done for as long as nobody can tell."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any, Protocol, TypeAlias

from llmgateway_server.core.clock import Clock
from llmgateway_server.providers.wire.port import Origin, WireLimits

Address: TypeAlias = tuple[int, Any]
"""Address family and the socket address that belongs to it."""


class Resolver(Protocol):
    """The port to DNS."""

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        """Returns the addresses of a name in the order in which they are to be tried, at least one.

        Raises:
            OSError: there is none, or nobody answered.
            UnicodeError: the name cannot be one.
        """
        ...


class SystemResolver:
    """The resolver of the system, in the threads of the loop."""

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        """See `Resolver.resolve`; families take turns (RFC 8305 section 4)."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if not found:
            raise OSError(f"no address for {host}")
        first = found[0][0]
        same = [(int(family), address) for family, _, _, _, address in found if family == first]
        other = [(int(family), address) for family, _, _, _, address in found if family != first]
        return [pair for pair in chain.from_iterable(zip_longest(same, other)) if pair is not None]


class Addresses:
    """The addresses of one origin, asked for with every new connection, and remembered for when the asking fails.

    One question is under way at a time, whoever waits for it: the threads of the system's resolver are few, stay busy
    until it gives up, and belong to all providers.

    Args:
        origin: an IP literal as its host, or addresses of its own, need no resolving.
        limits: how long an answer may take, and how long the last one may serve when there is none.
        resolver: the port to DNS.
        clock: tells the age of an answer.
    """

    def __init__(self, origin: Origin, limits: WireLimits, resolver: Resolver, clock: Clock) -> None:
        self._origin = origin
        self._limits = limits
        self._resolver = resolver
        self._clock = clock
        self._fixed = [_literal(address, origin.port) for address in origin.addresses] or _if_literal(origin)
        self._known: Sequence[Address] = ()
        self._known_at_s = 0.0
        self._question: asyncio.Task[Exception | None] | None = None
        self._give_up_at = 0.0

    async def find(self) -> Sequence[Address]:
        """Returns where to connect to, at least one address.

        Raises:
            OSError: the resolver failed or is silent, and its last answer is too old.
        """
        if self._fixed:
            return self._fixed
        loop = asyncio.get_running_loop()
        question = self._question
        if question is None:
            question = self._question = loop.create_task(self._ask())
            self._give_up_at = loop.time() + self._limits.resolve_timeout_s
        # The limit is the question's: who comes when it is over does not wait for a silent resolver once more.
        await asyncio.wait({question}, timeout=max(0.0, self._give_up_at - loop.time()))
        failure: Exception | None = TimeoutError("the resolver is silent")
        if question.done() and not question.cancelled():
            failure = question.result()
        if failure is None or self._fresh_enough():
            return self._known
        raise OSError(f"the name did not resolve: {failure}") from failure

    async def aclose(self) -> None:
        """Ends the question that is under way."""
        if self._question is not None:
            self._question.cancel()
            await asyncio.wait({self._question})

    async def _ask(self) -> Exception | None:
        """Asks and keeps the answer; returns what failed."""
        try:
            found = await self._resolver.resolve(self._origin.host, self._origin.port)
        except (OSError, UnicodeError) as error:  # UnicodeError: a label that IDNA refuses
            return error
        else:
            self._known, self._known_at_s = found, self._clock.monotonic_s()
            return None
        finally:
            self._question = None

    def _fresh_enough(self) -> bool:
        return bool(self._known) and self._clock.monotonic_s() - self._known_at_s <= self._limits.stale_addresses_s


def _if_literal(origin: Origin) -> list[Address]:
    """Returns the host itself if it is an address: no thread of the resolver for what needs no resolving."""
    try:
        return [_literal(origin.host, origin.port)]
    except ValueError:
        return []


def _literal(address: str, port: int) -> Address:
    version = ipaddress.ip_address(address).version
    return (socket.AF_INET if version == 4 else socket.AF_INET6, (address, port))
