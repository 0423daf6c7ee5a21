"""One worker as its parent sees it: a process, a channel, and whether it is heard of."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from llmgateway_server.core.clock import Clock
from llmgateway_server.observe.log import logger
from llmgateway_server.workers.channel import Channel
from llmgateway_server.workers.messages import Ask, Refused, Report, ReportNow, Setup, Started, Switch, ToParent

Heard = Callable[[Started | Report | Ask | Switch], None]
"""Is called with everything that a worker says, but why it cannot start."""


class State(StrEnum):
    """Where a worker is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    WAITING = "waiting"
    """It ended, and is replaced after a delay."""


@dataclass(slots=True, frozen=True)
class Pace:
    """What a worker is given time for, in seconds."""

    start_s: float = 60.0
    """To serve. Generous: at the start all workers share the cores."""
    silent_s: float = 30.0
    """Without a word, from one that serves: its event loop does not turn any more."""
    report_s: float = 1.0
    """To answer whoever asks for figures; after that its last report stands for it."""
    exit_s: float = 5.0
    """To exit after it hung up, or after it was told to end at once."""


@dataclass(slots=True, frozen=True)
class Ending:
    """How a worker ended."""

    exit_code: int
    """Negative: by that signal."""
    lived_s: float
    refused: Refused | None
    """Why it could not start, if it said so."""


class WorkerProcess:
    """A worker and its process. A process is executed, never forked: gRPC does not survive a fork.

    Args:
        number: is not used again.
        settings: of the worker, as JSON. Secrets may stand in them, so they go by the channel, not by an argument.
        environment: of the process.
        clock: for its patience.
        pace: likewise.
    """

    def __init__(self, number: int, settings: str, environment: Mapping[str, str], clock: Clock, pace: Pace) -> None:
        self.number = number
        self.pid = 0
        self.serving = False
        self._settings = settings
        self._environment = environment
        self._clock = clock
        self._pace = pace
        self._log = logger("workers")
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel[ToParent] | None = None
        self._quiet_s = 0.0
        self._refused: Refused | None = None
        self._reports: list[asyncio.Future[None]] = []

    async def live(self, heard: Heard) -> Ending:
        """Starts the process and returns when it has ended; it is killed when this is cancelled.

        Args:
            heard: is called with everything that the worker says.

        Raises:
            OSError: no process can be started.
        """
        began_s = self._clock.monotonic_s()
        process, channel = await self._started()
        self._process, self._channel = process, channel
        watch = asyncio.create_task(self._watch(process))
        try:
            channel.send(Setup(self._settings))
            while (message := await channel.receive()) is not None:
                self._quiet_s = 0.0
                self._take(message, heard)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pace.exit_s):
                    await process.wait()
        finally:
            self.serving = False
            watch.cancel()
            self.kill()
            channel.close()
            self._settle()
            await process.wait()
        lived_s = self._clock.monotonic_s() - began_s
        return Ending(process.returncode or 0, lived_s, self._refused)

    def send(self, message: object) -> None:
        """Says something to the worker, if it is there."""
        if self._channel is not None:
            self._channel.send(message)

    async def report(self) -> None:
        """Returns when the worker has reported what it has counted until now, is gone, or takes too long."""
        if not self.serving:
            return
        reported: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reports.append(reported)
        self.send(ReportNow())
        try:
            async with asyncio.timeout(self._pace.report_s):
                await reported
        except TimeoutError:
            self._log.warning("a worker does not report in time", pid=self.pid)

    def kill(self) -> None:
        """Ends the process without a word; what it counted since its last report is lost."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _started(self) -> tuple[asyncio.subprocess.Process, Channel[ToParent]]:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",
                    "-m",
                    "llmgateway_server.workers",
                    str(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=dict(self._environment),
                    start_new_session=True,  # a terminal's Ctrl-C goes to the parent alone
                )
            except OSError:
                ours.close()
                raise
        self.pid = process.pid
        return process, await Channel.over(ours, ToParent)

    def _take(self, message: ToParent, heard: Heard) -> None:
        match message:
            case Refused():
                self._refused = message
                return
            case Started():
                self.serving = True
            case Report(asked=True):
                heard(message)
                self._settle(most=1)
                return
            case _:
                pass
        heard(message)

    def _settle(self, most: int | None = None) -> None:
        """Tells whoever waits for a report that it is there, or will never be."""
        due, self._reports = self._reports[:most], self._reports[len(self._reports[:most]) :]
        for each in due:
            if not each.done():
                each.set_result(None)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Kills a worker that says nothing for too long.

        Ticks are counted instead of time: after a stop of the whole machine every worker would seem silent.
        """
        tick_s = 1.0
        while self._quiet_s <= (self._pace.silent_s if self.serving else self._pace.start_s):
            await self._clock.sleep(tick_s)
            self._quiet_s += tick_s
        self._log.error("a worker is silent and is killed", pid=process.pid, serving=self.serving)
        self.kill()
