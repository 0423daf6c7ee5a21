"""What the Dockerfile promises, read from it; tests/e2e/test_image.py runs its steps."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.deploy.dockerfile import Ignore, Stage, instructions, stages

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
BUILD, RUNTIME = stages(DOCKERFILE)
IGNORE = Ignore((ROOT / ".dockerignore").read_text(encoding="utf-8"))


SKIPPED = {".git", ".venv", ".tools", "__pycache__", ".hypothesis"}


def files() -> Iterator[str]:
    """Yields every file of the tree, less what a checkout grows."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [each for each in folders if each not in SKIPPED]
        yield from (str((Path(folder) / name).relative_to(ROOT)) for name in names)


CONTEXT = [each for each in files() if IGNORE.sends(each)]


def sources(stage: Stage) -> list[str]:
    copied = [word for each in stage.all("COPY") if not each.flag("from") for word in each.words[:-1]]
    mounted = re.findall(
        r"type=bind,source=([^,\s]+)", " ".join(flag for run in stage.all("RUN") for flag in run.flags)
    )
    return copied + mounted


@pytest.mark.parametrize("stage", [BUILD, RUNTIME], ids=lambda stage: stage.name)
def test_what_is_copied_exists_and_reaches_the_builder(stage: Stage) -> None:
    for source in sources(stage):
        below = [each for each in CONTEXT if each == source or each.startswith(f"{source}/")]
        assert below, f"{source} is not sent to the builder"


def test_nothing_else_reaches_the_builder() -> None:
    copied = sources(BUILD) + sources(RUNTIME)
    extra = [each for each in CONTEXT if not any(each == one or each.startswith(f"{one}/") for one in copied)]
    assert extra == []


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        "deploy/secrets/openai_api_key",
        "deploy/gateway.yaml",
        "tests/e2e/kit.py",
        "server/.env",
        "server/.env.local",
        "server/llmgateway_server/__pycache__/app.cpython-312.pyc",
        ".venv/bin/python",
    ],
)
def test_secrets_and_leftovers_stay_outside(path: str) -> None:
    assert not IGNORE.sends(path)


def test_both_stages_stand_on_one_base_of_one_version() -> None:
    assert BUILD.base == RUNTIME.base
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", BUILD.base)


def test_every_step_is_a_script_that_is_executable_and_strict() -> None:
    steps = [each for stage in (BUILD, RUNTIME) for each in stage.all("RUN")]
    assert len(steps) == 3
    for step in steps:
        script = ROOT / "scripts" / "image" / Path(step.words[0]).name
        assert len(step.words) == 2, "a script and where it works, nothing else"
        assert os.access(script, os.X_OK)
        text = script.read_text(encoding="utf-8")
        assert "set -euo pipefail" in text
        assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


def test_it_runs_as_nobody_in_particular() -> None:
    user, group = RUNTIME.one("USER").text.split(":")
    assert int(user) >= 10_000
    assert int(group) >= 10_000
    after = [each.name for each in RUNTIME.instructions][[each.name for each in RUNTIME.instructions].index("USER") :]
    assert not {"COPY", "ADD", "RUN"} & set(after), "nothing may belong to the user that runs"
    assert not RUNTIME.all("VOLUME")


def test_signals_reach_the_process() -> None:
    assert RUNTIME.one("STOPSIGNAL").text == "SIGTERM"
    for name in ("ENTRYPOINT", "CMD"):
        assert RUNTIME.one(name).text.startswith("["), f"{name} through a shell"
    assert RUNTIME.one("ENTRYPOINT").words == ["/opt/llmgateway/bin/llmgateway"]
    assert RUNTIME.one("CMD").words[0] == "serve"


def test_the_health_check_is_a_bare_python_that_gives_up_in_time() -> None:
    check = RUNTIME.one("HEALTHCHECK")
    form, _, command = check.text.partition(" ")
    assert form == "CMD"
    (program,) = [each.words[0] for each in RUNTIME.all("COPY") if each.words[0].endswith(".py")]
    assert program == "scripts/image/health.py"
    assert command == '["/opt/llmgateway/bin/python", "-IS", "/opt/llmgateway/health.py"]'
    bound = re.search(r"^TIMEOUT_S = ([\d.]+)$", (ROOT / program).read_text(encoding="utf-8"), re.MULTILINE)
    assert bound is not None
    assert float(bound[1]) < float(check.flag("timeout").removesuffix("s"))


def test_the_labels_say_what_the_project_says() -> None:
    labels = dict(word.split("=", 1) for word in RUNTIME.one("LABEL").words)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert labels["org.opencontainers.image.version"] == project["version"]
    assert labels["org.opencontainers.image.description"] == project["description"]
    assert labels["org.opencontainers.image.licenses"] == project["license"]


def test_no_address_and_no_argument_for_an_index() -> None:
    scripts = [
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "scripts" / "image").iterdir()) if path.is_file()
    ]
    for text in (DOCKERFILE, *scripts):
        assert "://" not in text
        assert not re.search(r"--(extra-)?index-url|--find-links|--trusted-host", text)
    assert [each.text.partition("=")[0] for each in instructions(DOCKERFILE) if each.name == "ARG"] == ["BASE"]


@pytest.mark.parametrize(
    ("rules", "path", "sent"),
    [
        ("*\n!server", "server/a/b.py", True),
        ("*\n!server", "serve/a.py", False),
        ("*\n!server\n**/*.pyc", "server/a/b.pyc", False),
        ("*\n!server\n**/__pycache__", "server/__pycache__/b", False),
        ("*.md", "docs/a.md", True),
        ("**/*.md", "docs/a.md", False),
        ("", "anything", True),
    ],
)
def test_rules_of_dockerignore(rules: str, path: str, sent: bool) -> None:
    assert Ignore(rules).sends(path) is sent
