"""Writes YAML as a person would: short, in the settings' own order."""

from __future__ import annotations

import json
import re
from typing import Any

PLAIN = re.compile(r"[A-Za-z/][\w./:-]*(?<!:)", re.ASCII)
"""Texts that YAML reads as themselves without quotes."""
RESERVED = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""Some are words of older YAML, which other tools may read."""


def key(name: str) -> str:
    """Writes a name."""
    return scalar(name)


def scalar(value: Any) -> str:
    """Writes a value that has nothing inside, or a list of such values."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(scalar(each) for each in value)}]"
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in RESERVED:
        return value
    return json.dumps(value, ensure_ascii=False)
