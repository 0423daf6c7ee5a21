"""The standard streams: colours and a spinner on a terminal, plain text elsewhere."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import typer

PLAIN_COLUMNS = 80
"""Where a terminal does not know how wide it is."""

_CONTROL = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}


class _Unfailing(io.TextIOWrapper):
    """A text stream that loses what cannot be written, as on a full disk or where the reader is gone."""

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def prepare() -> None:
    """Makes the standard streams usable whatever they are.

    One that the caller closed becomes the null device, before a socket can get its number. What the locale cannot write
    is written as an escape: an answer must not be lost for one sign. Standard error fails nothing: a gateway must start
    and a command must end with its own exit code while the disk of the log is full.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  # open until the end
    if sys.stderr is sys.__stderr__ and type(sys.stderr) is io.TextIOWrapper:
        sys.stderr = _Unfailing(sys.stderr.buffer, sys.stderr.encoding, line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def coloured(stream: TextIO) -> bool:
    """Whether a stream gets colours: a terminal that has them, or all with `FORCE_COLOR`; none with `NO_COLOR`.

    Source: no-color.org, force-color.org; where both are set the first decides.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def columns(stream: TextIO) -> int | None:
    """Returns how wide a terminal is; None for everything else. `COLUMNS` stands above what it says."""
    if not stream.isatty():
        return None
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(stream.fileno()).columns or PLAIN_COLUMNS
    except (OSError, ValueError):
        return PLAIN_COLUMNS


def printable(text: str) -> str:
    """Returns a text without control characters, which could command a terminal; tabs and line ends stay."""
    return text.translate(_CONTROL)


class Screen:
    """Writes for people: in colour on a terminal, plain elsewhere. A terminal gets no control characters of others."""

    def __init__(self, stream: TextIO) -> None:
        self.terminal = stream.isatty()
        self._stream = stream
        self._coloured = coloured(stream)
        self._fresh = True

    def write(self, text: str, **style: Any) -> None:
        """Writes at once.

        Args:
            text: words, perhaps of a model.
            style: as `typer.style` takes it.
        """
        self.put(self.paint(text, **style))
        self._stream.flush()

    def paint(self, text: str, **style: Any) -> str:
        """Returns a text as `write` would write it."""
        shown = printable(text) if self.terminal else text
        return typer.style(shown, **style) if self._coloured and style and shown else shown

    def put(self, painted: str) -> None:
        """Writes what `paint` made, now or later."""
        if painted:
            self._fresh = painted.endswith("\n")
            self._stream.write(painted)

    def line(self, text: str = "", **style: Any) -> None:
        """Writes a line of its own."""
        self.end_line()
        self.write(text, **style)
        self._stream.write("\n")
        self._stream.flush()
        self._fresh = True

    def end_line(self) -> None:
        """Goes to the beginning of a line, if it is not there."""
        if not self._fresh:
            self._stream.write("\n")
            self._stream.flush()
            self._fresh = True


@contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """Shows a spinner and a text on standard error for the block, where that is a terminal; it leaves no trace.

    Yields:
        Replaces the text.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda _: None
        return
    from rich.console import Console
    from rich.text import Text

    style = "dim" if coloured(sys.stderr) else ""
    with Console(stderr=True).status(Text(text, style=style), spinner="dots") as status:
        yield lambda new: status.update(Text(new, style=style))
