"""The commands about API keys and their options."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from llmgateway_server.cli.options import JsonOption
from llmgateway_server.cli.problems import refuse

if TYPE_CHECKING:
    from llmgateway_server.core.secret import Secret

app = typer.Typer(help="Make API keys and their hashes.", no_args_is_help=True)

PepperOption = Annotated[str, typer.Option(help="Environment variable with the server's pepper.")]


@app.command()
def new(
    tenant: Annotated[str, typer.Option(help="Whom the key belongs to.")] = "default",
    role: Annotated[list[str] | None, typer.Option(help="viewer, caller, operator or admin; may be repeated.")] = None,
    pepper_env: PepperOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make a key. It is shown once; the configuration gets its hash."""
    from llmgateway_server.cli.keys import new_key_entry, yaml_of
    from llmgateway_server.cli.remote import write_json

    try:
        key, entry = new_key_entry(tenant, role or ["caller"], _pepper(pepper_env))
    except ValueError as error:
        refuse(str(error))
    if as_json:
        write_json({"key": key, "entry": entry}, sys.stdout)
        return
    typer.echo("# the key, shown this once:", err=True)
    typer.echo(key)
    typer.echo("# for the configuration file:", err=True)
    typer.echo(yaml_of(entry), err=True)


@app.command("hash")
def show_hash(pepper_env: PepperOption = "", as_json: JsonOption = False) -> None:
    """Read a key from standard input and print its hash."""
    from llmgateway_server.admission.keys import hash_key, key_id_of
    from llmgateway_server.cli.remote import write_json

    key = sys.stdin.readline().strip()
    key_id = key_id_of(key)
    if key_id is None:
        refuse("standard input does not hold a key made by 'llmgateway keys new'")
    hashed = hash_key(key, _pepper(pepper_env))
    if as_json:
        write_json({"id": key_id, "hash": hashed}, sys.stdout)
    else:
        typer.echo(hashed)


def _pepper(variable: str) -> Secret:
    from llmgateway_server.core.secret import Secret

    pepper = os.environ.get(variable, "") if variable else ""
    if variable and not pepper:
        refuse(f"the environment variable {variable} is not set")
    return Secret(pepper)
