"""Secret references: `env:NAME`, `file:PATH`, or the secret itself; and which settings are secrets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any

from llmgateway_server.config.mistakes import ConfigError, Path
from llmgateway_server.core.secret import Secret
from llmgateway_server.observe.log import logger

MASK = "***"
REFERENCE = re.compile(r"(^|_)(api_keys?|access_key|access_key_id|secrets?|pepper|passwords?|token|credentials?)$")
"""Names of settings that hold secret references. By name, so that a new setting is never shown by oversight."""
HASH = re.compile(r"(^|_)hash$")
VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
"""A name; what is none may be a secret behind a wrong `env:` and is not shown."""
USER_INFORMATION = re.compile(r"//[^@\s]*@")


def is_reference(path: Path) -> bool:
    """Tells whether a setting holds a secret reference."""
    return REFERENCE.search(_name(path)) is not None


def masked(path: Path, value: Any) -> Any:
    """Returns a value as it may be shown: secrets as `***`, references to them as they are."""
    if not isinstance(value, str) or not value:
        return value
    if is_reference(path):
        scheme, _, name = value.partition(":")
        return value if scheme == "file" or (scheme == "env" and VARIABLE.fullmatch(name)) else MASK
    if HASH.search(_name(path)) or "PRIVATE KEY" in value:
        return MASK
    return USER_INFORMATION.sub(f"//{MASK}@", value)


def _name(path: Path) -> str:
    return next((part for part in reversed(path) if isinstance(part, str)), "")


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
        return SecretFile(FilePath(name), field).read()
    text = environment.get(name, "")
    if not text and VARIABLE.fullmatch(name) is None:
        raise ConfigError(f"{field}: behind env: belongs the name of an environment variable")
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
        source = SecretFile(FilePath(name), field)
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

    def __init__(self, path: FilePath, field: str) -> None:
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
