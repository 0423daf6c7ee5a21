import pytest

from llmgateway_server.app import App
from llmgateway_server.config.load import ConfigError, from_document, from_environment

SIMULATOR = {"providers": {"simulator": {"vendor": "simulator"}}}


@pytest.mark.parametrize("model", ["simulator-chat", "simulator/chat?tokens=3"])
def test_a_default_model_is_one_of_the_catalogue(model: str) -> None:
    App(from_document({**SIMULATOR, "default_model": model}, "test"), {})


def test_a_default_model_that_is_none_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="default_model: there is no model gpt-99"):
        App(from_document({**SIMULATOR, "default_model": "gpt-99"}, "test"), {})


def test_a_key_in_the_environment_brings_its_vendor() -> None:
    environment = {"OPENAI_API_KEY": "sk-test"}
    app = App(from_environment(environment), environment)  # https, so the wire's own demands on TLS are met
    names = [model.name for model in app.parts.catalog.models()]
    assert "simulator-chat" in names
    assert "gpt-4o-mini" in names
    without = App(from_environment({}), {}).parts.catalog.models()
    assert [model.name for model in without] == ["simulator-chat", "simulator-embed"]
