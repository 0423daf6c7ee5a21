"""The commands about the command itself: help by topic, completion for shells."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Annotated, Literal

import typer

from llmgateway_server.cli.group import COMPLETION_VARIABLE
from llmgateway_server.cli.options import JsonOption
from llmgateway_server.cli.problems import EXIT_CODES, refuse

PANEL = "About this command"
ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "LLMGATEWAY_TARGET": "Where the gateway is, without --target.",
        "LLMGATEWAY_API_KEY": "The key that is sent to it.",
        "LLMGATEWAY__*": "A setting of the gateway, for example LLMGATEWAY__LOG__LEVEL; above the file.",
        "NO_COLOR": "No colours.",
        "FORCE_COLOR": "Colours in a pipe too.",
        "TERM=dumb": "Neither colours nor a spinner.",
        "COLUMNS": "The width of the terminal, above what it says itself.",
    }
)
TOPICS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "exit-codes": MappingProxyType({str(each.number): each.meaning for each in EXIT_CODES}),
        "environment": ENVIRONMENT,
    }
)
BASH = """\
_llmgateway_completion() {
    local line="${COMP_LINE:0:COMP_POINT}" word
    mapfile -t COMPREPLY < <(env VARIABLE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args \\
        _TYPER_COMPLETE_ARGS="$line" "$1" 2>/dev/null)
    COMPREPLY=("${COMPREPLY[@]%%$'\\t'*}")
    word="${line##*[[:space:]]}"
    # bash takes what stands behind a colon for a word of its own
    if [[ "$word" == *:* && "$COMP_WORDBREAKS" == *:* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*:}"}"}")
    fi
}
complete -o default -F _llmgateway_completion llmgateway
"""
"""Typer's own does not know that bash cuts words at colons, which names of models have."""

app = typer.Typer()


def complete_topic(ctx: typer.Context) -> list[str]:
    """Returns what `help` knows."""
    return [*TOPICS, *getattr(ctx.find_root().command, "commands", {})]


@app.command("help", rich_help_panel=PANEL)
def show_help(
    ctx: typer.Context,
    topic: Annotated[
        list[str] | None,
        typer.Argument(help=f"A command, or {' or '.join(TOPICS)}.", autocompletion=complete_topic),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Explain a command or a topic."""
    from llmgateway_server.cli.remote import write_json
    from llmgateway_server.cli.tables import Column, Table, show

    words = topic or []
    found = TOPICS.get(" ".join(words))
    if found is None:
        _of_command(ctx, words, as_json=as_json)
    elif as_json:
        write_json(dict(found), sys.stdout)
    else:
        columns = [Column("name"), Column("meaning")]
        show([Table(columns, list(found.items()), header=False)], sys.stdout)


@app.command(rich_help_panel=PANEL)
def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="Whose script.")],
) -> None:
    """Print the script of a shell for the tab key.

    In bash: source <(llmgateway completion bash)
    """
    if shell == "bash":
        typer.echo(BASH.replace("VARIABLE", COMPLETION_VARIABLE), nl=False)
        return
    script = import_module("typer.completion").get_completion_script
    typer.echo(script(prog_name="llmgateway", complete_var=COMPLETION_VARIABLE, shell=shell))


def _of_command(ctx: typer.Context, words: list[str], *, as_json: bool) -> None:
    context = ctx.find_root()
    for word in words:
        below = getattr(context.command, "commands", {}).get(word)
        if below is None:
            refuse(f"there is no command and no topic {' '.join(words)}; topics are {', '.join(TOPICS)}")
        context = typer.Context(below, parent=context, info_name=word)
    if as_json:
        refuse("only topics can be JSON")
    # what is written to the terminal in boxes has been written already when this returns
    if shown := context.get_help():
        typer.echo(shown)
