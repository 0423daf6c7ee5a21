"""Ways to cut a stream's bytes on their way. A decoder must not care."""

from __future__ import annotations

import random
from collections.abc import Callable

Cut = Callable[[bytes], list[bytes]]
"""Cuts the bytes of a whole stream into pieces, which are sent one by one; together they are the bytes again."""

LONGEST_PIECE_BYTES = 64


def whole(body: bytes) -> list[bytes]:
    """Sends everything at once."""
    return [body]


def per_frame(body: bytes) -> list[bytes]:
    """Sends one event at a time."""
    return [part + b"\n\n" for part in body.split(b"\n\n")[:-1]]


def one_byte(body: bytes) -> list[bytes]:
    """Sends byte by byte."""
    return [body[at : at + 1] for at in range(len(body))]


def inside_utf8(body: bytes) -> list[bytes]:
    """Cuts inside every character that has more than one byte, and nowhere else."""
    return _at(body, [at for at, byte in enumerate(body) if byte & 0xC0 == 0x80])


def inside_line_ends(body: bytes) -> list[bytes]:
    """Cuts between the two line ends after an event."""
    return _at(body, [at for at in range(1, len(body)) if body[at - 1 : at + 1] == b"\n\n"])


def seeded(seed: int) -> Cut:
    """Returns a cut at random places, the same ones for the same seed."""

    def cut(body: bytes) -> list[bytes]:
        dice = random.Random(seed)
        places: list[int] = []
        at = dice.randint(1, LONGEST_PIECE_BYTES)
        while at < len(body):
            places.append(at)
            at += dice.randint(1, LONGEST_PIECE_BYTES)
        return _at(body, places)

    return cut


def _at(body: bytes, places: list[int]) -> list[bytes]:
    return [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]
