"""Environment variables of other tools that mean something here. They stand below the file: what it says counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmgateway_server.config import otel_variables
from llmgateway_server.config.document import Document
from llmgateway_server.config.mistakes import Mistake, Origin
from llmgateway_server.providers.credentials.names import AWS, GCP, CredentialKind
from llmgateway_server.providers.vendors import SIMULATOR, VENDORS, Vendor

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
        if vendor.key_variable and environment.get(vendor.key_variable) and _has_address(vendor, environment):
            account = {"vendor": vendor.name, "api_key": f"env:{vendor.key_variable}"}
            document.put(("providers", vendor.name), account, Origin(vendor.key_variable))


def add_keys(document: Document, environment: Mapping[str, str]) -> None:
    """Gives accounts without a key the one that is set for their vendor; not where the address is another's.

    For an account of Amazon the usual two variables stand in for a key, and a third one for keys that expire.
    """
    for name, account in _providers(document).items():
        vendor = VENDORS.get(str(account.get("vendor"))) if isinstance(account, dict) else None
        if vendor is None or account.keys() & {"api_key", "api_keys", "credential", "credentials"}:
            continue
        if vendor.base_url and "base_url" in account:
            continue
        if vendor.key_variable and environment.get(vendor.key_variable):
            document.put(("providers", name, "api_key"), f"env:{vendor.key_variable}", Origin(vendor.key_variable))
        elif CredentialKind.AWS_STATIC in vendor.credentials and all(map(environment.get, AWS_KEYS)):
            given = {field: f"env:{variable}" for variable, field in AWS_KEYS.items()}
            if environment.get("AWS_SESSION_TOKEN"):
                given["session_token"] = "env:AWS_SESSION_TOKEN"
            entry = {"kind": CredentialKind.AWS_STATIC.value, **given}
            document.put(("providers", name, "credential"), entry, Origin(next(iter(AWS_KEYS))))


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


def _of_accounts(field: str, kinds: frozenset[CredentialKind]) -> Understand:
    """Returns what a variable means that stands for a setting of all accounts of a cloud."""

    def put(document: Document, text: str, origin: Origin) -> Iterator[Mistake]:
        for name, account in _providers(document).items():
            vendor = VENDORS.get(str(account.get("vendor"))) if isinstance(account, dict) else None
            if vendor is not None and vendor.credentials & kinds and field not in account:
                document.put(("providers", name, field), text, origin)
        yield from ()

    return put


def _has_address(vendor: Vendor, environment: Mapping[str, str]) -> bool:
    """Tells whether a vendor has one address for all, and variables say what belongs into it."""
    said = {field for name, field, kinds in CLOUDS if environment.get(name) and vendor.credentials & kinds}
    return bool(vendor.base_url) and said.issuperset(vendor.needs)


def _providers(document: Document) -> dict[str, Any]:
    found = document.data.get("providers") if isinstance(document.data, dict) else None
    return found if isinstance(found, dict) else {}


AWS_KEYS = {"AWS_ACCESS_KEY_ID": "access_key_id", "AWS_SECRET_ACCESS_KEY": "secret_access_key"}
"""Variables that together stand in for a key of Amazon, and the settings that they are."""
CLOUDS = (
    ("AWS_REGION", "region", AWS),
    ("AWS_DEFAULT_REGION", "region", AWS),
    ("GOOGLE_CLOUD_LOCATION", "region", GCP),
    ("GOOGLE_CLOUD_PROJECT", "project", GCP),
)
"""Variables, and the settings of accounts of a cloud that they stand for; of two for one the first counts."""
VARIABLES = (
    Variable(
        "PRIMARY_LLM_PROVIDER",
        "A provider's name or vendor: it stands first, so that its first model is the default one and its account is"
        " tried first where several have a model.",
        _primary,
    ),
    Variable("ENABLE_LLM_FAILOVER", "`false`: `max_attempts` is 1; every call gets one attempt.", _failover),
    *(
        Variable(
            name,
            f"`{field}` of each account of {'Amazon' if kinds is AWS else 'Google Cloud'} that has none.",
            _of_accounts(field, kinds),
        )
        for name, field, kinds in CLOUDS
    ),
    *(Variable(*row) for row in otel_variables.VARIABLES),
)
NOT_UNDERSTOOD: Mapping[str, str] = {
    "OPENAI_ORGANIZATION": "OpenAI bills the key's own organisation; no other can be named.",
    "ENABLE_LLM_CACHING": "Replies are not cached; `false` is what is done anyway and brings no warning.",
}
"""By name, and why. Each that is set brings a warning at the start."""
