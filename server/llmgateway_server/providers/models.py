"""The public models that a vendor brings into the catalogue, and what a model is whose targets are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from llmgateway_server.core.requests import Operation
from llmgateway_server.core.targets import Model, ModelStatus, Target
from llmgateway_server.providers import models_alike, models_google
from llmgateway_server.providers.prices import price_of
from llmgateway_server.providers.profiles import profile_of
from llmgateway_server.providers.vendors import VENDORS


@dataclass(slots=True, frozen=True)
class Public:
    """A public name that a vendor brings."""

    name: str
    aliases: tuple[str, ...] = ()
    """Other names for the very same upstream model: its one dated snapshot, or what people call it."""
    upstream_model: str = ""
    """The vendor's name for it; empty where it is the public one."""


OPENAI = (
    Public("gpt-5.6-terra"),
    Public("gpt-5.6-sol", ("gpt-5.6",)),
    Public("gpt-5.6-luna"),
    Public("gpt-6-astra"),
    Public("gpt-6-sol"),
    Public("gpt-6-luna"),
    Public("gpt-6.1-sol"),
    Public("gpt-6.1-terra"),
    Public("gpt-5.5", ("gpt-5.5-2026-04-23",)),
    Public("gpt-5.5-pro"),
    Public("gpt-5.4"),
    Public("gpt-5.4-mini", ("gpt-5.4-mini-2026-03-17",)),
    Public("gpt-5.4-nano", ("gpt-5.4-nano-2026-03-17",)),
    Public("gpt-5.4-pro"),
    Public("gpt-5.3-codex"),
    Public("gpt-5.2", ("gpt-5.2-2025-12-11",)),
    Public("gpt-5.2-pro", ("gpt-5.2-pro-2025-12-11",)),
    Public("gpt-5.2-codex"),
    Public("gpt-5.1", ("gpt-5.1-2025-11-13",)),
    Public("gpt-5.1-codex"),
    Public("gpt-5.1-codex-mini"),
    Public("gpt-5", ("gpt-5-2025-08-07",)),
    Public("gpt-5-mini", ("gpt-5-mini-2025-08-07",)),
    Public("gpt-5-nano", ("gpt-5-nano-2025-08-07",)),
    Public("gpt-5-pro", ("gpt-5-pro-2025-10-06",)),
    Public("gpt-5-codex"),
    Public("gpt-4.1", ("gpt-4.1-2025-04-14",)),
    Public("gpt-4.1-mini", ("gpt-4.1-mini-2025-04-14",)),
    Public("gpt-4.1-nano", ("gpt-4.1-nano-2025-04-14",)),
    Public("gpt-4o", ("gpt-4o-2024-08-06",)),
    Public("gpt-4o-2024-11-20"),
    Public("gpt-4o-2024-05-13"),
    Public("gpt-4o-mini", ("gpt-4o-mini-2024-07-18",)),
    Public("gpt-4o-audio-preview"),
    Public("gpt-4o-mini-audio-preview"),
    Public("gpt-4o-search-preview", ("gpt-4o-search-preview-2025-03-11",)),
    Public("gpt-4o-mini-search-preview", ("gpt-4o-mini-search-preview-2025-03-11",)),
    Public("gpt-audio-1.5"),
    Public("gpt-audio", ("gpt-audio-2025-08-28",)),
    Public("gpt-audio-mini"),
    Public("o4-mini", ("o4-mini-2025-04-16",)),
    Public("o3", ("o3-2025-04-16",)),
    Public("o3-mini", ("o3-mini-2025-01-31",)),
    Public("o3-pro", ("o3-pro-2025-06-10",)),
    Public("o1", ("o1-2024-12-17",)),
    Public("o1-pro", ("o1-pro-2025-03-19",)),
    Public("gpt-4-turbo", ("gpt-4-turbo-2024-04-09",)),
    Public("gpt-4", ("gpt-4-0613",)),
    Public("gpt-3.5-turbo", ("gpt-3.5-turbo-0125",)),
    Public("text-embedding-3-small"),
    Public("text-embedding-3-large"),
    Public("text-embedding-ada-002"),
)
ANTHROPIC = (
    Public("claude-sonnet-5-5"),
    Public("claude-opus-5-5"),
    Public("claude-haiku-5-5"),
    Public("claude-fable-5-2"),
    Public("claude-fable-5-1"),
    Public("claude-fable-5"),
    Public("claude-opus-5"),
    Public("claude-sonnet-5"),
    Public("claude-opus-4-8"),
    Public("claude-opus-4-7"),
    Public("claude-opus-4-6"),
    Public("claude-sonnet-4-6"),
    Public("claude-opus-4-5", ("claude-opus-4-5-20251101",)),
    Public("claude-haiku-4-5", ("claude-haiku-4-5-20251001",)),
    Public("claude-sonnet-4-5", ("claude-sonnet-4-5-20250929",)),
    Public("claude-opus-4-1", ("claude-opus-4-1-20250805",)),
    Public("claude-opus-4-0", ("claude-opus-4-20250514", "claude-opus-4")),
    Public("claude-sonnet-4-0", ("claude-sonnet-4-20250514", "claude-sonnet-4")),
    Public(
        "claude-3-7-sonnet", ("claude-3-7-sonnet-20250219", "claude-3-7-sonnet-latest"), "claude-3-7-sonnet-20250219"
    ),
    Public(
        "claude-3-5-sonnet", ("claude-3-5-sonnet-20241022", "claude-3-5-sonnet-latest"), "claude-3-5-sonnet-20241022"
    ),
    Public("claude-3-5-haiku", ("claude-3-5-haiku-20241022", "claude-3-5-haiku-latest"), "claude-3-5-haiku-20241022"),
    Public("claude-3-opus", ("claude-3-opus-20240229", "claude-3-opus-latest"), "claude-3-opus-20240229"),
    Public("claude-3-sonnet", ("claude-3-sonnet-20240229",), "claude-3-sonnet-20240229"),
    Public("claude-3-haiku", ("claude-3-haiku-20240307",), "claude-3-haiku-20240307"),
)
GOOGLE = tuple(Public(name) for name in models_google.NAMES)
COHERE = (
    Public("command-a-03-2025", ("command-a",)),
    Public("command-r-plus-08-2024"),
    Public("command-r-08-2024"),
    Public("command-r7b-12-2024", ("command-r7b",)),
)
PUBLIC_MODELS: Mapping[str, tuple[Public, ...]] = {
    "openai": OPENAI,
    "anthropic": ANTHROPIC,
    "cohere": COHERE,
    "google": GOOGLE,
    **{
        vendor: tuple(Public(name, upstream_model=upstream) for name, upstream in names.items())
        for vendor, names in models_alike.NAMES.items()
    },
}
"""By vendor. The first of a list is the default model of a gateway that has no other; the order means nothing else."""


def vendor_models(
    provider_name: str, vendor_name: str, operations: frozenset[Operation], region: str = ""
) -> tuple[Model, ...]:
    """Returns the public models that an account brings; none for a vendor without a list.

    Args:
        provider_name: the account.
        vendor_name: of `VENDORS`.
        operations: what the account can be asked for; a model that suits none of them is left out.
        region: of the account.
    """
    models = (
        model_of(
            public.name,
            (target_of(provider_name, vendor_name, public.upstream_model or public.name, region),),
            operations,
            public.aliases,
        )
        for public in PUBLIC_MODELS.get(vendor_name, ())
    )
    return tuple(model for model in models if model.operations)


def joined(models: Iterable[Model]) -> list[Model]:
    """Returns the models with those of equal names made one: several accounts of a vendor stand in for each other."""
    found: dict[str, Model] = {}
    for model in models:
        same = found.get(model.name)
        found[model.name] = model if same is None else replace(same, targets=same.targets + model.targets)
    return list(found.values())


def target_of(provider_name: str, vendor_name: str, upstream_model: str, region: str = "") -> Target:
    """Returns the target of an upstream model with the profile and the price that its name has."""
    profile = profile_of(vendor_name, upstream_model)
    return Target(
        provider=provider_name,
        vendor=vendor_name,
        upstream_model=upstream_model,
        region=region,
        price=price_of(vendor_name, upstream_model),
        profile=profile,
        dialect=profile.dialect if profile.dialect in dialect_names(vendor_name) else "",
    )


def dialect_names(vendor_name: str) -> frozenset[str]:
    """Returns the names of the dialects that a vendor's accounts speak; none for the simulator."""
    vendor = VENDORS.get(vendor_name)
    return frozenset() if vendor is None else frozenset(dialect.name for dialect in vendor.dialects)


def model_of(
    name: str, targets: tuple[Target, ...], operations: frozenset[Operation], aliases: tuple[str, ...] = ()
) -> Model:
    """Returns the model of some targets: it can what all of them can, and is as good as the first.

    Args:
        targets: at least one, in order of preference.
        operations: what all of their accounts can be asked for.
    """
    profiles = [target.profile for target in targets]
    first = profiles[0]
    status = first.status if all(profile.status is first.status for profile in profiles) else ModelStatus.READY
    return Model(
        name=name,
        targets=targets,
        operations=operations.intersection(*(profile.operations for profile in profiles)),
        capabilities=frozenset.intersection(*(profile.capabilities for profile in profiles)),
        context_token_count=_least(profile.context_token_count for profile in profiles),
        max_output_token_count=_least(profile.max_output_token_count for profile in profiles),
        tier=first.tier,
        status=status,
        status_reason=first.status_reason if status is first.status else "",
        aliases=aliases,
    )


def _least(counts: Iterable[int | None]) -> int | None:
    """Returns the smallest; None when one of them is unknown, because it may be smaller still."""
    known = list(counts)
    return None if None in known else min(count for count in known if count is not None)
