import re
from pathlib import Path

import pytest

from llmgateway_server.app import App
from llmgateway_server.config.example import example_text
from llmgateway_server.config.load import from_file
from llmgateway_server.config.schema import schema, schema_text
from llmgateway_server.config.secrets import is_reference
from llmgateway_server.config.settings import Settings
from llmgateway_server.config.shape import sections

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "deploy" / "gateway.example.yaml"
SCHEMA = ROOT / "docs" / "config.schema.json"


@pytest.mark.parametrize(
    ("path", "text"), [(EXAMPLE, example_text()), (SCHEMA, schema_text())], ids=["example", "schema"]
)
def test_generated_files_are_up_to_date(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, "run `python scripts/generate_config.py`"


def test_the_example_is_a_configuration() -> None:
    environment = dict.fromkeys(("OPENAI_API_KEY", "CLAUDE_KEY_1", "CLAUDE_KEY_2"), "sk-test")
    names = [model.name for model in App(from_file(EXAMPLE), environment).parts.catalog.models()]
    assert "fast" in names


def test_every_setting_stands_in_the_example() -> None:
    there = set(re.findall(r"^[\s#-]*([a-z0-9_]+):(?:\s|$)", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE))
    assert {name for model in sections(Settings) for name in model.model_fields} - there == set()


def test_what_is_masked_as_a_secret() -> None:
    marked = {
        f"{model.__name__}.{name}"
        for model in sections(Settings)
        for name in model.model_fields
        if is_reference((name,))
    }
    assert marked == {
        "AuthSettings.pepper",
        "CredentialSettings.access_key_id",
        "CredentialSettings.client_secret",
        "CredentialSettings.secret_access_key",
        "CredentialSettings.session_token",
        "HttpSettings.metrics_token",
        "ProviderSettings.api_key",
        "ProviderSettings.api_keys",
        "ProviderSettings.credential",
        "ProviderSettings.credentials",
        "TelemetrySettings.headers_secret",
    }


def test_the_schema_describes_settings_in_the_words_of_the_source() -> None:
    made = schema()
    assert made["$defs"]["ServerSettings"]["properties"]["grace_s"]["description"].startswith(
        "How long calls in flight"
    )
    assert made["$defs"]["ProviderSettings"]["properties"]["api_key"]["writeOnly"]
    assert made["properties"]["timeouts"]["description"].startswith("Limits of one attempt")
    assert not made["additionalProperties"]
