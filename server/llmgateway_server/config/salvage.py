"""What can still be used of a document with mistakes, so that the rest of it can be tried all the same."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from pydantic import TypeAdapter, ValidationError

from llmgateway_server.config.mistakes import Path
from llmgateway_server.config.settings import Settings
from llmgateway_server.config.shape import shape_of
from llmgateway_server.config.wording import mistakes_of

MAX_ROUNDS = 20
"""What is taken out may leave something else incomplete, which is taken out in the next round."""


def salvaged(data: Any) -> Settings | None:
    """Returns settings without whatever is malformed; they need not fit together. None: nothing can be used.

    Args:
        data: as it stands in a document; is not changed.
    """
    rest = deepcopy(data)
    for _ in range(MAX_ROUNDS):
        if not isinstance(rest, dict):
            return None
        malformed = _malformed(rest)
        if not malformed:
            return _constructed(rest)
        if not _take_out(rest, malformed):
            return None
    return None


def _malformed(data: dict[str, Any]) -> list[Path]:
    try:
        Settings.model_validate(data)
    except ValidationError as error:
        found = mistakes_of(error.errors(include_url=False, include_input=False), shape_of(Settings))
        return [mistake.path for mistake in found]
    return []


def _constructed(data: dict[str, Any]) -> Settings:
    """Returns settings whose sections were checked, each by itself."""
    fields = Settings.model_fields
    values = {name: TypeAdapter[Any](fields[name].annotation or Any).validate_python(data[name]) for name in data}
    return Settings.model_construct(**values)


def _take_out(data: dict[str, Any], paths: Iterable[Path]) -> bool:
    """Takes out what stands at the paths, or what is around it; tells whether that was possible.

    Of a list the last entries go first, so that the others keep their places until their turn.
    """
    for path in sorted(paths, key=_places, reverse=True):
        if not path:
            return False
        around, last = data, path[0]
        for part in path[1:]:
            inside = _inside(around, last)
            if not _has(inside, part):
                break
            around, last = inside, part
        if not _has(around, last):
            continue  # went with what was around it
        del around[last]  # type: ignore[arg-type]  # names of a dict, numbers of a list
    return True


def _places(path: Path) -> list[tuple[int, str]]:
    return [(part, "") if isinstance(part, int) else (-1, part) for part in path]


def _inside(around: Any, part: str | int) -> Any:
    return around[part] if _has(around, part) else None


def _has(around: Any, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(around, list) and part < len(around)
    return isinstance(around, dict) and part in around
