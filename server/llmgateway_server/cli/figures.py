"""`llmgateway health` and `stats`: how a gateway is and what it did, as tables for people and JSON for programs."""

from __future__ import annotations

from decimal import Decimal
from typing import TextIO

import typer

from llmgateway.requests import Period
from llmgateway.v1 import status_pb2
from llmgateway_server.cli.problems import EXIT_FAILED
from llmgateway_server.cli.remote import Remote, json_of, write_json
from llmgateway_server.cli.tables import UNKNOWN, Cell, Column, Table, show
from llmgateway_server.cli.terminal import Screen

STATUS_COLOURS = {"HEALTHY": "green", "DEGRADED": "yellow", "UNHEALTHY": "red", "UNKNOWN": None}
HEALTH = (
    Column("PROVIDER"),
    Column("VENDOR", rank=3),
    Column("STATUS"),
    Column("ATTEMPTS", right=True, rank=2),
    Column("SUCCESS", right=True),
    Column("MEAN", right=True),
    Column("FIRST TOKEN", right=True, rank=4),
    Column("FAILED IN A ROW", right=True, rank=1),
)
PROVIDERS = (
    Column("PROVIDER"),
    Column("ATTEMPTS", right=True),
    Column("SUCCESS", right=True),
    Column("MEAN", right=True, rank=1),
    Column("P95", right=True, rank=3),
    Column("FIRST TOKEN", right=True, rank=4),
    Column("TOKENS IN", right=True, rank=2),
    Column("TOKENS OUT", right=True, rank=2),
    Column("COST", right=True),
)
MODELS = (
    Column("MODEL"),
    Column("CALLS", right=True),
    Column("SUCCESS", right=True),
    Column("MEAN", right=True, rank=1),
    Column("TOKENS IN", right=True, rank=2),
    Column("TOKENS OUT", right=True, rank=2),
    Column("COST", right=True),
)


def health(remote: Remote, provider: str, output: TextIO, *, as_json: bool) -> None:
    """Writes how the gateway and its providers are.

    Raises:
        Problem: the call failed.
        typer.Exit: the gateway, or the provider that was asked for, does not work.
    """
    with remote.client() as client:
        found = client.health(provider=provider, timeout=remote.timeout_s)
    if as_json:
        write_json(json_of(found, zeros=True), output)
    else:
        _show_health(found, output)
    unhealthy = status_pb2.HEALTH_STATUS_UNHEALTHY
    asked = [found.status, *(each.status for each in found.providers if provider)]
    if found.draining or unhealthy in asked:
        raise typer.Exit(EXIT_FAILED)


def stats(remote: Remote, provider: str, period: Period | None, output: TextIO, *, as_json: bool) -> None:
    """Writes the figures of the gateway's process, over a period or since its start.

    Raises:
        Problem: the call failed.
    """
    with remote.client() as client:
        found = client.metrics(provider=provider, period=period, timeout=remote.timeout_s)
    if as_json:
        write_json(json_of(found, zeros=True), output)
    else:
        _show_stats(found, output)


def reset(remote: Remote, output: TextIO, *, as_json: bool) -> None:
    """Forgets the figures of the gateway and writes what was forgotten.

    Raises:
        Problem: the call failed.
    """
    with remote.client() as client:
        found = client.reset_metrics(timeout=remote.timeout_s)
    if as_json:
        write_json(json_of(found, zeros=True), output)
        return
    counted_s = found.reset_at.ToSeconds() - found.counted_since.ToSeconds()
    Screen(output).write(f"calls forgotten: {found.forgotten_call_count:,}, counted over {_duration(counted_s)}\n")


def _show_health(found: status_pb2.HealthResponse, output: TextIO) -> None:
    screen = Screen(output)
    status = _status(found.status)
    screen.write("gateway  ", bold=True)
    screen.write("DRAINING" if found.draining else status, fg=STATUS_COLOURS[status])
    screen.write(f"  version {found.version}, up {_duration(found.uptime_s)}, {found.in_flight_call_count} in flight\n")
    table = Table(HEALTH)
    for each in found.providers:
        status = _status(each.status)
        row = (
            each.provider,
            each.vendor,
            Cell(status, STATUS_COLOURS[status]),
            f"{each.attempt_count:,}",
            _percent(each.success_rate if each.HasField("success_rate") else None),
            _ms(each.average_latency_ms if each.HasField("average_latency_ms") else None),
            _ms(each.average_time_to_first_token_ms if each.HasField("average_time_to_first_token_ms") else None),
            f"{each.consecutive_failure_count:,}",
        )
        table.rows.append(row)
    show([table], output)


def _show_stats(found: status_pb2.MetricsResponse, output: TextIO) -> None:
    tables: list[Table] = []
    if found.HasField("calls"):
        tables.append(Table((Column("name"), Column("value")), [*_call_rows(found)], header=False))
    providers = Table(PROVIDERS)
    for each in found.providers:
        row = (
            each.provider,
            f"{each.attempt_count:,}",
            _percent(each.success_rate if each.HasField("success_rate") else None),
            _ms(each.average_latency_ms if each.HasField("average_latency_ms") else None),
            _ms(each.p95_latency_ms if each.HasField("p95_latency_ms") else None),
            _ms(each.average_time_to_first_token_ms if each.HasField("average_time_to_first_token_ms") else None),
            f"{each.input_token_count:,}",
            f"{each.output_token_count:,}",
            _usd(each.cost.nano_usd),
        )
        providers.rows.append(row)
    tables.append(providers)
    if found.top_models:
        models = Table(MODELS)
        for model in found.top_models:
            line = (
                model.model,
                f"{model.call_count:,}",
                _percent(model.success_rate if model.HasField("success_rate") else None),
                _ms(model.average_latency_ms if model.HasField("average_latency_ms") else None),
                f"{model.input_token_count:,}",
                f"{model.output_token_count:,}",
                _usd(model.cost.nano_usd),
            )
            models.rows.append(line)
        tables.append(models)
    show(tables, output)


def _call_rows(found: status_pb2.MetricsResponse) -> list[tuple[str, str]]:
    calls = found.calls
    ended = (
        f"{calls.succeeded_count:,} succeeded, {calls.failed_count:,} failed, {calls.shed_count:,} turned away, "
        f"{calls.cancelled_count:,} cancelled"
    )
    latency = ", ".join(
        [
            f"mean {_ms(calls.average_latency_ms if calls.HasField('average_latency_ms') else None)}",
            f"p95 {_ms(calls.p95_latency_ms if calls.HasField('p95_latency_ms') else None)}",
            "first token "
            + _ms(calls.average_time_to_first_token_ms if calls.HasField("average_time_to_first_token_ms") else None),
        ]
    )
    window = found.window_end.ToSeconds() - found.window_start.ToSeconds()
    return [
        ("counted over", _duration(window)),
        ("calls", f"{calls.call_count:,}: {ended}"),
        ("success", _percent(calls.success_rate if calls.HasField("success_rate") else None)),
        ("latency", latency),
        ("tokens", f"{calls.input_token_count:,} in, {calls.output_token_count:,} out"),
        ("cost", _usd(calls.cost.nano_usd)),
        ("cache", f"{calls.cache_hit_count:,} hits, {calls.cache_miss_count:,} misses"),
    ]


def _status(value: status_pb2.HealthStatus.ValueType) -> str:
    """Returns a status as a word; one that is newer than this client, or none yet, is UNKNOWN."""
    names = {number: name.removeprefix("HEALTH_STATUS_") for name, number in status_pb2.HealthStatus.items()}
    name = names.get(value, "")
    return name if name in STATUS_COLOURS else "UNKNOWN"


def _percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{share:.1%}"


def _ms(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.0f} ms" if value >= 1 else f"{value:.2f} ms"


def _usd(nano_usd: int) -> str:
    return f"${Decimal(nano_usd).scaleb(-9).normalize():f}"


def _duration(seconds: int) -> str:
    days, rest = divmod(max(seconds, 0), 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    found = [f"{count} {unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (left, "s")) if count]
    return " ".join(found[:2]) or "0 s"
