"""Keys of AWS that stand in files: of the AWS command line, and in the configuration itself."""

from __future__ import annotations

from collections.abc import Sequence
from configparser import ConfigParser, Error
from pathlib import Path

from llmgateway_server.core.secret import Secret
from llmgateway_server.observe.log import logger
from llmgateway_server.providers.credentials.setup import NotUsable, Setup
from llmgateway_server.providers.credentials.sigv4 import AwsKeys
from llmgateway_server.providers.credentials.source import Given, ReadSecret

FILES = ("~/.aws/credentials", "~/.aws/config")
"""In this order, see https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html."""
NONE = Secret("")


def static(setup: Setup) -> Given:
    """Returns keys that stand in the configuration, or where it says."""
    secrets = setup.secrets
    parts = (secrets["secret_access_key"], secrets["access_key_id"], secrets.get("session_token", lambda: NONE))
    return Given(_Joined(parts).read)


def profile(setup: Setup) -> Given:
    """Returns the keys of a profile; its files are read again when they change.

    Raises:
        NotUsable: no file has keys for it.
    """
    texts = setup.texts
    files = [Path(name).expanduser() for name in ([texts["file"]] if texts["file"] else FILES)]
    return Given(_Profile(files, texts["profile"], provider=setup.provider).read)


class _Joined:
    """Keys of three secrets; the same object as long as none of them changes."""

    def __init__(self, parts: Sequence[ReadSecret]) -> None:
        self._parts = parts
        self._read: list[Secret] = []
        self._keys: AwsKeys

    def read(self) -> AwsKeys:
        read = [part() for part in self._parts]
        if len(self._read) != len(read) or any(a is not b for a, b in zip(self._read, read, strict=True)):
            self._read = read
            self._keys = AwsKeys(read[0].reveal(), read[1].reveal(), read[2])
        return self._keys


class _Profile:
    """The keys of one profile; the last good ones while its files are being replaced."""

    def __init__(self, files: Sequence[Path], name: str, *, provider: str) -> None:
        self._files = files
        self._name = name
        self._provider = provider
        self._log = logger("credentials")
        self._seen = self._stamps()
        self._keys = self._found()

    def read(self) -> AwsKeys:
        stamps = self._stamps()
        if stamps != self._seen:
            self._seen = stamps
            try:
                self._keys = self._found()
            except NotUsable:
                self._log.error("profile cannot be read; the last good keys stay", provider=self._provider)
        return self._keys

    def _stamps(self) -> list[tuple[int, ...]]:
        return [_stamp(path) for path in self._files]

    def _found(self) -> AwsKeys:
        for path in self._files:
            parser = ConfigParser(interpolation=None, default_section="", strict=False)
            try:
                parser.read(path, encoding="utf-8")
            except (Error, OSError, UnicodeDecodeError):
                raise NotUsable("file" if len(self._files) == 1 else "profile", f"{path.name} cannot be read") from None
            for name in (self._name, f"profile {self._name}"):
                found = parser[name] if parser.has_section(name) else {}
                if found.get("aws_access_key_id") and found.get("aws_secret_access_key"):
                    token = Secret(found.get("aws_session_token", ""))
                    return AwsKeys(found["aws_secret_access_key"], found["aws_access_key_id"], token)
        raise NotUsable("profile", "there are no keys for it in the files of AWS")


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_ino, found.st_mtime_ns, found.st_size)
