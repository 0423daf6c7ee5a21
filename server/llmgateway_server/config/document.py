"""A configuration before it is checked: plain data, and where each part of it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmgateway_server.config.mistakes import Mistake, Origin, Path, dotted

NO_ORIGIN = Origin("default")
"""Of a value that nobody set."""


class Document:
    """Data in layers: what is put later stands above what was there.

    Args:
        source: what mistakes without a better place are said of.
        data: names, lists and scalars; belongs to the document from now on.
        lines: line of each part of `data`, from 1. Without them the source alone is their origin.
    """

    def __init__(self, source: str, data: Any, lines: Mapping[Path, int] | None = None) -> None:
        self.source = source
        self.data = data
        if lines is None:
            lines = {path: 0 for path, _ in parts(data)}
        self._origins = {path: Origin(source, line) for path, line in lines.items()}

    def origin(self, path: Path) -> Origin:
        """Returns where exactly this value was set; `NO_ORIGIN` when nobody set it."""
        return self._origins.get(path, NO_ORIGIN)

    def place(self, path: Path) -> Origin:
        """Returns where a value was set, or else what is around it."""
        for length in range(len(path), 0, -1):
            if (found := self._origins.get(path[:length])) is not None:
                return found
        return Origin(self.source)

    def put(self, path: Path, value: Any, origin: Origin) -> None:
        """Sets a value and makes what is missing around it.

        Where something else than names or a list stands in the way, nothing is set: that is a mistake of its own.
        """
        below = self.data
        for depth, part in enumerate(path[:-1], 1):
            if not _has(below, part):
                if not _set(below, part, [] if isinstance(path[depth], int) else {}):
                    return
                self._origins[path[:depth]] = origin
            below = below[part]
        if _set(below, path[-1], value):
            for gone in [each for each in self._origins if each[: len(path)] == path]:
                del self._origins[gone]
            self._origins[path] = origin
            self._origins |= {(*path, *each): origin for each, _ in parts(value)}

    def written(self, mistakes: Sequence[Mistake]) -> str:
        """Returns mistakes as text, one a line, in the order of the file's lines; the same one is written once."""
        placed = [(mistake.origin or self.place(mistake.path), mistake) for mistake in mistakes]
        placed.sort(key=lambda each: (not each[0].line, each[0].line))
        lines = (": ".join(filter(None, (str(origin), dotted(each.path), each.text))) for origin, each in placed)
        return "\n".join(dict.fromkeys(lines))


def parts(data: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yields everything inside `data` with its path, the outer before the inner; not `data` itself."""
    inside: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(data, Mapping):
        inside = iter(data.items())
    elif isinstance(data, list | tuple):
        inside = iter(enumerate(data))
    for part, value in inside:
        here = (*path, part if isinstance(part, int) and not isinstance(data, Mapping) else str(part))
        yield here, value
        yield from parts(value, here)


def _has(data: Any, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(data, list) and part < len(data)
    return isinstance(data, dict) and part in data


def _set(data: Any, part: str | int, value: Any) -> bool:
    if isinstance(data, list) and isinstance(part, int) and part <= len(data):
        data[part : part + 1] = [value]
        return True
    if isinstance(data, dict) and isinstance(part, str):
        data[part] = value
        return True
    return False
