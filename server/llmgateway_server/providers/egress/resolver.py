"""Names to addresses, away from the threads that the providers' names are resolved with."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any, Protocol

from llmgateway_server.providers.egress.address import IPAddress


class Resolver(Protocol):
    """The port to DNS."""

    async def resolve(self, host: str, port: int) -> tuple[IPAddress, ...]:
        """Returns all addresses of a name in order of preference.

        Raises:
            OSError: there is none, or nobody answered.
        """
        ...

    async def aclose(self) -> None:
        """Lets go of what it holds."""
        ...


class SystemResolver:
    """The resolver of the system, in threads of its own.

    A thread stays busy until the system's resolver gives up, whoever still waits for it, and a caller can name hosts
    that nobody answers for. In the loop's own threads that would hold up the resolving of providers.

    Args:
        max_threads: names at once; the others wait.
        lookup: `socket.getaddrinfo`, or a stand-in of tests.
    """

    def __init__(self, max_threads: int, lookup: Callable[..., list[Any]] = socket.getaddrinfo) -> None:
        self._threads = ThreadPoolExecutor(max_threads, thread_name_prefix="egress-dns")
        self._lookup = lookup

    async def resolve(self, host: str, port: int) -> tuple[IPAddress, ...]:
        """See `Resolver.resolve`. The name is absolute: the search list of the system is not tried."""
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: self._lookup(f"{host}.", port, type=socket.SOCK_STREAM)
        )
        return tuple(dict.fromkeys(ip_address(entry[4][0]) for entry in found))

    async def aclose(self) -> None:
        """Drops what waits; what runs ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
