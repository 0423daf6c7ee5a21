"""Reads settings in layers: defaults, what other tools' variables mean, the file, overrides, the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llmgateway_server.config import consistency, environment, overrides
from llmgateway_server.config.document import Document
from llmgateway_server.config.mistakes import ConfigError, Mistake, Origin
from llmgateway_server.config.secrets import SecretFile, resolve_secret, secret_source
from llmgateway_server.config.settings import Settings
from llmgateway_server.config.shape import shape_of, without_empty
from llmgateway_server.config.wording import mistakes_of

__all__ = [
    "ConfigError",
    "Loaded",
    "SecretFile",
    "from_document",
    "from_environment",
    "from_file",
    "load",
    "load_usable",
    "resolve_secret",
    "secret_source",
]

ROOT = shape_of(Settings)


@dataclass(slots=True, frozen=True)
class Loaded:
    """Settings, and where they come from."""

    settings: Settings
    document: Document


def load(
    path: Path | None, variables: Mapping[str, str], *, listen: str = "", insecure: bool = False, workers: int = 0
) -> Loaded:
    """Reads settings that are well formed and fit together; whether they lead anywhere is not looked at.

    Args:
        path: of a YAML file, if there is one.
        variables: the environment.
        listen: instead of what is configured; empty: nothing is.
        insecure: allows plaintext beyond loopback, whatever is configured.
        workers: instead of what is configured; 0: nothing is.

    Raises:
        ConfigError: with every mistake, one a line, each with its place.
    """
    document, mistakes = _layered(path, variables, listen, insecure=insecure, workers=workers)
    return Loaded(_checked(document, mistakes), document)


def load_usable(
    path: Path | None, variables: Mapping[str, str], *, listen: str = "", insecure: bool = False, workers: int = 0
) -> Loaded:
    """Reads settings that a gateway can be started with, see `trial`.

    Args:
        path: as for `load`.
        variables: the environment, also for secret references.
        listen: as for `load`.
        insecure: as for `load`.
        workers: as for `load`.

    Raises:
        ConfigError: with every mistake of both kinds, one a line, each with its place.
    """
    from llmgateway_server.config import trial
    from llmgateway_server.config.salvage import salvaged

    document, mistakes = _layered(path, variables, listen, insecure=insecure, workers=workers)
    settings, malformed = _validated(document)
    mistakes += [*consistency.mistakes(document.data), *malformed]
    mistakes += trial.lost_secrets(document.data, variables)
    if (tried := settings or salvaged(document.data)) is not None:
        mistakes += trial.mistakes(tried, variables, {mistake.path for mistake in malformed})
    if settings is None or mistakes:
        raise ConfigError(document.written(mistakes))
    return Loaded(settings, document)


def _layered(
    path: Path | None, variables: Mapping[str, str], listen: str, *, insecure: bool, workers: int = 0
) -> tuple[Document, list[Mistake]]:
    """Returns the document with all layers, and what is wrong with those around the file."""
    document = _read(path) if path is not None else Document("environment", {})
    environment.add_providers(document, variables)
    mistakes = list(overrides.apply(document, variables, ROOT))
    if listen:
        document.put(("server", "listen"), listen, Origin("--listen"))
    if insecure:
        document.put(("server", "insecure"), True, Origin("--insecure"))
    if workers:
        document.put(("server", "workers"), workers, Origin("--workers"))
    environment.add_keys(document, variables)
    mistakes += environment.understand(document, variables)
    return document, mistakes


def from_file(path: Path) -> Settings:
    """Reads a YAML file and nothing else.

    Raises:
        ConfigError: with every mistake, one a line.
    """
    return _checked(_read(path))


def from_document(document: Any, source: str) -> Settings:
    """Checks a document.

    Args:
        document: what would stand in a file.
        source: named in errors.

    Raises:
        ConfigError: with every mistake, one a line.
    """
    return _checked(Document(source, without_empty(document, ROOT)))


def from_environment(variables: Mapping[str, str], listen: str = "") -> Settings:
    """Returns the settings of a gateway without a file: the simulator, and each vendor whose key is in the environment.

    Raises:
        ConfigError: with every mistake, one a line.
    """
    return load(None, variables, listen=listen).settings


def _read(path: Path) -> Document:
    from llmgateway_server.config.yaml_file import read_file

    document = read_file(path)
    document.data = without_empty(document.data, ROOT)
    return document


def _checked(document: Document, mistakes: Sequence[Mistake] = ()) -> Settings:
    settings, malformed = _validated(document)
    found = [*mistakes, *consistency.mistakes(document.data), *malformed]
    if settings is None or found:
        raise ConfigError(document.written(found))
    return settings


def _validated(document: Document) -> tuple[Settings | None, list[Mistake]]:
    """Returns the settings if they are good, and what is malformed; not what does not fit together."""
    try:
        return Settings.model_validate(document.data), []
    except ValidationError as error:
        return None, list(mistakes_of(error.errors(include_url=False, include_input=False), ROOT))
