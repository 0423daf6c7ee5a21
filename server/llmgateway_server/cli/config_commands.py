"""The commands about the configuration and their options."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from llmgateway_server.cli.options import JsonOption
from llmgateway_server.cli.problems import EXIT_USAGE, misconfigured, mistakes

app = typer.Typer(help="Show the configuration, its schema, an example.", no_args_is_help=True)


def check_config(
    file: Annotated[Path | None, typer.Argument(help="YAML file. Without it the environment alone is checked.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with a configuration.

    One mistake a line, or "ok". Starts nothing and asks nobody.
    """
    from llmgateway_server.cli.config_check import check, unknown_variables
    from llmgateway_server.cli.remote import write_json
    from llmgateway_server.config.load import ConfigError

    unknown = unknown_variables(os.environ)
    if unknown and not as_json:
        sys.stderr.write(f"warning: not understood yet: {', '.join(unknown)}\n")
    try:
        counts = check(file, os.environ)
    except ConfigError as error:
        if not as_json:
            raise misconfigured(error, placed=True) from None
        write_json({"ok": False, "mistakes": mistakes(error), "not_understood": unknown}, sys.stdout)
        raise typer.Exit(EXIT_USAGE) from None
    if as_json:
        write_json({"ok": True, "mistakes": [], "not_understood": unknown, **counts}, sys.stdout)
    else:
        said = (f"{count} {name.removesuffix('s') if count == 1 else name}" for name, count in counts.items())
        typer.echo(f"ok: {', '.join(said)}")


@app.command()
def show(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="YAML file.")] = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print every setting that is in force, defaults included. Secrets are masked."""
    import json

    from llmgateway_server.config import effective
    from llmgateway_server.config.load import ConfigError, load

    try:
        loaded = load(config, os.environ)
    except ConfigError as error:
        raise misconfigured(error, placed=True) from None
    if as_json:
        shown = effective.as_origins(loaded) if origin else effective.as_document(loaded)
        typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        typer.echo(effective.as_yaml(loaded, origins=origin), nl=False)


@app.command()
def schema(
    as_json: Annotated[bool, typer.Option("--json", help="Changes nothing, it is JSON anyway.")] = False,  # noqa: ARG001
) -> None:
    """Print the JSON Schema of the file, for editors."""
    from llmgateway_server.config.schema import schema_text

    typer.echo(schema_text(), nl=False)


@app.command()
def example(as_json: JsonOption = False) -> None:
    """Print a file with every setting, its default, and what it is for."""
    from llmgateway_server.cli.remote import write_json
    from llmgateway_server.config.example import example_text
    from llmgateway_server.config.yaml_file import parse

    text = example_text()
    if as_json:
        write_json(parse(text, "example"), sys.stdout)
    else:
        typer.echo(text, nl=False)
