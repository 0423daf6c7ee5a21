"""A shell that somebody pastes into, and the pages that tell them what to paste."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

DONE = "pasted:"
FENCE = re.compile(r"(?ms)^(?:<!-- not pasted: (?P<why>[^\n]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$")


@dataclass(slots=True, frozen=True)
class Block:
    """Lines to paste, and what the page shows as their output."""

    lines: str
    shown: tuple[str, ...] = ()
    """In this order, anything between them; `…` in a line stands for anything."""
    not_pasted: str = ""
    """Why it is not for this machine."""


def blocks(page: str) -> list[Block]:
    """Returns the `sh` blocks of a Markdown page; a `text` block that follows at once is their output.

    A block stays out when the line above it is a comment `not pasted:` with the reason.
    """
    found: list[Block] = []
    end = -1
    for match in FENCE.finditer(page):
        if match["language"] == "sh":
            found.append(Block(match["text"], not_pasted=match["why"] or ""))
        elif match["language"] == "text":
            assert page[end : match.start()].strip() == "", "output that belongs to no command"
            found[-1] = Block(found[-1].lines, tuple(match["text"].splitlines()), found[-1].not_pasted)
        end = match.end() if match["language"] == "sh" else -1
    return found


def commands(lines: str) -> Iterator[str]:
    """Yields the commands of a block as a shell reads them: with their here documents and continued lines."""
    rest = iter(lines.splitlines())
    for line in rest:
        command = line
        while command.endswith("\\"):
            command += "\n" + next(rest)
        if here := re.search(r"<<'?(\w+)'?", command):
            for more in rest:
                command += "\n" + more
                if more == here[1]:
                    break
        if command.strip():
            yield command


class Terminal:
    """One bash session; what its commands write, in the background too, comes together as on a screen."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def paste(self, block: Block, *, within_s: float) -> None:
        """Pastes a block command by command and waits for its output.

        Raises:
            AssertionError: A command failed or did not end, or what the page shows did not come.
        """
        begin = len(self._lines)
        for command in commands(block.lines):
            self._type(f"{command}\nprintf '\\n%s %s\\n' {DONE} $?\n")
            done = self._until(
                lambda: next((each for each in self._lines[begin:] if each.startswith(DONE)), ""), within_s
            )
            assert done, f"does not end: {command}\n{self.screen()}"
            assert done == f"{DONE} 0", f"fails: {command}\n{self.screen()}"
            with self._news:
                self._lines[self._lines.index(done, begin)] = ""
        seen = self._until(lambda: _shows(self._lines[begin:], block.shown), within_s)
        assert seen, f"does not show {block.shown}:\n{block.lines}\n{self.screen()}"

    def screen(self) -> str:
        """Returns everything that was written so far."""
        return "\n".join(self._lines)

    def close(self) -> None:
        """Reads what is left of a session that has ended."""
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _type(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def _until(self, look: Callable[[], T], within_s: float) -> T:
        deadline = time.monotonic() + within_s
        with self._news:
            while not (found := look()) and self._reader.is_alive() and (left := deadline - time.monotonic()) > 0:
                self._news.wait(min(left, 1.0))
            return found

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self._lines.append(line.rstrip("\n"))
                self._news.notify_all()


@contextmanager
def terminal(folder: Path, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """Opens a shell in a folder; at the end everything that it started is ended."""
    process = subprocess.Popen(
        ["bash", "--noprofile", "--norc"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=dict(environment),
        start_new_session=True,
    )
    shell = Terminal(process)
    try:
        yield shell
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shell.close()


def _shows(lines: list[str], shown: tuple[str, ...]) -> bool:
    rest = iter(lines)
    return all(
        any(re.fullmatch(".*".join(map(re.escape, wanted.split("…"))), line) for line in rest) for wanted in shown
    )
