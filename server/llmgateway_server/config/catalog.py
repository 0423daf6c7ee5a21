"""The models of the configuration: names of their own, and changes to those that the vendors bring."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from llmgateway_server.config.mistakes import ConfigError, Mistake, Path, dotted
from llmgateway_server.config.settings import ModelSettings, PriceSettings, RateSettings, Settings, TargetSettings
from llmgateway_server.core.errors import RequestError
from llmgateway_server.core.money import Price, Rates, RateTier
from llmgateway_server.core.requests import Operation
from llmgateway_server.core.targets import Model, Target
from llmgateway_server.providers.models import dialect_names, joined, model_of, target_of
from llmgateway_server.providers.prices import pico_usd
from llmgateway_server.providers.provider import Provider
from llmgateway_server.routing.catalog import Catalog


def catalog(settings: Settings, providers: Mapping[str, Provider]) -> Catalog:
    """Returns the catalogue of a configuration.

    Args:
        settings: models and default model.
        providers: the accounts by name; those that targets name are among them.

    Raises:
        ConfigError: with all that `mistakes` yields, one a line.
    """
    if wrong := list(mistakes(settings, providers)):
        raise ConfigError("\n".join(f"{dotted(each.path)}: {each.text}" for each in wrong))
    return _built(settings.models, settings.default_model, providers, _brought(providers))


def mistakes(
    settings: Settings, providers: Mapping[str, Provider], *, others: Collection[str] = (), complete: bool = True
) -> Iterator[Mistake]:
    """Yields what the catalogue cannot be made of.

    A model without targets is none that an account brings; a target's dialect is none that its vendor speaks; the
    default model is none of the catalogue, nor one that has a mistake of its own.

    Args:
        settings: models and default model.
        providers: the accounts by name; targets of others are passed over, `consistency` tells them.
        others: names of models about which something is told elsewhere; nothing more is told of them.
        complete: whether `providers` are all. If not, whatever another account could bring is not missed.
    """
    brought = _brought(providers)
    known = {model.name for model in brought}
    looked_at = {name: model for name, model in settings.models.items() if name not in others}
    wrong = {name: list(_wrong(name, model, providers, known)) for name, model in looked_at.items()}
    for name, found in wrong.items():
        if complete or looked_at[name].targets:
            yield from found
    if not settings.default_model or not complete:
        return
    good = {
        name: model
        for name, model in looked_at.items()
        if not wrong[name] and all(target.provider in providers for target in model.targets)
    }
    excused = {*others}.union(*({name, *each.aliases} for name, each in settings.models.items() if name not in good))
    if settings.default_model in excused:
        return
    try:
        _built(good, settings.default_model, providers, brought).describe(settings.default_model)
    except RequestError:
        yield Mistake(("default_model",), f"there is no model {settings.default_model}")


def price_from(settings: PriceSettings) -> Price:
    """Turns configured dollars per million tokens into a price."""
    tiers = tuple(RateTier(tier.above_input_tokens, _rates(tier)) for tier in settings.tiers)
    return Price.of(_rates(settings), version=settings.version, tiers=tiers)


def _brought(providers: Mapping[str, Provider]) -> list[Model]:
    """Returns the models that the accounts bring by themselves."""
    return joined(model for provider in providers.values() for model in provider.models())


def _wrong(
    name: str, settings: ModelSettings, providers: Mapping[str, Provider], known: Collection[str]
) -> Iterator[Mistake]:
    """Yields what is wrong with one model; `known` are the names that accounts bring."""
    path: Path = ("models", name)
    if not settings.targets and name not in known:
        yield Mistake(path, "targets are needed, no provider brings a model of this name")
    for at, target in enumerate(settings.targets):
        provider = providers.get(target.provider)
        spoken = frozenset[str]() if provider is None else dialect_names(provider.vendor)
        if provider is not None and target.dialect and target.dialect not in spoken:
            text = f"must be one of {', '.join(sorted(spoken)) or 'none'}"
            yield Mistake((*path, "targets", at, "dialect"), text)


def _built(
    named: Mapping[str, ModelSettings], default: str, providers: Mapping[str, Provider], brought: Iterable[Model]
) -> Catalog:
    known = {model.name: model for model in brought}
    models = [*known.values(), *(_model(name, each, providers, known) for name, each in named.items())]
    defaults = {}
    if default:
        defaults[Operation.COMPLETE] = defaults[Operation.COUNT_TOKENS] = default
    for model in models:
        for operation in model.operations:
            defaults.setdefault(operation, model.name)
    return Catalog(providers, models, defaults)


def _model(name: str, settings: ModelSettings, providers: Mapping[str, Provider], known: Mapping[str, Model]) -> Model:
    if settings.targets:
        targets = tuple(_target(each, providers[each.provider]) for each in settings.targets)
        operations = frozenset.intersection(*(providers[target.provider].operations for target in targets))
        model = model_of(name, targets, operations, settings.aliases)
    else:
        model = replace(known[name], aliases=(*known[name].aliases, *settings.aliases))
    changes = _changes(settings)
    if settings.status is not None or settings.status_reason:
        changes["status_reason"] = settings.status_reason
    profile_changes = {key: value for key, value in changes.items() if key != "inference_type"}
    return replace(
        model,
        targets=tuple(replace(target, profile=replace(target.profile, **profile_changes)) for target in model.targets),
        strategy=settings.strategy or "",
        **changes,
    )


def _changes(settings: ModelSettings) -> dict[str, Any]:
    """Returns the fields of a model that the configuration sets."""
    said = {
        "capabilities": None if settings.capabilities is None else frozenset(settings.capabilities),
        "context_token_count": settings.context_token_count,
        "max_output_token_count": settings.max_output_token_count,
        "tier": settings.tier,
        "status": settings.status,
        "inference_type": settings.inference_type,
    }
    return {key: value for key, value in said.items() if value is not None}


def _target(settings: TargetSettings, provider: Provider) -> Target:
    target = target_of(settings.provider, provider.vendor, settings.model, provider.region)
    return replace(
        target,
        price=target.price if settings.price is None else price_from(settings.price),
        dialect=settings.dialect or target.dialect,
        weight=settings.weight,
        priority=settings.priority,
        tags=frozenset(settings.tags),
        enabled=settings.enabled,
        quality_score=settings.quality_score,
    )


def _rates(settings: RateSettings) -> Rates:
    return Rates(
        input_pico_usd=pico_usd(settings.input_usd),
        output_pico_usd=pico_usd(settings.output_usd),
        cache_read_pico_usd=_maybe(settings.cache_read_usd),
        cache_write_5m_pico_usd=_maybe(settings.cache_write_usd),
        cache_write_1h_pico_usd=_maybe(settings.cache_write_1h_usd),
        input_audio_pico_usd=_maybe(settings.input_audio_usd),
        output_audio_pico_usd=_maybe(settings.output_audio_usd),
    )


def _maybe(usd: Decimal | None) -> int | None:
    return None if usd is None else pico_usd(usd)
