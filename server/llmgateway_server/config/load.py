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
    "resolve_secret",
    "secret_source",
]

ROOT = shape_of(Settings)


@dataclass(slots=True, frozen=True)
class Loaded:
    """Settings, and where they come from."""

    settings: Settings
    document: Document


def load(path: Path | None, variables: Mapping[str, str], *, listen: str = "", insecure: bool = False) -> Loaded:
    """Reads the settings that a command works with.

    Args:
        path: of a YAML file, if there is one.
        variables: the environment.
        listen: instead of what is configured; empty: nothing is.
        insecure: allows plaintext beyond loopback, whatever is configured.

    Raises:
        ConfigError: with every mistake, one a line, each with its place.
    """
    document = _read(path) if path is not None else Document("environment", {})
    environment.add_providers(document, variables)
    mistakes = list(overrides.apply(document, variables, ROOT))
    if listen:
        document.put(("server", "listen"), listen, Origin("--listen"))
    if insecure:
        document.put(("server", "insecure"), True, Origin("--insecure"))
    environment.add_keys(document, variables)
    mistakes += environment.understand(document, variables)
    return Loaded(_checked(document, mistakes), document)


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
    found = [*mistakes, *consistency.mistakes(document.data)]
    try:
        settings = Settings.model_validate(document.data)
    except ValidationError as error:
        found += mistakes_of(error.errors(include_url=False, include_input=False), ROOT)
        raise ConfigError(document.written(found)) from None
    if found:
        raise ConfigError(document.written(found))
    return settings
