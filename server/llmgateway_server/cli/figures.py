"""`llmgateway embed`, `health` and `stats`: numbers, as tables for people and as JSON for programs."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from decimal import Decimal
from io import StringIO
from typing import TextIO

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from llmgateway.requests import Period
from llmgateway.v1 import status_pb2
from llmgateway_server.cli.remote import (
    EXIT_FAILED,
    Remote,
    Screen,
    json_of,
    lines_of_stdin,
    printable,
    refuse,
    write_json,
)

PLAIN_WIDTH = 10_000
"""Columns where the output is no terminal: a line is never broken or cut, so that `grep` finds all of a row."""
SHOWN_VALUES = 4
UNKNOWN = "-"
STATUS_STYLES = {"HEALTHY": "green", "DEGRADED": "yellow", "UNHEALTHY": "red", "UNKNOWN": "dim"}


def embed(
    remote: Remote, model: str, texts: Sequence[str], output: TextIO, *, dimensions: int | None, as_json: bool
) -> None:
    """Writes a JSON array with one vector per text, in their order; on a terminal their first values.

    Args:
        remote: the gateway.
        model: of the vectors.
        texts: empty: the lines of standard input that are not empty.
        output: gets the vectors.
        dimensions: length of the vectors, where the model can choose.
        as_json: JSON on a terminal too.

    Raises:
        typer.Exit: the call failed, or there is no text.
    """
    wanted = list(texts) or [line for line in lines_of_stdin().splitlines() if line.strip()]
    if not wanted:
        refuse("there is no text: give it as an argument or through a pipe")
    with remote.client() as client:
        vectors = client.embed(model, wanted, dimensions=dimensions, timeout=remote.timeout_s).vectors
    screen = Screen(output)
    if as_json or not screen.terminal:
        rows = ",\n ".join(json.dumps([_shortest(value) for value in vector]) for vector in vectors)
        output.write(f"[{rows}]\n")
        return
    for vector in vectors:
        more = ", …" if len(vector) > SHOWN_VALUES else ""
        values = ", ".join(f"{value:.4f}" for value in vector[:SHOWN_VALUES])
        screen.write(f"{len(vector)} dimensions  ", bold=True)
        screen.write(f"[{values}{more}]\n")


def health(remote: Remote, provider: str, output: TextIO, *, as_json: bool) -> None:
    """Writes how the gateway and its providers are.

    Raises:
        typer.Exit: the call failed; or the gateway, or the provider that was asked for, does not work.
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
        typer.Exit: the call failed.
    """
    with remote.client() as client:
        found = client.metrics(provider=provider, period=period, timeout=remote.timeout_s)
    if as_json:
        write_json(json_of(found, zeros=True), output)
    else:
        _show_stats(found, output)


def _show_health(found: status_pb2.HealthResponse, output: TextIO) -> None:
    screen = Screen(output)
    status = _status(found.status)
    screen.write("gateway  ", bold=True)
    screen.write("DRAINING" if found.draining else status, fg=_colour(status))
    screen.write(f"  version {found.version}, up {_duration(found.uptime_s)}, {found.in_flight_call_count} in flight\n")
    table = _table(["PROVIDER", "VENDOR", "STATUS"], ["ATTEMPTS", "SUCCESS", "MEAN", "FIRST TOKEN", "FAILED IN A ROW"])
    for each in found.providers:
        status = _status(each.status)
        table.add_row(
            _cell(each.provider),
            _cell(each.vendor),
            f"[{STATUS_STYLES[status]}]{status}[/]",
            f"{each.attempt_count:,}",
            _percent(each.success_rate if each.HasField("success_rate") else None),
            _ms(each.average_latency_ms if each.HasField("average_latency_ms") else None),
            _ms(each.average_time_to_first_token_ms if each.HasField("average_time_to_first_token_ms") else None),
            f"{each.consecutive_failure_count:,}",
        )
    _print([table], output)


def _show_stats(found: status_pb2.MetricsResponse, output: TextIO) -> None:
    tables = []
    if found.HasField("calls"):
        calls = _table(["CALLS"], [])
        calls.show_header = False
        calls.add_column()
        for name, value in _call_rows(found):
            calls.add_row(f"[bold]{name}[/]", value)
        tables.append(calls)
    providers = _table(
        ["PROVIDER"], ["ATTEMPTS", "SUCCESS", "MEAN", "P95", "FIRST TOKEN", "TOKENS IN", "TOKENS OUT", "COST"]
    )
    for each in found.providers:
        providers.add_row(
            _cell(each.provider),
            f"{each.attempt_count:,}",
            _percent(each.success_rate if each.HasField("success_rate") else None),
            _ms(each.average_latency_ms if each.HasField("average_latency_ms") else None),
            _ms(each.p95_latency_ms if each.HasField("p95_latency_ms") else None),
            _ms(each.average_time_to_first_token_ms if each.HasField("average_time_to_first_token_ms") else None),
            f"{each.input_token_count:,}",
            f"{each.output_token_count:,}",
            _usd(each.cost.nano_usd),
        )
    tables.append(providers)
    if found.top_models:
        models = _table(["MODEL"], ["CALLS", "SUCCESS", "MEAN", "TOKENS IN", "TOKENS OUT", "COST"])
        for model in found.top_models:
            models.add_row(
                _cell(model.model),
                f"{model.call_count:,}",
                _percent(model.success_rate if model.HasField("success_rate") else None),
                _ms(model.average_latency_ms if model.HasField("average_latency_ms") else None),
                f"{model.input_token_count:,}",
                f"{model.output_token_count:,}",
                _usd(model.cost.nano_usd),
            )
        tables.append(models)
    _print(tables, output)


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


def _table(left: Iterable[str], right: Iterable[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right")
    return table


def _print(tables: Iterable[Table], output: TextIO) -> None:
    terminal = output.isatty()
    console = Console(file=output if terminal else StringIO(), width=None if terminal else PLAIN_WIDTH, highlight=False)
    for number, table in enumerate(table for table in tables if table.row_count):
        if number:
            console.print()
        console.print(table)
    if isinstance(console.file, StringIO):
        output.writelines(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def _cell(text: str) -> str:
    return escape(printable(text))


def _status(value: status_pb2.HealthStatus.ValueType) -> str:
    """Returns a status as a word; one that is newer than this client, or none yet, is UNKNOWN."""
    names = {number: name.removeprefix("HEALTH_STATUS_") for name, number in status_pb2.HealthStatus.items()}
    name = names.get(value, "")
    return name if name in STATUS_STYLES else "UNKNOWN"


def _colour(status: str) -> str | None:
    style = STATUS_STYLES[status]
    return None if style == "dim" else style


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


def _shortest(value: float) -> float:
    """Returns the number with the fewest digits that is the same in single precision, as vectors travel."""
    wire = struct.pack("<f", value)
    return next(
        (short for digits in range(6, 10) if struct.pack("<f", short := float(f"{value:.{digits}g}")) == wire),
        value,
    )
