"""What a gateway's process does at its start and at its end, be it alone or a worker."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from llmgateway_server.app import App

T = TypeVar("T")
ENOUGH_FILES = 65_536
"""Where the system gives any number."""


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine on uvloop where it is installed, otherwise on asyncio."""
    take_open_files()
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def take_open_files() -> None:
    """Takes as many open files as the system gives: each connection is one, and the usual 1,024 are few."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, ENOUGH_FILES) if hard == resource.RLIM_INFINITY else hard
    with suppress(OSError, ValueError):  # some systems have a limit below the one that they name
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def settle_memory() -> None:
    """Keeps what is loaded now for good.

    Left to itself, the collector walks all of it now and then, for 15 to 35 ms.
    """
    gc.collect()
    gc.freeze()


async def let_end(app: App, delay_s: float, at_once: Awaitable[Any]) -> None:
    """Drains a gateway and stops it.

    Args:
        app: serves.
        delay_s: how long load balancers get to look elsewhere before calls are refused.
        at_once: when it is done, nothing is waited for any more.
    """
    draining = asyncio.create_task(app.drain(delay_s=delay_s))
    impatience = asyncio.ensure_future(at_once)
    await asyncio.wait({draining, impatience}, return_when=asyncio.FIRST_COMPLETED)
    if draining.done():
        impatience.cancel()
        await draining
        return
    draining.cancel()
    await asyncio.wait({draining})
    await app.stop()
