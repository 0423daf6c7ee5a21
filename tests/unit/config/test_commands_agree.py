"""Every command that reads the configuration tells the same list of mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MISTAKES = """\
default_model: gpt-99
providers:
  simulator: {vendor: simulator}
  p: {vendor: openai, api_key: 'env:NOT_SET_ANYWHERE', ca_bundle: /gone.pem}
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("check-config", "{file}"),
        ("serve", "--config", "{file}"),
        ("path", "--config", "{file}"),
        ("models", "--config", "{file}"),
        ("test-provider", "simulator", "--config", "{file}"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_mistakes_are_told_alike(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(MISTAKES, encoding="utf-8")
    command = [sys.executable, "-m", "llmgateway_server", *(each.format(file=file) for each in arguments)]
    done = subprocess.run(command, check=False, timeout=60, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.removeprefix("llmgateway: ").splitlines() == [
        f"{file}:1: default_model: there is no model gpt-99",
        f"{file}:4: providers.p.api_key: the environment variable NOT_SET_ANYWHERE is not set",
        f"{file}:4: providers.p.ca_bundle: /gone.pem is not a readable PEM file with certificates",
    ]
