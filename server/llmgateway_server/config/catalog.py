"""The models of the configuration: names of their own, and changes to those that the vendors bring."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from llmgateway_server.config.load import ConfigError
from llmgateway_server.config.settings import ModelSettings, PriceSettings, RateSettings, TargetSettings
from llmgateway_server.core.money import Price, Rates, RateTier
from llmgateway_server.core.targets import Model, Target
from llmgateway_server.providers.models import dialect_names, model_of, target_of
from llmgateway_server.providers.prices import pico_usd
from llmgateway_server.providers.provider import Provider


def configured_models(
    settings: Mapping[str, ModelSettings], providers: Mapping[str, Provider], brought: Iterable[Model]
) -> list[Model]:
    """Returns the models of the configuration, in its order.

    Args:
        settings: by public name.
        providers: the accounts by name; those that targets name are among them.
        brought: the models that the accounts bring by themselves.

    Raises:
        ConfigError: a model without targets is none that an account brings, or a target's dialect is none that its
            vendor speaks.
    """
    known = {model.name: model for model in brought}
    return [_model(name, each, providers, known) for name, each in settings.items()]


def price_from(settings: PriceSettings) -> Price:
    """Turns configured dollars per million tokens into a price."""
    tiers = tuple(RateTier(tier.above_input_tokens, _rates(tier)) for tier in settings.tiers)
    return Price.of(_rates(settings), version=settings.version, tiers=tiers)


def _model(name: str, settings: ModelSettings, providers: Mapping[str, Provider], known: Mapping[str, Model]) -> Model:
    if settings.targets:
        targets = tuple(_target(name, each, providers[each.provider].vendor) for each in settings.targets)
        operations = frozenset.intersection(*(providers[target.provider].operations for target in targets))
        model = model_of(name, targets, operations, settings.aliases)
    elif name in known:
        model = replace(known[name], aliases=(*known[name].aliases, *settings.aliases))
    else:
        raise ConfigError(f"models.{name}: targets are needed, no provider brings a model of this name")
    changes = _changes(settings)
    if settings.status is not None or settings.status_reason:
        changes["status_reason"] = settings.status_reason
    profile_changes = {key: value for key, value in changes.items() if key != "inference_type"}
    return replace(
        model,
        targets=tuple(replace(target, profile=replace(target.profile, **profile_changes)) for target in model.targets),
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


def _target(name: str, settings: TargetSettings, vendor: str) -> Target:
    if settings.dialect and settings.dialect not in (spoken := dialect_names(vendor)):
        raise ConfigError(f"models.{name}: dialect must be one of {', '.join(sorted(spoken)) or 'none'}")
    target = target_of(settings.provider, vendor, settings.model)
    return replace(
        target,
        price=target.price if settings.price is None else price_from(settings.price),
        dialect=settings.dialect or target.dialect,
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
