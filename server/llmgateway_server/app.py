"""The composition root: settings → parts → rings → door; and the order of starting and stopping."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import TextIO
from urllib.parse import urlsplit

from llmgateway_server import request_path
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
from llmgateway_server.observe.log import logger
from llmgateway_server.observe.records import Records
from llmgateway_server.observe.statistics import Statistics
from llmgateway_server.observe.trace import tracing_from_environment
from llmgateway_server.pipeline.ring import RingGateway, attempt_ring, call_ring
from llmgateway_server.providers.egress.fetch import Egress
from llmgateway_server.providers.http_provider import Account, HttpProvider
from llmgateway_server.providers.keys import KeyRing, ReadSecret
from llmgateway_server.providers.models import joined, vendor_models
from llmgateway_server.providers.provider import Provider
from llmgateway_server.providers.simulator.simulator import Simulator
from llmgateway_server.providers.vendors import SIMULATOR, VENDORS, Vendor
from llmgateway_server.providers.wire.http1 import Http1Wire
from llmgateway_server.providers.wire.httpx_wire import HttpxWire
from llmgateway_server.providers.wire.port import Origin, Wire, WireLimits
from llmgateway_server.routing.catalog import Catalog
from llmgateway_server.transport.server import Server
from llmgateway_server.transport.services.llm_gateway import LlmGatewayService

DEFAULT_PORTS = {"http": 80, "https": 443}


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
        self.parts = request_path.Parts(
            settings=settings,
            clock=self._clock,
            records=Records(self._clock, records_stream, enabled=settings.records),
            statistics=Statistics(self._clock),
            tracing=tracing_from_environment(),
            gate=self._gate,
            throttle=throttle,
            authenticator=Authenticator(
                settings.auth.keys, self._secret(settings.auth.pepper, "auth.pepper"), throttle, self._clock
            ),
            catalog=self._catalog(),
        )
        self._server: Server | None = None

    async def start(self) -> str:
        """Starts serving and returns the address that was bound.

        Raises:
            OSError: the address cannot be bound.
        """
        schema.warm_up()
        parts, settings = self.parts, self.settings
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
        self._server = Server(
            settings.server,
            request_path.call_steps(parts),
            service,
            settings.gate.max_in_flight,
            reflection=(not settings.auth.keys and settings.open_allowed) if wanted is None else wanted,
        )
        address = await self._server.start()
        self._gate.start()
        self._log.info("serving", address=address, providers=sorted(self._providers))
        return address

    async def drain(self, *, delay_s: float) -> None:
        """Lets running calls end, see `Server.drain`; then stops."""
        if self._server is not None:
            await self._server.drain(delay_s=delay_s)
        await self.stop()

    async def stop(self) -> None:
        """Ends everything now and writes what is left to write."""
        if self._server is not None:
            await self._server.stop()
        await self._gate.stop()
        for provider in self._providers.values():
            await provider.aclose()
        await self._egress.aclose()
        self.parts.records.flush()
        self._log.info("stopped")

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


def _wire(origin: Origin, limits: WireLimits, proxy: str) -> Wire:
    context = None
    if origin.scheme == "https":
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    if proxy:
        return HttpxWire(origin, limits=limits, ssl_context=context, proxy=proxy)
    return Http1Wire(origin, limits=limits, ssl_context=context)
