"""Runs a gateway until it is told to stop: in this process, or as the parent of its workers."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Mapping

from llmgateway_server.app import App
from llmgateway_server.cli.problems import EXIT_FAILED, Problem, misconfigured
from llmgateway_server.config.environment import not_understood
from llmgateway_server.config.load import ConfigError
from llmgateway_server.config.settings import Settings
from llmgateway_server.observe import log
from llmgateway_server.workers.lifetime import let_end, run_loop, settle_memory
from llmgateway_server.workers.supervisor import StartError, Supervisor

__all__ = ["run", "run_loop"]


def run(settings: Settings, environment: Mapping[str, str], *, as_json: bool = False) -> None:
    """Serves until SIGTERM or SIGINT.

    Args:
        settings: of the gateway.
        environment: where secret references look.
        as_json: every line on standard error is a JSON object, whatever `log.format` says.

    Raises:
        Problem: it cannot start.
    """
    if as_json:
        told = settings.log.model_copy(update={"format": "json"})
        settings = settings.model_copy(update={"log": told})
    log.configure(settings.log)
    if unknown := not_understood(environment):
        log.logger("config").warning("environment variables are not understood yet", names=unknown)

    def announce(address: str) -> None:
        (_announce_json if as_json else _announce)(address, exposed=settings.server.exposed)

    serve = _serve_with_workers if settings.server.workers > 1 else _serve
    try:
        run_loop(serve(settings, environment, announce))
    except ConfigError as error:
        raise misconfigured(error) from None
    except OSError as error:
        raise _not_started(error, EXIT_FAILED) from None
    except StartError as error:
        raise _not_started(error, error.exit_code) from None


async def _serve(settings: Settings, environment: Mapping[str, str], announce: Callable[[str], None]) -> None:
    app = App(settings, environment)
    signals = _signals()
    address = await app.start()
    settle_memory()
    announce(address)
    first = await signals.get()
    # Ctrl-C means a person at a terminal: there is no load balancer to wait for.
    delay_s = settings.server.drain_delay_s if first is signal.SIGTERM else 0.0
    await let_end(app, delay_s, signals.get())


async def _serve_with_workers(
    settings: Settings, environment: Mapping[str, str], announce: Callable[[str], None]
) -> None:
    signals = _signals()
    await Supervisor(settings, environment).run(signals, announce)


def _signals() -> asyncio.Queue[signal.Signals]:
    """Returns where the signals to stop arrive from now on."""
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, number)
    return signals


def _announce(address: str, *, exposed: bool) -> None:
    if exposed:
        sys.stderr.write(f"llmgateway: WARNING: PLAINTEXT on {address}: keys and prompts can be read on the way\n")
    sys.stderr.write(f"llmgateway is serving on {address}\n")
    sys.stderr.flush()


def _announce_json(address: str, *, exposed: bool) -> None:
    """As `_announce`; `plaintext` says that keys and prompts can be read on the way."""
    line = {"event": "ready", "level": "warning" if exposed else "info", "address": address, "plaintext": exposed}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


def _not_started(error: Exception, exit_code: int) -> Problem:
    return Problem("START", "UNAVAILABLE", str(error), exit_code)
