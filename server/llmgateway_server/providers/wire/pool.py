"""The connections of one origin: who may have one, who waits for one, and when one is too old to trust."""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict, deque

from llmgateway_server.providers.wire.connect import connect
from llmgateway_server.providers.wire.connection import Connection
from llmgateway_server.providers.wire.names import Addresses
from llmgateway_server.providers.wire.port import Origin, WireLimits, WirePoolTimeout, WireReset

_READ_BYTES = 64 * 1024
"""What one read of a socket may bring; with `read_buffer_bytes` it bounds the memory of one connection."""


class Pool:
    """Keeps idle connections (last in, first out, so that the surplus ages away) and hands out slots in FIFO order.

    A slot is membership in one set: a connection enters it before it connects and leaves it when its socket is gone, so
    neither a cancel nor an error can lose one. It belongs to the loop of its first use.
    """

    def __init__(
        self, origin: Origin, limits: WireLimits, context: ssl.SSLContext | None, addresses: Addresses
    ) -> None:
        self._origin = origin
        self._addresses = addresses
        self._limits = limits
        self._context = context
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._open: set[Connection] = set()
        self._idle: deque[Connection] = deque()
        self._waiting: OrderedDict[asyncio.Future[Connection | None], None] = OrderedDict()
        self._promised = 0
        self._connecting: set[asyncio.Timeout] = set()
        self._closed = False
        self._empty: asyncio.Future[None] | None = None

    def take(self) -> Connection | None:
        """Returns the youngest idle connection that can be used, or `None`."""
        if self._idle:
            oldest_ok = asyncio.get_running_loop().time() - self._limits.keepalive_s
            while self._idle:
                conn = self._idle.pop()
                if conn.idle_since >= oldest_ok and conn.undisturbed():
                    return conn
                conn.abort()
        return None

    async def acquire(self) -> Connection:
        """Returns a connection: an idle one, a new one, or, when all are in use, the next that becomes free.

        Raises:
            WirePoolTimeout: `pool_timeout_s` passed without a free slot.
            WireUnreachable, WireTlsError: see `connect`.
            WireReset: the pool is closed.
        """
        if self._closed:
            raise WireReset("wire is closed")
        conn = self.take()
        if conn is not None:
            return conn
        if self._has_room():
            return await self._connect()
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._limits.pool_timeout_s
        again = False
        while True:
            granted = await self._wait_turn(loop, give_up_at, again)
            if granted is None:
                return await self._connect()
            if granted.undisturbed():
                return granted
            granted.abort()  # it ended between its release and now; our place at the front stays ours
            if self._has_room():
                return await self._connect()
            again = True

    def release(self, conn: Connection) -> None:
        """Takes back a connection that another exchange may use."""
        if self._closed:
            conn.abort()
            return
        while self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():
                waiter.set_result(conn)
                return
        idle = self._idle
        idle.append(conn)
        oldest = idle[0]
        if conn.idle_since - oldest.idle_since > self._limits.keepalive_s:
            idle.popleft()
            oldest.abort()

    async def aclose(self) -> None:
        """Closes every connection, ends every wait, and returns when the sockets are gone."""
        self._closed = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(WireReset("wire is closed"))
        for timer in self._connecting:
            timer.reschedule(asyncio.get_running_loop().time())
        for conn in list(self._open):
            conn.cut("wire is closed")
        await self._addresses.aclose()
        if self._open:
            if self._empty is None:
                self._empty = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._empty)

    def _has_room(self) -> bool:
        return len(self._open) + self._promised < self._limits.max_connections

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        conn = Connection(loop, self._limits, self._buffer, self._lost)
        self._open.add(conn)
        timer = asyncio.timeout(self._limits.connect_timeout_s)
        self._connecting.add(timer)
        try:
            if self._closed:
                raise WireReset("wire is closed")
            await connect(self._origin, self._addresses, self._context, lambda: conn, timer)
        except BaseException as error:
            conn.abort()
            self._lost(conn)
            if self._closed and isinstance(error, Exception):
                raise WireReset("wire is closed") from error
            raise
        finally:
            self._connecting.discard(timer)
        return conn

    def _lost(self, conn: Connection) -> None:
        if conn not in self._open:
            return
        self._open.discard(conn)
        if conn in self._idle:
            self._idle.remove(conn)
        self._grant()
        if not self._open and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def _grant(self) -> None:
        """Promises free slots to those who wait; `None` means: connect."""
        while self._waiting and self._has_room():
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():
                self._promised += 1
                waiter.set_result(None)

    async def _wait_turn(self, loop: asyncio.AbstractEventLoop, give_up_at: float, at_front: bool) -> Connection | None:
        waiter: asyncio.Future[Connection | None] = loop.create_future()
        self._waiting[waiter] = None
        if at_front:
            self._waiting.move_to_end(waiter, last=False)
        timer = loop.call_at(give_up_at, _expire, waiter)
        try:
            granted = await waiter
        except BaseException:
            self._waiting.pop(waiter, None)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._pass_on(waiter.result())  # cancelled in the very turn in which it was served
            raise
        finally:
            timer.cancel()
        if granted is None:
            self._promised -= 1
        return granted

    def _pass_on(self, granted: Connection | None) -> None:
        if granted is None:
            self._promised -= 1
            self._grant()
        elif granted.usable:
            self.release(granted)
        else:
            granted.abort()


def _expire(waiter: asyncio.Future[Connection | None]) -> None:
    if not waiter.done():
        waiter.set_exception(WirePoolTimeout("no connection became free within pool_timeout_s"))
