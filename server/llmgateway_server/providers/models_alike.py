"""The public models of vendors that speak like OpenAI: names, and the vendors' own where these differ.

A model that several vendors run has one public name, so that they stand in for each other. Deployments at Azure have
names that nobody else knows, and what Hugging Face bills depends on where it sends a call: neither has a list.
"""

from __future__ import annotations

from collections.abc import Mapping

NAMES: Mapping[str, Mapping[str, str]] = {
    "groq": {
        "gpt-oss-120b": "openai/gpt-oss-120b",
        "gpt-oss-20b": "openai/gpt-oss-20b",
        "llama-3.3-70b": "llama-3.3-70b-versatile",
    },
    "mistral": {
        "mistral-large-2512": "",
        "mistral-medium-3-5": "",
        "mistral-small-2603": "",
        "ministral-14b-2512": "",
        "ministral-8b-2512": "",
        "ministral-3b-2512": "",
        "codestral-2508": "",
    },
    "deepseek": {"deepseek-v4-pro": "", "deepseek-v4-flash": ""},
    "xai": {
        "grok-4.7": "",
        "grok-4.3": "",
        "grok-4-1-fast-reasoning": "",
        "grok-4-1-fast-non-reasoning": "",
        "grok-code-fast-1": "",
        "grok-3-mini": "",
    },
    "openrouter": {
        "gpt-oss-120b": "openai/gpt-oss-120b",
        "gpt-oss-20b": "openai/gpt-oss-20b",
        "llama-3.3-70b": "meta-llama/llama-3.3-70b-instruct",
        "claude-sonnet-5-5": "anthropic/claude-sonnet-5.5",
        "claude-opus-5-5": "anthropic/claude-opus-5.5",
        "claude-haiku-5-5": "anthropic/claude-haiku-5.5",
        "gpt-6-sol": "openai/gpt-6-sol",
        "gpt-6-luna": "openai/gpt-6-luna",
    },
    "together": {
        "gpt-oss-120b": "openai/gpt-oss-120b",
        "llama-3.3-70b": "meta-llama/Llama-3.3-70B-Instruct-Turbo",
    },
    "fireworks": {
        "gpt-oss-120b": "accounts/fireworks/models/gpt-oss-120b",
        "gpt-oss-20b": "accounts/fireworks/models/gpt-oss-20b",
    },
    "perplexity": {"sonar": "", "sonar-pro": "", "sonar-reasoning-pro": "", "sonar-deep-research": ""},
    "cerebras": {"gpt-oss-120b": ""},
}
"""By vendor: public name and the vendor's own; empty where it is the public one."""
