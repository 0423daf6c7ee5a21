"""What is found only when the parts are put together: secrets, files, addresses, the catalogue, missing packages.

Everything is tried by itself, so that one mistake does not hide another. Nothing is connected to or bound.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from llmgateway_server.config import accounts, catalog, credentials, doors, telemetry
from llmgateway_server.config.document import parts
from llmgateway_server.config.mistakes import ConfigError, Mistake, Path, dotted
from llmgateway_server.config.secrets import is_reference, resolve_secret
from llmgateway_server.config.settings import ProviderSettings, Settings
from llmgateway_server.core.clock import SystemClock
from llmgateway_server.providers.egress.fetch import Egress
from llmgateway_server.providers.provider import Provider
from llmgateway_server.providers.vendors import SIMULATOR
from llmgateway_server.providers.wire.http1 import Http1Wire

Environment = Mapping[str, str]
Malformed = Collection[Path]


@dataclass(slots=True, frozen=True)
class Trial:
    """One part of the gateway, put together to see whether that works."""

    reads: tuple[Path, ...]
    """It is left out where one of these is malformed: it would tell the same mistake in other words."""
    run: Callable[[Settings, Environment, Malformed], Iterator[Mistake]]
    """Is given what is malformed, too: it is not in the settings."""


def mistakes(settings: Settings, environment: Environment, malformed: Malformed = ()) -> Iterator[Mistake]:
    """Yields what is wrong, but for the references of `lost_secrets`.

    Args:
        settings: need not fit together.
        environment: where secret references look.
        malformed: what is not in the settings because it is malformed.
    """
    for trial in TRIALS:
        if not any(_overlap(read, path) for read in trial.reads for path in malformed):
            yield from trial.run(settings, environment, malformed)


def lost_secrets(data: Any, environment: Environment) -> Iterator[Mistake]:
    """Yields secret references that lead nowhere.

    Args:
        data: settings as they stand in a document; they may have other mistakes.
        environment: where the references look.
    """
    for path, value in parts(data):
        if is_reference(path) and isinstance(value, str) and value:
            yield from _mistake(partial(resolve_secret, value, environment, dotted(path)), path)


def looked_at(settings: Settings, without: Collection[str] = ()) -> dict[str, Provider]:
    """Returns the accounts as the catalogue sees them, by name; those of `without` are left out."""
    shared = accounts.Shared(Egress(settings.egress), SystemClock())
    found = {name: account for name, account in settings.providers.items() if name not in without}
    return {name: accounts.looked_at(name, account, shared) for name, account in found.items()}


def _accounts(settings: Settings, environment: Environment, _: Malformed) -> Iterator[Mistake]:
    for name, account in settings.providers.items():
        path: Path = ("providers", name)
        if account.handled:
            yield from _mistake(partial(accounts.handler_of, name, account), (*path, "handler"), (*path, "vendor"))
        elif account.vendor != SIMULATOR:
            yield from _mistake(partial(accounts.address_of, name, account), (*path, "base_url"))
            if account.ca_bundle:  # to read the system's authorities takes longer than everything else here
                yield from _mistake(partial(accounts.trust, name, account), (*path, "ca_bundle"))
            yield from _mistake(partial(accounts.check_proxy, name, account), (*path, "proxy"))
            yield from _credentials(name, account, environment)


def _credentials(name: str, account: ProviderSettings, environment: Environment) -> Iterator[Mistake]:
    surroundings = credentials.Surroundings(
        environment, accounts.NOWHERE, SystemClock(), lambda _: Http1Wire(accounts.NOWHERE)
    )
    for path, settings in credentials.configured(name, account):
        attempt = partial(credentials.credential, path, 1, settings, account, surroundings)
        fields = ((*path, field) for field in type(settings).model_fields)
        yield from _mistake(attempt, *fields, ("providers", name, "region"), path)


def _catalog(settings: Settings, _: Environment, malformed: Malformed) -> Iterator[Mistake]:
    """Yields what is wrong with models that are well formed, and with a default that is none of all models."""
    if ("models",) in malformed or not (settings.models or settings.default_model):
        return
    strange, others = ({str(path[1]) for path in _below(section, malformed)} for section in ("providers", "models"))
    complete = not any(path[:1] == ("providers",) for path in malformed)
    yield from catalog.mistakes(settings, looked_at(settings, strange), others=others, complete=complete)


def _below(section: str, malformed: Malformed) -> Iterator[Path]:
    return (path for path in malformed if path[:1] == (section,) and len(path) > 1)


def _plaintext(settings: Settings, _: Environment, __: Malformed) -> Iterator[Mistake]:
    if settings.server.exposed and not settings.server.insecure:
        yield Mistake(("server", "listen"), doors.PLAINTEXT)


def _tls(settings: Settings, _: Environment, __: Malformed) -> Iterator[Mistake]:
    if settings.server.tls is not None:
        yield from doors.tls_mistakes(settings.server.tls)


def _http(settings: Settings, environment: Environment, _: Malformed) -> Iterator[Mistake]:
    if settings.http.listen:
        yield from _mistake(doors.check_http_extra, ("http", "listen"))
        yield from _mistake(partial(doors.metrics_token, settings.http, environment), ("http", "metrics_token"))


def _telemetry(settings: Settings, environment: Environment, _: Malformed) -> Iterator[Mistake]:
    attempt = partial(telemetry.export, settings.telemetry, environment)
    yield from _mistake(attempt, ("telemetry", "headers_secret"), ("telemetry", "traces"))


def _overlap(one: Path, other: Path) -> bool:
    """Tells whether one path is the other or stands around it."""
    return all(a == b for a, b in zip(one, other, strict=False))


def _mistake(attempt: Callable[[], object], *paths: Path) -> Iterator[Mistake]:
    """Yields what an attempt says against one of the settings at `paths`."""
    try:
        attempt()
    except ConfigError as error:
        yield Mistake.told(str(error), *paths)


TRIALS = (
    Trial((), _accounts),  # each account by itself, and those that are malformed are not in the settings
    Trial((), _catalog),  # as with accounts; it leaves out what cannot be known
    Trial((("server", "listen"), ("server", "tls"), ("server", "insecure")), _plaintext),
    Trial((("server", "tls"),), _tls),
    Trial((("http",),), _http),
    Trial((("telemetry",),), _telemetry),
)
