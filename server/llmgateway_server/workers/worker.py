"""A worker: a whole gateway without an HTTP door of its own, which does what its parent says."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from typing import Self, TextIO, cast

from llmgateway_server.app import App
from llmgateway_server.config.load import ConfigError
from llmgateway_server.config.settings import Settings
from llmgateway_server.observe import log
from llmgateway_server.workers.channel import Channel
from llmgateway_server.workers.descriptors import opened_high
from llmgateway_server.workers.lifetime import let_end, run_loop, settle_memory
from llmgateway_server.workers.lines import WholeLines
from llmgateway_server.workers.messages import (
    Answer,
    Drain,
    End,
    Refused,
    Report,
    ReportNow,
    Setup,
    Started,
    Switch,
    ToWorker,
)
from llmgateway_server.workers.shared_figures import SharedFigures

REPORT_S = 1.0
"""How often a worker reports by itself; what a killed one had counted since is lost."""
LAST_WORDS_S = 1.0
EXIT_FAILED = 1
EXIT_CONFIG = 2


def main() -> int:
    """Runs a worker on the descriptor that the command line names, and returns its exit code."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    return run_loop(_run(connection))


async def _run(connection: socket.socket) -> int:
    loop = asyncio.get_running_loop()
    # Ctrl-C in a terminal is the parent's matter.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    channel: Channel[ToWorker] = await Channel.over(connection, ToWorker)
    try:
        setup = await channel.receive()
        if not isinstance(setup, Setup):
            return EXIT_FAILED
        settings = Settings.model_validate_json(setup.settings)
        log.configure(settings.log)
        try:
            worker = await Worker.started(settings, channel)
        except ConfigError as error:
            channel.send(Refused(EXIT_CONFIG, str(error)))
            return EXIT_CONFIG
        except OSError as error:
            channel.send(Refused(EXIT_FAILED, str(error)))
            return EXIT_FAILED
        loop.add_signal_handler(signal.SIGTERM, worker.drain, settings.server.drain_delay_s)
        channel.send(Started())
        await worker.serve()
        return 0
    finally:
        await channel.flush(LAST_WORDS_S)
        channel.close()


class Worker:
    """A gateway that serves, and its parent.

    Args:
        app: serves.
        channel: to the parent.
        figures: which `app` answers with.
    """

    def __init__(self, app: App, channel: Channel[ToWorker], figures: SharedFigures) -> None:
        self._app = app
        self._channel = channel
        self._figures = figures
        self._drain: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._end = asyncio.Event()

    @classmethod
    async def started(cls, settings: Settings, channel: Channel[ToWorker]) -> Self:
        """Starts the gateway.

        Raises:
            ConfigError: see `App`.
            OSError: the address cannot be bound.
        """
        figures = SharedFigures(channel.send)
        records = cast("TextIO", WholeLines(sys.stdout.fileno()))
        app = App(
            settings,
            os.environ,
            records_stream=records,
            figures=figures,
            tell_others=lambda *switched: channel.send(Switch(*switched)),
        )
        with opened_high():
            await app.start()
        settle_memory()
        return cls(app, channel, figures)

    def drain(self, delay_s: float) -> None:
        """Begins to end; to be told twice, as by a service manager that signals every process, changes nothing."""
        if not self._drain.done():
            self._drain.set_result(delay_s)

    async def serve(self) -> None:
        """Serves until it is told to end, or until the parent is gone."""
        helpers = {asyncio.create_task(self._listen()), asyncio.create_task(self._report_regularly())}
        delay_s = await self._drain
        await let_end(self._app, delay_s, self._end.wait())
        self._report(asked=False)
        for each in helpers:
            each.cancel()
        await asyncio.wait(helpers)

    async def _listen(self) -> None:
        while (message := await self._channel.receive()) is not None:
            match message:
                case ReportNow():
                    self._report(asked=True)
                case Answer():
                    self._figures.answered(message)
                case Switch(provider, upstream_model, enabled):
                    self._app.switchboard.turn(provider, upstream_model, enabled=enabled)
                case Drain(delay_s):
                    self.drain(delay_s)
                case End():
                    self._end.set()
                    self.drain(0.0)
                case Setup():
                    pass
        # Nobody restarts what ends now, and a new parent needs the address at once.
        self.drain(0.0)

    async def _report_regularly(self) -> None:
        while True:
            await asyncio.sleep(REPORT_S)
            if not self._channel.clogged:
                self._report(asked=False)

    def _report(self, *, asked: bool) -> None:
        self._channel.send(Report(self._app.parts.statistics.take(), self._app.exposition.readings(), asked))
