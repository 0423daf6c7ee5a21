"""What the accounts of the configuration call with: API keys, or the credentials of a cloud."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from llmgateway_server.config.mistakes import ConfigError, Path, dotted
from llmgateway_server.config.secrets import secret_source
from llmgateway_server.config.settings import ProviderSettings
from llmgateway_server.core.clock import Clock
from llmgateway_server.providers.credentials.endpoint import Endpoint
from llmgateway_server.providers.credentials.kinds import RECIPES, SECRETS
from llmgateway_server.providers.credentials.names import AWS
from llmgateway_server.providers.credentials.schemes import Authorize, bearer
from llmgateway_server.providers.credentials.settings import CredentialSettings
from llmgateway_server.providers.credentials.setup import NotUsable, Setup
from llmgateway_server.providers.credentials.sigv4 import SigV4
from llmgateway_server.providers.credentials.source import Credential, Given, ReadSecret
from llmgateway_server.providers.wire.head import authority
from llmgateway_server.providers.wire.port import Origin, Wire

DEFAULT_PORTS = {"http": 80, "https": 443}


class Surroundings(NamedTuple):
    """What the credentials of an account need beside their settings."""

    environment: Mapping[str, str]
    """Where secret references look, and settings that stand in a variable."""
    origin: Origin
    """Of the account: requests to Amazon are signed with its name."""
    clock: Clock
    open_wire: Callable[[Origin], Wire]
    """Returns a wire to whoever gives tokens."""


def origin_of(address: str) -> Origin:
    """Returns whom an address connects to.

    Raises:
        ValueError: no wire can connect there.
    """
    url = urlsplit(address)
    port = DEFAULT_PORTS.get(url.scheme, 0) if url.port is None else url.port
    origin = Origin(url.scheme, url.hostname or "", port)
    authority(origin)
    return origin


def key_sources(name: str, account: ProviderSettings, environment: Mapping[str, str]) -> tuple[ReadSecret, ...]:
    """Returns a function for each API key of an account, which gives the key as it is now.

    Raises:
        ConfigError: a reference leads nowhere.
    """
    field = f"providers.{name}.api_key"
    references = {field: account.api_key} if account.api_key else {}
    references |= {f"{field}s[{i}]": reference for i, reference in enumerate(account.api_keys)}
    return tuple(secret_source(each, environment, where) for where, each in references.items())


def api_keys(
    name: str, account: ProviderSettings, environment: Mapping[str, str], authorize: Authorize = bearer
) -> tuple[Credential, ...]:
    """Returns the API keys of an account.

    Args:
        name: of the account.
        account: its settings.
        environment: where secret references look.
        authorize: how they are sent.

    Raises:
        ConfigError: a reference leads nowhere.
    """
    return tuple(Credential(Given(read), authorize) for read in key_sources(name, account, environment))


def configured(name: str, account: ProviderSettings) -> Iterator[tuple[Path, CredentialSettings]]:
    """Yields the credentials of an account beside API keys, with their paths."""
    path: Path = ("providers", name)
    if account.credential is not None:
        yield (*path, "credential"), account.credential
    for at, each in enumerate(account.credentials):
        yield (*path, "credentials", at), each


def of_clouds(name: str, account: ProviderSettings, surroundings: Surroundings) -> tuple[Credential, ...]:
    """Returns the credentials of an account beside API keys.

    Raises:
        ConfigError: one cannot be used.
    """
    return tuple(
        credential(path, number, settings, account, surroundings)
        for number, (path, settings) in enumerate(configured(name, account), 1)
    )


def credential(
    path: Path, number: int, settings: CredentialSettings, account: ProviderSettings, surroundings: Surroundings
) -> Credential:
    """Returns a credential.

    Args:
        path: of its settings.
        number: its place among those of the account, from 1.
        settings: of it.
        account: whose it is.
        surroundings: see there.

    Raises:
        ConfigError: something is missing, leads nowhere, or cannot be read.
    """
    recipe, environment = RECIPES[settings.kind], surroundings.environment
    given = {field: getattr(settings, field) for field in recipe.fields}
    own_secrets = any(given.get(field) for field in SECRETS)  # those of the environment belong together, too
    for field, variable in recipe.fields.items():
        if not given[field] and environment.get(variable) and not (field in SECRETS and own_secrets):
            given[field] = f"env:{variable}" if field in SECRETS else environment[variable]
        given[field] = given[field] or recipe.defaults.get(field, "")
        if not given[field] and field in recipe.needs:
            says = f", or the environment variable {variable}" if variable else ""
            raise ConfigError(f"{dotted((*path, field))}: is required{says}")
    if settings.kind in AWS and not account.region:
        raise ConfigError(f"{dotted((*path[:2], 'region'))}: is required to sign requests")
    secrets = {
        field: secret_source(given[field], environment, dotted((*path, field)))
        for field in recipe.fields.keys() & SECRETS
        if given[field]
    }
    setup = Setup(
        texts={field: text for field, text in given.items() if field not in SECRETS},
        secrets=secrets,
        region=account.region,
        environment=environment,
        clock=surroundings.clock,
        open=lambda address: _endpoint(address, surroundings.open_wire),
        provider=str(path[1]),
        key_id=f"key-{number}",
    )
    try:
        source = recipe.build(setup)
    except NotUsable as error:
        raise ConfigError(f"{dotted((*path, error.field) if error.field else path)}: {error}") from None
    if settings.kind not in AWS:
        return Credential(source, bearer)
    return Credential(source, SigV4(account.region, authority(surroundings.origin), surroundings.clock))


def _endpoint(address: str, open_wire: Callable[[Origin], Wire]) -> Endpoint:
    """Returns the endpoint at an address.

    Raises:
        ValueError: it cannot be asked.
    """
    url = urlsplit(address)
    path = f"{url.path}?{url.query}" if url.query else url.path
    if url.username is not None or not path.isascii() or not path.isprintable() or " " in path:
        raise ValueError
    return Endpoint(open_wire(origin_of(address)), path)
