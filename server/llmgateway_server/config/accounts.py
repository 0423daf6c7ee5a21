"""The accounts of the configuration: what each is, where it is, whom it trusts, and the keys it calls with.

Nothing here connects to anything.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from llmgateway_server.config import credentials
from llmgateway_server.config.mistakes import ConfigError
from llmgateway_server.config.settings import ProviderSettings
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.requests import Operation
from llmgateway_server.providers.credentials.source import Credential
from llmgateway_server.providers.drain import Drainer
from llmgateway_server.providers.egress.fetch import Egress
from llmgateway_server.providers.handler import HandlerAccount, HandlerProvider
from llmgateway_server.providers.handlers import HandlerError, Request
from llmgateway_server.providers.handlers.load import PYTHON, Form, Handler, NotUsable, load
from llmgateway_server.providers.http_provider import Account, HttpProvider
from llmgateway_server.providers.keys import KeyRing, Tell
from llmgateway_server.providers.models import vendor_models
from llmgateway_server.providers.provider import Provider
from llmgateway_server.providers.simulator.simulator import Simulator
from llmgateway_server.providers.vendors import SIMULATOR, VENDORS
from llmgateway_server.providers.wire.connect import client_context
from llmgateway_server.providers.wire.http1 import Http1Wire
from llmgateway_server.providers.wire.httpx_wire import HttpxWire
from llmgateway_server.providers.wire.port import Origin, Wire, WireLimits
from llmgateway_server.transport.tls import TlsError, load_authorities

SENT_AS_IS = re.compile(r"[!-~]*")
"""Paths that can stand in the head of a request."""
NOWHERE = Origin("http", "localhost", 80)
"""Of accounts that are only looked at."""


class Address(NamedTuple):
    """Where an account's API is."""

    origin: Origin
    path_prefix: str
    """Path of the base URL without a trailing slash, for example `/v1`."""


class Shared(NamedTuple):
    """What all accounts have in common."""

    egress: Egress
    clock: Clock
    key_set_aside: Tell = lambda _: None
    drainer: Drainer | None = None


def provider(
    name: str, account: ProviderSettings, environment: Mapping[str, str], limits: WireLimits, shared: Shared
) -> Provider:
    """Returns an account, ready to be called.

    Args:
        name: of the account.
        account: its settings.
        environment: where secret references look.
        limits: bounds of its wire.
        shared: what it shares with the others.

    Raises:
        ConfigError: a reference leads nowhere, or an address, a file or a handler cannot be used.
    """
    if account.vendor == SIMULATOR:
        return Simulator(shared.clock, name)
    if account.handled:
        keys = credentials.api_keys(name, account, environment)
        return _handler_provider(name, account, handler_of(name, account), keys, shared)
    vendor = VENDORS[account.vendor]
    address, context = address_of(name, account), trust(name, account)
    check_proxy(name, account)

    def wire_to(origin: Origin) -> Wire:
        """Returns a wire to whoever gives tokens: what answers in plaintext is near, and no proxy leads there."""
        return _wire(account.proxy if origin.scheme == "https" else "", origin, limits, context)

    keys = credentials.api_keys(name, account, environment, vendor.authorize)
    surroundings = credentials.Surroundings(environment, address.origin, shared.clock, wire_to)
    keys += credentials.of_clouds(name, account, surroundings)
    wire = _wire(account.proxy, address.origin, limits, context)
    wanted = account.drain_on_cancel
    drains = (vendor.bills_on_abort and not account.proxy) if wanted is None else wanted
    described = _described(name, account, address.path_prefix)
    return _http_provider(described, wire, keys, shared, drains=drains)


def looked_at(name: str, account: ProviderSettings, shared: Shared) -> Provider:
    """Returns an account as the catalogue sees it, whatever is wrong with its address, files, handler and keys."""
    if account.vendor == SIMULATOR:
        return Simulator(shared.clock, name)
    if account.handled:
        return _handler_provider(name, account, NOBODY, (), shared)
    return _http_provider(_described(name, account, ""), Http1Wire(NOWHERE), (), shared)


def handler_of(name: str, account: ProviderSettings) -> Handler:
    """Returns the handler of an account; its module is imported.

    Raises:
        ConfigError: there is none, it cannot be imported, or it is nothing that can be asked.
    """
    field = "handler" if account.vendor == PYTHON else "vendor"
    try:
        return load(account.vendor, account.handler, account.threads)
    except NotUsable as error:
        raise ConfigError(f"providers.{name}.{field}: {error}") from None


def address_of(name: str, account: ProviderSettings) -> Address:
    """Returns where an account of an HTTP vendor is.

    Raises:
        ConfigError: the base URL is none that a request can be sent to.
    """
    try:
        url, origin = urlsplit(account.address), credentials.origin_of(account.address)
        if url.query or url.username is not None or not SENT_AS_IS.fullmatch(url.path):
            raise ValueError
    except ValueError:
        wrong = f"providers.{name}.base_url: must be an http or https address without a query"
        raise ConfigError(wrong) from None
    return Address(origin, url.path.rstrip("/"))


def trust(name: str, account: ProviderSettings) -> ssl.SSLContext | None:
    """Returns TLS settings that trust the system's authorities and those of the account; None for plaintext.

    Raises:
        ConfigError: the file of authorities cannot be used.
    """
    if not account.address.lower().startswith("https:"):
        return None
    context = client_context(None)
    if account.ca_bundle:
        try:
            load_authorities(context, account.ca_bundle, f"providers.{name}.ca_bundle")
        except TlsError as error:
            raise ConfigError(str(error)) from None
    return context


def check_proxy(name: str, account: ProviderSettings) -> None:
    """Checks the address of an account's proxy.

    Raises:
        ConfigError: it is none that can be connected to.
    """
    if account.proxy:
        try:
            credentials.origin_of(account.proxy)
        except ValueError:
            raise ConfigError(f"providers.{name}.proxy: must be an http or https address") from None


def _described(name: str, account: ProviderSettings, path_prefix: str) -> Account:
    vendor = VENDORS[account.vendor]
    operations = frozenset({Operation.COUNT_TOKENS}.union(*(dialect.operations for dialect in vendor.dialects)))
    return Account(
        name=name,
        vendor=vendor.name,
        region=account.region,
        locate=vendor.locate(path_prefix, account.api_version),
        quirks=vendor.quirks,
        dialects=vendor.dialects,
        counting_dialect=vendor.counting_dialect,
        models=vendor_models(name, vendor.name, operations, account.region),
        check_path=vendor.check_path,
        check_headers=vendor.check_headers,
    )


def _handler_provider(
    name: str, account: ProviderSettings, handler: Handler, keys: tuple[Credential, ...], shared: Shared
) -> Provider:
    return HandlerProvider(
        HandlerAccount(name, account.vendor, account.models, account.base_url),
        handler,
        KeyRing(name, keys, shared.clock, shared.key_set_aside),
        shared.egress,
        shared.clock,
    )


async def _nobody(_: Request) -> str:
    raise HandlerError("unavailable")


NOBODY = Handler(_nobody, Form.COROUTINE)
"""Of accounts that are only looked at."""


def _http_provider(
    account: Account, wire: Wire, keys: tuple[Credential, ...], shared: Shared, *, drains: bool = False
) -> Provider:
    ring = KeyRing(account.name, keys, shared.clock, shared.key_set_aside)
    drainer = shared.drainer if drains else None
    return HttpProvider(account, wire, ring, shared.egress, shared.clock, drainer=drainer)


def _wire(proxy: str, origin: Origin, limits: WireLimits, context: ssl.SSLContext | None) -> Wire:
    if proxy:
        return HttpxWire(origin, limits=limits, ssl_context=context, proxy=proxy)
    return Http1Wire(origin, limits=limits, ssl_context=context)
