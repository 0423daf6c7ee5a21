"""The commands about the configuration and their options."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

EXIT_CONFIG = 2

app = typer.Typer(help="Show the configuration, its schema, an example.", no_args_is_help=True)


def check_config(
    file: Annotated[Path | None, typer.Argument(help="YAML file. Without it the environment alone is checked.")] = None,
) -> None:
    """Say what is wrong with a configuration, one mistake a line, or "ok". Starts nothing and asks nobody."""
    from llmgateway_server.cli.config_check import check
    from llmgateway_server.config.load import ConfigError

    try:
        typer.echo(check(file, os.environ, sys.stderr))
    except ConfigError as error:
        _fail(error)


@app.command()
def show(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="YAML file.")] = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of YAML.")] = False,
) -> None:
    """Print every setting that is in force, defaults included. Secrets are masked."""
    import json

    from llmgateway_server.config import effective
    from llmgateway_server.config.load import ConfigError, load

    try:
        loaded = load(config, os.environ)
    except ConfigError as error:
        _fail(error)
    if as_json:
        shown = effective.as_origins(loaded) if origin else effective.as_document(loaded)
        typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        typer.echo(effective.as_yaml(loaded, origins=origin), nl=False)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the file, for editors."""
    from llmgateway_server.config.schema import schema_text

    typer.echo(schema_text(), nl=False)


@app.command()
def example() -> None:
    """Print a file with every setting, its default, and what it is for."""
    from llmgateway_server.config.example import example_text

    typer.echo(example_text(), nl=False)


def _fail(error: Exception) -> NoReturn:
    # Nothing stands before a place: editors and CI find `file:line:` at the start of a line.
    typer.echo(str(error), err=True)
    raise typer.Exit(EXIT_CONFIG)
