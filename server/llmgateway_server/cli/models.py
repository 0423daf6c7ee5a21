"""Shows the configured catalogue: a table for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, TextIO

import msgspec

from llmgateway_server.cli.tables import UNKNOWN, Cell, Column, Table, show
from llmgateway_server.core.money import Price
from llmgateway_server.core.targets import Model, ModelStatus, Target
from llmgateway_server.providers.prices import PICO_PER_USD_PER_MILLION

COLOURS = {ModelStatus.READY: "green", ModelStatus.DEPRECATED: "yellow", ModelStatus.NOT_READY: "red"}
COLUMNS = (
    Column("NAME"),
    Column("PROVIDER", rank=1),
    Column("STATUS"),
    Column("TIER", rank=5),
    Column("CONTEXT", right=True, rank=2),
    Column("OUTPUT", right=True, rank=4),
    Column("$ IN/M", right=True, rank=2),
    Column("$ OUT/M", right=True, rank=2),
    Column("CAPABILITIES", rank=7, least=16),
    Column("REASON", rank=6, least=16),
)


def of_provider(models: Iterable[Model], provider: str) -> list[Model]:
    """Returns the models that one of a provider's targets serves; all of them where `provider` is empty."""
    return [model for model in models if not provider or any(target.provider == provider for target in model.targets)]


def show_table(models: Iterable[Model], output: TextIO) -> None:
    """Writes one row per model: in colour and as wide as a terminal, as aligned plain text elsewhere."""
    show([Table(COLUMNS, [_row(model) for model in models])], output)


def write_json(models: Iterable[Model], output: TextIO) -> None:
    """Writes one JSON array; its objects have the field names of the contract's `Model` where there is one."""
    document = [_document(model) for model in models]
    output.write(msgspec.json.format(msgspec.json.encode(document)).decode() + "\n")


def _row(model: Model) -> tuple[str | Cell, ...]:
    price = model.targets[0].price
    return (
        model.name,
        ", ".join(dict.fromkeys(target.provider for target in model.targets)),
        Cell(str(model.status), COLOURS[model.status]),
        model.tier or UNKNOWN,
        _count(model.context_token_count),
        _count(model.max_output_token_count),
        "unpriced" if price is None else _usd(price.input_pico_usd),
        "unpriced" if price is None else _usd(price.output_pico_usd),
        " ".join(sorted(model.capabilities)).lower() or UNKNOWN,
        model.status_reason,
    )


def _document(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "aliases": list(model.aliases),
        "status": model.status.value,
        "status_reason": model.status_reason,
        "tier": model.tier,
        "inference_type": model.inference_type.value,
        "context_token_count": model.context_token_count,
        "max_output_token_count": model.max_output_token_count,
        "capabilities": sorted(model.capabilities),
        "operations": sorted(operation.value for operation in model.operations),
        "targets": [_target(target) for target in model.targets],
    }


def _target(target: Target) -> dict[str, Any]:
    return {
        "provider": target.provider,
        "vendor": target.vendor,
        "upstream_model": target.upstream_model,
        "dialect": target.dialect,
        "price": None if target.price is None else _price(target.price),
    }


def _price(price: Price) -> dict[str, Any]:
    """Returns the ordinary prices in US dollars per million tokens, as text: no digit is lost."""
    rates = {
        "input_usd": price.input_pico_usd,
        "output_usd": price.output_pico_usd,
        "cache_read_usd": price.cache_read_pico_usd,
        "cache_write_usd": price.cache_write_5m_pico_usd,
        "cache_write_1h_usd": price.cache_write_1h_pico_usd,
        "input_audio_usd": price.input_audio_pico_usd,
        "output_audio_usd": price.output_audio_pico_usd,
    }
    known = {name: _usd(rate) for name, rate in rates.items() if rate is not None}
    return {**known, "tiered": bool(price.tiers), "version": price.version}


def _usd(pico_usd: int) -> str:
    return f"{(Decimal(pico_usd) / PICO_PER_USD_PER_MILLION).normalize():f}"


def _count(tokens: int | None) -> str:
    return UNKNOWN if tokens is None else f"{tokens:,}"
