"""Environment variables of other tools that mean something here. They stand below the file: what it says counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmgateway_server.config import otel_variables
from llmgateway_server.config.document import Document
from llmgateway_server.config.mistakes import Mistake, Origin
from llmgateway_server.providers.vendors import SIMULATOR, VENDORS

BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}

Understand = Callable[[Document, str, Origin], Iterator[Mistake]]
"""Puts what a variable's text means into a document; yields what is wrong with it."""


@dataclass(slots=True, frozen=True)
class Variable:
    """A variable that is understood."""

    name: str
    meaning: str
    """For people; stands in docs/configuration.md."""
    understand: Understand


def add_providers(document: Document, environment: Mapping[str, str]) -> None:
    """Gives a document that says nothing of providers the simulator, and each vendor whose key is set."""
    if not isinstance(document.data, dict) or "providers" in document.data:
        return
    document.data["providers"] = {SIMULATOR: {"vendor": SIMULATOR}}
    for vendor in VENDORS.values():
        if vendor.key_variable and environment.get(vendor.key_variable):
            account = {"vendor": vendor.name, "api_key": f"env:{vendor.key_variable}"}
            document.put(("providers", vendor.name), account, Origin(vendor.key_variable))


def add_keys(document: Document, environment: Mapping[str, str]) -> None:
    """Gives accounts without a key the one that is set for their vendor; not where the address is another's."""
    for name, account in _providers(document).items():
        vendor = VENDORS.get(str(account.get("vendor"))) if isinstance(account, dict) else None
        if vendor is None or account.keys() & {"api_key", "api_keys", "base_url"}:
            continue
        if vendor.key_variable and environment.get(vendor.key_variable):
            document.put(("providers", name, "api_key"), f"env:{vendor.key_variable}", Origin(vendor.key_variable))


def understand(document: Document, environment: Mapping[str, str]) -> Iterator[Mistake]:
    """Puts what the variables of `VARIABLES` mean into a document where it says nothing itself."""
    for variable in VARIABLES:
        if text := environment.get(variable.name, "").strip():
            yield from variable.understand(document, text, Origin(variable.name))


def not_understood(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the names of variables that are set and ask for something that there is not."""
    return tuple(
        name
        for name in NOT_UNDERSTOOD
        if (text := environment.get(name, "").strip().lower()) and BOOLEANS.get(text) is not False
    )


def _primary(document: Document, text: str, origin: Origin) -> Iterator[Mistake]:
    providers = _providers(document)
    wanted = text.lower()
    found = [name for name in providers if name.lower() == wanted] or [
        name for name, each in providers.items() if isinstance(each, dict) and each.get("vendor") == wanted
    ]
    if not found:
        yield Mistake((), f"there is no such provider; there are: {', '.join(sorted(providers)) or 'none'}", origin)
        return
    document.data["providers"] = {found[0]: providers[found[0]], **providers}


def _failover(document: Document, text: str, origin: Origin) -> Iterator[Mistake]:
    enabled = BOOLEANS.get(text.lower())
    if enabled is None:
        yield Mistake((), "must be true or false", origin)
    elif not enabled and isinstance(document.data, dict) and "max_attempts" not in document.data:
        document.put(("max_attempts",), 1, origin)


def _providers(document: Document) -> dict[str, Any]:
    found = document.data.get("providers") if isinstance(document.data, dict) else None
    return found if isinstance(found, dict) else {}


VARIABLES = (
    Variable(
        "PRIMARY_LLM_PROVIDER",
        "A provider's name or vendor: it stands first, so that its first model is the default one and its account is"
        " tried first where several have a model.",
        _primary,
    ),
    Variable("ENABLE_LLM_FAILOVER", "`false`: `max_attempts` is 1; every call gets one attempt.", _failover),
    *(Variable(*row) for row in otel_variables.VARIABLES),
)
NOT_UNDERSTOOD: Mapping[str, str] = {
    "OPENAI_ORGANIZATION": "OpenAI bills the key's own organisation; no other can be named.",
    "GEMINI_API_KEY": "There is no vendor of this name.",
    "ENABLE_LLM_CACHING": "Replies are not cached; `false` is what is done anyway and brings no warning.",
}
"""By name, and why. Each that is set brings a warning at the start."""
