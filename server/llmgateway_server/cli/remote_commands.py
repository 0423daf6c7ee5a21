"""The commands that call a gateway which runs somewhere, and their options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from llmgateway_server.cli import suggestions
from llmgateway_server.cli.options import JsonOption, connected
from llmgateway_server.cli.remote import Remote
from llmgateway_server.routing.strategies.names import Strategy

PANEL = "A gateway that runs somewhere"

app = typer.Typer()


@app.command(rich_help_panel=PANEL)
@connected
def complete(
    remote: Remote,
    *,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] PROMPT",
            help="One word alone is the prompt; - or nothing: standard input.",
            autocompletion=suggestions.first_model,
        ),
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
    as_json: JsonOption = False,
) -> None:
    """Ask one question and print the answer.

    Before a prompt that begins with a dash put two dashes alone: complete -- "-1 + 1?"
    """
    from llmgateway_server.cli.complete import question, run

    asked = question(
        words or [],
        schema=schema,
        images=image or [],
        options={"system": system, "max_output_tokens": max_tokens, "temperature": temperature},
    )
    streamed = sys.stdout.isatty() and not as_json if stream is None else stream
    run(remote, asked, sys.stdout, sys.stderr, stream=streamed, as_json=as_json, verbose=verbose)


@app.command(rich_help_panel=PANEL)
@connected
def chat(
    remote: Remote,
    *,
    model: Annotated[
        str, typer.Argument(help="Default: the gateway's.", autocompletion=suggestions.model, show_default=False)
    ] = "",
    system: Annotated[str, typer.Option(help="Instructions.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Talk with a model.

    Ctrl-C ends an answer, Ctrl-D the conversation.
    """
    from llmgateway_server.cli.chat import run

    run(remote, model, system, sys.stdout, as_json=as_json)


@app.command(rich_help_panel=PANEL)
@connected
def embed(
    remote: Remote,
    *,
    model: Annotated[str, typer.Argument(help="For example simulator/embed.", autocompletion=suggestions.model)],
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="- or nothing: the lines of standard input.")
    ] = None,
    dimensions: Annotated[int | None, typer.Option(help="Length of the vectors, where the model can choose.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a vector of each text.

    JSON in a pipe, the first values on a terminal.
    """
    from llmgateway_server.cli.vectors import embed

    embed(remote, model, texts or [], sys.stdout, dimensions=dimensions, as_json=as_json)


@app.command(rich_help_panel=PANEL)
@connected
def health(
    remote: Remote,
    *,
    provider: Annotated[str, typer.Option(help="Only this provider.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Print how a gateway and its providers are.

    Exits 1 if it does not work.
    """
    from llmgateway_server.cli import figures

    figures.health(remote, provider, sys.stdout, as_json=as_json)


@app.command(rich_help_panel=PANEL)
@connected
def stats(
    remote: Remote,
    *,
    period: Annotated[
        Literal["hour", "day", "week", "month"] | None, typer.Option(help="Default: since the start.")
    ] = None,
    provider: Annotated[str, typer.Option(help="Only this provider.")] = "",
    reset: Annotated[
        bool, typer.Option("--reset", help="Forget all figures and begin anew; needs the role operator.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print calls, latencies, tokens and money."""
    from llmgateway_server.cli import figures
    from llmgateway_server.cli.problems import refuse

    if reset:
        if period or provider:
            refuse("--reset forgets all figures: leave --period and --provider out")
        figures.reset(remote, sys.stdout, as_json=as_json)
        return
    figures.stats(remote, provider, period, sys.stdout, as_json=as_json)


@app.command(rich_help_panel=PANEL)
@connected
def explain(
    remote: Remote,
    *,
    model: Annotated[str, typer.Argument(help="Public name or provider/model.", autocompletion=suggestions.model)],
    prompt: Annotated[
        str, typer.Argument(help="Of the call, where its length or content matters.", show_default=False)
    ] = "",
    strategy: Annotated[
        Strategy | None, typer.Option(help="That the call would name. Default: as the gateway is set.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print where a call would go and why.

    Every target with its reason and how it does. Asks no provider; needs the role operator.
    """
    from llmgateway_server.cli import routes

    routes.explain(remote, model, prompt, strategy or "", sys.stdout, as_json=as_json)


@app.command(rich_help_panel=PANEL)
@connected
def breakers(
    remote: Remote,
    *,
    provider: Annotated[str, typer.Option(help="Only this provider.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Print how the circuit breakers are.

    One for each target that was used lately. Needs the role operator.
    """
    from llmgateway_server.cli import routes

    routes.breakers(remote, provider, sys.stdout, as_json=as_json)
