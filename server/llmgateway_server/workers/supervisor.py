"""The parent: holds the address, keeps its workers alive, answers for all of them, and ends with them.

It serves no call and never starts gRPC.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import Any

from llmgateway_server.app import http_door
from llmgateway_server.config.settings import Settings
from llmgateway_server.core.clock import Clock, SystemClock
from llmgateway_server.observe.log import logger
from llmgateway_server.transport.listen import Reservation
from llmgateway_server.workers.backoff import Backoff
from llmgateway_server.workers.messages import Answer, Ask, Drain, End, Question, Report, Started, Switch
from llmgateway_server.workers.process import Ending, Pace, State, WorkerProcess
from llmgateway_server.workers.rounds import Rounds
from llmgateway_server.workers.shares import share_of
from llmgateway_server.workers.totals import Totals

MOST_FALSE_STARTS = 3
"""Of one worker, before any has served: what keeps the first from starting will keep the others."""
EXIT_FAILED = 1
LATE_S = 10.0
"""How long after the grace workers are waited for before they are ended."""


class StartError(Exception):
    """No worker can start.

    Attributes:
        exit_code: of the parent.
    """

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class Supervisor:
    """A gateway of several processes.

    Args:
        settings: of the gateway.
        environment: where secret references look, here and in the workers.
        clock: time; the machine's by default.
        pace: what workers are given time for.

    Raises:
        ConfigError: the HTTP door cannot be made as it is configured.
    """

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str],
        *,
        clock: Clock | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._clock = clock or SystemClock()
        self._pace = pace or Pace()
        self._log = logger("workers")
        self._totals = Totals(self._clock)
        self._rounds = Rounds(self._report_all)
        self._numbers = count(1)
        self._workers: dict[int, WorkerProcess] = {}
        """Those that have a process, by slot."""
        self._states: dict[int, str] = {}
        self._off: dict[tuple[str, str], Switch] = {}
        """What operators have switched off, by account and upstream model."""
        self._draining = False
        self._served = asyncio.Event()
        self._all_serve = asyncio.Event()
        self._answers: set[asyncio.Task[None]] = set()
        self._http = http_door(settings.http, environment, self.page, self.not_ready)
        self.http_address = ""
        """Address and port of the HTTP door once it is open; empty without one."""

    @property
    def pids(self) -> list[int]:
        """Processes of the workers that serve."""
        return [worker.pid for worker in self._workers.values() if worker.serving]

    async def page(self) -> bytes:
        """Returns the page of metrics, with what all workers have counted until now."""
        await self._rounds.after_now()
        return self._totals.page()

    def not_ready(self) -> str:
        """Returns why no calls are taken, as one word; empty while one worker serves."""
        if self._draining:
            return "draining"
        return "" if self.pids else "starting"

    async def run(self, signals: asyncio.Queue[signal.Signals], serving: Callable[[str], None]) -> None:
        """Serves until the first signal, drains, and ends at once with the second.

        Args:
            signals: that the process received.
            serving: is called with the address when all workers serve.

        Raises:
            OSError: an address cannot be bound, or no process can be started.
            StartError: no worker can start.
        """
        reservation = Reservation(self._settings.server.listen)
        try:
            if self._http is not None:
                self.http_address = await self._http.start()
                self._log.info("serving metrics and probes", address=self.http_address)
            try:
                await self._run(reservation.address, signals, serving)
            finally:
                if self._http is not None:
                    await self._http.stop()
        finally:
            reservation.close()

    async def _run(self, address: str, signals: asyncio.Queue[signal.Signals], serving: Callable[[str], None]) -> None:
        share = share_of(self._settings, address).model_dump_json()
        slots = [
            asyncio.create_task(self._keep(slot, share), name=f"worker-{slot}")
            for slot in range(1, self._settings.server.workers + 1)
        ]
        first = asyncio.create_task(signals.get())
        ready = asyncio.create_task(self._all_serve.wait())
        try:
            await asyncio.wait({first, ready, *slots}, return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                serving(address)
                await asyncio.wait({first, *slots}, return_when=asyncio.FIRST_COMPLETED)
            if first.done():
                await self._drain(slots, first.result(), signals)
                return
            for slot in slots:
                if slot.done():
                    slot.result()
        finally:
            for each in (first, ready, *slots, *self._answers):
                each.cancel()
            await asyncio.gather(first, ready, *slots, *self._answers, return_exceptions=True)
            self._log.info("stopped")

    async def _keep(self, slot: int, share: str) -> None:
        """Keeps one worker alive until the gateway drains."""
        backoff = Backoff()
        for starts in count(1):
            worker = self._workers[slot] = WorkerProcess(
                next(self._numbers), share, self._environment, self._clock, self._pace
            )
            self._became(slot, State.STARTING)
            try:
                ending = await worker.live(partial(self._heard, slot, worker))
            except OSError:  # there are no more processes, or descriptors; there may be again
                if not self._served.is_set():
                    raise
                ending = Ending(EXIT_FAILED, 0.0, None)
            finally:
                self._totals.forget(worker.number)
                del self._workers[slot]
                self._became(slot, "")
            if self._draining:
                return
            self._judge(ending, starts)
            delay_s = backoff.after(ending.lived_s)
            self._became(slot, State.WAITING)
            self._totals.counting.worker_restarted()
            self._log.warning(
                "a worker ended",
                pid=worker.pid,
                exit_code=ending.exit_code,
                lived_s=round(ending.lived_s, 1),
                cause=ending.refused.text if ending.refused is not None else None,
                restart_in_s=delay_s,
            )
            await self._clock.sleep(delay_s)

    def _judge(self, ending: Ending, starts: int) -> None:
        """Gives up when no worker has ever served and this one gives no hope."""
        if self._served.is_set():
            return
        if ending.refused is not None:
            raise StartError(ending.refused.text, ending.refused.exit_code)
        if starts >= MOST_FALSE_STARTS:
            raise StartError(f"a worker ended {starts} times before it served, with {ending.exit_code}", EXIT_FAILED)

    def _heard(self, slot: int, worker: WorkerProcess, message: Started | Report | Ask | Switch) -> None:
        match message:
            case Switch():
                self._switched(worker, message)
            case Started():
                for switch in self._off.values():
                    worker.send(switch)
                self._became(slot, State.SERVING)
                self._served.set()
                if len(self.pids) == self._settings.server.workers:
                    self._all_serve.set()
            case Report():
                self._totals.absorb(worker.number, message)
            case Ask():
                answering = asyncio.create_task(self._answer(worker, message))
                self._answers.add(answering)
                answering.add_done_callback(self._answers.discard)

    def _switched(self, teller: WorkerProcess, switch: Switch) -> None:
        """Passes on what an operator switched at one worker, and keeps what is off for those that start later."""
        place = switch.provider, switch.upstream_model
        if switch.enabled:
            self._off.pop(place, None)
        else:
            self._off[place] = switch
        for worker in self._workers.values():
            if worker is not teller:
                worker.send(switch)

    async def _answer(self, worker: WorkerProcess, ask: Ask) -> None:
        await self._rounds.after_now()
        view = None
        match ask.question:
            case Question.OVER:
                view = self._totals.over(ask.period)
            case Question.RECENT:
                view = self._totals.recent()
            case Question.RESET:
                self._totals.reset()
        worker.send(Answer(ask.number, view))

    async def _report_all(self) -> None:
        await asyncio.gather(*(worker.report() for worker in self._workers.values()))

    async def _drain(
        self, slots: list[asyncio.Task[None]], first: signal.Signals, signals: asyncio.Queue[signal.Signals]
    ) -> None:
        """Ends all workers together: those that serve get their grace, the others have nothing to end."""
        self._draining = True
        server = self._settings.server
        # Ctrl-C means a person at a terminal: there is no load balancer to wait for.
        delay_s = server.drain_delay_s if first is signal.SIGTERM else 0.0
        for slot, task in enumerate(slots, 1):
            worker = self._workers.get(slot)
            if worker is not None and worker.serving:
                self._became(slot, State.DRAINING)
                worker.send(Drain(delay_s))
            else:
                task.cancel()
        ended: asyncio.Future[Any] = asyncio.gather(*slots, return_exceptions=True)
        second: asyncio.Future[Any] = asyncio.create_task(signals.get())
        await asyncio.wait(
            {ended, second}, timeout=delay_s + server.grace_s + LATE_S, return_when=asyncio.FIRST_COMPLETED
        )
        second.cancel()
        if not ended.done():
            for worker in self._workers.values():
                worker.send(End())
            await asyncio.wait({ended}, timeout=self._pace.exit_s)

    def _became(self, slot: int, state: str) -> None:
        before = self._states.get(slot, "")
        self._states[slot] = state
        self._totals.counting.worker_became(state, before)
