from pathlib import Path

import pytest

from llmgateway_server.config.load import ConfigError, Loaded, load

FILE = """\
providers:
  openai: {vendor: openai, api_key: env:FILE_KEY}
  my-azure.eu: {vendor: openai-compatible, base_url: http://127.0.0.1:1/v1}
models:
  gpt-4.1: {context_token_count: 5}
auth:
  keys:
    - {id: a, hash: '%s', tenant: t}
""" % ("0" * 64)


def loaded(folder: Path, **variables: str) -> Loaded:
    file = folder / "gateway.yaml"
    file.write_text(FILE, encoding="utf-8")
    return load(file, {f"LLMGATEWAY__{name}": text for name, text in variables.items()})


def mistakes(folder: Path, **variables: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, **variables)
    return str(caught.value)


def test_every_kind_of_value_can_be_set(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        SERVER__LISTEN="127.0.0.1:7",
        SERVER__REFLECTION="true",
        GATE__MAX_MEMORY_BYTES="null",
        TIMEOUTS__IDLE_S="2.5",
        RECORDS="false",
        EGRESS__PORTS="[443, 8443]",
        SCREEN__BLOCKED_TERMS='["no", "123"]',
        PROVIDERS__OPENAI__API_KEY="12345",
        PROVIDERS__MY_AZURE_EU__PROXY="http://127.0.0.1:3128",
        PROVIDERS__LOCAL_ONE='{"vendor": "simulator"}',
        PROVIDERS__SIM__VENDOR="simulator",
        MODELS__GPT_4_1__CONTEXT_TOKEN_COUNT="9",
        AUTH__KEYS__0__TENANT="acme",
        AUTH__KEYS__1='{"id": "b", "hash": "%s", "tenant": "t"}' % ("1" * 64),
        AUTH__KEYS__1__ROLES="[admin]",
        LOG__LEVEL="debug",
    ).settings
    assert settings.server.listen == "127.0.0.1:7"
    assert settings.server.reflection is True
    assert settings.gate.max_memory_bytes is None
    assert settings.timeouts.idle_s == 2.5
    assert settings.records is False
    assert settings.egress.ports == (443, 8443)
    assert settings.screen.blocked_terms == ("no", "123")
    assert settings.providers["openai"].api_key == "12345"
    assert settings.providers["my-azure.eu"].proxy == "http://127.0.0.1:3128"
    assert list(settings.providers) == ["openai", "my-azure.eu", "local_one", "sim"]
    assert settings.models["gpt-4.1"].context_token_count == 9
    assert [(key.id, key.tenant, *key.roles) for key in settings.auth.keys] == [
        ("a", "acme", "caller"),
        ("b", "t", "admin"),
    ]
    assert settings.log.level == "debug"


def test_mistakes_name_the_variable_beside_those_of_the_file(tmp_path: Path) -> None:
    text = mistakes(
        tmp_path,
        SERVER__LISTN="x",
        SERVER__LISTEN__PORT="1",
        TIMEOUTS__IDLE_S="sk-canary",
        EGRESS__PORTS="[sk-canary",
        AUTH__KEYS__5__TENANT="t",
        MODELS__GPT_4_1__TARGETS="[{provider: gone, model: x}]",
    )
    nobody = "there is no such provider; there are: my-azure.eu, openai"
    assert text.splitlines() == [
        "LLMGATEWAY__EGRESS__PORTS: must be YAML or JSON text",
        "LLMGATEWAY__SERVER__LISTN: there is no such setting; did you mean LISTEN instead of LISTN?",
        "LLMGATEWAY__SERVER__LISTEN__PORT: there is no such setting; nothing is below what stands before PORT",
        "LLMGATEWAY__AUTH__KEYS__5__TENANT: there is no such setting; a number from 0 to 1 belongs in the place of 5",
        f"LLMGATEWAY__MODELS__GPT_4_1__TARGETS: models.gpt-4.1.targets[0].provider: {nobody}",
        "LLMGATEWAY__TIMEOUTS__IDLE_S: timeouts.idle_s: must be a valid number, unable to parse string as a number",
    ]


def test_a_name_that_stands_for_two_is_refused(tmp_path: Path) -> None:
    text = mistakes(
        tmp_path, PROVIDERS="{a-b: {vendor: simulator}, a.b: {vendor: simulator}}", PROVIDERS__A_B__PROXY="x"
    )
    assert "A_B stands for a-b and a.b" in text


def test_origins(tmp_path: Path) -> None:
    document = loaded(tmp_path, PROVIDERS__OPENAI__API_KEY="x", EGRESS__PORTS="[1]").document
    file = tmp_path / "gateway.yaml"
    assert str(document.origin(("providers", "openai", "api_key"))) == "LLMGATEWAY__PROVIDERS__OPENAI__API_KEY"
    assert str(document.origin(("providers", "openai", "vendor"))) == f"{file}:2"
    assert str(document.origin(("egress", "ports", 0))) == "LLMGATEWAY__EGRESS__PORTS"
    assert str(document.origin(("egress", "max_bytes"))) == "default"


def test_the_command_line_stands_above_all(tmp_path: Path) -> None:
    found = load(None, {"LLMGATEWAY__SERVER__LISTEN": "127.0.0.1:7"}, listen="127.0.0.1:8")
    assert found.settings.server.listen == "127.0.0.1:8"
    assert str(found.document.origin(("server", "listen"))) == "--listen"
