"""Who made a model that another vendor runs: names of hosts, told back to the maker's own.

A host names a model by the maker's name with something around it: `us.anthropic.claude-sonnet-4-5-20250929-v1:0` at
Amazon, `claude-sonnet-4-5@20250929` at Google, `anthropic/claude-sonnet-4.5:beta` at OpenRouter, a deployment called
`gpt-4o` at Azure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from llmgateway_server.core.targets import ModelStatus, Profile
from llmgateway_server.providers import profiles_open

Rows = tuple[tuple[tuple[str, ...], Profile], ...]

HOSTS = frozenset(
    {
        *("azure", "bedrock", "bedrock-anthropic", "vertex-anthropic", "openrouter", "groq", "together", "fireworks"),
        *("cerebras", "huggingface", "vllm", "llama.cpp", "lm-studio"),
    }
)
"""Vendors that run the models of others."""
UNKNOWN = Profile(top_effort="high")
"""Of a host's model that no name tells anything of."""
BY_TOOL: Mapping[str, tuple[str, ...]] = {
    "bedrock": ("*",),
    "bedrock-anthropic": ("*",),
    "vertex-anthropic": ("*",),
    "groq": ("llama-3*", "llama3*", "qwen*", "gemma*", "mixtral*", "mistral*", "deepseek*"),
}
"""Models by host whose answers follow a schema by a forced tool alone.

Groq: https://console.groq.com/docs/structured-outputs. Amazon and Google pass Anthropic's messages on, but not all that
the newest of them hold.
"""
AT_AMAZON = re.compile(
    r"(?:arn:.*/)?(?:[a-z-]+\.)?(?:amazon|anthropic|meta|mistral|deepseek|qwen|openai|google|cohere|moonshot|minimax)"
    r"\.(.+)"
)
"""Region, maker and model."""
VERSION_AT_AMAZON = re.compile(r"(?:-v\d+|-\d+(?=:))(?::\d+)?(?::\d+k)?$")
"""`-v1:0` or `-1:0`, also with a context size behind it."""
POINT_OF_FIREWORKS = re.compile(r"(?<=\d)p(?=\d)")
"""`deepseek-v3p2` is version 3.2."""


def bare_name(name: str) -> str:
    """Returns the maker's name of a model, as far as it can be told, from a host's; both in lower case."""
    if found := AT_AMAZON.fullmatch(name):
        name = VERSION_AT_AMAZON.sub("", found[1])
    name = name.rpartition("/")[2].partition("@")[0].partition(":")[0]
    name = POINT_OF_FIREWORKS.sub(".", name)
    return name.replace(".", "-") if name.startswith("claude-") else name


def profile_at(host: str, name: str, rows: Mapping[str, Rows], families: Mapping[str, tuple[str, ...]]) -> Profile:
    """Returns what is known of a model that a host runs. When its maker retires it says nothing of the host.

    Args:
        host: of `HOSTS`.
        name: the host's, in lower case.
        rows: of the makers.
        families: how the names of the makers' models look.
    """
    bare = bare_name(name)
    found = _first(profiles_open.ROWS, bare)
    if found is None:
        maker = next((maker for maker, patterns in families.items() if _matches(bare, patterns)), "")
        found = replace(_first(rows.get(maker, ()), bare) or UNKNOWN, status=ModelStatus.READY, status_reason="")
    if _matches(bare, BY_TOOL.get(host, ())):
        return replace(found, native_json_schema=False)
    return found


def _first(rows: Rows, name: str) -> Profile | None:
    return next((profile for patterns, profile in rows if _matches(name, patterns)), None)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
