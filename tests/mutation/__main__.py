"""Mutation tests: how many small faults of the modules that decide are noticed by their tests (docs/mutation.md).

`make mutation` runs all, `make mutation MUTANTS=10` a sample. Results are kept in `.results/mutation.json` and hold as
long as neither the module nor the tests that are run against it change.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from random import Random

from tests.mutation.modules import MODULES, Module
from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.runner import PACKAGE, ROOT, copy_tree, ended, preload, start

TARGET_PERCENT = 90
KILLED, SURVIVED, TIMEOUT = "killed", "survived", "timeout"
KEPT = ROOT / ".results/mutation.json"
EQUIVALENT = ROOT / "tests/mutation/equivalent.toml"
SHOWN_CHARS = 150


@dataclass(slots=True)
class _Job:
    module: Module
    mutant: Mutant
    digest: str
    limit_s: float
    until_s: float = 0.0

    @property
    def key(self) -> str:
        return "|".join((str(self.mutant.line), *self.mutant.key))


@dataclass(slots=True)
class _Results:
    """Results by mutant, each with the digest of what it was found with."""

    fresh: bool
    known: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if KEPT.exists() and not self.fresh:
            self.known = json.loads(KEPT.read_text(encoding="utf-8"))

    def of(self, job: _Job, *, only_survivors: bool) -> str | None:
        digest, result = self.known.get(job.key, ("", ""))
        same = digest == job.digest or (only_survivors and digest[:8] == job.digest[:8] and result != SURVIVED)
        return result if same and result else None

    def put(self, job: _Job, result: str) -> None:
        self.known[job.key] = [job.digest, result]
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps(self.known, indent=0), encoding="utf-8")


def main() -> int:
    """Runs the mutants; the exit code is 1 if a group is below the target."""
    parser = argparse.ArgumentParser(prog="make mutation")
    parser.add_argument("--mutants", type=int, default=0, help="how many, drawn by the seed; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--only", default="", help="modules whose path contains this, or one group")
    parser.add_argument("--survivors", action="store_true", help="after a change of tests: what was killed stays so")
    parser.add_argument("--fresh", action="store_true", help="forget the results that are kept")
    asked = parser.parse_args()
    modules = [each for each in MODULES if asked.only in each.path or asked.only == each.group]
    results = _Results(asked.fresh)
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        tree = Path(folder)
        copy_tree(tree)
        preload(tree)
        jobs = list(_jobs(modules, tree))
        if asked.mutants:
            drawn = Random(asked.seed).sample(range(len(jobs)), min(asked.mutants, len(jobs)))
            jobs = [jobs[at] for at in sorted(drawn)]
        waiting = [job for job in jobs if results.of(job, only_survivors=asked.survivors) is None]
        print(f"{len(jobs)} mutants, {len(jobs) - len(waiting)} known from before", flush=True)
        _time(waiting, tree)
        for job, result in _run(waiting, tree, asked.jobs):
            results.put(job, result)
            if result == SURVIVED:
                print(_told(job.mutant), flush=True)
    return _report(jobs, {job.key: results.of(job, only_survivors=asked.survivors) or "" for job in jobs})


def _jobs(modules: list[Module], tree: Path) -> Iterator[_Job]:
    """Yields the mutants of the modules, less those that nobody could notice."""
    entries = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))["mutant"]
    equivalent = {(entry["module"], entry["was"], entry["becomes"]) for entry in entries}
    for module in modules:
        source = (tree / "server" / PACKAGE / module.path).read_text(encoding="utf-8")
        tests = [(tree / each).read_bytes() for each in module.tests if (tree / each).exists()]
        digest = _digest(source.encode()) + _digest(b"".join(tests))
        for mutant in mutants_of(module.path, source):
            if mutant.key in equivalent:
                equivalent.discard(mutant.key)
            else:
                yield _Job(module, mutant, digest, 0.0)
    for path, was, becomes in equivalent:
        if any(path == module.path for module in modules):
            print(f"equivalent.toml: no such mutant of {path}: {was} -> {becomes}")


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=4).hexdigest()


def _time(jobs: list[_Job], tree: Path) -> None:
    """Runs each set of tests once without a mutant, and sets the limits.

    Raises:
        SystemExit: tests fail as they are.
    """
    limits: dict[tuple[str, ...], float] = {}
    for job in jobs:
        tests = job.module.tests
        if tests not in limits:
            began_s, log = time.monotonic(), tree / "log"
            pid = start(tree, tests, None, log)
            while (code := ended(pid, began_s + 600)) is None:
                time.sleep(0.02)
            if code:
                raise SystemExit(f"without a mutant these fail: {' '.join(tests)}\n{log.read_text()[-3000:]}")
            limits[tests] = 10 + 5 * (time.monotonic() - began_s)
        job.limit_s = limits[tests]


def _run(jobs: list[_Job], tree: Path, at_once: int) -> Iterator[tuple[_Job, str]]:
    waiting, running = list(reversed(jobs)), dict[int, _Job]()
    while waiting or running:
        while waiting and len(running) < at_once:
            job = waiting.pop()
            job.until_s = time.monotonic() + job.limit_s
            running[start(tree, job.module.tests, job.mutant, tree / f"log{len(waiting)}")] = job
        for pid, job in list(running.items()):
            code = ended(pid, job.until_s)
            if code is not None:
                del running[pid]
                yield job, {0: SURVIVED, -1: TIMEOUT}.get(code, KILLED)
        time.sleep(0.02)


def _told(mutant: Mutant) -> str:
    """Returns the change as a diff; a long line only around what differs."""
    same = next((at for at, (old, new) in enumerate(zip(mutant.was, mutant.becomes, strict=False)) if old != new), 0)
    start_at = max(0, same - SHOWN_CHARS // 2)
    was, becomes = (text[start_at : start_at + SHOWN_CHARS] for text in (mutant.was, mutant.becomes))
    return f"{mutant.module}:{mutant.line}\n  - {was}\n  + {becomes}"


def _report(jobs: list[_Job], results: dict[str, str]) -> int:
    by_module: dict[str, Counter[str]] = defaultdict(Counter)
    by_group: dict[str, Counter[str]] = defaultdict(Counter)
    for job in jobs:
        by_module[job.module.path][results[job.key]] += 1
        by_group[job.module.group][results[job.key]] += 1
    print(f"\n{'':<40}{'mutants':>8}{'killed':>8}{'timeout':>8}{'survived':>9}{'share':>8}")
    for name, counts in [*by_module.items(), *by_group.items()]:
        print(
            f"{name:<40}{counts.total():>8}{counts[KILLED]:>8}{counts[TIMEOUT]:>8}{counts[SURVIVED]:>9}"
            f"{_percent(counts):>7.1f}%"
        )
    return int(any(_percent(counts) < TARGET_PERCENT for counts in by_group.values()))


def _percent(counts: Counter[str]) -> float:
    return 100 * (counts[KILLED] + counts[TIMEOUT]) / counts.total()


if __name__ == "__main__":
    sys.exit(main())
