"""Every kind of end, made by a real call to a real gateway; and the table that says what they mean."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from llmgateway import errors
from llmgateway_server.admission.keys import new_key
from llmgateway_server.cli.commands import app
from llmgateway_server.cli.problems import BY_ERROR, EXIT_CODES, mistakes
from llmgateway_server.core.secret import Secret
from tests.unit.cli.remote_kit import CLEAN, RUNNER, invoke, quiet_gateway

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"
OPEN: dict[str, Any] = {"providers": {"simulator": {"vendor": "simulator"}}}


def keyed(**more: Any) -> tuple[dict[str, Any], str]:
    made = new_key(Secret(""))
    entry = {"id": made.key_id, "hash": made.key_hash, "tenant": "acme", "roles": ["caller"], **more}
    return {**OPEN, "auth": {"keys": [entry]}}, made.key.reveal()


@pytest.mark.parametrize(
    ("arguments", "code", "reason", "status"),
    [
        (["complete", "simulator/chat?fault=http&status=500", "hi"], 1, "UPSTREAM_ERROR", "UNAVAILABLE"),
        (["complete", "nobody", "hi"], 3, "MODEL_NOT_FOUND", "NOT_FOUND"),
        (["complete", "hi", "--temperature", "99"], 3, "INVALID_REQUEST", "INVALID_ARGUMENT"),
        (["embed", "simulator-chat", "hi"], 3, "UNSUPPORTED_OPTION", "FAILED_PRECONDITION"),
        (["complete", "a", "b", "c"], 2, "USAGE", "INVALID_ARGUMENT"),
        (["complete", "hi", "--max-tokens", "many"], 2, "USAGE", "INVALID_ARGUMENT"),
        (["complete", "--no-such-option"], 2, "USAGE", "INVALID_ARGUMENT"),
        (["health", "--provider", "nobody"], 3, "RESOURCE_NOT_FOUND", "NOT_FOUND"),
    ],
)
async def test_a_failure_as_json_and_as_text(arguments: list[str], code: int, reason: str, status: str) -> None:
    async with quiet_gateway(OPEN) as gateway:
        plain = await invoke(gateway, *arguments)
        made = await invoke(gateway, *arguments, "--json")
    assert (plain.exit_code, made.exit_code, made.stdout) == (code, code, "")
    error = json.loads(made.stderr)["error"]
    assert (error["reason"], error["code"]) == (reason, status)
    assert list(error)[:5] == ["reason", "code", "message", "retry_after_s", "attempts"]
    assert made.stderr.count("\n") == 1
    assert error["message"].split(":")[0] in plain.stderr


async def test_a_deadline() -> None:
    async with quiet_gateway(OPEN) as gateway:
        model = "simulator/chat?first_token_ms=60000"
        made = await invoke(gateway, "complete", model, "hi", "--timeout", "0.3", "--json")
    assert made.exit_code == 6
    error = json.loads(made.stderr)["error"]
    assert error["code"] == "DEADLINE_EXCEEDED"
    assert error["reason"] in {"DEADLINE_EXCEEDED", "UNSPECIFIED"}, "both sides look at the clock; one is first"


async def test_what_was_tried_is_told() -> None:
    async with quiet_gateway(OPEN) as gateway:
        made = await invoke(gateway, "complete", "simulator/chat?fault=http&status=500", "hi", "--json")
        unknown = await invoke(gateway, "complete", "simulator-chta", "hi", "--json")
    assert json.loads(made.stderr)["error"]["attempts"][0]["target"]["provider"] == "simulator"
    error = json.loads(unknown.stderr)["error"]
    assert error["alternatives"] == ["simulator-chat"]
    assert error["request_id"]


async def test_keys_and_limits() -> None:
    document, key = keyed()
    throttle = {"calls_per_minute": 1, "calls_burst": 2}
    async with quiet_gateway({**document, "throttle": throttle}) as gateway:
        wrong = await invoke(gateway, "complete", "hi", "--json", key="gw_wrong")
        role = await invoke(gateway, "health", "--json", key=key)
        ended = [await invoke(gateway, "complete", "hi", "--json", key=key) for _ in range(4)]
    assert (wrong.exit_code, role.exit_code) == (4, 4)
    assert json.loads(wrong.stderr)["error"]["reason"] == "INVALID_CREDENTIALS"
    assert json.loads(role.stderr)["error"]["reason"] == "ROLE_REQUIRED"
    assert {done.exit_code for done in ended} <= {0, 5}
    limited = json.loads(ended[-1].stderr)["error"]
    assert (ended[-1].exit_code, limited["reason"]) == (5, "RATE_LIMITED_RPM")
    assert limited["retry_after_s"] > 0


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{taken.getsockname()[1]}"
        done = RUNNER.invoke(app, ["stats", "--json", "--target", target], env=CLEAN)
    assert done.exit_code == 7
    error = json.loads(done.stderr)["error"]
    assert (error["reason"], error["code"]) == ("UNSPECIFIED", "UNAVAILABLE")


@pytest.mark.parametrize("arguments", [["models", "-c"], ["path", "-c"], ["config", "show", "-c"], ["serve", "-c"]])
def test_a_configuration_that_cannot_be_used(arguments: list[str], tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("recods: true\nlog:\n  level: loud\n", encoding="utf-8")
    done = RUNNER.invoke(app, [*arguments, str(file), "--json"])
    assert (done.exit_code, done.stdout) == (2, "")
    error = json.loads(done.stderr)["error"]
    assert (error["reason"], error["code"]) == ("CONFIGURATION", "FAILED_PRECONDITION")
    assert [(each["line"], each["field"]) for each in error["mistakes"]] == [(1, "recods"), (3, "log.level")]


def test_check_config_writes_its_result_as_json(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("log:\n  level: loud\n", encoding="utf-8")
    wrong = RUNNER.invoke(app, ["check-config", str(file), "--json"])
    document = json.loads(wrong.stdout)
    assert (wrong.exit_code, wrong.stderr, document["ok"]) == (2, "", False)
    (mistake,) = document["mistakes"]
    assert (mistake["file"], mistake["line"], mistake["field"]) == (str(file), 2, "log.level")
    assert mistake["message"].startswith("must be one of ")
    file.write_text("providers: {simulator: {vendor: simulator}}", encoding="utf-8")
    good = RUNNER.invoke(app, ["check-config", str(file), "--json"], env={"ENABLE_LLM_CACHING": "true"})
    document = json.loads(good.stdout)
    assert (good.exit_code, good.stderr, document["ok"], document["mistakes"]) == (0, "", True, [])
    assert (document["providers"], document["keys"]) == (1, 0)
    assert document["models"] > 0
    assert document["not_understood"] == ["ENABLE_LLM_CACHING"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a.yaml:3: log.level: must: be", ("a.yaml", 3, "log.level", "must: be")),
        ("a.yaml: not readable as YAML: here", ("a.yaml", None, "", "not readable as YAML: here")),
        ("LLMGATEWAY__X: x: unknown", ("LLMGATEWAY__X", None, "x", "unknown")),
        ("words", ("", None, "", "words")),
    ],
)
def test_mistakes_are_read_from_their_lines(text: str, found: tuple[Any, ...]) -> None:
    (mistake,) = mistakes(ValueError(text))
    assert tuple(mistake.values()) == found


@pytest.mark.parametrize(
    ("arguments", "stdin", "field"),
    [
        (["version", "--json"], "", "version"),
        (["keys", "new", "--json"], "", "key"),
        (["help", "exit-codes", "--json"], "", "130"),
        (["config", "show", "--json"], "", "server"),
        (["config", "example", "--json"], "", "server"),
        (["config", "schema", "--json"], "", "properties"),
        (["test-provider", "simulator", "--json"], "", "ok"),
    ],
)
def test_results_as_json(arguments: list[str], stdin: str, field: str) -> None:
    done = RUNNER.invoke(app, arguments, input=stdin, env={"OPENAI_API_KEY": "", "ANTHROPIC_API_KEY": ""})
    assert (done.exit_code, done.stderr) == (0, "")
    assert field in json.loads(done.stdout)


def test_a_key_and_its_hash_as_json() -> None:
    made = json.loads(RUNNER.invoke(app, ["keys", "new", "--role", "viewer", "--json"]).stdout)
    hashed = json.loads(RUNNER.invoke(app, ["keys", "hash", "--json"], input=made["key"]).stdout)
    assert hashed == {"id": made["entry"]["id"], "hash": made["entry"]["hash"]}
    assert made["entry"]["roles"] == ["viewer"]


def test_the_path_as_json() -> None:
    rings = json.loads(RUNNER.invoke(app, ["path", "--json"]).stdout)
    assert [ring["name"] for ring in rings] == ["call ring", "request ring", "attempt ring"]
    assert rings[2]["steps"][-1]["name"] == "provider"
    assert all(step["why"] for ring in rings for step in ring["steps"])


def test_every_command_that_prints_a_result_has_json() -> None:
    without = {"demo", "completion", "config", "keys"}  # a show, a script, and two groups
    for name in [*command_names(), "config show", "config schema", "config example", "keys new", "keys hash"]:
        shown = RUNNER.invoke(app, [*name.split(), "--help"]).stdout
        assert ("--json" in shown) == (name not in without), name


def command_names() -> list[str]:
    import typer.main

    top: Any = typer.main.get_command(app)
    return list(top.commands)


def test_the_table_of_exit_codes_is_that_of_the_page_and_of_the_help() -> None:
    page = PAGE.read_text(encoding="utf-8")
    table = page[page.index("| exit code |") :].split("\n\n", 1)[0].splitlines()[2:]
    assert table == [f"| {each.number} | {each.meaning} |" for each in EXIT_CODES]
    shown = RUNNER.invoke(app, ["help", "exit-codes"]).stdout
    assert [line.split(maxsplit=1) for line in shown.splitlines()] == [
        [str(each.number), each.meaning] for each in EXIT_CODES
    ]


def test_classes_of_errors_exist() -> None:
    assert all(issubclass(getattr(errors, name), errors.GatewayError) for name in BY_ERROR)


@pytest.mark.parametrize(("words", "code"), [([], 0), (["complete"], 0), (["keys", "new"], 0), (["nothing"], 2)])
def test_help(words: list[str], code: int) -> None:
    done = RUNNER.invoke(app, ["help", *words])
    assert done.exit_code == code
    assert ("Usage: " in done.stdout) == (code == 0)
    assert " ".join(words) in done.output
