"""Runs a gateway until it is told to stop: in this process, or as the parent of its workers."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping

from llmgateway_server.app import App
from llmgateway_server.config.environment import not_understood
from llmgateway_server.config.load import ConfigError
from llmgateway_server.config.settings import Settings
from llmgateway_server.observe import log
from llmgateway_server.workers.lifetime import let_end, run_loop, settle_memory
from llmgateway_server.workers.supervisor import StartError, Supervisor

__all__ = ["run", "run_loop"]


def run(settings: Settings, environment: Mapping[str, str]) -> int:
    """Serves until SIGTERM or SIGINT and returns the exit code.

    0 after a clean stop, 1 when it could not start, 2 for the configuration.
    """
    log.configure(settings.log)
    if unknown := not_understood(environment):
        log.logger("config").warning("environment variables are not understood yet", names=unknown)
    serve = _serve_with_workers if settings.server.workers > 1 else _serve
    try:
        run_loop(serve(settings, environment))
    except ConfigError as error:
        return _failed(error, 2)
    except OSError as error:
        return _failed(error, 1)
    except StartError as error:
        return _failed(error, error.exit_code)
    return 0


async def _serve(settings: Settings, environment: Mapping[str, str]) -> None:
    app = App(settings, environment)
    signals = _signals()
    address = await app.start()
    settle_memory()
    _announce(settings, address)
    first = await signals.get()
    # Ctrl-C means a person at a terminal: there is no load balancer to wait for.
    delay_s = settings.server.drain_delay_s if first is signal.SIGTERM else 0.0
    await let_end(app, delay_s, signals.get())


async def _serve_with_workers(settings: Settings, environment: Mapping[str, str]) -> None:
    signals = _signals()
    await Supervisor(settings, environment).run(signals, lambda address: _announce(settings, address))


def _signals() -> asyncio.Queue[signal.Signals]:
    """Returns where the signals to stop arrive from now on."""
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, number)
    return signals


def _announce(settings: Settings, address: str) -> None:
    if settings.server.exposed:
        sys.stderr.write(f"llmgateway: WARNING: PLAINTEXT on {address}: keys and prompts can be read on the way\n")
    sys.stderr.write(f"llmgateway is serving on {address}\n")
    sys.stderr.flush()


def _failed(error: Exception, exit_code: int) -> int:
    sys.stderr.write(f"llmgateway: {error}\n")
    return exit_code
