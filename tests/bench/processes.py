"""Child processes, and what the operating system says that they cost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

READY_S = 120.0
"""Gateways of other makers take half a minute on a busy machine, and more."""
LOOK_S = 0.005
ROOT = Path(__file__).parents[2]


@dataclass(slots=True, frozen=True)
class Child:
    """A process that serves."""

    name: str
    pid: int
    address: str
    ready_s: float
    """From its start to the line that names its address, or to its first answer."""

    def cpu_s(self) -> float:
        """Returns user and system time of all its threads so far, to the nanosecond."""
        # The clock of another process: how clock_getcpuclockid(3) numbers it on Linux.
        return time.clock_gettime((~self.pid << 3) | 2)

    def rss_mb(self) -> float:
        """Returns its resident memory."""
        return self._kilobytes("VmRSS:") / 1e3

    def peak_mb(self) -> float:
        """Returns the most resident memory that it ever had."""
        return self._kilobytes("VmHWM:") / 1e3

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        os.kill(self.pid, number)

    def _kilobytes(self, field: str) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1.024
        raise RuntimeError(f"the system does not tell {field}")


Ready = Callable[[str], str | None]
"""Takes what the process has said so far and returns its address, None while it does not serve."""


def names_its_address(said: str) -> str | None:
    """Finds the line `… on <address>` that our own servers print."""
    for line in said.splitlines(keepends=True):
        if line.endswith("\n") and line.startswith(("ready on ", "llmgateway is serving on ")):
            return line.split()[-1]
    return None


def answers(address: str, path: str) -> Ready:
    """Returns a check that a GET of this path is answered with success."""

    def ready(_said: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=1.0):
                return address
        except (urllib.error.URLError, OSError):
            return None

    return ready


@contextmanager
def child(
    name: str,
    command: Sequence[str],
    *,
    ready: Ready = names_its_address,
    ready_on: Literal["stdout", "stderr"] = "stdout",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Child]:
    """Runs a command until the end of the block.

    It is a process group of its own: Ctrl-C at a terminal reaches this process only, which then ends the whole group.

    Args:
        command: with `-m …` first, a module for the Python that runs this.
        ready_on: the stream that `ready` reads; the other one goes nowhere.
        environment: added to this process's own.

    Raises:
        RuntimeError: it ended, or did not serve within two minutes.
    """
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *command] if command[0].startswith("-") else list(command),
            stdin=subprocess.DEVNULL,
            stdout=said if ready_on == "stdout" else subprocess.DEVNULL,
            stderr=said if ready_on == "stderr" else subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        try:
            address = _wait(name, process, said, ready, began)
            yield Child(name, process.pid, address, time.perf_counter() - began)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(name: str, process: subprocess.Popen[bytes], said: IO[bytes], ready: Ready, began: float) -> str:
    while time.perf_counter() - began < READY_S and process.poll() is None:
        if (address := ready(_text(said))) is not None:
            return address
        time.sleep(LOOK_S)
    raise RuntimeError(f"{name} did not start: {_text(said)[-2000:]}")


def _text(said: IO[bytes]) -> str:
    # Not by seek: the child writes at the same offset.
    return os.pread(said.fileno(), 1 << 20, 0).decode(errors="replace")
