"""What `llmgateway check-config` does: everything that a start does, less the start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from llmgateway_server.app import App
from llmgateway_server.config.document import parts
from llmgateway_server.config.environment import not_understood
from llmgateway_server.config.load import ConfigError, Loaded, load, resolve_secret
from llmgateway_server.config.mistakes import Mistake, dotted
from llmgateway_server.config.secrets import is_reference
from llmgateway_server.transport.tls import CertificateFiles, TlsError


def check(path: Path | None, environment: Mapping[str, str], notes: TextIO) -> str:
    """Checks a configuration as `serve` would use it.

    Args:
        path: of the file. None: what `serve` without a file uses.
        environment: with overrides and secrets.
        notes: gets what is no mistake.

    Returns:
        What to say of it when it is good.

    Raises:
        ConfigError: with every mistake, one a line, each with its place.
    """
    if unknown := not_understood(environment):
        notes.write(f"warning: not understood yet: {', '.join(unknown)}\n")
    loaded = load(path, environment)
    settings = loaded.settings
    if found := list(_unresolved(loaded, environment)):
        raise ConfigError(loaded.document.written(found))
    try:
        catalog = App(settings, environment).parts.catalog
        if settings.server.tls is not None:
            CertificateFiles(settings.server.tls).load()
    except (ConfigError, TlsError) as error:
        raise ConfigError(loaded.document.placed(str(error))) from None
    if settings.server.exposed and not settings.server.insecure:
        mistake = Mistake(("server", "listen"), "beyond loopback server.tls is needed, or server.insecure (--insecure)")
        raise ConfigError(loaded.document.written([mistake]))
    counts = {"provider": len(settings.providers), "model": len(catalog.models()), "key": len(settings.auth.keys)}
    return "ok: " + ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items())


def _unresolved(loaded: Loaded, environment: Mapping[str, str]) -> Iterator[Mistake]:
    """Yields the secret references that lead nowhere."""
    for path, value in parts(loaded.settings.model_dump()):
        if is_reference(path) and isinstance(value, str) and value:
            field = dotted(path)
            try:
                resolve_secret(value, environment, field)
            except ConfigError as error:
                yield Mistake(path, str(error).removeprefix(f"{field}: "))
