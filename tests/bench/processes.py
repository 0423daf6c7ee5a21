"""Child processes, and what the operating system says that they cost."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

READY_S = 20.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).parents[2]


@dataclass(slots=True, frozen=True)
class Child:
    """A process that serves."""

    name: str
    pid: int
    address: str
    ready_s: float
    """From its start to the line that names its address."""

    def cpu_s(self) -> float:
        """Returns user and system time of all its threads so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def rss_mb(self) -> float:
        """Returns its resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def child(name: str, arguments: Sequence[str], *, ready_on: str = "stdout") -> Iterator[Child]:
    """Runs `python <arguments>` until the end of the block.

    Args:
        ready_on: the stream whose line `… on <address>` says that it serves; the other one goes nowhere.
    """
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL if ready_on == "stdout" else subprocess.PIPE}
    streams[ready_on] = subprocess.PIPE
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=streams["stdout"],
        stderr=streams["stderr"],
        cwd=ROOT,
    )
    try:
        address = _address(name, process, ready_on)
        yield Child(name, process.pid, address, time.perf_counter() - began)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _address(name: str, process: subprocess.Popen[bytes], ready_on: str) -> str:
    stream = process.stdout if ready_on == "stdout" else process.stderr
    if stream is None:
        raise RuntimeError(f"{name} has no {ready_on}")
    deadline = time.perf_counter() + READY_S
    said = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while time.perf_counter() < deadline and selector.select(deadline - time.perf_counter()):
            data = os.read(stream.fileno(), 65536)
            said += data
            for line in said.splitlines(keepends=True):
                text = line.decode().rstrip("\n")
                if line.endswith(b"\n") and text.startswith(("ready on ", "llmgateway is serving on ")):
                    return text.rpartition(" ")[2]
            if not data:
                break
    raise RuntimeError(f"{name} did not start: {said.decode()[-2000:]}")
