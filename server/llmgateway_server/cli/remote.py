"""The command line as a client: how the gateway is reached, and what is said when a call fails."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from llmgateway_server.cli.problems import BY_ERROR, Problem, refuse
from llmgateway_server.cli.terminal import printable

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from llmgateway import AdminClient, GatewayError

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
    def client(self) -> Iterator[AdminClient]:
        """Opens a client for the block; what fails inside ends the command.

        Raises:
            Problem: a call failed, or was called wrongly.
        """
        from llmgateway import AdminClient, GatewayError

        try:
            client = AdminClient(self.target or None, tls=self.tls or None, ca=self.ca, insecure=self.insecure)
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
                raise problem_of(error, client.target) from None
            except UnicodeEncodeError:
                refuse("an argument holds bytes that are no text")
            except (TypeError, ValueError) as error:
                refuse(str(error))


def exit_code(error: GatewayError) -> int:
    """Returns the code that a failed call ends the command with."""
    return next(BY_ERROR[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in BY_ERROR)


def problem_of(error: GatewayError, target: str) -> Problem:
    """Returns what a failed call is told as.

    Args:
        error: of the client.
        target: where the gateway was looked for.
    """
    more = {
        "violations": [
            {"field": each.field, "description": each.description, "reason": each.reason} for each in error.violations
        ],
        "alternatives": list(error.alternatives),
        "request_id": error.request_id,
    }
    return Problem(
        error.reason,
        error.code.name,
        error.message,
        exit_code(error),
        line=error_line(error, target),
        retry_after_s=error.retry_delay_s,
        attempts=[json_of(each) for each in error.attempts],
        more=more,
    )


def error_line(error: GatewayError, target: str) -> str:
    """Returns a failure as one line: reason, message, and what can be done about it.

    Args:
        error: of the client.
        target: where the gateway was looked for.
    """
    from llmgateway import Unavailable
    from llmgateway.errors import UNSPECIFIED

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


def json_of(message: Message, *, zeros: bool = False) -> dict[str, Any]:
    """Returns a message as protobuf's JSON, with the names of the protos; 64-bit numbers are text there.

    Args:
        message: of the contract.
        zeros: also fields that have no presence and hold their default.
    """
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=zeros)


def write_json(document: Any, output: TextIO, *, indent: int | None = 2) -> None:
    """Writes a JSON document and a line end."""
    output.write(json.dumps(document, indent=indent) + "\n")
    output.flush()


def lines_of_stdin() -> str:
    """Returns what stands on standard input.

    Raises:
        Problem: it is a terminal, where nobody knows that something is waited for, or it holds no text.
    """
    if sys.stdin.isatty():
        refuse("there is no text: give it as an argument or through a pipe")
    try:
        return sent(sys.stdin.read(), "standard input")
    except UnicodeDecodeError:
        refuse(f"standard input is not {sys.stdin.encoding.upper()}")


def sent(text: str, name: str) -> str:
    """Returns a text that can be sent.

    Args:
        text: of the caller.
        name: what it is, for the message.

    Raises:
        Problem: it holds bytes that are no text in the locale's encoding.
    """
    if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):
        refuse(f"{name} holds bytes that are no text")
    return text
