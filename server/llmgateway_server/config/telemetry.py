"""Who is told about calls: spans from the settings, and what they say of the gateway itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from llmgateway_server import __version__
from llmgateway_server.config.mistakes import ConfigError
from llmgateway_server.config.secrets import resolve_secret
from llmgateway_server.config.settings import ProviderSettings, Settings
from llmgateway_server.contract.status import TABLE
from llmgateway_server.core.clock import Clock
from llmgateway_server.observe.content import ContentLog
from llmgateway_server.observe.span_attributes import Surroundings
from llmgateway_server.observe.telemetry import TelemetrySettings

if TYPE_CHECKING:
    from llmgateway_server.observe.otlp import Export

DEFAULT_PORTS = {"http": 80, "https": 443}


def export(settings: TelemetrySettings, environment: Mapping[str, str]) -> Export | None:
    """Returns spans and their way to the collector, not yet begun; None where they are off.

    Raises:
        ConfigError: the SDK is not installed, or the reference to headers leads nowhere or to something else.
    """
    if settings.traces == "off":
        return None
    try:
        from llmgateway_server.observe import otlp
    except ImportError as error:
        raise ConfigError(f"telemetry.traces: the extra `otel` is not installed, there is no {error.name}") from None
    secret = resolve_secret(settings.headers_secret, environment, "telemetry.headers_secret")
    try:
        headers = otlp.headers_of(secret)
    except ValueError as error:
        raise ConfigError(f"telemetry.headers_secret: {error}") from None
    return otlp.Export(settings, headers, __version__)


def content_log(settings: TelemetrySettings) -> ContentLog | None:
    """Returns what writes content to records; None where it is off."""
    return ContentLog(settings.content_tenants) if settings.content == "masked" else None


def surroundings(settings: Settings, clock: Clock) -> Surroundings:
    """Returns what spans say of the gateway itself."""
    servers = {name: server for name, account in settings.providers.items() if (server := _server(account)) is not None}
    return Surroundings({reason: row.code.name for reason, row in TABLE.items()}, servers, clock)


def _server(account: ProviderSettings) -> tuple[str, int] | None:
    """Returns host and port of an account; None for one without an address, and for one that cannot be used."""
    try:
        url = urlsplit(account.address)
        return (url.hostname, url.port or DEFAULT_PORTS[url.scheme]) if url.hostname else None
    except (ValueError, KeyError):
        return None
