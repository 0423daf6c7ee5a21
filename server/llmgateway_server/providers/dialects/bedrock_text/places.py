"""Places in JSON: a path of keys and indexes, read leniently and written as needed."""

from __future__ import annotations

from typing import Any

Step = str | int
Place = tuple[Step, ...]
COUNT = "#"
"""The last step of a place that stands for the length of a list."""


def found_at(value: Any, place: Place) -> Any:
    """Returns what stands at a place; None where a step leads nowhere, or the place is empty."""
    if not place:
        return None
    for step in place:
        if step == COUNT:
            value = len(value) if isinstance(value, list) else None
        elif isinstance(step, int):
            value = value[step] if isinstance(value, list) and len(value) > step else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def put(body: dict[str, Any], place: Place, value: Any) -> None:
    """Writes a value into objects inside each other."""
    *outer, last = place
    inner: dict[Any, Any] = body
    for step in outer:
        inner = inner.setdefault(step, {})
    inner[last] = value
