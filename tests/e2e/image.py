"""The image without an engine: the Dockerfile's steps in a folder, and its process where a container would have it.

What an engine has and this has not: a root file system and a network of its own, cgroups, seccomp, image layers.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.kit import EXIT_S, READY, READY_S, ROOT, environment
from tests.unit.deploy.dockerfile import Ignore, Instruction, Stage, stages

BUILD, RUNTIME = stages((ROOT / "Dockerfile").read_text(encoding="utf-8"))
STEP_S = 240.0
SETUP = r"""
closed=$1 base=$2 hold=$3; shift 3
if [ -n "$closed" ]; then  # an interpreter below a folder that only root may enter
  mount --bind "$base" "$hold"
  mount -t tmpfs -o mode=755 none "$closed"
  mkdir -p "$base"
  mount --bind "$hold" "$base"
fi
while read -r _ place kind _; do
  case $kind in proc | sysfs | cgroup*) ;; *) mount -o remount,bind,ro "$place" 2>/dev/null || [ "$place" != / ] ;; esac
done < /proc/self/mounts
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""
"""A private view of the file system in which nothing can be written; then the program, without capabilities."""


@dataclass(slots=True, frozen=True)
class Built:
    """A built image: `root` stands for `/`."""

    root: Path
    seconds: float
    """What its steps took."""

    def inside(self, text: str) -> str:
        """Returns the text with the image's paths as they are here."""
        return re.sub(r"(?<![\w/])/(?=opt/llmgateway|etc/llmgateway|usr/local|src\b)", f"{self.root}/", text)

    def command(self, words: Sequence[str]) -> list[str]:
        return [self.inside(word) for word in words]

    def environment(self) -> dict[str, str]:
        """Returns what the image sets; nothing of this process's."""
        pairs = [word.split("=", 1) for each in RUNTIME.all("ENV") for word in each.words]
        return {name: self.inside(value) for name, value in pairs}


def build(root: Path, python: str) -> Built:
    """Does in a folder what an engine does with the Dockerfile.

    The base is an environment of `python` at `usr/local`. Both stages share the folder, so that what the first leaves
    at a path is what the second copies from it.
    """
    began = time.monotonic()
    built = Built(root, 0.0)
    subprocess.run([python, "-m", "venv", root / "usr" / "local"], check=True, timeout=STEP_S)
    ignore = Ignore((ROOT / ".dockerignore").read_text(encoding="utf-8"))
    for stage in (BUILD, RUNTIME):
        for each in stage.instructions:
            if each.name == "COPY" and not each.flag("from"):
                _copy(built, stage, each, ignore)
            elif each.name == "RUN":
                _run(built, each)
    return Built(root, time.monotonic() - began)


def _copy(built: Built, stage: Stage, each: Instruction, ignore: Ignore) -> None:
    *sources, place = each.words
    folder = built.root / (stage.one("WORKDIR").text.lstrip("/") if not place.startswith("/") else "")
    for source in sources:
        target = folder / place.lstrip("/")
        below = [ROOT / source] if (ROOT / source).is_file() else sorted((ROOT / source).rglob("*"))
        for path in below:
            name = str(path.relative_to(ROOT))
            if path.is_file() and ignore.sends(name):
                single = target / path.name if place.endswith("/") else target
                copied = single if path == ROOT / source else target / path.relative_to(ROOT / source)
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copied)


def _run(built: Built, each: Instruction) -> None:
    mounts = [
        dict(part.partition("=")[::2] for part in flag.removeprefix("--mount=").split(",")) for flag in each.flags
    ]
    for mount in mounts:
        if mount["type"] == "bind":
            target = Path(built.inside(mount["target"]))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / mount["source"], target)
    done = subprocess.run(
        built.command(each.words),
        cwd=built.root / "src",
        env=environment(PYTHON=str(built.root / "usr/local/bin/python3")),
        capture_output=True,
        text=True,
        timeout=STEP_S,
        check=False,
    )
    assert done.returncode == 0, f"{each.text}\n{done.stdout}{done.stderr}"


def confinement(built: Built) -> list[str]:
    """Returns what to put before a command so that it runs as in a container, as far as this machine allows.

    As root: the user of the image, process 1 of a process tree of its own, a read-only file system, no capabilities. As
    somebody else: the same with one's own user. Where namespaces are not allowed: nothing.
    """
    base = Path(sys.base_prefix)
    hold = built.root / "hold"
    hold.mkdir(exist_ok=True)
    closed = next((each for each in reversed(base.parents) if not each.stat().st_mode & 0o001), None)
    user, group = RUNTIME.one("USER").text.split(":")
    root = os.geteuid() == 0
    inner = ["sh", "-euc", SETUP, "confine", str(closed or "") if root else "", str(base), str(hold)]
    who = ["--reuid", user, "--regid", group, "--clear-groups"] if root else []
    unshare = ["unshare", *([] if root else ["--map-root-user"]), "--mount", "--pid", "--fork", "--mount-proc"]
    candidate = [*unshare, "--kill-child", *inner, *who]
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        return []
    tried = subprocess.run([*candidate, "true"], capture_output=True, check=False, timeout=EXIT_S)
    return candidate if tried.returncode == 0 else []


@dataclass(slots=True)
class Container:
    """A gateway as the image starts it."""

    process: subprocess.Popen[bytes]
    log: Path
    address: str
    more: Mapping[str, str]

    def pid(self) -> int:
        """Returns the gateway's process: the one at the end of the chain that confines it."""
        found = self.process.pid
        while children := Path(f"/proc/{found}/task/{found}/children").read_text().split():
            found = int(children[0])
        return found

    def stop(self) -> None:
        """Sends what STOPSIGNAL says."""
        os.kill(self.pid(), getattr(signal, RUNTIME.one("STOPSIGNAL").text))


@contextmanager
def running(built: Built, confined: Sequence[str], log: Path, **more: str) -> Iterator[Container]:
    """Starts the image's command until the end of the block; `more` is added to its environment."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*confined, *built.command([*RUNTIME.one("ENTRYPOINT").words, *RUNTIME.one("CMD").words])],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={**built.environment(), **more},
        )
    try:
        yield Container(process, log, _address(process, log), more)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(EXIT_S)


def healthy(built: Built, confined: Sequence[str], more: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs the image's health check beside a gateway."""
    check = RUNTIME.one("HEALTHCHECK")
    words = Instruction("CMD", (), check.text.removeprefix("CMD ")).words
    return subprocess.run(
        [*confined, *built.command(words)],
        capture_output=True,
        text=True,
        cwd="/",
        env={**built.environment(), **more},
        timeout=EXIT_S,
        check=False,
    )


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines():
            if line.startswith(READY):
                return line.removeprefix(READY)
        time.sleep(0.02)
    raise AssertionError(f"the gateway does not serve: {log.read_text(encoding='utf-8')}")
