"""What is wrong with a configuration: where it stands, and words that never show a value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Place of a setting: names, and indexes of lists."""

MAX_PART_CHARS = 64


class ConfigError(Exception):
    """The configuration cannot be used. The text names places and fields, one mistake a line, never a value."""


@dataclass(slots=True, frozen=True)
class Origin:
    """Where a value comes from."""

    source: str
    """A file, an environment variable, or an option of the command line."""
    line: int = 0
    """In the file, from 1; 0 where there are no lines."""

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(slots=True, frozen=True)
class Mistake:
    """One thing to correct."""

    path: Path
    text: str
    origin: Origin | None = None
    """Where it stands. None: where the document has the setting, or what is around it."""

    @classmethod
    def told(cls, said: str, *paths: Path) -> Mistake:
        """Returns what an error says.

        Args:
            said: `field: what is wrong`.
            paths: of the settings that it can be about; the last one where it names none of them.
        """
        for path in paths:
            field, colon, text = said.partition(f"{dotted(path)}: ")
            if colon and not field:
                return cls(path, text)
        return cls(paths[-1], said)


def dotted(path: Path) -> str:
    """Writes a path as people read it: `auth.keys[0].tenant`."""
    return "".join(_parts(path)).removeprefix(".")


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns the one of `known` that was probably meant; empty when none is near."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), n=1, cutoff=0.6)), "")


def _parts(path: Path) -> Iterator[str]:
    for part in path:
        if isinstance(part, int):
            yield f"[{part}]"
        else:
            yield "." + "".join(each if each.isprintable() else "?" for each in part[:MAX_PART_CHARS])
