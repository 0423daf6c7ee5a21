"""The command line as a client: how the gateway is reached, what is said when a call fails, and the exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, TextIO

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from llmgateway import (
    Cancelled,
    Client,
    DeadlineExceeded,
    FailedPrecondition,
    GatewayError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from llmgateway.errors import UNSPECIFIED

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CANCELLED = 130
EXIT_CODES: Mapping[type[GatewayError], int] = MappingProxyType(
    {
        GatewayError: EXIT_FAILED,
        InvalidRequest: 3,
        NotFound: 3,
        FailedPrecondition: 3,
        Unauthenticated: 4,
        PermissionDenied: 4,
        ResourceExhausted: 5,
        DeadlineExceeded: 6,
        Cancelled: EXIT_CANCELLED,
    }
)
"""Exit code by class of error; a class that is missing has that of the nearest class above it."""

_CONTROL = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}
_OPTIONS = {"insecure=True": "--insecure", "tls=True, ca and client_cert": "--tls and --ca", "tls=True": "--tls"}
"""What the client calls its arguments, and their options here."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A gateway somewhere."""

    target: str = ""
    """As gRPC names it. Empty: `LLMGATEWAY_TARGET`, else this machine."""
    tls: bool = False
    ca: Path | None = None
    insecure: bool = False
    timeout_s: float | None = None
    """Seconds for a call. None: the client's defaults."""

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Opens a client for the block; what fails inside is told on standard error and ends the command.

        Raises:
            typer.Exit: with the code of the failure.
        """
        try:
            client = Client(self.target or None, tls=self.tls or None, ca=self.ca, insecure=self.insecure)
        except OSError as error:
            refuse(f"--ca: {error.strerror or 'it cannot be read'}")
        except ValueError as error:
            message = str(error)
            for name, option in _OPTIONS.items():
                message = message.replace(name, option)
            refuse(message)
        with client:
            try:
                yield client
            except GatewayError as error:
                tell(error, client.target)
                raise typer.Exit(exit_code(error)) from None
            except (TypeError, ValueError) as error:
                refuse(str(error))
            except KeyboardInterrupt:
                typer.echo("\nllmgateway: CANCELLED", err=True)
                raise typer.Exit(EXIT_CANCELLED) from None


class Screen:
    """Writes for people: in colour on a terminal, plain elsewhere. A terminal gets no control characters of others."""

    def __init__(self, stream: TextIO) -> None:
        self.terminal = stream.isatty()
        self._stream = stream
        self._colour = self.terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._fresh = True

    def write(self, text: str, **style: Any) -> None:
        """Writes at once.

        Args:
            text: words, perhaps of a model.
            style: as `typer.style` takes it.
        """
        shown = printable(text) if self.terminal else text
        if shown:
            self._fresh = shown.endswith("\n")
            self._stream.write(typer.style(shown, **style) if self._colour and style else shown)
            self._stream.flush()

    def line(self, text: str = "", **style: Any) -> None:
        """Writes a line of its own."""
        self.end_line()
        self.write(text, **style)
        self._stream.write("\n")
        self._stream.flush()
        self._fresh = True

    def end_line(self) -> None:
        """Goes to the beginning of a line, if it is not there."""
        if not self._fresh:
            self._stream.write("\n")
            self._stream.flush()
            self._fresh = True


def printable(text: str) -> str:
    """Returns a text without control characters, which could command a terminal; tabs and line ends stay."""
    return text.translate(_CONTROL)


def exit_code(error: GatewayError) -> int:
    """Returns the code that a failed call ends the command with."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def tell(error: GatewayError, target: str) -> None:
    """Writes a failure on standard error, as one line."""
    typer.echo(error_line(error, target), err=True)


def error_line(error: GatewayError, target: str) -> str:
    """Returns a failure as one line: reason, message, and what can be done about it.

    Args:
        target: where the gateway was looked for.
    """
    silent = error.reason == UNSPECIFIED
    hints = [
        *(f"{each.field}: {each.description}" for each in error.violations),
        "" if error.retry_delay_s is None else f"retry in {error.retry_delay_s:.3g} s",
        f"there are: {', '.join(error.alternatives)}" if error.alternatives else "",
        f"request {error.request_id}" if error.request_id else "",
        f"check that a gateway serves at {target}, --target and --tls"
        if silent and isinstance(error, Unavailable)
        else "",
    ]
    said = "; ".join([error.message, *filter(None, hints)])
    return printable(" ".join(f"llmgateway: {error.code.name if silent else error.reason}: {said}".split()))


def refuse(message: str) -> NoReturn:
    """Ends the command because of how it was called.

    Raises:
        typer.Exit: always.
    """
    typer.echo(f"llmgateway: {message}", err=True)
    raise typer.Exit(EXIT_USAGE)


def json_of(message: Message, *, zeros: bool = False) -> dict[str, Any]:
    """Returns a message as protobuf's JSON, with the names of the protos; 64-bit numbers are text there.

    Args:
        zeros: also fields that have no presence and hold their default.
    """
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=zeros)


def write_json(document: Any, output: TextIO, *, indent: int | None = 2) -> None:
    """Writes a JSON document and a line end."""
    output.write(json.dumps(document, indent=indent) + "\n")
    output.flush()


def lines_of_stdin() -> str:
    """Returns what stands on standard input.

    Raises:
        typer.Exit: it is a terminal, where nobody knows that something is waited for, or no UTF-8.
    """
    if sys.stdin.isatty():
        refuse("there is no text: give it as an argument or through a pipe")
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        refuse("standard input is not UTF-8")
