"""What a gateway's process does at its start and at its end, be it alone or a worker."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from llmgateway_server.app import App

T = TypeVar("T")


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine on uvloop where it is installed, otherwise on asyncio."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


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
