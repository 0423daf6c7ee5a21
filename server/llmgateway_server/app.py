"""The composition root: settings → parts → rings → door; and the order of starting and stopping."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, TextIO

from llmgateway_server import __version__, request_path
from llmgateway_server.admission.authenticate import Authenticator
from llmgateway_server.admission.gate import Gate
from llmgateway_server.admission.throttle import Throttle
from llmgateway_server.attempts.breakers import Breakers
from llmgateway_server.attempts.drained import DrainLog
from llmgateway_server.attempts.meter import Meter
from llmgateway_server.config import accounts, catalog, doors, telemetry
from llmgateway_server.config.load import ConfigError, resolve_secret
from llmgateway_server.config.settings import Settings
from llmgateway_server.contract import admin_in, schema
from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.clock import Clock, SystemClock
from llmgateway_server.core.reply import Opened
from llmgateway_server.core.secret import Secret
from llmgateway_server.http.settings import HttpSettings
from llmgateway_server.observe import metrics
from llmgateway_server.observe.counting import Counting
from llmgateway_server.observe.events import Events
from llmgateway_server.observe.exposition import Exposition
from llmgateway_server.observe.figures import FiguresSource, OwnFigures
from llmgateway_server.observe.log import logger
from llmgateway_server.observe.records import Records
from llmgateway_server.observe.statistics import Statistics
from llmgateway_server.observe.trace import tracing_from_environment
from llmgateway_server.operators.breaker_news import BreakerNews, worst_states
from llmgateway_server.operators.circuits import circuits
from llmgateway_server.operators.examination import Examiner, Subject
from llmgateway_server.operators.explanation import Explainer
from llmgateway_server.operators.switching import Switchboard, TellOthers
from llmgateway_server.pipeline.ring import RingGateway, attempt_ring, call_ring
from llmgateway_server.providers.drain import Drained, Drainer
from llmgateway_server.providers.egress.fetch import Egress
from llmgateway_server.providers.http_provider import HttpProvider
from llmgateway_server.providers.keys import SET_ASIDE_S
from llmgateway_server.providers.vendors import SIMULATOR
from llmgateway_server.providers.wire.port import WireLimits
from llmgateway_server.routing.checks import Checks
from llmgateway_server.routing.cooldown import Cooldowns
from llmgateway_server.routing.failover import Routes
from llmgateway_server.routing.plan import Planner
from llmgateway_server.routing.retry_budget import RetryBudgets
from llmgateway_server.routing.standing import Standings
from llmgateway_server.routing.switches import Switches
from llmgateway_server.transport.server import Server
from llmgateway_server.transport.services.admin import AdminService
from llmgateway_server.transport.services.llm_gateway import LlmGatewayService
from llmgateway_server.transport.tls import TlsError

if TYPE_CHECKING:
    from llmgateway_server.http.door import HttpDoor

LETTING_GO_S = 1.0
"""How long calls that were cut may take to let everything go and to be recorded; a stop waits no longer."""


class App:
    """A gateway that can be started and stopped once.

    Args:
        settings: everything.
        environment: where secret references of the kind `env:` look.
        clock: time; the machine's by default.
        records_stream: where records go; standard output by default.
        figures: what `Metrics` and `Health` answer with; those of this process by default.
        tell_others: tells the other workers what an operator switched; by default there are none.

    Raises:
        ConfigError: a secret reference leads nowhere, a file or an address cannot be used, a package is not installed,
            or the catalogue cannot be made. The first is told; `load_usable` tells all of them with their places.
    """

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str],
        *,
        clock: Clock | None = None,
        records_stream: TextIO | None = None,
        figures: FiguresSource | None = None,
        tell_others: TellOthers = lambda *_: None,
    ) -> None:
        self.settings = settings
        self._environment = environment
        self._clock = clock or SystemClock()
        self._log = logger("app")
        self._gate = Gate(settings.gate)
        self._egress = Egress(settings.egress)
        limits = WireLimits(connect_timeout_s=settings.timeouts.connect_s)
        self._events = Events(self._clock)
        self._drainer = Drainer(settings.after_cancel, self._clock, self._drain_ended)
        shared = accounts.Shared(self._egress, self._clock, self._events.tell, self._drainer)
        self._providers = {
            name: accounts.provider(name, account, environment, limits, shared)
            for name, account in settings.providers.items()
        }
        throttle = Throttle(settings.throttle, self._clock)
        self._export = telemetry.export(settings.telemetry, environment)
        tracing = self._export.tracing if self._export is not None else tracing_from_environment()
        tracing.introduce(telemetry.surroundings(settings, self._clock))
        models = catalog.catalog(settings, self._providers)
        self._counting = counting = Counting(self._providers, models.models(), frozenset(SET_ASIDE_S))
        self._drain_log = DrainLog(counting.drained)
        self.parts = request_path.Parts(
            settings=settings,
            clock=self._clock,
            records=Records(
                self._clock,
                records_stream,
                enabled=settings.records,
                content=telemetry.content_log(settings.telemetry),
            ),
            statistics=Statistics(self._clock, counting),
            tracing=tracing,
            gate=self._gate,
            throttle=throttle,
            authenticator=Authenticator(
                settings.auth, self._secret(settings.auth.pepper, "auth.pepper"), throttle, self._clock
            ),
            catalog=models,
            routes=self._routes(settings, BreakerNews(counting, self._events, self._clock)),
        )
        routes = self.parts.routes
        self.switchboard = Switchboard(models, routes.switches, self._providers, self._events, tell_others)
        self.checks = self._health_checks(settings)
        self._figures = figures or OwnFigures(
            self.parts.statistics, lambda: self._gate.in_flight, lambda: circuits(routes.breakers)
        )
        self.exposition = Exposition(
            counting,
            __version__,
            self._clock.wall_s(),
            {
                metrics.DRAINS_IN_FLIGHT: lambda: self._drainer.in_flight,
                metrics.IN_FLIGHT: lambda: self._gate.in_flight,
                metrics.LOOP_LAG: lambda: self._gate.loop_lag_s,
                metrics.RECORDS_DROPPED: lambda: self.parts.records.dropped_count,
                metrics.SPANS_DROPPED: lambda: self._export.queue.dropped_count if self._export is not None else 0,
            },
            {metrics.BREAKER_STATE: lambda: worst_states(routes.breakers, self._providers)},
        )
        self._server: Server | None = None
        self._http = http_door(settings.http, environment, self._metrics_page, lambda: self._not_ready)
        self._not_ready = "starting"
        self.http_address = ""
        """Address and port of the HTTP door once it serves; empty without one."""

    async def start(self) -> str:
        """Starts serving and returns the address that was bound.

        Raises:
            ConfigError: plaintext beyond loopback that nobody asked for, or files of TLS that cannot be used.
            OSError: the address cannot be bound.
        """
        parts, settings = self.parts, self.settings
        if settings.server.exposed and not settings.server.insecure:
            raise ConfigError(f"server.listen: {doors.PLAINTEXT}")
        schema.warm_up()
        admin_in.warm_up()
        attempts = attempt_ring(request_path.attempt_stages(parts), parts.tracing.watching(self._open_provider))
        gateway = RingGateway(
            call_ring(request_path.request_stages(parts), request_path.failover(parts, attempts).open)
        )
        service = LlmGatewayService(
            gateway=gateway,
            catalog=parts.catalog,
            figures=self._figures,
            gate=self._gate,
            vendors={name: provider.vendor for name, provider in self._providers.items()},
            clock=self._clock,
            settings=settings.streams,
        )
        subjects = {name: Subject(account.vendor, account.address) for name, account in settings.providers.items()}
        admin = AdminService(
            examiner=Examiner(gateway, parts.catalog, subjects, self._clock),
            explainer=Explainer(parts.catalog, parts.routes),
            switchboard=self.switchboard,
            breakers=parts.routes.breakers,
            providers=self._providers,
            events=self._events,
            figures=self._figures,
            clock=self._clock,
            worker_count=settings.server.workers,
        )
        wanted = settings.server.reflection
        try:
            self._server = Server(
                settings.server,
                request_path.call_steps(parts),
                (service, admin),
                settings.gate.max_in_flight,
                reflection=(settings.auth.anybody and settings.open_allowed) if wanted is None else wanted,
            )
        except TlsError as error:
            raise ConfigError(str(error)) from None
        if self._http is not None:
            self.http_address = await self._http.start()
        try:
            address = await self._server.start()
        except OSError:
            if self._http is not None:
                await self._http.stop()
            raise
        self._not_ready = ""
        self._gate.start()
        for provider in self._providers.values():
            if isinstance(provider, HttpProvider):
                provider.warm_up()
        self.checks.start()
        if self._export is not None:
            self._export.queue.start()
        if self.http_address:
            self._log.info("serving metrics and probes", address=self.http_address)
        self._log.info("serving", address=address, providers=sorted(self._providers))
        return address

    async def drain(self, *, delay_s: float) -> None:
        """Lets running calls end, see `Server.drain`; then stops. Meanwhile metrics and probes are served."""
        self._not_ready = "draining"
        self._events.begin_drain()
        if self._server is not None:
            await self._server.drain(delay_s=delay_s)
        await self.stop()

    async def stop(self) -> None:
        """Ends everything now and writes what is left to write."""
        await self.checks.stop()
        if self._server is not None:
            await self._server.stop()
        await self._gate.empty(LETTING_GO_S)
        await self._gate.stop()
        if self._http is not None:
            await self._http.stop()
        await self._drainer.aclose()
        for provider in self._providers.values():
            await provider.aclose()
        await self._egress.aclose()
        self.parts.records.flush()
        if self._export is not None:
            await asyncio.to_thread(self._export.queue.stop)
        self._log.info("stopped")

    def _routes(self, settings: Settings, breaker_news: BreakerNews) -> Routes:
        clock, rng = self._clock, Random()
        standings = Standings(clock, settings.routing.half_life_s, settings.routing.slow_first_token_s)
        breakers = Breakers(settings.breakers, clock, rng, breaker_news)
        cooldowns, switches = Cooldowns(clock), Switches()
        planner = Planner(
            settings=settings.routing,
            standings=standings,
            breakers=breakers,
            cooldowns=cooldowns,
            switches=switches,
            clock=clock,
            rng=rng,
        )
        return Routes(planner, standings, breakers, RetryBudgets(), cooldowns, switches, clock, rng)

    def _health_checks(self, settings: Settings) -> Checks:
        """Returns what asks targets that failed: through the attempt ring, without what records and charges."""
        parts, simulated = self.parts, {name for name, each in self._providers.items() if each.vendor == SIMULATOR}
        return Checks(
            settings.health_checks,
            models=parts.catalog.models(),
            routes=parts.routes,
            stages=[stage for stage in request_path.attempt_stages(parts) if not isinstance(stage, Meter)],
            open_provider=self._open_provider,
            free={name: each for name, each in self._providers.items() if isinstance(each, HttpProvider)},
            passed_over=frozenset() if settings.health_checks.simulator else simulated,
            found=self._counting.health_checked,
        )

    def _drain_ended(self, drained: Drained) -> None:
        self._drain_log.ended(drained)

    async def _metrics_page(self) -> bytes:
        return self.exposition.text()

    def _open_provider(self, attempt: Attempt) -> Opened:
        return self._providers[attempt.target.provider].open(attempt)

    def _secret(self, reference: str, field: str) -> Secret:
        return resolve_secret(reference, self._environment, field)


def http_door(
    settings: HttpSettings,
    environment: Mapping[str, str],
    metrics_page: Callable[[], Awaitable[bytes]],
    not_ready: Callable[[], str],
) -> HttpDoor | None:
    """Returns the HTTP door, not yet open; None where no address is configured.

    Args:
        settings: its address and token.
        environment: where the token's reference looks.
        metrics_page: makes the page of metrics.
        not_ready: returns why no calls are taken, as one word; empty when they are.

    Raises:
        ConfigError: its packages are not installed, or its token leads nowhere or is too short.
    """
    if not settings.listen:
        return None
    doors.check_http_extra()
    from llmgateway_server.http.door import HttpDoor
    from llmgateway_server.http.pages import Pages

    token = doors.metrics_token(settings, environment)
    return HttpDoor(settings, Pages(metrics_page, not_ready, token).application())
