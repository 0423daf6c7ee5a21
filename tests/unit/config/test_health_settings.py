"""Settings of health checks and of drains after a cancel."""

from typing import Any

import pytest

from llmgateway_server.config.load import ConfigError, from_document
from llmgateway_server.config.settings import Settings

HTTP = {"vendor": "openai-compatible", "base_url": "http://127.0.0.1:8000/v1"}


def test_defaults() -> None:
    settings = Settings()
    assert (settings.health_checks.interval_s, settings.health_checks.simulator) == (30.0, False)
    assert (settings.after_cancel.drain_s, settings.after_cancel.max_drains) == (5.0, 32)


@pytest.mark.parametrize(
    ("account", "text"),
    [
        ({"vendor": "simulator"}, "is for vendors that the gateway itself connects to"),
        ({**HTTP, "proxy": "http://127.0.0.1:3128"}, "is not possible through a proxy"),
    ],
)
def test_drains_need_our_own_connection(account: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        from_document({"providers": {"p": {**account, "drain_on_cancel": True}}}, "test")
    settings = from_document({"providers": {"p": {**account, "drain_on_cancel": False}}}, "test")
    assert settings.providers["p"].drain_on_cancel is False


@pytest.mark.parametrize(
    "section",
    [{"health_checks": {"interval_s": -1}}, {"after_cancel": {"drain_s": 0}}, {"after_cancel": {"drain_s": 61}}],
)
def test_bounds(section: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        from_document(section, "test")
