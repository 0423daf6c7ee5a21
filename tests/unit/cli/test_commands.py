from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmgateway_server import __version__
from llmgateway_server.admission.keys import hash_key, key_id_of
from llmgateway_server.cli.commands import app
from llmgateway_server.cli.problems import EXIT_USAGE
from llmgateway_server.config.load import from_file
from llmgateway_server.core.principal import Role
from llmgateway_server.core.secret import Secret

RUNNER = CliRunner()


def test_a_new_key_and_its_entry_fit_together(tmp_path: Path) -> None:
    made = RUNNER.invoke(
        app,
        ["keys", "new", "--tenant", "no", "--role", "viewer", "--role", "caller", "--pepper-env", "PEPPER"],
        env={"PEPPER": "p"},
    )
    assert made.exit_code == 0
    key = made.stdout.strip()  # alone, so that `KEY=$(llmgateway keys new)` holds the key
    assert key not in made.stderr
    entry = made.stderr[made.stderr.index("auth:") :]
    file = tmp_path / "keys.yaml"
    file.write_text(entry, encoding="utf-8")
    (stored,) = from_file(file).auth.keys
    assert stored.id == key_id_of(key)
    assert stored.tenant == "no"
    assert stored.roles == (Role.VIEWER, Role.CALLER)
    hashed = RUNNER.invoke(app, ["keys", "hash", "--pepper-env", "PEPPER"], input=f"{key}\n", env={"PEPPER": "p"})
    assert hashed.stdout.strip() == stored.hash == hash_key(key, Secret("p"))
    assert key not in hashed.output


@pytest.mark.parametrize(
    ("arguments", "text", "words"),
    [
        (["keys", "new", "--role", "king"], "", "no such role: king"),
        (["keys", "new", "--tenant", "a: b\nroles: [admin]"], "", "a tenant's name"),
        (["keys", "new", "--pepper-env", "NOT_SET"], "", "NOT_SET is not set"),
        (["keys", "hash"], "canary\n", "does not hold a key"),
        (["path", "--config", "/nowhere.yaml"], "", "/nowhere.yaml"),
    ],
)
def test_mistakes_are_named(arguments: list[str], text: str, words: str) -> None:
    result = RUNNER.invoke(app, arguments, input=text)
    assert result.exit_code == EXIT_USAGE
    assert words in result.stderr
    assert "canary" not in result.output


def test_version_and_path() -> None:
    assert RUNNER.invoke(app, ["version"]).stdout.strip() == __version__
    shown = RUNNER.invoke(app, ["path"])
    assert shown.exit_code == 0
    assert [line.split()[0] for line in shown.stdout.splitlines() if not line.startswith(" ")] == [
        "call",
        "request",
        "attempt",
    ]


@pytest.mark.parametrize("command", ["path", "serve"])
def test_a_bad_file_is_named_with_its_field(tmp_path: Path, command: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        "timeouts: {idle_s: 0}\nproviders: {p: {vendor: simulator, api_key: [sk-canary]}}", encoding="utf-8"
    )
    result = RUNNER.invoke(app, [command, "--config", str(file)])
    assert result.exit_code == EXIT_USAGE
    assert f"{file}:1: timeouts.idle_s" in result.stderr
    assert f"{file}:2: providers.p.api_key" in result.stderr
    assert "canary" not in result.output


def test_an_address_that_needs_keys_is_refused_without_showing_any(tmp_path: Path) -> None:
    file = tmp_path / "open.yaml"
    file.write_text("providers: {p: {vendor: openai, api_key: sk-canary}}", encoding="utf-8")
    result = RUNNER.invoke(app, ["serve", "--config", str(file), "--listen", "0.0.0.0:0"])
    assert result.exit_code == EXIT_USAGE
    assert "without keys only a loopback address" in result.stderr
    assert "canary" not in result.output


def test_a_secret_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("providers: {p: {vendor: openai, api_key: 'env:NOT_SET'}}", encoding="utf-8")
    result = RUNNER.invoke(app, ["path", "--config", str(file)])
    assert result.exit_code == EXIT_USAGE
    assert "providers.p.api_key" in result.stderr
