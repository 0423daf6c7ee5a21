from pathlib import Path
from typing import Any

import pytest

from llmgateway_server.app import App
from llmgateway_server.config.load import ConfigError, from_document, from_environment, from_file, resolve_secret

KEY = {"id": "a", "hash": "0" * 64, "tenant": "t"}


def mistakes(document: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        from_document(document, "x.yaml")
    return str(caught.value)


def test_every_mistake_is_listed_with_its_place() -> None:
    text = mistakes(
        {
            "server": {"listen": 5, "reflexion": True},
            "timeouts": {"idle_s": 0},
            "providers": {"p": {"vendor": "nobody"}, "q": {"vendor": "openai-compatible"}},
            "max_attempts": 9,
        }
    )
    places = [line.split(": ")[:2] for line in text.splitlines()]
    assert all(file == "x.yaml" for file, _ in places)
    assert [place for _, place in places] == [
        "server.listen",
        "server.reflexion",
        "timeouts.idle_s",
        "providers.p.vendor",
        "providers.q.base_url",
        "max_attempts",
    ]


def test_what_does_not_fit_together_is_listed_too() -> None:
    text = mistakes(
        {
            "server": {"listen": "0.0.0.0:1"},
            "providers": {"a/b": {"vendor": "simulator"}},
            "models": {
                "m": {"targets": [{"provider": "gone", "model": "x"}]},
                "\n": {"targets": [{"provider": "gone", "model": "x"}]},
            },
        }
    )
    assert "providers.a/b" in text
    assert "models.m.targets[0].provider: there is no such provider; there are: a/b" in text
    assert "names and aliases" in text
    assert "server.listen: without keys" in text
    assert "is there 2 times" in mistakes({"auth": {"keys": [KEY, KEY]}})


def test_values_are_never_shown() -> None:
    canary = "sk-canary"
    for document in (
        {"auth": {"keys": [{**KEY, "hash": canary}]}},
        {"providers": {"p": {"vendor": "simulator", "api_key": [canary]}}},
        {"providers": {"p": {"vendor": "openai-compatible", "api_key": canary}}},
        {"server": {"listen": "0.0.0.0:1"}, "providers": {"p": {"vendor": "simulator", "api_key": canary}}},
        canary,
        [canary],
    ):
        assert canary not in mistakes(document)


@pytest.mark.parametrize(
    ("listen", "allowed"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/tmp/x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("example.com:1", False),
        (":1", False),
    ],
)
def test_without_keys_only_loopback_is_served(listen: str, *, allowed: bool) -> None:
    document: dict[str, Any] = {"server": {"listen": listen}}
    if allowed:
        assert from_document(document, "x").open_allowed
    else:
        assert "auth.keys" in mistakes(document)
    assert from_document({**document, "auth": {"keys": [KEY]}}, "x").open_allowed == allowed


def test_secret_references(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(" from-file\n", encoding="utf-8")
    assert resolve_secret("env:KEY", {"KEY": "from-env"}, "f").reveal() == "from-env"
    assert resolve_secret(f"file:{file}", {}, "f").reveal() == "from-file"
    assert resolve_secret("sk-a:b", {}, "f").reveal() == "sk-a:b"
    assert not resolve_secret("", {}, "f")
    file.write_text("\n", encoding="utf-8")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for reference in ("env:KEY", "env:", f"file:{file}", f"file:{tmp_path}", f"file:{binary}", "file:/nowhere"):
        with pytest.raises(ConfigError, match=r"^f: "):
            resolve_secret(reference, {}, "f")


def test_a_reference_that_leads_nowhere_stops_the_start() -> None:
    settings = from_document({"providers": {"p": {"vendor": "openai", "api_key": "env:NO"}}}, "x")
    with pytest.raises(ConfigError, match=r"providers\.p\.api_key"):
        App(settings, {})


@pytest.mark.parametrize(
    "text", ["a: [", "a: 1\na: 2", "a: 2024-13-45", "- x", "just text", "\t", "!!python/object:os.system x", "[" * 3000]
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        from_file(file)
    assert str(caught.value).startswith(str(file))


def test_files() -> None:
    with pytest.raises(ConfigError, match="No such file"):
        from_file(Path("/nowhere.yaml"))
    with pytest.raises(ConfigError):
        from_file(Path("/"))


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.touch()
    assert from_file(file) == from_document({}, "x")


def test_the_environment_brings_vendors() -> None:
    assert list(from_environment({}).providers) == ["simulator"]
    settings = from_environment({"OPENAI_API_KEY": "sk-canary"}, "127.0.0.1:7")
    assert list(settings.providers) == ["simulator", "openai"]
    assert settings.server.listen == "127.0.0.1:7"
    assert "sk-canary" not in repr(settings)
