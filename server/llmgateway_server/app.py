"""The composition root: settings → parts → rings → door; and the order of starting and stopping."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO
from urllib.parse import urlsplit

from llmgateway_server import __version__, request_path
from llmgateway_server.admission.authenticate import Authenticator
from llmgateway_server.admission.gate import Gate
from llmgateway_server.admission.throttle import Throttle
from llmgateway_server.config.catalog import configured_models
from llmgateway_server.config.load import ConfigError, resolve_secret, secret_source
from llmgateway_server.config.settings import ProviderSettings, Settings
from llmgateway_server.contract import schema
from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.clock import Clock, SystemClock
from llmgateway_server.core.errors import RequestError
from llmgateway_server.core.reply import Opened
from llmgateway_server.core.requests import Operation
from llmgateway_server.core.secret import Secret
from llmgateway_server.core.targets import Model
from llmgateway_server.observe import metrics
from llmgateway_server.observe.counting import Counting
from llmgateway_server.observe.exposition import Exposition
from llmgateway_server.observe.log import logger
from llmgateway_server.observe.records import Records
from llmgateway_server.observe.statistics import Statistics
from llmgateway_server.observe.trace import tracing_from_environment
from llmgateway_server.pipeline.ring import RingGateway, attempt_ring, call_ring
from llmgateway_server.providers.egress.fetch import Egress
from llmgateway_server.providers.http_provider import Account, HttpProvider
from llmgateway_server.providers.keys import SET_ASIDE_S, KeyRing, ReadSecret
from llmgateway_server.providers.models import joined, vendor_models
from llmgateway_server.providers.provider import Provider
from llmgateway_server.providers.simulator.simulator import Simulator
from llmgateway_server.providers.vendors import SIMULATOR, VENDORS, Vendor
from llmgateway_server.providers.wire.connect import client_context
from llmgateway_server.providers.wire.http1 import Http1Wire
from llmgateway_server.providers.wire.httpx_wire import HttpxWire
from llmgateway_server.providers.wire.port import Origin, Wire, WireLimits
from llmgateway_server.routing.catalog import Catalog
from llmgateway_server.transport.server import Server
from llmgateway_server.transport.services.llm_gateway import LlmGatewayService
from llmgateway_server.transport.tls import TlsError, load_authorities

if TYPE_CHECKING:
    from llmgateway_server.http.door import HttpDoor

DEFAULT_PORTS = {"http": 80, "https": 443}
MIN_TOKEN_CHARS = 16
"""Of the token for metrics: nothing slows down whoever guesses."""


class App:
    """A gateway that can be started and stopped once.

    Args:
        settings: everything.
        environment: where secret references of the kind `env:` look.
        clock: time; the machine's by default.
        records_stream: where records go; standard output by default.

    Raises:
        ConfigError: a secret reference leads nowhere, or the default model is none.
    """

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str],
        *,
        clock: Clock | None = None,
        records_stream: TextIO | None = None,
    ) -> None:
        self.settings = settings
        self._environment = environment
        self._clock = clock or SystemClock()
        self._log = logger("app")
        self._gate = Gate(settings.gate)
        self._egress = Egress(settings.egress)
        self._providers = {name: self._provider(name, account) for name, account in settings.providers.items()}
        throttle = Throttle(settings.throttle, self._clock)
        catalog = self._catalog()
        counting = Counting(self._providers, catalog.models(), frozenset(SET_ASIDE_S))
        self.parts = request_path.Parts(
            settings=settings,
            clock=self._clock,
            records=Records(self._clock, records_stream, enabled=settings.records),
            statistics=Statistics(self._clock, counting),
            tracing=tracing_from_environment(),
            gate=self._gate,
            throttle=throttle,
            authenticator=Authenticator(
                settings.auth, self._secret(settings.auth.pepper, "auth.pepper"), throttle, self._clock
            ),
            catalog=catalog,
        )
        self._exposition = Exposition(
            counting,
            __version__,
            self._clock.wall_s(),
            {
                metrics.IN_FLIGHT: lambda: self._gate.in_flight,
                metrics.LOOP_LAG: lambda: self._gate.loop_lag_s,
                metrics.RECORDS_DROPPED: lambda: self.parts.records.dropped_count,
            },
        )
        self._server: Server | None = None
        self._http = self._http_door()
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
            raise ConfigError(
                "server.listen: beyond loopback everybody on the way reads keys and prompts: set server.tls, or"
                " server.insecure (--insecure) if something in front of the gateway has TLS"
            )
        schema.warm_up()
        attempts = attempt_ring(request_path.attempt_stages(parts), self._open_provider)
        gateway = RingGateway(
            call_ring(request_path.request_stages(parts), request_path.failover(parts, attempts).open)
        )
        service = LlmGatewayService(
            gateway=gateway,
            catalog=parts.catalog,
            statistics=parts.statistics,
            gate=self._gate,
            vendors={name: provider.vendor for name, provider in self._providers.items()},
            clock=self._clock,
            settings=settings.streams,
        )
        wanted = settings.server.reflection
        try:
            self._server = Server(
                settings.server,
                request_path.call_steps(parts),
                service,
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
        if self.http_address:
            self._log.info("serving metrics and probes", address=self.http_address)
        self._log.info("serving", address=address, providers=sorted(self._providers))
        return address

    async def drain(self, *, delay_s: float) -> None:
        """Lets running calls end, see `Server.drain`; then stops. Meanwhile metrics and probes are served."""
        self._not_ready = "draining"
        if self._server is not None:
            await self._server.drain(delay_s=delay_s)
        await self.stop()

    async def stop(self) -> None:
        """Ends everything now and writes what is left to write."""
        if self._server is not None:
            await self._server.stop()
        await self._gate.stop()
        if self._http is not None:
            await self._http.stop()
        for provider in self._providers.values():
            await provider.aclose()
        await self._egress.aclose()
        self.parts.records.flush()
        self._log.info("stopped")

    def _http_door(self) -> HttpDoor | None:
        settings = self.settings.http
        if not settings.listen:
            return None
        try:
            from llmgateway_server.http.door import HttpDoor
            from llmgateway_server.http.pages import Pages
        except ImportError as error:
            raise ConfigError(f"http.listen: the extra `http` is not installed, there is no {error.name}") from None
        token = self._secret(settings.metrics_token, "http.metrics_token")
        if token and len(token.reveal()) < MIN_TOKEN_CHARS:
            raise ConfigError(f"http.metrics_token: must have at least {MIN_TOKEN_CHARS} characters")
        pages = Pages(self._exposition.text, lambda: self._not_ready, token)
        return HttpDoor(settings, pages.application())

    def _open_provider(self, attempt: Attempt) -> Opened:
        return self._providers[attempt.target.provider].open(attempt)

    def _secret(self, reference: str, field: str) -> Secret:
        return resolve_secret(reference, self._environment, field)

    def _key_sources(self, name: str, account: ProviderSettings) -> tuple[ReadSecret, ...]:
        field = f"providers.{name}.api_key"
        references = {field: account.api_key} if account.api_key else {}
        references |= {f"{field}s[{i}]": reference for i, reference in enumerate(account.api_keys)}
        return tuple(secret_source(each, self._environment, where) for where, each in references.items())

    def _provider(self, name: str, account: ProviderSettings) -> Provider:
        if account.vendor == SIMULATOR:
            return Simulator(self._clock, name)
        vendor = VENDORS[account.vendor]
        url = urlsplit(account.address)
        if url.scheme not in DEFAULT_PORTS or not url.hostname or url.query or url.username:
            raise ConfigError(f"providers.{name}.base_url: must be an http or https address without a query")
        return HttpProvider(
            Account(
                name=name,
                vendor=vendor.name,
                path_prefix=url.path.rstrip("/"),
                quirks=vendor.quirks,
                dialects=tuple(dialect() for dialect in vendor.dialects),
                credentials=vendor.credentials,
                counting_dialect=vendor.counting_dialect,
                models=_vendor_models(name, vendor),
            ),
            _wire(
                Origin(url.scheme, url.hostname, url.port or DEFAULT_PORTS[url.scheme]),
                WireLimits(connect_timeout_s=self.settings.timeouts.connect_s),
                account.proxy,
                _trust(name, account) if url.scheme == "https" else None,
            ),
            KeyRing(name, self._key_sources(name, account), self._clock),
            self._egress,
            self._clock,
        )

    def _catalog(self) -> Catalog:
        models = joined(model for provider in self._providers.values() for model in provider.models())
        models += configured_models(self.settings.models, self._providers, models)
        defaults = {}
        if self.settings.default_model:
            defaults[Operation.COMPLETE] = defaults[Operation.COUNT_TOKENS] = self.settings.default_model
        for model in models:
            for operation in model.operations:
                defaults.setdefault(operation, model.name)
        catalog = Catalog(self._providers, models, defaults)
        if self.settings.default_model:
            try:
                catalog.describe(self.settings.default_model)
            except RequestError:
                raise ConfigError(f"default_model: there is no model {self.settings.default_model}") from None
        return catalog


def _vendor_models(provider: str, vendor: Vendor) -> tuple[Model, ...]:
    operations = frozenset({Operation.COUNT_TOKENS}.union(*(dialect.operations for dialect in vendor.dialects)))
    return vendor_models(provider, vendor.name, operations)


def _trust(name: str, account: ProviderSettings) -> ssl.SSLContext:
    """Returns TLS settings that trust the system's authorities and those of the account."""
    context = client_context(None)
    if account.ca_bundle:
        try:
            load_authorities(context, account.ca_bundle, f"providers.{name}.ca_bundle")
        except TlsError as error:
            raise ConfigError(str(error)) from None
    return context


def _wire(origin: Origin, limits: WireLimits, proxy: str, context: ssl.SSLContext | None) -> Wire:
    if proxy:
        return HttpxWire(origin, limits=limits, ssl_context=context, proxy=proxy)
    return Http1Wire(origin, limits=limits, ssl_context=context)
