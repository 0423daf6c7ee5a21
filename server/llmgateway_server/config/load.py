"""Reads settings: a YAML file, or what the environment offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from llmgateway_server.config.settings import Settings
from llmgateway_server.core.secret import Secret
from llmgateway_server.observe.log import logger
from llmgateway_server.providers.vendors import SIMULATOR, VENDORS

MAX_FILE_BYTES = 4 * 1024 * 1024


class ConfigError(Exception):
    """The configuration cannot be used. The text names the file and the fields, never a value."""


def from_file(path: Path) -> Settings:
    """Reads a YAML file.

    Raises:
        ConfigError: with every mistake, one a line.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
        document = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (YAMLError, ValueError, RecursionError) as error:  # an impossible date is a ValueError, not YAML's own
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{path}{place}: not readable as YAML") from error
    return from_document(document if document is not None else {}, str(path))


def from_document(document: Any, source: str) -> Settings:
    """Checks a document.

    Args:
        source: named in errors.

    Raises:
        ConfigError: with every mistake, one a line.
    """
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        lines = []
        for mistake in error.errors():
            place = ".".join(map(str, mistake["loc"]))
            lines.append(": ".join(filter(None, (source, place, mistake["msg"].removeprefix("Value error, ")))))
        raise ConfigError("\n".join(lines)) from None


def from_environment(environment: Mapping[str, str], listen: str = "") -> Settings:
    """Returns the settings of a gateway without a file.

    The simulator, and each vendor whose key is in the environment.
    """
    providers: dict[str, Any] = {SIMULATOR: {"vendor": SIMULATOR}}
    for vendor in VENDORS.values():
        if vendor.key_variable and environment.get(vendor.key_variable):
            providers[vendor.name] = {"vendor": vendor.name, "api_key": f"env:{vendor.key_variable}"}
    document: dict[str, Any] = {"providers": providers}
    if listen:
        document["server"] = {"listen": listen}
    return from_document(document, "environment")


def resolve_secret(reference: str, environment: Mapping[str, str], field: str) -> Secret:
    """Returns what a secret reference stands for: `env:NAME`, `file:PATH`, or itself.

    Args:
        field: path of the setting, for errors.

    Raises:
        ConfigError: the variable is not set, the file cannot be read, or either is empty.
    """
    scheme, colon, name = reference.partition(":")
    if not colon or scheme not in ("env", "file"):
        return Secret(reference)
    if scheme == "file":
        return SecretFile(Path(name), field).read()
    text = environment.get(name, "")
    if not text:
        raise ConfigError(f"{field}: the environment variable {name} is not set")
    return Secret(text)


def secret_source(reference: str, environment: Mapping[str, str], field: str) -> Callable[[], Secret]:
    """Returns a function that gives the secret as it is now; only a file changes while the gateway runs.

    Raises:
        ConfigError: as `resolve_secret`.
    """
    scheme, _, name = reference.partition(":")
    if scheme == "file":
        source = SecretFile(Path(name), field)
        source.read()
        return source.current
    secret = resolve_secret(reference, environment, field)
    return lambda: secret


class SecretFile:
    """A file with a secret, read again when it was written or replaced (also by a link to another file).

    Args:
        path: of the file.
        field: path of the setting, for errors.
    """

    def __init__(self, path: Path, field: str) -> None:
        self._path = path
        self._field = field
        self._secret = Secret("")
        self._seen: tuple[int, ...] = ()
        self._log = logger("config")

    def read(self) -> Secret:
        """Returns what the file holds, without blanks around it.

        Raises:
            ConfigError: the file cannot be read or is empty.
        """
        try:
            seen = self._stamp()
            text = self._path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self._field}: the file {self._path} cannot be read") from error
        if not text:
            raise ConfigError(f"{self._field}: the file {self._path} is empty")
        self._seen = seen
        if text != self._secret.reveal():  # the same secret stays the same object
            self._secret = Secret(text)
        return self._secret

    def current(self) -> Secret:
        """Returns the secret; the last good one while the file is being replaced or cannot be read."""
        try:
            stamp = self._stamp()
        except OSError:
            stamp = ()
        if stamp == self._seen:
            return self._secret
        try:
            return self.read()
        except ConfigError:
            if stamp != self._seen:
                self._log.error("secret file cannot be read; the last good secret stays", field=self._field)
            self._seen = stamp
            return self._secret

    def _stamp(self) -> tuple[int, ...]:
        found = self._path.stat()
        return (found.st_ino, found.st_mtime_ns, found.st_size)
