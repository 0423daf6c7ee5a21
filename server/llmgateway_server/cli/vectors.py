"""`llmgateway embed`: texts into vectors."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import TextIO

from llmgateway_server.cli.problems import refuse
from llmgateway_server.cli.remote import Remote, lines_of_stdin, sent
from llmgateway_server.cli.terminal import Screen, working

STDIN = "-"
SHOWN_VALUES = 4
BATCH = 256
"""Texts for one call: so many vectors of 4,000 numbers fit into 4 MiB, what gRPC takes as one message by default."""


def embed(
    remote: Remote, model: str, texts: Sequence[str], output: TextIO, *, dimensions: int | None, as_json: bool
) -> None:
    """Writes a JSON array with one vector per text, in their order; on a terminal their first values.

    Many texts are many calls, one after the other; when one fails nothing is written.

    Args:
        remote: the gateway.
        model: of the vectors.
        texts: empty, or `-` alone: the lines of standard input that are not empty.
        output: gets the vectors.
        dimensions: length of the vectors, where the model can choose.
        as_json: JSON on a terminal too.

    Raises:
        Problem: a call failed, or there is no text.
    """
    given = [] if list(texts) == [STDIN] else [sent(text, "a text") for text in texts]
    wanted = given or [line for line in lines_of_stdin().splitlines() if line.strip()]
    if not wanted:
        refuse("there is no text: give it as an argument or through a pipe")
    vectors: list[Sequence[float]] = []
    with remote.client() as client, working(f"embedding {len(wanted):,} texts") as note:
        for first in range(0, len(wanted), BATCH):
            batch = wanted[first : first + BATCH]
            vectors += client.embed(model, batch, dimensions=dimensions, timeout=remote.timeout_s).vectors
            note(f"embedding: {len(vectors):,} of {len(wanted):,} texts")
    screen = Screen(output)
    if as_json or not screen.terminal:
        rows = ",\n ".join(json.dumps([_shortest(value) for value in vector]) for vector in vectors)
        output.write(f"[{rows}]\n")
        return
    for vector in vectors:
        more = ", …" if len(vector) > SHOWN_VALUES else ""
        values = ", ".join(f"{value:.4f}" for value in vector[:SHOWN_VALUES])
        screen.write(f"{len(vector)} dimensions  ", bold=True)
        screen.write(f"[{values}{more}]\n")


def _shortest(value: float) -> float:
    """Returns the number with the fewest digits that is the same in single precision, as vectors travel."""
    wire = struct.pack("<f", value)
    return next(
        (short for digits in range(6, 10) if struct.pack("<f", short := float(f"{value:.{digits}g}")) == wire),
        value,
    )
