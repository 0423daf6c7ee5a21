"""Runs a gateway in this process until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from llmgateway_server.app import App
from llmgateway_server.config.environment import not_understood
from llmgateway_server.config.load import ConfigError
from llmgateway_server.config.settings import Settings
from llmgateway_server.observe import log

T = TypeVar("T")


def run(settings: Settings, environment: Mapping[str, str]) -> int:
    """Serves until SIGTERM or SIGINT and returns the exit code.

    0 after a clean stop, 1 when it could not start, 2 for the configuration.
    """
    log.configure(settings.log)
    if unknown := not_understood(environment):
        log.logger("config").warning("environment variables are not understood yet", names=unknown)
    try:
        return run_loop(_serve(settings, environment))
    except ConfigError as error:
        sys.stderr.write(f"llmgateway: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"llmgateway: {error}\n")
        return 1


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine on uvloop where it is installed, otherwise on asyncio."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


async def _serve(settings: Settings, environment: Mapping[str, str]) -> int:
    app = App(settings, environment)
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    address = await app.start()
    # What is loaded now stays for good. Left to itself, the collector walks all of it now and then, for 15 to 35 ms.
    gc.collect()
    gc.freeze()
    if settings.server.exposed:
        sys.stderr.write(f"llmgateway: WARNING: PLAINTEXT on {address}: keys and prompts can be read on the way\n")
    sys.stderr.write(f"llmgateway is serving on {address}\n")
    sys.stderr.flush()
    first = await signals.get()
    # Ctrl-C means a person at a terminal: there is no load balancer to wait for.
    delay_s = settings.server.drain_delay_s if first is signal.SIGTERM else 0.0
    draining = asyncio.create_task(app.drain(delay_s=delay_s))
    second = asyncio.create_task(signals.get())
    await asyncio.wait({draining, second}, return_when=asyncio.FIRST_COMPLETED)
    if draining.done():
        second.cancel()
        await draining
        return 0
    draining.cancel()
    await asyncio.wait({draining})
    await app.stop()
    return 0
