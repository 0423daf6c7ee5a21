"""The command and its parts; the commands that work on this machine alone, and their options."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmgateway_server import __version__
from llmgateway_server.cli import config_commands, help_commands, key_commands, remote_commands, suggestions
from llmgateway_server.cli.group import Commands
from llmgateway_server.cli.options import ConfigOption, JsonOption
from llmgateway_server.cli.problems import EXIT_FAILED, misconfigured, refuse
from llmgateway_server.cli.terminal import coloured

if TYPE_CHECKING:
    from llmgateway_server.config.settings import Settings

PANEL = "On this machine"

app = typer.Typer(
    name="llmgateway",
    cls=Commands,
    help="One typed gRPC contract in front of every LLM provider.",
    epilog="More: llmgateway help exit-codes, help environment, and completion for the tab key.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # boxes are for people: a pipe gets plain text, and sooner
    rich_markup_mode="rich" if sys.stdout is not None and coloured(sys.stdout) else None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(remote_commands.app)


@app.command(rich_help_panel=PANEL)
def serve(
    config: ConfigOption = None,
    listen: Annotated[str, typer.Option(help="For example 127.0.0.1:50051, or unix:/run/llmgateway.sock.")] = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow plaintext beyond loopback, as behind something that has TLS.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=0, max=64, help="Processes that serve the address together. Default: as configured, 1.")
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write the log, and a failure, as JSON on standard error.")
    ] = False,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C.

    A second one stops it at once.
    """
    from llmgateway_server.cli.serve import run

    run(_settings(config, listen, insecure=insecure, workers=workers), os.environ, as_json=as_json)


@app.command(rich_help_panel=PANEL)
def demo() -> None:
    """Run a gateway on the simulator and call it.

    Unary, streamed, refused. Needs no key and no network.
    """
    from llmgateway_server.cli.demo import run

    sys.exit(run())


@app.command(rich_help_panel=PANEL)
def path(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print the steps that a request passes, and why."""
    from llmgateway_server.app import App
    from llmgateway_server.cli import steps
    from llmgateway_server.config.load import ConfigError

    settings = _settings(config)
    try:
        parts = App(settings, os.environ).parts
    except ConfigError as error:
        raise misconfigured(error) from None
    (steps.write_json if as_json else steps.show)(parts, sys.stdout)


@app.command(rich_help_panel=PANEL)
def models(
    config: ConfigOption = None,
    provider: Annotated[
        str, typer.Option(help="Only models of this provider.", autocompletion=suggestions.provider)
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Print the catalogue of models.

    Status, limits, prices in US dollars per million tokens, capabilities. Asks no provider.
    """
    from llmgateway_server.app import App
    from llmgateway_server.cli.models import of_provider, show_table, write_json
    from llmgateway_server.config.load import ConfigError

    settings = _settings(config)
    if provider and provider not in settings.providers:
        refuse(f"--provider: there is no provider {provider}; there are: {', '.join(sorted(settings.providers))}")
    try:
        catalog = App(settings, os.environ).parts.catalog
    except ConfigError as error:
        raise misconfigured(error) from None
    (write_json if as_json else show_table)(of_provider(catalog.models(), provider), sys.stdout)


@app.command("test-provider", rich_help_panel=PANEL)
def check_provider(
    name: Annotated[str, typer.Argument(help="A configured provider.", autocompletion=suggestions.provider)],
    config: ConfigOption = None,
    model: Annotated[str, typer.Option(help="Its model to ask. Default: the cheapest of the catalogue.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Ask a provider for two tiny answers.

    One unary, one streamed; says what is wrong if any is.
    """
    from llmgateway_server.cli import provider_check
    from llmgateway_server.cli.serve import run_loop
    from llmgateway_server.cli.terminal import working
    from llmgateway_server.config.load import ConfigError

    settings = _settings(config)
    if name not in settings.providers:
        refuse(f"there is no provider {name}; there are: {', '.join(sorted(settings.providers))}")
    try:
        with working(f"asking {name}"):
            verdict = run_loop(provider_check.examine(settings, os.environ, name, model))
    except ConfigError as error:
        raise misconfigured(error) from None
    except provider_check.NoModelError:
        refuse(f"the catalogue has no model of {name}: name one with --model")
    (provider_check.write_json if as_json else provider_check.show)(verdict, sys.stdout)
    raise typer.Exit(0 if verdict.ok else EXIT_FAILED)


app.command("check-config", rich_help_panel=PANEL)(config_commands.check_config)
app.add_typer(config_commands.app, name="config", rich_help_panel=PANEL)
app.add_typer(key_commands.app, name="keys", rich_help_panel=PANEL)


@app.command(rich_help_panel=help_commands.PANEL)
def version(as_json: JsonOption = False) -> None:
    """Print the version."""
    if as_json:
        from llmgateway_server.cli.remote import write_json

        write_json({"version": __version__}, sys.stdout)
    else:
        typer.echo(__version__)


app.add_typer(help_commands.app)


def _settings(config: Path | None, listen: str = "", *, insecure: bool = False, workers: int = 0) -> Settings:
    from llmgateway_server.config.load import ConfigError, load_usable

    try:
        return load_usable(config, os.environ, listen=listen, insecure=insecure, workers=workers).settings
    except ConfigError as error:
        raise misconfigured(error) from None
