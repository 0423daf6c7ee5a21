"""The command as a whole: what is the same for every command, whoever calls it and however it ends."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from llmgateway_server.cli import problems, terminal
from llmgateway_server.cli.problems import EXIT_UNREAD, EXIT_USAGE, JSON_FLAG, Problem

COMPLETION_VARIABLE = "_LLMGATEWAY_COMPLETE"
TEXTS = frozenset({"complete", "embed"})
"""Commands whose arguments are texts."""

UsageError: Any = typer.BadParameter.__mro__[1]
"""What is raised for wrong arguments. Typer does not give it away by name, and whose class it is differs by version."""


class Commands(TyperGroup):
    """Runs a command and tells its failure in the form that the command writes its results in."""

    def main(self, *args: Any, **options: Any) -> Any:
        terminal.prepare()
        if os.environ.get(COMPLETION_VARIABLE):
            import_module("typer.completion").completion_init()
        try:
            # said here, since its name would follow that of the program, which can be `python -m`
            return super().main(*args, **{"complete_var": COMPLETION_VARIABLE, **options})
        finally:
            # whoever reads the output may be gone, and the interpreter would say so in its own words
            if _flush() is not None:
                sys.exit(EXIT_UNREAD)

    def make_context(self, *args: Any, **options: Any) -> Any:
        try:
            return super().make_context(*args, **options)
        except BrokenPipeError:
            _discard()
            raise typer.Exit(EXIT_UNREAD) from None

    def invoke(self, ctx: Any) -> Any:
        as_json = _wants_json(ctx.args)
        try:
            result = super().invoke(ctx)
        except Problem as problem:
            failed = problem
        except KeyboardInterrupt:
            failed = problems.cancelled()
            terminal.Screen(sys.stderr).end_line()
        except UsageError as error:
            if not (as_json and error.exit_code):
                _explain(error)
                raise
            failed = Problem("USAGE", "INVALID_ARGUMENT", error.format_message(), EXIT_USAGE)
        except BrokenPipeError:
            _discard()
            raise typer.Exit(EXIT_UNREAD) from None
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            failed = problems.unwritten(error)
            _discard()
        else:
            if (lost := _flush()) is None:
                return result
            if isinstance(lost, BrokenPipeError):
                raise typer.Exit(EXIT_UNREAD)
            failed = problems.unwritten(lost)
        failed.tell(as_json=as_json)
        raise typer.Exit(failed.exit_code)


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether a command was asked for JSON; also told of one whose arguments cannot be read."""
    before, _, _ = "\0".join(arguments).partition("\0--\0")
    return JSON_FLAG in before.split("\0")


def _explain(error: Any) -> None:
    """Adds what helps to the message for a prompt that was taken for an option."""
    name = getattr(error, "option_name", "")
    if name and not name.startswith("--") and getattr(error.ctx, "info_name", "") in TEXTS:
        error.message = f"{error.message}. Before a text that begins with a dash put two alone: --"


def _flush() -> OSError | None:
    """Writes what is left; returns why that is not possible."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _discard()
        return error
    return None


def _discard() -> None:
    """Leads standard output nowhere, so that what it still holds cannot fail a second time."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    finally:
        os.close(nowhere)
