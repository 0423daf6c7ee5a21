"""Shows the steps that a request passes: text for people, JSON for programs."""

from __future__ import annotations

from typing import Any, TextIO

from llmgateway_server import request_path
from llmgateway_server.cli.remote import write_json as write_document
from llmgateway_server.cli.terminal import Screen
from llmgateway_server.request_path import Parts


def show(parts: Parts, output: TextIO) -> None:
    """Writes the rings, one step a line."""
    screen = Screen(output)
    for line in request_path.describe(parts).splitlines():
        if line.startswith(" "):
            screen.write(f"{line}\n")
        else:
            screen.write(f"{line}\n", bold=True)


def write_json(parts: Parts, output: TextIO) -> None:
    """Writes an array of rings: name, scope, and steps with name and reason."""
    rings: list[dict[str, Any]] = []
    for line in request_path.describe(parts).splitlines():
        if line.startswith(" "):
            name, why = line.split(maxsplit=1)
            rings[-1]["steps"].append({"name": name, "why": why})
        else:
            name, _, scope = line.partition(": ")
            rings.append({"name": name, "scope": scope, "steps": []})
    write_document(rings, output)
