"""The commands and their options; what they do stands in the other modules of this room."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from llmgateway_server import __version__
from llmgateway_server.cli import config_commands

if TYPE_CHECKING:
    from llmgateway_server.config.settings import Settings
    from llmgateway_server.core.secret import Secret

EXIT_CONFIG = 2
EXIT_FAILED = 1

app = typer.Typer(
    name="llmgateway",
    help="One typed gRPC contract in front of every LLM provider.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
keys = typer.Typer(help="Make API keys and their hashes.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(config_commands.app, name="config")
app.command("check-config")(config_commands.check_config)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="YAML file. Without it: the simulator, and vendors whose key is set."),
]
TargetOption = Annotated[
    str,
    typer.Option(
        envvar="LLMGATEWAY_TARGET",
        help="Where the gateway is. Default: localhost:50051. The key comes from LLMGATEWAY_API_KEY alone.",
    ),
]
TlsOption = Annotated[bool, typer.Option("--tls", help="Use TLS; beyond this machine it is used anyway.")]
CaOption = Annotated[Path | None, typer.Option(help="Certificates (PEM) to trust instead of the usual ones.")]
InsecureOption = Annotated[bool, typer.Option("--insecure", help="Plaintext beyond this machine, key and all.")]
TimeoutOption = Annotated[float | None, typer.Option(min=0.001, help="Seconds for a call.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON.")]


@app.command()
def serve(
    config: ConfigOption = None,
    listen: Annotated[str, typer.Option(help="For example 127.0.0.1:50051, or unix:/run/llmgateway.sock.")] = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow plaintext beyond loopback, as behind something that has TLS.")
    ] = False,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C; a second one stops it at once."""
    from llmgateway_server.cli.serve import run

    sys.exit(run(_settings(config, listen, insecure=insecure), os.environ))


@app.command()
def demo() -> None:
    """Run a gateway on the simulator and call it: unary, streamed, refused. Needs no key and no network."""
    from llmgateway_server.cli.demo import run

    sys.exit(run())


@app.command()
def path(config: ConfigOption = None) -> None:
    """Print the steps that a request passes, in order, and why each stands there."""
    from llmgateway_server import request_path
    from llmgateway_server.app import App
    from llmgateway_server.config.load import ConfigError

    settings = _settings(config)
    try:
        typer.echo(request_path.describe(App(settings, os.environ).parts))
    except ConfigError as error:
        _fail(str(error))


@app.command()
def models(
    config: ConfigOption = None,
    provider: Annotated[str, typer.Option(help="Only models of this provider.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")] = False,
) -> None:
    """Print the catalogue: status, limits, prices in US dollars per million tokens, capabilities. Asks no provider."""
    from llmgateway_server.app import App
    from llmgateway_server.cli.models import of_provider, show_table, write_json
    from llmgateway_server.config.load import ConfigError

    settings = _settings(config)
    if provider and provider not in settings.providers:
        _fail(f"--provider: there is no provider {provider}; there are: {', '.join(sorted(settings.providers))}")
    try:
        catalog = App(settings, os.environ).parts.catalog
    except ConfigError as error:
        _fail(str(error))
    (write_json if as_json else show_table)(of_provider(catalog.models(), provider), sys.stdout)


@app.command("test-provider")
def check_provider(
    name: Annotated[str, typer.Argument(help="A configured provider.")],
    config: ConfigOption = None,
    model: Annotated[str, typer.Option(help="Its model to ask. Default: the cheapest of the catalogue.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Ask a provider for two tiny answers, one unary and one streamed, and say what is wrong if any is."""
    from llmgateway_server.cli import provider_check
    from llmgateway_server.cli.serve import run_loop
    from llmgateway_server.config.load import ConfigError

    settings = _settings(config)
    if name not in settings.providers:
        _fail(f"there is no provider {name}; there are: {', '.join(sorted(settings.providers))}")
    try:
        verdict = run_loop(provider_check.examine(settings, os.environ, name, model))
    except ConfigError as error:
        _fail(str(error))
    except provider_check.NoModelError:
        _fail(f"the catalogue has no model of {name}: name one with --model")
    (provider_check.write_json if as_json else provider_check.show)(verdict, sys.stdout)
    sys.exit(0 if verdict.ok else EXIT_FAILED)


@app.command()
def complete(
    *,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL] [PROMPT]", help="One word alone is the prompt; - or nothing: standard input."),
    ] = None,
    system: Annotated[str | None, typer.Option(help="Instructions.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Most output tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 to 2.")] = None,
    stream: Annotated[
        bool | None, typer.Option("--stream/--no-stream", help="Write pieces as they come. Default: on a terminal.")
    ] = None,
    schema: Annotated[Path | None, typer.Option(help="JSON Schema of the answer.")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="An image to ask about; may be repeated.")] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say target, tokens, cost and times, on standard error.")
    ] = False,
    target: TargetOption = "",
    tls: TlsOption = False,
    ca: CaOption = None,
    insecure: InsecureOption = False,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a running gateway one question and print the text of the answer."""
    from llmgateway_server.cli.complete import question, run
    from llmgateway_server.cli.remote import Remote

    asked = question(
        words or [],
        schema=schema,
        images=image or [],
        options={"system": system, "max_output_tokens": max_tokens, "temperature": temperature},
    )
    streamed = sys.stdout.isatty() and not as_json if stream is None else stream
    remote = Remote(target, tls, ca, insecure, timeout)
    run(remote, asked, sys.stdout, sys.stderr, stream=streamed, as_json=as_json, verbose=verbose)


@app.command()
def chat(
    *,
    model: Annotated[str, typer.Argument(help="Default: the gateway's.")] = "",
    system: Annotated[str, typer.Option(help="Instructions.")] = "",
    target: TargetOption = "",
    tls: TlsOption = False,
    ca: CaOption = None,
    insecure: InsecureOption = False,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Talk with a model through a running gateway. Ctrl-C ends an answer, Ctrl-D the conversation."""
    from llmgateway_server.cli.chat import run
    from llmgateway_server.cli.remote import Remote

    run(Remote(target, tls, ca, insecure, timeout), model, system, sys.stdout, as_json=as_json)


@app.command()
def embed(
    *,
    model: Annotated[str, typer.Argument(help="For example simulator/embed.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Without any: the lines of standard input.")] = None,
    dimensions: Annotated[int | None, typer.Option(help="Length of the vectors, where the model can choose.")] = None,
    target: TargetOption = "",
    tls: TlsOption = False,
    ca: CaOption = None,
    insecure: InsecureOption = False,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a vector of each text: JSON in a pipe, the first values on a terminal."""
    from llmgateway_server.cli import figures
    from llmgateway_server.cli.remote import Remote

    remote = Remote(target, tls, ca, insecure, timeout)
    figures.embed(remote, model, texts or [], sys.stdout, dimensions=dimensions, as_json=as_json)


@app.command()
def health(
    *,
    provider: Annotated[str, typer.Option(help="Only this provider.")] = "",
    target: TargetOption = "",
    tls: TlsOption = False,
    ca: CaOption = None,
    insecure: InsecureOption = False,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print how a running gateway and its providers are; exits 1 if it does not work."""
    from llmgateway_server.cli import figures
    from llmgateway_server.cli.remote import Remote

    figures.health(Remote(target, tls, ca, insecure, timeout), provider, sys.stdout, as_json=as_json)


@app.command()
def stats(
    *,
    period: Annotated[
        Literal["hour", "day", "week", "month"] | None, typer.Option(help="Default: since the start.")
    ] = None,
    provider: Annotated[str, typer.Option(help="Only this provider.")] = "",
    target: TargetOption = "",
    tls: TlsOption = False,
    ca: CaOption = None,
    insecure: InsecureOption = False,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print calls, latencies, tokens and money of a running gateway."""
    from llmgateway_server.cli import figures
    from llmgateway_server.cli.remote import Remote

    figures.stats(Remote(target, tls, ca, insecure, timeout), provider, period, sys.stdout, as_json=as_json)


@keys.command("new")
def keys_new(
    tenant: Annotated[str, typer.Option(help="Whom the key belongs to.")] = "default",
    role: Annotated[list[str] | None, typer.Option(help="viewer, caller, operator or admin; may be repeated.")] = None,
    pepper_env: Annotated[str, typer.Option(help="Environment variable with the server's pepper.")] = "",
) -> None:
    """Make a key. It is shown once; the configuration gets its hash."""
    from llmgateway_server.cli.keys import new_key_text

    try:
        key, entry = new_key_text(tenant, role or ["caller"], _pepper(pepper_env))
    except ValueError as error:
        _fail(str(error))
    typer.echo("# the key, shown this once:", err=True)
    typer.echo(key)
    typer.echo("# for the configuration file:", err=True)
    typer.echo(entry, err=True)


@keys.command("hash")
def keys_hash(
    pepper_env: Annotated[str, typer.Option(help="Environment variable with the server's pepper.")] = "",
) -> None:
    """Read a key from standard input and print its hash."""
    from llmgateway_server.admission.keys import hash_key, key_id_of

    key = sys.stdin.readline().strip()
    if key_id_of(key) is None:
        _fail("standard input does not hold a key made by 'llmgateway keys new'")
    typer.echo(hash_key(key, _pepper(pepper_env)))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _settings(config: Path | None, listen: str = "", *, insecure: bool = False) -> Settings:
    from llmgateway_server.config.load import ConfigError, load

    try:
        return load(config, os.environ, listen=listen, insecure=insecure).settings
    except ConfigError as error:
        _fail(str(error))


def _pepper(variable: str) -> Secret:
    from llmgateway_server.core.secret import Secret

    pepper = os.environ.get(variable, "") if variable else ""
    if variable and not pepper:
        _fail(f"the environment variable {variable} is not set")
    return Secret(pepper)


def _fail(message: str) -> NoReturn:
    typer.echo(f"llmgateway: {message}", err=True)
    raise typer.Exit(EXIT_CONFIG)
