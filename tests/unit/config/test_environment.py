from pathlib import Path

import pytest

from llmgateway_server.app import App
from llmgateway_server.config.environment import NOT_UNDERSTOOD, VARIABLES, not_understood
from llmgateway_server.config.load import ConfigError, from_environment, load
from llmgateway_server.core.requests import Operation
from llmgateway_server.providers.vendors import VENDORS

KEYS = {"OPENAI_API_KEY": "sk-a", "ANTHROPIC_API_KEY": "sk-b"}
PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def file(folder: Path, text: str) -> Path:
    path = folder / "gateway.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("primary", "first"), [("", "simulator"), ("openai", "openai"), ("Anthropic", "anthropic")])
def test_the_primary_provider_has_the_default_model(primary: str, first: str) -> None:
    environment = {**KEYS, "PRIMARY_LLM_PROVIDER": primary}
    catalog = App(from_environment(environment), environment).parts.catalog
    assert catalog.resolve("", Operation.COMPLETE).targets[0].provider == first


def test_a_primary_provider_may_be_named_by_its_vendor(tmp_path: Path) -> None:
    path = file(tmp_path, "providers: {a: {vendor: simulator}, eu: {vendor: openai, api_key: x}}")
    assert list(load(path, {"PRIMARY_LLM_PROVIDER": "openai"}).settings.providers) == ["eu", "a"]


def test_a_primary_provider_that_is_none_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"^PRIMARY_LLM_PROVIDER: there is no such provider; there are: simulator$"):
        from_environment({"PRIMARY_LLM_PROVIDER": "openai"})


@pytest.mark.parametrize(("text", "attempts"), [("false", 1), ("0", 1), ("True", 3), ("", 3)])
def test_without_failover_there_is_one_attempt(text: str, attempts: int) -> None:
    assert from_environment({"ENABLE_LLM_FAILOVER": text}).max_attempts == attempts
    with pytest.raises(ConfigError, match=r"^ENABLE_LLM_FAILOVER: must be true or false$"):
        from_environment({"ENABLE_LLM_FAILOVER": "perhaps"})


def test_a_file_stands_above_these_variables(tmp_path: Path) -> None:
    path = file(tmp_path, "max_attempts: 2\nproviders: {mine: {vendor: simulator}}")
    found = load(path, {**KEYS, "ENABLE_LLM_FAILOVER": "false"}).settings
    assert found.max_attempts == 2
    assert list(found.providers) == ["mine"]
    assert list(load(file(tmp_path, "records: false"), KEYS).settings.providers) == ["simulator", "openai", "anthropic"]


def test_an_account_without_a_key_gets_its_vendors(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        "providers:\n  a: {vendor: openai}\n  b: {vendor: openai, api_key: x}\n  c: {vendor: openai, api_keys: [x]}\n"
        "  d: {vendor: openai, base_url: 'http://127.0.0.1:1/v1'}\n",
    )
    found = load(path, KEYS)
    assert [each.api_key for each in found.settings.providers.values()] == ["env:OPENAI_API_KEY", "x", "", ""]
    assert str(found.document.origin(("providers", "a", "api_key"))) == "OPENAI_API_KEY"


def test_an_account_whose_vendor_has_no_address_gets_its_key_too(tmp_path: Path) -> None:
    path = file(tmp_path, "providers:\n  a: {vendor: azure, base_url: 'http://127.0.0.1:1/openai/v1'}\n")
    found = load(path, {"AZURE_OPENAI_API_KEY": "x"}).settings
    assert found.providers["a"].api_key == "env:AZURE_OPENAI_API_KEY"


def test_what_is_not_understood_is_named_when_it_asks_for_something() -> None:
    assert not_understood({**dict.fromkeys(NOT_UNDERSTOOD, "x"), "HOME": "/"}) == tuple(NOT_UNDERSTOOD)
    assert not_understood({"ENABLE_LLM_CACHING": "false", "OPENAI_ORGANIZATION": ""}) == ()


def test_no_variable_is_in_two_tables_and_all_are_documented() -> None:
    understood = {vendor.key_variable for vendor in VENDORS.values() if vendor.key_variable}
    understood |= {variable.name for variable in VARIABLES}
    assert understood.isdisjoint(NOT_UNDERSTOOD)
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in (*understood, *NOT_UNDERSTOOD) if f"`{name}`" not in page] == []
