"""The rows of the vendors: what each of them holds, and how Azure is addressed."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from llmgateway_server.core.secret import Secret
from llmgateway_server.providers.dialects.openai_chat.reasoning import WAYS
from llmgateway_server.providers.vendors import ROWS, VENDORS
from llmgateway_server.providers.vendors.azure import located
from llmgateway_server.providers.wire.port import WireRequest

CHAT = "/chat/completions"
STABLE, PREVIEW = "?api-version=2024-10-21", "?api-version=2024-05-01-preview"


@pytest.mark.parametrize(
    ("prefix", "version", "path", "target"),
    [
        ("/openai/v1", "", CHAT, "/openai/v1/chat/completions"),
        ("/openai/v1", "preview", CHAT, "/openai/v1/chat/completions?api-version=preview"),
        ("/openai/v1", "", "/responses", "/openai/v1/responses"),
        ("/openai/v1", "", "/models", "/openai/v1/models"),
        ("/openai/deployments", "", CHAT, f"/openai/deployments/a%2Fb%20c/chat/completions{STABLE}"),
        ("/openai/deployments", "", "/responses", f"/openai/responses{STABLE}"),
        (
            "/openai/deployments",
            "2025-01-01",
            CHAT,
            "/openai/deployments/a%2Fb%20c/chat/completions?api-version=2025-01-01",
        ),
        ("/openai/deployments", "", "/models", f"/openai/models{STABLE}"),
        ("/openai/deployments/mine", "", CHAT, f"/openai/deployments/mine/chat/completions{STABLE}"),
        ("/openai/deployments/mine", "", "/models", f"/openai/models{STABLE}"),
        ("/models", "", CHAT, f"/models/chat/completions{PREVIEW}"),
        ("/models", "2025-04-01", CHAT, "/models/chat/completions?api-version=2025-04-01"),
        ("/models", "", "/models", f"/models/info{PREVIEW}"),
        ("", "", CHAT, "/openai/v1/chat/completions"),
        ("", "2024-02-01", CHAT, "/openai/deployments/a%2Fb%20c/chat/completions?api-version=2024-02-01"),
        ("/openai", "", CHAT, "/openai/v1/chat/completions"),
        ("/openai", "2024-02-01", CHAT, "/openai/deployments/a%2Fb%20c/chat/completions?api-version=2024-02-01"),
        ("/behind/a/gate", "", CHAT, "/behind/a/gate/openai/v1/chat/completions"),
        ("/behind/models", "", CHAT, f"/behind/models/chat/completions{PREVIEW}"),
    ],
)
def test_addresses_of_azure(prefix: str, version: str, path: str, target: str) -> None:
    assert located(prefix, version)(path, "a/b c") == target


def test_azure_wants_its_own_header() -> None:
    request = WireRequest("POST", "/", (), b"")
    assert VENDORS["azure"].authorize(request, Secret("k")) == (("api-key", "k"),)
    assert VENDORS["groq"].authorize(request, Secret("k")) == (("authorization", "Bearer k"),)


@pytest.mark.parametrize(
    ("vendor", "variable"),
    [
        ("azure", "AZURE_OPENAI_API_KEY"),
        ("groq", "GROQ_API_KEY"),
        ("mistral", "MISTRAL_API_KEY"),
        ("deepseek", "DEEPSEEK_API_KEY"),
        ("xai", "XAI_API_KEY"),
        ("openrouter", "OPENROUTER_API_KEY"),
        ("together", "TOGETHER_API_KEY"),
        ("fireworks", "FIREWORKS_API_KEY"),
        ("perplexity", "PERPLEXITY_API_KEY"),
        ("cerebras", "CEREBRAS_API_KEY"),
        ("huggingface", "HF_TOKEN"),
        ("vllm", ""),
        ("llama.cpp", ""),
        ("lm-studio", ""),
    ],
)
def test_keys_of_the_environment(vendor: str, variable: str) -> None:
    row = VENDORS[vendor]
    assert row.key_variable == variable
    address = urlsplit(row.address({}))
    if vendor == "azure":
        assert row.address({}) == ""
    else:
        assert address.scheme == ("https" if variable else "http")
        assert (address.hostname == "127.0.0.1") is not bool(variable)


def test_rows_are_whole() -> None:
    assert [row.name for row in ROWS][:2] == ["openai", "openai-compatible"]
    assert len(VENDORS) == len(ROWS)
    for row in ROWS:
        assert row.dialects, row.name
        assert row.quirks.reasoning in WAYS, row.name
        assert not row.base_url.endswith("/"), row.name
        assert not row.check_path or row.check_path.startswith("/"), row.name
