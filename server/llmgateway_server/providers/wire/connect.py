"""Opens the transport of one connection: addresses, TCP, TLS, and what their failures are called."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence

from llmgateway_server.providers.wire.names import Address, Addresses
from llmgateway_server.providers.wire.port import Origin, WireTlsError, WireUnreachable

_STAGGER_S = 0.25
"""Head start of one address before the next is tried beside it; RFC 8305 section 8 recommends 250 ms."""


def client_context(context: ssl.SSLContext | None) -> ssl.SSLContext:
    """Returns the TLS settings of a wire: `context` when it verifies, or the system's authorities.

    Raises:
        ValueError: `context` would accept an unverified peer, a foreign name or a version below TLS 1.2.
    """
    if context is None:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        return context
    if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
        raise ValueError("the TLS context of a wire must verify certificate and host name")
    if context.minimum_version != ssl.TLSVersion.MAXIMUM_SUPPORTED and (
        context.minimum_version < ssl.TLSVersion.TLSv1_2
    ):
        raise ValueError("the TLS context of a wire must not allow versions below TLS 1.2")
    return context


async def connect(
    origin: Origin,
    addresses: Addresses,
    context: ssl.SSLContext | None,
    factory: Callable[[], asyncio.BaseProtocol],
    timer: asyncio.Timeout,
) -> None:
    """Connects the protocol that `factory` returns.

    A cancel, an error or the end of `timer` leaves no socket open.

    Args:
        origin: whose name the certificate must have.
        addresses: where it is.
        timer: bounds name resolution, TCP and TLS together; its owner may reschedule it to give up early.

    Raises:
        WireUnreachable: the name did not resolve, every address refused, or the time was over.
        WireTlsError: the TLS handshake failed.
    """
    loop = asyncio.get_running_loop()
    try:
        async with timer:
            sock = await _open_socket(loop, await addresses.find())
            await loop.create_connection(
                factory, sock=sock, ssl=context, server_hostname=origin.host if context is not None else None
            )
    except ssl.SSLError as error:
        raise WireTlsError(f"TLS handshake with {origin.host}:{origin.port} failed: {error}") from error
    except TimeoutError as error:
        raise WireUnreachable(f"connecting to {origin.host}:{origin.port} took too long") from error
    except OSError as error:
        raise WireUnreachable(f"cannot connect to {origin.host}:{origin.port}: {error}") from error


async def _open_socket(loop: asyncio.AbstractEventLoop, addresses: Sequence[Address]) -> socket.socket:
    if len(addresses) == 1:
        return await _dial(loop, addresses[0])
    return await _race(loop, addresses)


async def _dial(loop: asyncio.AbstractEventLoop, address: Address) -> socket.socket:
    sock = socket.socket(address[0], socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, address[1])
    except BaseException:
        sock.close()
        raise
    return sock


async def _race(loop: asyncio.AbstractEventLoop, addresses: Sequence[Address]) -> socket.socket:
    """Returns the first socket that connects, each address starting `_STAGGER_S` after the one before.

    Written here because uvloop's `create_connection` knows no `happy_eyeballs_delay`.
    """
    waiting = iter(addresses)
    running: set[asyncio.Task[socket.socket]] = set()
    failure: BaseException | None = None
    more = True
    try:
        while True:
            address = next(waiting, None)
            if address is None:
                more = False
            else:
                running.add(loop.create_task(_dial(loop, address)))
            if not running:
                raise failure or OSError("no address to connect to")
            done, _ = await asyncio.wait(
                running, timeout=_STAGGER_S if more else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                running.discard(task)
                error = task.exception()
                if error is None:
                    running |= done - {task}
                    return task.result()
                failure = failure or error
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close_loser)  # it may have connected in the same turn of the loop


def _close_loser(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
