"""The image's steps and its process, without an engine: see image.py for what that leaves out."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmgateway import Client
from tests.e2e.image import RUNTIME, Built, build, confinement, healthy, running
from tests.e2e.kit import EXIT_S

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

TOKENS = 40
LONG = f"simulator/chat?tokens={TOKENS}&pace_ms=75"
"""A stream of three seconds."""
DRAIN_S = 0.5
TOOLS = ("pip", "pytest", "hatchling", "mypy", "ruff", "setuptools", "uv")
PROBE = """
import os, pathlib, sys
print(os.getuid(), os.getpid())
for folder in sys.argv[1:]:
    try:
        (pathlib.Path(folder) / "llmgateway-probe").write_text("")
    except OSError:
        continue
    print("writable:", folder)
"""


@pytest.fixture(scope="module")
def built() -> Iterator[Built]:
    # Not pytest's own folder: the image's user may not enter that.
    folder = Path(tempfile.mkdtemp(prefix="llmgateway-image-"))
    folder.chmod(0o755)
    try:
        yield build(folder, sys.executable)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def confined(built: Built) -> list[str]:
    return confinement(built)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def addresses() -> dict[str, str]:
    """Returns settings for a gateway beside others; a container has its ports to itself."""
    http = f"127.0.0.1:{free_port()}"
    return {
        "LLMGATEWAY__SERVER__LISTEN": "127.0.0.1:0",
        "LLMGATEWAY__HTTP__LISTEN": http,
        "LLMGATEWAY_PROBE": http,
        "LLMGATEWAY__SERVER__DRAIN_DELAY_S": str(DRAIN_S),
    }


def test_it_holds_the_gateway_and_no_tools(built: Built) -> None:
    print(f"built in {built.seconds:.0f} s")
    site = next((built.root / "opt/llmgateway/lib").glob("python3.*/site-packages"))
    installed = {path.name.partition("-")[0].lower() for path in site.glob("*.dist-info")}
    assert {"llmgateway", "llmgateway_server", "uvloop", "starlette", "tiktoken"} <= installed
    assert not installed & set(TOOLS)
    assert not [*site.rglob("__editable__*"), *site.glob("*.pth")]
    assert not list((built.root / "usr/local").glob("lib/python3.*/site-packages/pip*"))


def test_everything_is_compiled_ahead(built: Built) -> None:
    site = next((built.root / "opt/llmgateway/lib").glob("python3.*/site-packages"))
    sources = [
        path for name in ("llmgateway", "llmgateway_server", "grpc", "uvicorn") for path in site.glob(f"{name}/**/*.py")
    ]
    assert len(sources) > 100
    missing = [path for path in sources if not list((path.parent / "__pycache__").glob(f"{path.stem}.cpython-*.pyc"))]
    assert missing == []


def test_nobody_but_the_owner_may_write_into_it(built: Built) -> None:
    places = [built.root / "opt/llmgateway", built.root / "etc/llmgateway"]
    loose = [
        path for place in places for path in place.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o022
    ]
    assert loose == []


def test_the_confinement_is_one(built: Built, confined: list[str]) -> None:
    if not confined:
        pytest.skip("this machine allows no namespaces: the other tests run without")
    folders = [
        str(built.root),
        str(built.root / "opt/llmgateway"),
        "/",
        "/tmp",
        "/var/tmp",
        "/dev/shm",
        str(Path.cwd()),
    ]
    done = subprocess.run(
        [*confined, *built.command(["/opt/llmgateway/bin/python", "-c", PROBE, *folders])],
        capture_output=True,
        text=True,
        check=True,
        timeout=EXIT_S,
    )
    user = RUNTIME.one("USER").text.partition(":")[0] if os.geteuid() == 0 else "0"
    assert done.stdout.splitlines() == [f"{user} 1"]


def test_it_serves_is_healthy_and_drains(built: Built, confined: list[str], tmp_path: Path) -> None:
    more = addresses()
    assert healthy(built, confined, more).returncode == 1
    with running(built, confined, tmp_path / "log", **more) as container:
        check = healthy(built, confined, more)
        assert (check.returncode, check.stdout.strip()) == (0, "ready"), check.stderr
        with Client(container.address) as client:
            assert "Hello" in client.complete(messages="Hello").text
            with client.stream(LONG, "Go on") as stream:
                text = iter(stream.text)
                pieces = [next(text)]
                began = time.monotonic()
                container.stop()
                check = healthy(built, confined, more)
                assert (check.returncode, check.stdout.strip()) == (1, "draining")
                pieces.extend(text)
                assert stream.reply().usage.output_token_count == TOKENS
        assert len("".join(pieces).split()) == TOKENS
        assert container.process.wait(EXIT_S) == 0
        assert time.monotonic() - began > DRAIN_S
    log = container.log.read_text(encoding="utf-8")
    assert "Traceback" not in log
    records = [json.loads(line) for line in log.splitlines() if line.startswith("{") and '"record"' in line]
    assert [each["outcome"] for each in records if each["record"] == "call"] == ["succeeded", "succeeded"]


def test_the_commands_of_an_operator_are_in_it(built: Built, confined: list[str]) -> None:
    arguments = ["check-config", built.inside("/etc/llmgateway/gateway.yaml")]
    done = subprocess.run(
        [*confined, *built.command(RUNTIME.one("ENTRYPOINT").words), *arguments],
        capture_output=True,
        text=True,
        env=built.environment(),
        timeout=EXIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ok: ")
