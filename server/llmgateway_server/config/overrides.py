"""Environment variables that set any one setting: `LLMGATEWAY__SERVER__LISTEN` is `server.listen`.

Two underscores go one level down. Names of the operator's own (of providers and models) are matched in any case, with
every character that is no letter or digit written as `_`; a name that is not there yet is made, in lower case. Numbers
stand for places in a list. Lists and whole sections are YAML or JSON text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from llmgateway_server.config.document import Document
from llmgateway_server.config.mistakes import ConfigError, Mistake, Origin, Path, nearest
from llmgateway_server.config.shape import Kind, Shape
from llmgateway_server.config.yaml_file import parse

PREFIX = "LLMGATEWAY__"


class _NoSuchSettingError(Exception):
    """The text says what was probably meant."""


def apply(document: Document, environment: Mapping[str, str], root: Shape) -> Iterator[Mistake]:
    """Puts every override into the document, whole sections before what is in them; yields what is wrong.

    Args:
        document: is changed.
        environment: other variables are passed over.
        root: shape of all settings.
    """
    names = [name for name in environment if name.startswith(PREFIX)]
    for name in sorted(names, key=_order):
        origin = Origin(name)
        try:
            path, shape = _locate(document.data, _segments(name), root)
            document.put(path, _value(shape, environment[name], name), origin)
        except _NoSuchSettingError as error:
            yield Mistake((), f"there is no such setting{error}", origin)
        except ConfigError:
            yield Mistake((), "must be YAML or JSON text", origin)


def written(name: str) -> str:
    """Returns a name as it stands in a variable: `gpt-4.1` is `GPT_4_1`."""
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def _segments(name: str) -> list[str]:
    return name.removeprefix(PREFIX).split("__")


def _order(name: str) -> tuple[int, list[tuple[bool, int, str]]]:
    """Sorts by depth, then by place in a list as a number: an item is appended before the one behind it."""
    segments = _segments(name)
    return len(segments), [(not each.isdecimal(), int(each) if each.isdecimal() else 0, each) for each in segments]


def _locate(data: Any, segments: list[str], shape: Shape) -> tuple[Path, Shape]:
    path: Path = ()
    for segment in segments:
        part = _part(shape, data, segment)
        shape = shape.below(part)
        if isinstance(part, int):
            data = data[part] if isinstance(data, list) and part < len(data) else None
        else:
            data = data.get(part) if isinstance(data, dict) else None
        path = (*path, part)
    return path, shape


def _part(shape: Shape, data: Any, segment: str) -> str | int:
    match shape.kind:
        case Kind.SECTION:
            return _field(shape.fields, segment)
        case Kind.NAMES:
            return _name(data if isinstance(data, dict) else {}, segment)
        case Kind.LIST:
            return _index(len(data) if isinstance(data, list) else 0, segment)
        case Kind.SCALAR:
            raise _NoSuchSettingError(f"; nothing is below what stands before {segment}")


def _field(known: Collection[str], segment: str) -> str:
    if segment.lower() in known:
        return segment.lower()
    meant = nearest(segment.lower(), known)
    raise _NoSuchSettingError(f"; did you mean {written(meant)} instead of {segment}?" if meant else "")


def _name(there: Collection[str], segment: str) -> str:
    known = [name for name in there if written(name) == segment.upper()]
    if len(known) > 1:
        raise _NoSuchSettingError(f": {segment} stands for {' and '.join(known)}")
    if not known and not segment:
        raise _NoSuchSettingError("; a name is missing")
    return known[0] if known else segment.lower()


def _index(length: int, segment: str) -> int:
    if not segment.isdecimal() or int(segment) > length:
        raise _NoSuchSettingError(f"; a number from 0 to {length} belongs in the place of {segment}")
    return int(segment)


def _value(shape: Shape, text: str, name: str) -> Any:
    if shape.kind is not Kind.SCALAR:
        return parse(text, name)
    # Numbers and booleans stay text, which the settings read; a key that looks like a number must stay text anyway.
    return None if shape.optional and text in ("", "null") else text
