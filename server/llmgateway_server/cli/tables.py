"""Tables: every row is one line, aligned. A terminal that is too narrow gets fewer columns, never broken rows."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from llmgateway_server.cli.terminal import Screen, columns, printable

GAP = "  "
UNKNOWN = "-"
_WIDE = frozenset("WF")


@dataclass(frozen=True, slots=True)
class Column:
    """A column and what may be done with it where there is no room."""

    name: str
    right: bool = False
    rank: int = 0
    """The highest one goes first. 0: stays."""
    least: int = 0
    """Columns of the terminal from which on it is shown cut, with an ellipsis. 0: it is whole or not there."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A text in a colour."""

    text: str
    colour: str | None = None


@dataclass(slots=True)
class Table:
    """Columns and rows; a row has a cell for each column."""

    columns: Sequence[Column]
    rows: list[Sequence[str | Cell]] = field(default_factory=list)
    header: bool = True
    """Without: the first column holds names, in bold."""


def show(tables: Sequence[Table], output: TextIO) -> None:
    """Writes the tables that have rows, with an empty line between them.

    A pipe gets all columns in all their width. On a terminal a column without any value is left out, and the first ones
    by rank where there is no room; which ones is said.
    """
    screen = Screen(output)
    limit = columns(output)
    for number, table in enumerate(table for table in tables if table.rows):
        if number:
            screen.line()
        _show(table, screen, limit)


def width(text: str) -> int:
    """Returns how many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in _WIDE else 1 for each in text
    )


def cut(text: str, limit: int) -> str:
    """Returns a text that takes at most `limit` columns; an ellipsis stands for what is missing."""
    if width(text) <= limit:
        return text
    kept = text[:limit]
    while kept and width(kept) >= limit:
        kept = kept[:-1]
    return f"{kept.rstrip()}…"


def _show(table: Table, screen: Screen, limit: int | None) -> None:
    rows = [[each if isinstance(each, Cell) else Cell(each) for each in row] for row in table.rows]
    rows = [[Cell(" ".join(printable(each.text).split()), each.colour) for each in row] for row in rows]
    widths, dropped = _widths(table, rows, limit)
    if table.header:
        screen.put(_line(table, [Cell(column.name) for column in table.columns], widths, screen, bold=True))
    for row in rows:
        screen.put(_line(table, row, widths, screen))
    if dropped:
        screen.line(cut(f"not shown: {', '.join(dropped)}", limit or 0), dim=True)


def _widths(table: Table, rows: Sequence[Sequence[Cell]], limit: int | None) -> tuple[dict[int, int], list[str]]:
    """Returns the width of each column that is shown, by its index, and the names of those that had no room."""
    texts = {index: [row[index].text for row in rows] for index in range(len(table.columns))}
    if limit is not None and table.header:
        texts = {index: each for index, each in texts.items() if not set(each) <= {"", UNKNOWN}}
    names = {index: table.columns[index].name if table.header else "" for index in texts}
    widths = {index: max(map(width, (names[index], *each))) for index, each in texts.items()}
    if limit is None:
        return widths, []
    whole = dict(widths)
    dropped: list[int] = []
    while _room(widths, limit) < 0:
        last = max(widths, key=lambda index: (table.columns[index].rank, widths[index]))
        if table.columns[last].rank == 0:
            # all that is left is needed: the widest loses
            widths[last] = max(1, widths[last] + _room(widths, limit))
            break
        del widths[last]
        dropped.append(last)
    for index in reversed(dropped):
        room = _room(widths, limit) - len(GAP)
        if table.columns[index].least and room >= min(table.columns[index].least, whole[index]):
            widths[index] = min(whole[index], room)
    missing = [table.columns[index].name for index in sorted(dropped) if index not in widths]
    return dict(sorted(widths.items())), missing


def _room(widths: Mapping[int, int], limit: int) -> int:
    """Returns how many columns of the terminal are left; below 0: are missing."""
    return limit - sum(widths.values()) - len(GAP) * (len(widths) - 1)


def _line(table: Table, row: Sequence[Cell], widths: Mapping[int, int], screen: Screen, *, bold: bool = False) -> str:
    shown = list(widths)
    # what follows the last text is left out: spaces at the end of a line help nobody
    last = max((place for place, index in enumerate(shown) if row[index].text), default=-1)
    pieces = []
    for place, index in enumerate(shown[: last + 1]):
        cell = row[index]
        text = cut(cell.text, widths[index])
        space = " " * (widths[index] - width(text))
        strong = bold or (place == 0 and not table.header)
        painted = screen.paint(text, **({"bold": True} if strong else {"fg": cell.colour} if cell.colour else {}))
        right = table.columns[index].right
        pieces.append(f"{space}{painted}" if right else painted if place == last else f"{painted}{space}")
    return GAP.join(pieces) + "\n"
