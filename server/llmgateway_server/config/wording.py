"""Mistakes of the schema in our words, with the path of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmgateway_server.config.mistakes import Mistake, Path, nearest
from llmgateway_server.config.shape import Kind, Shape

OF_SETTINGS = "consistency"
"""Type of the error that the settings raise about themselves; `consistency.mistakes` tells the same with paths."""

TEXTS = {
    "missing": "is required",
    "model_type": "must be names with values",
    "model_attributes_type": "must be names with values",
    "dict_type": "must be names with values",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "invalid_key": "names must be text",
}
SUBJECT = re.compile(r"^(Decimal input|Input|String|Tuple|List|Dictionary|Value) should ")
PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z_]{0,31}")
"""A key that looks like the name of a setting; anything else may be a secret in the wrong place."""


def mistakes_of(errors: Sequence[Mapping[str, Any]], shape: Shape) -> Iterator[Mistake]:
    """Yields pydantic's errors, one per place.

    Args:
        errors: of `ValidationError.errors()`.
        shape: of what was validated.
    """
    found: dict[Path, list[str]] = {}
    for error in errors:
        if error["type"] == OF_SETTINGS:
            continue
        path, around = _path(error["loc"], shape)
        if error["type"] == "extra_forbidden":
            path, text = _unknown(path, around)
        else:
            text = _text(error)
        found.setdefault(path, []).append(text)
    for path, texts in found.items():
        yield Mistake(path, "; ".join(dict.fromkeys(texts)))


def _path(location: Sequence[str | int], shape: Shape) -> tuple[Path, Shape]:
    """Returns the place in the document, less what pydantic adds for members of unions, and the shape around it."""
    path: list[str | int] = []
    around = shape
    for part in location:
        if shape.kind is Kind.SCALAR or part == "[key]":
            break
        around = shape
        path.append(part if shape.kind is Kind.LIST else str(part))
        shape = shape.below(part)
    return tuple(path), around


def _unknown(path: Path, around: Shape) -> tuple[Path, str]:
    key = str(path[-1])
    meant = nearest(key, around.fields)
    if meant:
        return path, f"there is no such setting; did you mean {meant}?"
    shown = key if PLAIN_KEY.fullmatch(key) else "?"
    return (*path[:-1], shown), f"there is no such setting; there are: {', '.join(around.fields)}"


def _text(error: Mapping[str, Any]) -> str:
    if error["type"] in ("literal_error", "enum"):
        return f"must be one of {error['ctx']['expected']}"
    if known := TEXTS.get(error["type"]):
        return known
    text = str(error["msg"]).removeprefix("Value error, ")
    return SUBJECT.sub("must ", text)
