"""What the tab key completes besides commands and options: models and providers."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from llmgateway_server.cli.options import connection

if TYPE_CHECKING:
    from llmgateway_server.config.settings import Settings

WAIT_S = 0.5
"""For a gateway that runs: whoever has pressed a key waits for it."""


def first_model(ctx: typer.Context) -> list[str]:
    """Returns names of models for the first of several words; what follows is a prompt."""
    return [] if ctx.params.get("words") else model(ctx)


def model(ctx: typer.Context) -> list[str]:
    """Returns the names of models: of the gateway that the options name, or else of this machine's own catalogue."""
    # a failure would be written over the line that is being typed
    with contextlib.suppress(Exception):
        return _of_gateway(ctx)
    with contextlib.suppress(Exception):
        return _of_catalogue()
    return []


def provider(ctx: typer.Context) -> list[str]:
    """Returns the names of the configured providers."""
    with contextlib.suppress(Exception):
        return sorted(_settings(ctx.params.get("config")).providers)
    return []


def _of_gateway(ctx: typer.Context) -> list[str]:
    from llmgateway import Client

    names = ("target", "tls", "ca", "insecure")
    given = {name: value for name in names if (value := ctx.params.get(name)) is not None}
    there = connection(**given)
    ca = Path(there.ca) if there.ca else None
    with Client(there.target or None, tls=there.tls or None, ca=ca, insecure=there.insecure) as client:
        return [each.name for each in client.models(timeout=WAIT_S)]


def _of_catalogue() -> list[str]:
    from llmgateway_server.app import App

    return [each.name for each in App(_settings(None), os.environ).parts.catalog.models()]


def _settings(config: Path | str | None) -> Settings:
    from llmgateway_server.config.load import load

    return load(Path(config) if config else None, os.environ).settings
