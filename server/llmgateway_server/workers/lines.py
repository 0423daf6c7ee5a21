"""Standard output that several processes write records to."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator

ATOMIC_BYTES = 4096
"""What a pipe takes in one piece, however many write to it (PIPE_BUF, pipe(7))."""


class WholeLines(io.TextIOBase):
    """Writes whole lines at a time, so that those of several processes never mix. Nothing is buffered.

    Args:
        descriptor: of a file, pipe or terminal; it stays open.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, text: str) -> int:
        """Writes lines.

        Raises:
            OSError: they cannot be written.
        """
        for piece in _pieces(text.encode().splitlines(keepends=True)):
            self.put(piece)
        return len(text)

    def put(self, piece: bytes) -> None:
        """Writes lines that belong together, see `write`."""
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


def _pieces(lines: list[bytes]) -> Iterator[bytes]:
    """Yields lines together as long as they fit; one that is longer comes alone."""
    piece = b""
    for line in lines:
        if piece and len(piece) + len(line) > ATOMIC_BYTES:
            yield piece
            piece = b""
        piece += line
    if piece:
        yield piece
