"""Runs the tests of a module against one mutant, in a process of its own that is forked from this one.

The tree is copied first, and a mutant never becomes a file: the child's importer compiles it in the place of the
module. What is imported here before the fork is what all tests need and no mutant can change, so that a child starts in
a fraction of a second.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import CodeType, ModuleType

import pytest

from tests.mutation.mutants import Mutant

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "llmgateway_server"
COPIED = ("server", "clients", "tests", "docs", "deploy", "protos", "pyproject.toml")
HEAVY = (
    "grpc.aio", "grpc_health.v1.health_pb2_grpc", "grpc_reflection.v1alpha.reflection", "grpc_status.rpc_status",
    "google.rpc.error_details_pb2", "protovalidate", "pydantic", "ruamel.yaml", "msgspec", "httptools", "httpx",
    "structlog", "opentelemetry.trace", "genai_prices", "hypothesis.stateful", "hypothesis.strategies",
    "hypothesis.internal.conjecture.engine", "pytest_asyncio.plugin", "uvicorn", "starlette.applications", "typer",
    "_pytest.assertion.rewrite", "_pytest.python", "_pytest.terminal", "_pytest.junitxml", "xdist.plugin",
)  # fmt: skip
"""Of others, and taking long to import; grpc starts no thread before it is used."""
BELOW = ("core", "observe", "providers")
"""Rooms that know none of the mutated ones: import-linter holds it."""
OPTIONS = (
    *("-x", "-q", "--no-header", "--tb=short", "-p", "no:cacheprovider", "-p", "no:randomly", "-n0"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # of plugins: imported before the fork
)
FAILED = frozenset({pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR})


class _Mutated(MetaPathFinder, InspectLoader):
    """Imports one module from a mutant instead of its file."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        self._name = f"{PACKAGE}.{mutant.module.removesuffix('.py').replace('/', '.')}"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname == self._name else None
        if spec is not None:
            spec.loader = self
        return spec

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._mutant.tree, self._mutant.module, "exec")

    def get_source(self, fullname: str) -> None:
        """Returns none, so that a traceback does not show the lines of the file."""


def copy_tree(to: Path) -> None:
    """Copies what tests read."""
    unwanted = shutil.ignore_patterns("__pycache__", ".hypothesis", "bench")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=unwanted)
        else:
            shutil.copy(source, to / name)


def preload(tree: Path) -> None:
    """Imports what no mutant can change, of ours from the copy."""
    for name in HEAVY:
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] in (PACKAGE, "llmgateway")]:
        del sys.modules[name]
    sys.path[:0] = [str(tree / "server"), str(tree / "clients/python")]
    for room in BELOW:
        for path in sorted((tree / "server" / PACKAGE / room).rglob("*.py")):
            name = ".".join(path.relative_to(tree / "server").with_suffix("").parts)
            importlib.import_module(name.removesuffix(".__init__"))
    for path in sorted((tree / "clients/python/llmgateway/v1").glob("*_pb2*.py")):
        importlib.import_module(f"llmgateway.v1.{path.stem}")


def start(tree: Path, tests: Sequence[str], mutant: Mutant | None, log: Path) -> int:
    """Starts the tests and returns the process id. Exit code 0: all passed; 1: one failed; more: they could not run.

    Args:
        tree: the copy.
        tests: files; those that do not exist are left out.
        mutant: None for the module as it is.
        log: where the output goes.
    """
    if pid := os.fork():
        return pid
    try:
        os.setsid()
        with log.open("wb") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        code = _run(tree, tests, mutant)
    except BaseException as error:  # noqa: BLE001  # a fork must not come back into the parent's code
        print(f"{type(error).__name__}: {error}", flush=True)
        code = 2
    os._exit(code)


def _run(tree: Path, tests: Sequence[str], mutant: Mutant | None) -> int:
    os.chdir(tree)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    sys.path = [str(tree)] + [path for path in sys.path if Path(path or ".").resolve() != ROOT]
    importlib.invalidate_caches()
    if mutant is not None:
        sys.meta_path.insert(0, _Mutated(mutant))
    files = [each for each in tests if (tree / each).exists()]
    code = pytest.main([*OPTIONS, *files])
    return 1 if code in FAILED else 0 if code == pytest.ExitCode.OK else 2


def ended(pid: int, until_s: float) -> int | None:
    """Returns the exit code of a process that has ended, -1 of one that is killed because its time is over."""
    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return code if code >= 0 else 1
    if time.monotonic() < until_s:
        return None
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -1
