"""What the vendors' models can do, by name.

A row holds for all names that one of its patterns matches; the first row that matches wins, so that a dated snapshot is
what its family is unless it has a row of its own. The rows stand in `profiles_openai` and its like; a model that runs
at a host has its maker's, see `profiles_hosts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache

from llmgateway_server.core.targets import NO_PROFILE, Profile
from llmgateway_server.providers import (
    profiles_anthropic,
    profiles_cohere,
    profiles_google,
    profiles_hosts,
    profiles_makers,
    profiles_openai,
)

MAX_KNOWN_NAMES = 4096
"""Names whose profile is remembered; pinned ones come from callers, so there must be a bound."""

ROWS: Mapping[str, tuple[tuple[tuple[str, ...], Profile], ...]] = {
    "openai": profiles_openai.ROWS,
    "anthropic": profiles_anthropic.ROWS,
    "cohere": profiles_cohere.ROWS,
    "mistral": profiles_makers.MISTRAL,
    "deepseek": profiles_makers.DEEPSEEK,
    "xai": profiles_makers.XAI,
    "perplexity": profiles_makers.PERPLEXITY,
    "google": profiles_google.ROWS,
    "vertex": profiles_google.ROWS,
}
"""Patterns (`*`, `?`, `[…]`, lower case) and profile, by vendor. The last row of a vendor matches every name."""
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "openai": ("gpt-*", "o[1-9]*", "chatgpt-*", "codex-*", "text-embedding-*"),
    "anthropic": ("claude-*",),
    "cohere": ("command-*", "command"),
    "mistral": ("mistral-*", "ministral-*", "codestral*", "devstral*", "magistral*", "pixtral*", "voxtral*"),
    "deepseek": ("deepseek-*",),
    "xai": ("grok-*",),
    "perplexity": ("sonar*",),
    "google": ("gemini-*",),
}
"""How the names of a vendor's models look, for names that no model has."""


@lru_cache(maxsize=MAX_KNOWN_NAMES)
def profile_of(vendor: str, upstream_model: str) -> Profile:
    """Returns what is known of a vendor's model; of an unknown one, what its vendor's models have in common.

    A fine-tuned model (`ft:gpt-4o-mini-2024-07-18:org::id`) is what its base is.

    Args:
        vendor: of `VENDORS`.
        upstream_model: the vendor's own name for it, at most 255 characters.
    """
    if vendor in profiles_hosts.HOSTS:
        return profiles_hosts.profile_at(vendor, upstream_model.lower(), ROWS, FAMILIES)
    name = upstream_model.lower().removeprefix("ft:").partition(":")[0]
    for patterns, profile in ROWS.get(vendor, ()):
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            return profile
    return NO_PROFILE


def likely_vendor(name: str) -> str:
    """Returns the vendor whose models have names like this, or an empty text; `name` may have a provider before it."""
    bare = name.rpartition("/")[2].lower()
    for vendor, patterns in FAMILIES.items():
        if any(fnmatchcase(bare, pattern) for pattern in patterns):
            return vendor
    return ""
