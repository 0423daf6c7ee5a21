import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmgateway_server.cli.commands import app
from llmgateway_server.cli.problems import EXIT_USAGE
from llmgateway_server.config.effective import as_document, as_yaml
from llmgateway_server.config.load import load
from llmgateway_server.config.schema import schema_text
from llmgateway_server.config.yaml_file import parse

RUNNER = CliRunner()
CANARY = "sk-canary"
HASH = "c" * 64
FILE = f"""\
auth:
  pepper: {CANARY}
  keys: [{{id: a, hash: {HASH}, tenant: "no"}}]
providers:
  p: {{vendor: openai, api_key: {CANARY}, proxy: 'http://me:{CANARY}@127.0.0.1:1'}}
  q: {{vendor: openai, api_keys: ['env:THERE', {CANARY}]}}
  "odd: name": {{vendor: simulator}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(FILE.replace("odd: name", "odd"), encoding="utf-8")
    return path


def test_a_good_file_is_ok(file: Path) -> None:
    result = RUNNER.invoke(app, ["check-config", str(file)], env={"THERE": "x"})
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("ok: 3 providers, ")
    assert result.stdout.strip().endswith(" models, 1 key")
    assert RUNNER.invoke(app, ["check-config"], env={"OPENAI_API_KEY": ""}).stdout.startswith("ok: ")


def test_all_secrets_that_are_not_there_are_told_with_their_lines(file: Path) -> None:
    file.write_text(
        "auth: {pepper: 'env:GONE'}\nproviders:\n"
        "  p: {vendor: openai, api_keys: [x, 'file:/gone']}\n  q: {vendor: openai, api_key: 'env:sk-canary'}\n"
    )
    result = RUNNER.invoke(app, ["check-config", str(file)])
    assert result.exit_code == EXIT_USAGE
    assert result.stderr.splitlines() == [
        f"{file}:1: auth.pepper: the environment variable GONE is not set",
        f"{file}:3: providers.p.api_keys[1]: the file /gone cannot be read",
        f"{file}:4: providers.q.api_key: behind env: belongs the name of an environment variable",
    ]
    assert CANARY not in RUNNER.invoke(app, ["config", "show", "-c", str(file)]).output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("providers:\n  p: {vendor: openai, base_url: 'ftp://x'}", ":2: providers.p.base_url: must be an http"),
        ("records: true\ndefault_model: gpt-99", ":2: default_model: there is no model"),
        ("server: {tls: {certificate: /gone, key: /gone}}", ":1: server.tls"),
        (
            f"auth: {{keys: [{{id: a, hash: {HASH}, tenant: t}}]}}\nserver:\n  listen: 0.0.0.0:1",
            ":3: server.listen: beyond",
        ),
    ],
)
def test_what_only_a_start_would_tell_is_told_with_its_line(file: Path, text: str, words: str) -> None:
    file.write_text(text, encoding="utf-8")
    result = RUNNER.invoke(app, ["check-config", str(file)])
    assert result.exit_code == EXIT_USAGE
    assert result.stderr.startswith(f"{file}{words}")


@pytest.mark.parametrize("options", [[], ["--origin"], ["--json"], ["--json", "--origin"]])
def test_secrets_are_masked_and_references_are_shown(file: Path, options: list[str]) -> None:
    result = RUNNER.invoke(app, ["config", "show", "-c", str(file), *options])
    assert result.exit_code == 0
    assert CANARY not in result.output
    assert HASH not in result.output
    assert "env:THERE" in result.stdout
    assert "http://***@127.0.0.1:1" in result.stdout


def test_what_is_shown_as_yaml_is_what_is_shown_as_json(file: Path) -> None:
    found = load(file, {"LLMGATEWAY__SCREEN__BLOCKED_TERMS": '["a: b", "#", "- x", "yes", "ä\\n", "1", ""]'})
    for origins in (False, True):
        assert parse(as_yaml(found, origins=origins), "shown") == as_document(found)


def test_the_origin_of_each_value_is_told(file: Path) -> None:
    result = RUNNER.invoke(
        app, ["config", "show", "-c", str(file), "--origin", "--json"], env={"LLMGATEWAY__TIMEOUTS__IDLE_S": "5"}
    )
    shown = json.loads(result.stdout)
    assert shown["timeouts.idle_s"] == {"value": 5.0, "origin": "LLMGATEWAY__TIMEOUTS__IDLE_S"}
    assert shown["auth.keys[0].tenant"] == {"value": "no", "origin": f"{file}:3"}
    assert shown["timeouts.connect_s"] == {"value": 5.0, "origin": "default"}


def test_schema_and_example_are_printed() -> None:
    assert RUNNER.invoke(app, ["config", "schema"]).stdout == schema_text()
    assert "\nproviders:\n" in RUNNER.invoke(app, ["config", "example"]).stdout


def test_a_bad_file_is_not_shown(file: Path) -> None:
    file.write_text("recods: true", encoding="utf-8")
    result = RUNNER.invoke(app, ["config", "show", "-c", str(file)])
    assert result.exit_code == EXIT_USAGE
    assert result.stderr == f"{file}:1: recods: there is no such setting; did you mean records?\n"
