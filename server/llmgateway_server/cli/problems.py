"""How a command ends that does not succeed: an exit code by kind, a line for people, a JSON object for programs."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

from llmgateway_server.cli.terminal import Screen

JSON_FLAG = "--json"
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CANCELLED = 130
EXIT_UNREAD = 141


@dataclass(frozen=True, slots=True)
class ExitCode:
    """One way to end."""

    number: int
    meaning: str
    errors: tuple[str, ...] = ()
    """Classes of `llmgateway.errors`; one that stands nowhere counts as the nearest class above it."""


EXIT_CODES = (
    ExitCode(0, "All is well."),
    ExitCode(
        EXIT_FAILED,
        "The provider or the gateway failed; `health`, `test-provider`: something does not work.",
        ("GatewayError",),
    ),
    ExitCode(EXIT_USAGE, "The command was called wrongly, or a file or the configuration cannot be used."),
    ExitCode(
        3,
        "The request was refused: invalid, not supported, blocked, or no such model.",
        ("InvalidRequest", "NotFound", "FailedPrecondition"),
    ),
    ExitCode(4, "No valid key, or the key may not do this.", ("Unauthenticated", "PermissionDenied")),
    ExitCode(5, "A limit was met: rate, quota, budget, size.", ("ResourceExhausted",)),
    ExitCode(6, "The time was over.", ("DeadlineExceeded",)),
    ExitCode(7, "The gateway cannot be reached, or has too much to do.", ("Unavailable",)),
    ExitCode(EXIT_CANCELLED, "Cancelled, as by Ctrl-C.", ("Cancelled",)),
    ExitCode(EXIT_UNREAD, "Nobody reads the output any more, as behind `| head`."),
)
BY_ERROR: Mapping[str, int] = MappingProxyType({name: each.number for each in EXIT_CODES for name in each.errors})

_MISTAKE = re.compile(r"(?P<origin>.+?)(?::(?P<line>\d+))?: (?:(?P<field>[^\s:]+): )?(?P<message>.*)")


class Problem(Exception):
    """A command cannot do what it was asked for; what calls the commands tells it and ends with its code.

    Attributes:
        reason: a value of the contract's `ErrorReason`, or `USAGE`, `CONFIGURATION`, `START`, `CANCELLED`, `OUTPUT`.
        code: name of the gRPC status code that fits.
        message: for people, without what stands in other fields.
        exit_code: of the command.
        line: the whole of it for people. Empty: the message.
        retry_after_s: seconds to wait before the same may succeed. None: unknown, or a retry is vain.
        attempts: what was tried at providers, as the contract's `AttemptFailure` in JSON.
        more: further fields of the JSON object.
    """

    def __init__(
        self,
        reason: str,
        code: str,
        message: str,
        exit_code: int,
        *,
        line: str = "",
        retry_after_s: float | None = None,
        attempts: Sequence[Mapping[str, Any]] = (),
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.code = code
        self.message = message
        self.exit_code = exit_code
        self.line = line or f"llmgateway: {message}"
        self.retry_after_s = retry_after_s
        self.attempts = attempts
        self.more = more or {}

    def document(self) -> dict[str, Any]:
        """Returns it for programs; the first five fields are always there."""
        fields = {
            "reason": self.reason,
            "code": self.code,
            "message": self.message,
            "retry_after_s": self.retry_after_s,
            "attempts": list(self.attempts),
        }
        return {"error": {**fields, **self.more}}

    def tell(self, *, as_json: bool) -> None:
        """Writes it on standard error: one JSON object on a line, or for people."""
        if as_json:
            sys.stderr.write(json.dumps(self.document()) + "\n")
            sys.stderr.flush()
        else:
            Screen(sys.stderr).line(self.line, fg="red")


def refuse(message: str) -> NoReturn:
    """Ends the command because of how it was called.

    Raises:
        Problem: always.
    """
    raise Problem("USAGE", "INVALID_ARGUMENT", message, EXIT_USAGE)


def misconfigured(error: Exception, *, placed: bool = False) -> Problem:
    """Returns what a configuration that cannot be used is told as.

    Args:
        error: its text has one mistake a line, each with its place.
        placed: nothing stands before the first place: editors and CI find `file:line:` at the start of a line.
    """
    text = str(error)
    more = {"mistakes": mistakes(error)}
    line = text if placed else ""
    return Problem("CONFIGURATION", "FAILED_PRECONDITION", text, EXIT_USAGE, line=line, more=more)


def mistakes(error: Exception) -> list[dict[str, Any]]:
    """Returns the mistakes of a configuration: file (or variable, or option), line or null, field, message.

    Args:
        error: its text has one mistake a line.
    """
    found = (_MISTAKE.fullmatch(line) for line in str(error).splitlines())
    return [
        {
            "file": each["origin"],
            "line": int(each["line"]) if each["line"] else None,
            "field": each["field"] or "",
            "message": each["message"],
        }
        if each
        else {"file": "", "line": None, "field": "", "message": line}
        for each, line in zip(found, str(error).splitlines(), strict=True)
    ]


def cancelled() -> Problem:
    """Returns what Ctrl-C is told as."""
    return Problem("CANCELLED", "CANCELLED", "CANCELLED", EXIT_CANCELLED)


def unwritten(error: OSError) -> Problem:
    """Returns what is told when standard output takes nothing, as on a full disk."""
    words = os.strerror(error.errno) if error.errno else "it cannot be written"
    return Problem("OUTPUT", "RESOURCE_EXHAUSTED", f"standard output: {words}", EXIT_FAILED)
