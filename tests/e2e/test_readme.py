"""The README, pasted into a shell as a newcomer does it: every block in order, in a fresh copy of the tree."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.kit import ROOT, environment, run, tool
from tests.e2e.pasting import Block, blocks, commands, terminal

pytestmark = pytest.mark.e2e

README = (ROOT / "README.md").read_text(encoding="utf-8")
DEPLOYMENT = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
INSTALL_S = 300.0
ANSWER_S = 30.0
PORT = "50051"
NOT_FOR_NEWCOMERS = ("MAKE", "MFLAGS", "VENV", "VIRTUAL_ENV", "PYTHONPATH", "LLMGATEWAY_")
"""Variables by their first letters: they come from the run of the tests."""


def tree(folder: Path) -> Path:
    """Copies what a clone has, with the changes that are not committed yet."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if (source := ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


def free_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


@pytest.mark.timeout(600)
def test_the_readme_can_be_pasted(tmp_path: Path) -> None:
    folder = tree(tmp_path / "llm-gateway")
    port = free_port()  # the README's own may be taken by somebody on this machine
    more = {
        "LLMGATEWAY__SERVER__LISTEN": f"127.0.0.1:{port}",
        "LLMGATEWAY_TARGET": f"localhost:{port}",
        "PYTHON": getattr(sys, "_base_executable", sys.executable),
        "PATH": os.pathsep.join((str(Path(tool("grpcurl")).parent), os.environ["PATH"])),
    }
    kept = {name: value for name, value in environment().items() if not name.startswith(NOT_FOR_NEWCOMERS)}
    with terminal(folder, kept | more) as shell:
        for block in blocks(README.replace(PORT, port)):
            if not block.not_pasted:
                shell.paste(block, within_s=INSTALL_S if "make " in block.lines else ANSWER_S)
        assert "Traceback" not in shell.screen()
        assert "rror" not in shell.screen()


def test_the_page_of_deployment_can_be_pasted(tmp_path: Path) -> None:
    folder = tree(tmp_path / "llm-gateway")
    command = folder / ".venv" / "bin" / "llmgateway"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m llmgateway_server "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    with terminal(folder, environment()) as shell:
        for block in blocks(DEPLOYMENT):
            if not block.not_pasted:
                shell.paste(block, within_s=ANSWER_S)
    config = folder / "gateway.yaml"
    text = (folder / "deploy" / "gateway.yaml").read_text(encoding="utf-8")
    config.write_text(text.replace("/run/secrets", str(folder / "deploy" / "secrets")), encoding="utf-8")
    done = run([command, "check-config", config])
    assert done.returncode == 0, done.stderr
    ignored = subprocess.run(
        ["git", "check-ignore", "deploy/secrets/tls.key"], cwd=ROOT, capture_output=True, check=False
    )
    assert ignored.returncode == 0


@pytest.mark.parametrize(
    ("page", "commands_of"),
    [
        (README, ["docker"]),
        (DEPLOYMENT, ["docker", "sudo", "sudo"]),
    ],
    ids=["README", "deployment"],
)
def test_what_is_not_pasted_needs_an_engine_or_root(page: str, commands_of: list[str]) -> None:
    left_out = [block for block in blocks(page) if block.not_pasted]
    assert [block.lines.split()[0] for block in left_out] == commands_of
    assert all("engine" in block.not_pasted or "root" in block.not_pasted for block in left_out)


@pytest.mark.parametrize("page", [README, DEPLOYMENT], ids=["README", "deployment"])
def test_every_fence_is_of_a_kind_that_some_test_reads(page: str) -> None:
    kinds = re.findall(r"(?m)^```(\w+)$", page)
    # python: tests/path/test_client_examples.py; yaml: tests/unit/deploy/test_deploy.py
    assert set(kinds) <= {"sh", "text", "python", "yaml"}
    assert kinds.count("sh") == len(blocks(page))


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "deployment.md"], ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_how_a_page_is_read() -> None:
    page = "```sh\na <<'END'\nb\nEND\nc \\\n  d\n```\n```text\nfrom …\n```\n<!-- not pasted: why -->\n```sh\ne\n```\n"
    assert blocks(page) == [Block("a <<'END'\nb\nEND\nc \\\n  d\n", ("from …",)), Block("e\n", (), "why")]
    assert list(commands(blocks(page)[0].lines)) == ["a <<'END'\nb\nEND", "c \\\n  d"]


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (Block("true\nfalse\n"), "fails: false"),
        (Block("echo one\n", ("two",)), "does not show"),
        (Block("echo two; echo one\n", ("one", "two")), "does not show"),
        (Block("sleep 60\n"), "does not end"),
    ],
    ids=["failure", "other output", "other order", "no end"],
)
def test_a_page_that_promises_too_much_is_found(tmp_path: Path, block: Block, words: str) -> None:
    with terminal(tmp_path, environment()) as shell, pytest.raises(AssertionError, match=words):
        shell.paste(block, within_s=1.0)
