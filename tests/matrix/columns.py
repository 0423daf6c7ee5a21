"""The columns of the matrix: each vendor with each dialect that it speaks, and the models that are asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmgateway_server.providers.vendors import VENDORS
from llmgateway_server.testing.fake_provider import FakeProvider

CLAUDE_AT_AMAZON = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
MODELS: Mapping[str, tuple[str, str]] = {
    "openai": ("gpt-4o", "o4-mini"),
    "openai-compatible": ("llama-3.1-8b", "qwen3"),
    "azure": ("gpt-4o", "o4-mini"),
    "groq": ("llama-3.3-70b-versatile", "openai/gpt-oss-120b"),
    "mistral": ("mistral-small-latest", "magistral-medium-latest"),
    "deepseek": ("deepseek-chat", "deepseek-reasoner"),
    "xai": ("grok-4", "grok-3-mini"),
    "openrouter": ("openai/gpt-4o", "openai/o4-mini"),
    "together": ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "openai/gpt-oss-120b"),
    "fireworks": ("accounts/fireworks/models/llama-v3p3-70b-instruct", "accounts/fireworks/models/gpt-oss-120b"),
    "perplexity": ("sonar", "sonar-reasoning-pro"),
    "cerebras": ("llama-3.3-70b", "gpt-oss-120b"),
    "huggingface": ("meta-llama/Llama-3.3-70B-Instruct", "openai/gpt-oss-120b"),
    "vllm": ("llama-3.1-8b", "qwen3"),
    "llama.cpp": ("llama-3.1-8b", "qwen3"),
    "lm-studio": ("llama-3.1-8b", "qwen3"),
    "anthropic": ("claude-haiku-4-5", "claude-sonnet-4-5"),
    "vertex-anthropic": ("claude-haiku-4-5@20251001", "claude-sonnet-4-5@20250929"),
    "bedrock-anthropic": (CLAUDE_AT_AMAZON, CLAUDE_AT_AMAZON),
    "bedrock": (CLAUDE_AT_AMAZON, CLAUDE_AT_AMAZON),
    "bedrock, bedrock_llama": ("meta.llama3-1-8b-instruct-v1:0", "meta.llama3-1-8b-instruct-v1:0"),
    "bedrock, bedrock_text": ("amazon.titan-text-express-v1", "amazon.titan-text-express-v1"),
    "bedrock, bedrock_nova": ("us.amazon.nova-2-lite-v1:0", "us.amazon.nova-2-lite-v1:0"),
    "bedrock, bedrock_chat": ("openai.gpt-oss-120b-1:0", "openai.gpt-oss-120b-1:0"),
    "google": ("gemini-2.5-flash", "gemini-2.5-pro"),
    "vertex": ("gemini-2.5-flash", "gemini-2.5-pro"),
    "cohere": ("command-a-03-2025", "command-a-reasoning-08-2025"),
    "ollama": ("llama3.2-vision", "qwen3"),
}
"""By vendor, or by vendor and dialect: a usual model, and one that reasons, where there is one."""
PLACES = {"region": "eu-central-1", "project": "house"}
"""Settings without which some vendors have no address."""


@dataclass(frozen=True)
class Column:
    """A vendor with one of its dialects."""

    vendor: str
    dialect: str

    @property
    def name(self) -> str:
        """The vendor, and the dialect where it is not the vendor's usual one."""
        usual = VENDORS[self.vendor].dialects[0].name
        return f"`{self.vendor}`" if self.dialect == usual else f"`{self.vendor}`, `{self.dialect}`"

    def upstream_model(self, *, reasoning: bool) -> str:
        """Returns the vendor's own name of the model that is asked."""
        return (MODELS.get(f"{self.vendor}, {self.dialect}") or MODELS[self.vendor])[reasoning]

    def model(self, *, reasoning: bool) -> str:
        """Returns the public name of the model that is asked."""
        return f"{self.vendor}-{self.dialect}-{'reasoning' if reasoning else 'usual'}"


COLUMNS = tuple(Column(vendor.name, dialect.name) for vendor in VENDORS.values() for dialect in vendor.dialects)


def settings(fake: FakeProvider) -> dict[str, Any]:
    """Returns the settings of a gateway with an account, and two models, for each column."""
    models = {
        column.model(reasoning=reasoning): {
            "targets": [
                {
                    "provider": column.vendor,
                    "model": column.upstream_model(reasoning=reasoning),
                    "dialect": column.dialect,
                }
            ]
        }
        for column in COLUMNS
        for reasoning in (False, True)
    }
    accounts = {vendor: {**fake.provider(vendor), "api_key": "sk-fake", **placed(vendor)} for vendor in VENDORS}
    return {"providers": accounts, "models": models, "max_attempts": 1, "breakers": {"enabled": False}}


def placed(vendor: str) -> dict[str, str]:
    """Returns where an account of a vendor is, for vendors that want to know."""
    return {name: PLACES[name] for name in VENDORS[vendor].needs}
