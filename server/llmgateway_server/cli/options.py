"""Options that several commands share; each is written once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from llmgateway_server.cli.remote import Remote

PANEL = "Where the gateway is"

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="YAML file. Without it: the simulator, and vendors whose key is set."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON, and a failure as JSON on standard error.")]


def connection(
    *,
    target: Annotated[
        str,
        typer.Option(
            envvar="LLMGATEWAY_TARGET",
            help="Where the gateway is. Default: localhost:50051. The key comes from LLMGATEWAY_API_KEY alone.",
            rich_help_panel=PANEL,
        ),
    ] = "",
    tls: Annotated[
        bool, typer.Option("--tls", help="Use TLS; beyond this machine it is used anyway.", rich_help_panel=PANEL)
    ] = False,
    ca: Annotated[
        Path | None, typer.Option(help="Certificates (PEM) to trust instead of the usual ones.", rich_help_panel=PANEL)
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Plaintext beyond this machine, key and all.", rich_help_panel=PANEL)
    ] = False,
    timeout: Annotated[float | None, typer.Option(min=0.001, help="Seconds for a call.", rich_help_panel=PANEL)] = None,
) -> Remote:
    """Returns the gateway that the options name; its signature is the list of them."""
    return Remote(target, tls, ca, insecure, timeout)


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of `connection`, and it gets a `Remote` as its first argument instead of them."""
    own = _parameters(command)[1:]
    shared = _parameters(connection)

    def run(**given: Any) -> None:
        command(connection(**{each.name: given.pop(each.name) for each in shared}), **given)

    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*own, *shared)]
    run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer makes the options of it
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(function, include_extras=True)
    return [each.replace(annotation=hints[each.name]) for each in inspect.signature(function).parameters.values()]
