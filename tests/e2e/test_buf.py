"""buf: the protos are linted and do not break clients; and its client completes like any other."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Keyed
from tests.e2e.kit import ASK, ROOT, SERVICE, Served, json_values, run, tool

pytestmark = pytest.mark.e2e

RELEASED = ROOT / "protos" / "released.binpb"
FOUND_SOMETHING = 100
"""How buf exits when it has something to say about a file."""


def buf(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return run([tool("buf"), *arguments], cwd=cwd, timeout_s=60)


def curl(address: str, method: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    options = ("--protocol", "grpc", "--http2-prior-knowledge", "--data", ASK)
    return buf("curl", *options, *arguments, f"http://{address}/{SERVICE}/{method}")


def test_lint_is_content() -> None:
    done = buf("lint")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_protos_do_not_break_the_release() -> None:
    done = buf("breaking", "protos", "--against", str(RELEASED))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "before", "after", "rule"),
    [
        ("completion.proto", "string model = 1 [", "string model = 900 [", "was deleted"),
        ("llm_gateway_service.proto", "rpc Embed(", "rpc EmbedAll(", "was deleted"),
        ("reply.proto", "repeated Event events = 1;", "repeated Event items = 1;", "changed name"),
    ],
)
def test_a_break_is_found(tmp_path: Path, file: str, before: str, after: str, rule: str) -> None:
    for folder in ("protos", "third_party/protos"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    broken = tmp_path / "protos" / "llmgateway" / "v1" / file
    text = broken.read_text(encoding="utf-8")
    assert before in text
    broken.write_text(text.replace(before, after), encoding="utf-8")
    done = buf("breaking", "protos", "--against", str(RELEASED), cwd=tmp_path)
    assert done.returncode == FOUND_SOMETHING, done.stdout + done.stderr
    assert rule in done.stdout + done.stderr


def test_curl_completes(gateway: Served) -> None:
    done = curl(gateway.address, "Complete")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["parts"] == [{"text": "You said: hi"}]


def test_curl_streams(gateway: Served) -> None:
    done = curl(gateway.address, "StreamComplete")
    assert done.returncode == 0, done.stderr
    events = [event for message in json_values(done.stdout) for event in message["events"]]
    assert "finished" in events[-1]


def test_curl_with_a_key_and_the_protos(keyed: Keyed) -> None:
    header = f"authorization: Bearer {keyed.caller.text}"
    done = curl(keyed.served.address, "Complete", "--schema", str(ROOT / "protos"), "--header", header)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["parts"] == [{"text": "You said: hi"}]
