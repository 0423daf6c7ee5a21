import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llmgateway_server.app import App
from llmgateway_server.cli.commands import app
from llmgateway_server.cli.models import show_table
from llmgateway_server.cli.problems import EXIT_USAGE
from llmgateway_server.config.load import from_environment

RUNNER = CliRunner()
CONFIG = """
providers:
  simulator: {vendor: simulator}
  local: {vendor: openai-compatible, base_url: "http://127.0.0.1:1/v1"}
  openai: {vendor: openai, api_key: sk-canary}
models:
  mine:
    targets: [{provider: local, model: "llama[8b]"}, {provider: simulator, model: chat}]
    status: NOT_READY
    status_reason: "the [rack] moves"
  gpt-4o: {inference_type: PROVISIONED}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "c.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    return str(file)


def rows(output: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split() for line in output.splitlines()}


def test_a_table_that_is_plain_when_piped(config: str) -> None:
    shown = RUNNER.invoke(app, ["models", "--config", config])
    assert shown.exit_code == 0
    assert "\x1b" not in shown.output
    assert not any(line.endswith((" ", "…")) for line in shown.output.splitlines())
    table = rows(shown.output)
    assert table["NAME"][:4] == ["NAME", "PROVIDER", "STATUS", "TIER"]
    assert table["gpt-4.1-mini"][1:8] == ["openai", "DEPRECATED", "BASIC", "1,047,576", "32,768", "0.4", "1.6"]
    assert "OpenAI's shutdown date is 2027-01-14; use gpt-6-luna" in shown.output
    assert table["mine"][1:9] == ["local,", "simulator", "NOT_READY", "-", "-", "-", "unpriced", "unpriced"]
    assert "the [rack] moves" in shown.output
    assert "canary" not in shown.output


def test_one_provider(config: str) -> None:
    shown = RUNNER.invoke(app, ["models", "--config", config, "--provider", "simulator"])
    assert set(rows(shown.output)) == {"NAME", "mine", "simulator-chat", "simulator-embed"}
    unknown = RUNNER.invoke(app, ["models", "--config", config, "--provider", "gone"])
    assert unknown.exit_code == EXIT_USAGE
    assert "there is no provider gone; there are: local, openai, simulator" in unknown.stderr


def test_json(config: str) -> None:
    shown = RUNNER.invoke(app, ["models", "--config", config, "--json"])
    models: dict[str, dict[str, Any]] = {model["name"]: model for model in json.loads(shown.stdout)}
    assert models["mine"]["status_reason"] == "the [rack] moves"
    assert [target["upstream_model"] for target in models["mine"]["targets"]] == ["llama[8b]", "chat"]
    assert models["mine"]["targets"][0]["price"] is None
    four = models["gpt-4o"]
    assert four["inference_type"] == "PROVISIONED"
    assert four["aliases"] == ["gpt-4o-2024-08-06"]
    price = four["targets"][0]["price"]
    assert (price["input_usd"], price["output_usd"], price["cache_read_usd"]) == ("2.5", "10", "1.25")
    assert models["gpt-5.4"]["targets"][0]["price"]["tiered"] is True
    assert "canary" not in shown.output


def test_without_a_file_the_environment_counts() -> None:
    shown = RUNNER.invoke(app, ["models"], env={"OPENAI_API_KEY": ""})
    assert set(rows(shown.output)) == {"NAME", "simulator-chat", "simulator-embed"}


def test_mistakes_of_the_configuration_are_named(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("models: {m: {}}", encoding="utf-8")
    result = RUNNER.invoke(app, ["models", "--config", str(file)])
    assert result.exit_code == EXIT_USAGE
    assert "models.m: targets are needed" in result.stderr


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "120"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    output = Terminal()
    show_table(App(from_environment({}), {}).parts.catalog.models(), output)
    assert "\x1b[32mREADY" in output.getvalue()
