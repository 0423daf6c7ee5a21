"""A command in a pseudo-terminal, and what it shows there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.e2e.kit import EXIT_S, command, environment

COLOUR = re.compile("\x1b\\[[0-9;]*m")
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes the terminal the one that controls the process, so that its Ctrl-C is a signal."""


@dataclass(slots=True)
class Terminal:
    """A command in a pseudo-terminal."""

    process: subprocess.Popen[bytes]
    master: int
    seen: str = ""
    """Everything that was shown."""
    _from: int = field(default=0, repr=False)

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def wait_for(self, text: str) -> str:
        """Waits until a text is shown behind the one that was waited for before; returns what came up to it."""
        deadline = time.monotonic() + EXIT_S
        while (found := self.seen.find(text, self._from)) < 0:
            assert self._read(deadline), f"{text!r} does not come: {self.seen!r}"
        came, self._from = self.seen[self._from : found + len(text)], found + len(text)
        return came

    @property
    def lines(self) -> list[str]:
        """What was shown, without colours. Commands that only write lines are seen as they stand on the screen."""
        return COLOUR.sub("", self.seen).splitlines()

    def end(self) -> int:
        """Returns the exit code."""
        deadline = time.monotonic() + EXIT_S
        while self._read(deadline):
            pass
        return self.process.wait(EXIT_S)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self.master, 65536) if ready else b""
        except OSError:  # what Linux says when nobody has the other end open any more
            data = b""
        self.seen += data.decode("utf-8", "replace")
        return bool(data)


@contextmanager
def terminal(*arguments: str, program: Sequence[str] = (), columns: int = 200, **more: str) -> Iterator[Terminal]:
    """Runs a command in a terminal of its own until the end of the block.

    Args:
        arguments: of our command.
        program: another one, with its arguments.
        columns: how wide the terminal is; only it says so, no variable.
        more: added to the environment.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 50, columns, 0, 0))
    variables = environment(TERM="xterm-256color") | more
    variables.pop("COLUMNS", None)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *(program or command(*arguments))],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env=variables,
        )
    finally:
        os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait(EXIT_S)
        os.close(master)
