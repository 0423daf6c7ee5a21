"""Reads YAML 1.2 with the line of every part. The library is imported when there is something to read."""

from __future__ import annotations

import re
from pathlib import Path as FilePath
from typing import Any

from llmgateway_server.config.document import Document
from llmgateway_server.config.mistakes import ConfigError, Path

MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_PARTS = 200_000
"""Values of one file, counted wherever an alias repeats them."""

QUOTED = re.compile(r"(['\"])(?!<).{2,}\1", re.DOTALL)
"""What the parser quotes from the file. One character and names of tokens such as '<block end>' show nothing."""


def read_file(path: FilePath) -> Document:
    """Reads a file.

    Raises:
        ConfigError: it cannot be read, or is not YAML; with line and column.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not readable as YAML: not UTF-8") from None
    lines: dict[Path, int] = {}
    data = parse(text, str(path), lines)
    return Document(str(path), {} if data is None else data, lines)


def parse(text: str, source: str, lines: dict[Path, int] | None = None) -> Any:
    """Returns what a text says, as plain data.

    Args:
        source: named in errors.
        lines: gets the line of each part, from 1.

    Raises:
        ConfigError: it is not YAML, or more than one document.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        constructor, _ = YAML(typ="safe", pure=True).get_constructor_parser(text)
        node = constructor.composer.get_single_node()
        data = None if node is None else constructor.construct_document(node)
        return _Walk({} if lines is None else lines).plain(node, data, ())
    except (YAMLError, ValueError, RecursionError) as error:  # an impossible date is a ValueError, not YAML's own
        raise ConfigError(f"{source}{_place(error)}: not readable as YAML{_reason(error)}") from None


class _Walk:
    """Makes plain data of what was read: aliases are copied, dates are text, names are text."""

    def __init__(self, lines: dict[Path, int]) -> None:
        self._lines = lines
        self._count = 0

    def plain(self, node: Any, value: Any, path: Path) -> Any:
        self._count += 1
        if self._count > MAX_PARTS:
            raise ValueError("too many values")
        if node is not None and path:
            self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(value, dict):
            nodes = {str(key.value): (key, child) for key, child in (node.value if node is not None else ())}
            result = {}
            for key, each in value.items():
                key_node, child = nodes.get(str(key), (None, None))
                here = (*path, str(key))
                if key_node is not None:
                    self._lines[here] = key_node.start_mark.line + 1
                result[str(key)] = self.plain(child, each, here)
            return result
        if isinstance(value, list):
            items = node.value if node is not None else [None] * len(value)
            return [
                self.plain(child, each, (*path, at)) for at, (child, each) in enumerate(zip(items, value, strict=True))
            ]
        if value is None or isinstance(value, str | bool | int | float) or node is None:
            return value
        return str(node.value)


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f":{mark.line + 1}:{mark.column + 1}"


def _reason(error: Exception) -> str:
    from ruamel.yaml.constructor import DuplicateKeyError

    if isinstance(error, DuplicateKeyError):
        return ": this key stands there twice"
    if isinstance(error, RecursionError):
        return ": nested too deeply"
    problem = " ".join(str(getattr(error, "problem", None) or "").split())
    return f": {QUOTED.sub('…', problem)}" if problem else ""
