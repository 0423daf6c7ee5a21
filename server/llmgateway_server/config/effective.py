"""The settings in force, with secrets masked, and the origin of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmgateway_server.config import yaml_text
from llmgateway_server.config.document import parts
from llmgateway_server.config.load import Loaded
from llmgateway_server.config.mistakes import Origin, Path, dotted
from llmgateway_server.config.secrets import masked

COMMENT_COLUMN = 48


@dataclass(slots=True, frozen=True)
class Effective:
    """One setting that has nothing inside."""

    path: Path
    value: Any
    """A scalar, or empty names or an empty list; as it may be shown."""
    origin: Origin


def effective(loaded: Loaded) -> Iterator[Effective]:
    """Yields every setting in force, in the settings' order."""
    for path, value in parts(loaded.settings.model_dump(mode="json")):
        if not value or not isinstance(value, dict | list):
            yield Effective(path, masked(path, value), loaded.document.origin(path))


def as_document(loaded: Loaded) -> Any:
    """Returns what is in force as it would stand in a file."""
    return _masked(loaded.settings.model_dump(mode="json"), ())


def as_origins(loaded: Loaded) -> dict[str, dict[str, Any]]:
    """Returns value and origin by the dotted path of the setting."""
    return {dotted(each.path): {"value": each.value, "origin": str(each.origin)} for each in effective(loaded)}


def as_yaml(loaded: Loaded, *, origins: bool) -> str:
    """Returns what is in force as a configuration file, with the origin behind each value if wanted."""
    known = {each.path: str(each.origin) for each in effective(loaded)} if origins else {}
    return "\n".join(_lines(as_document(loaded), (), known)) + "\n"


def _masked(value: Any, path: Path) -> Any:
    if isinstance(value, dict):
        return {name: _masked(each, (*path, name)) for name, each in value.items()}
    if isinstance(value, list):
        return [_masked(each, (*path, at)) for at, each in enumerate(value)]
    return masked(path, value)


def _lines(value: Any, path: Path, origins: dict[Path, str]) -> Iterator[str]:
    """Yields the lines of names or of a list, not indented."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for part, each in inside:
        here = (*path, part)
        head = "-" if isinstance(part, int) else f"{yaml_text.key(part)}:"
        if not each or not isinstance(each, dict | list):
            line = f"{head} {yaml_text.scalar(each)}"
            yield f"{line:<{COMMENT_COLUMN - 2 * len(path)}}  # {origins[here]}" if here in origins else line
            continue
        below = _lines(each, here, origins)
        if isinstance(part, int):
            yield f"- {next(below)}"
        else:
            yield head
        yield from (f"  {line}" for line in below)
