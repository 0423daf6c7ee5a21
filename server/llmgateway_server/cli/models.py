"""Shows the configured catalogue: a table for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from io import StringIO
from typing import Any, TextIO

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from llmgateway_server.core.money import Price
from llmgateway_server.core.targets import Model, ModelStatus, Target
from llmgateway_server.providers.prices import PICO_PER_USD_PER_MILLION

PLAIN_WIDTH = 10_000
"""Columns where the output is no terminal: a line is never broken or cut, so that `grep` finds all of a row."""
STYLES = {ModelStatus.READY: "green", ModelStatus.DEPRECATED: "yellow", ModelStatus.NOT_READY: "red"}


def of_provider(models: Iterable[Model], provider: str) -> list[Model]:
    """Returns the models that one of a provider's targets serves; all of them where `provider` is empty."""
    return [model for model in models if not provider or any(target.provider == provider for target in model.targets)]


def show_table(models: Iterable[Model], output: TextIO) -> None:
    """Writes one row per model: in colour and as wide as a terminal, as aligned plain text elsewhere."""
    terminal = output.isatty()
    console = Console(file=output if terminal else StringIO(), width=None if terminal else PLAIN_WIDTH, highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    for name in ("NAME", "PROVIDER", "STATUS", "TIER"):
        table.add_column(name, no_wrap=not terminal)
    for name in ("CONTEXT", "OUTPUT", "$ IN/M", "$ OUT/M"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("CAPABILITIES", no_wrap=not terminal)
    table.add_column("REASON", no_wrap=not terminal)
    for model in models:
        price = model.targets[0].price
        table.add_row(
            escape(model.name),
            ", ".join(dict.fromkeys(target.provider for target in model.targets)),
            f"[{STYLES[model.status]}]{model.status}[/]",
            model.tier or "-",
            _count(model.context_token_count),
            _count(model.max_output_token_count),
            "unpriced" if price is None else _usd(price.input_pico_usd),
            "unpriced" if price is None else _usd(price.output_pico_usd),
            " ".join(sorted(model.capabilities)).lower() or "-",
            escape(model.status_reason),
        )
    console.print(table)
    if isinstance(console.file, StringIO):
        output.writelines(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def write_json(models: Iterable[Model], output: TextIO) -> None:
    """Writes one JSON array; its objects have the field names of the contract's `Model` where there is one."""
    document = [_document(model) for model in models]
    output.write(msgspec.json.format(msgspec.json.encode(document)).decode() + "\n")


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
    return "-" if tokens is None else f"{tokens:,}"
