"""`llmgateway explain` and `breakers`: where a call would go, and how the targets are."""

from __future__ import annotations

from typing import Any, TextIO

from llmgateway.admin.v1 import circuit_breaker_pb2, route_pb2
from llmgateway.requests import CompleteOptions
from llmgateway.v1 import error_pb2, routing_pb2
from llmgateway_server.cli.remote import Remote, json_of, sent, write_json
from llmgateway_server.cli.tables import UNKNOWN, Cell, Column, Table, show
from llmgateway_server.cli.terminal import Screen

PROMPT = "Hello"
"""Stands for the call's where none is given: only its length and what it holds are looked at."""
COLOURS = {"closed": "green", "half open": "yellow", "open": "red"}
ROUTE = (
    Column("", right=True),
    Column("TARGET"),
    Column("REASON", rank=1, least=16),
    Column("CIRCUIT", rank=2),
    Column("HEALTH", right=True, rank=3),
    Column("ERRORS", right=True, rank=4),
    Column("FIRST TOKEN", right=True, rank=5),
    Column("PACE", right=True, rank=6),
    Column("RUNNING", right=True, rank=7),
    Column("COOLS", right=True, rank=2),
)
BREAKERS = (
    Column("TARGET"),
    Column("REGION", rank=4),
    Column("STATE"),
    Column("SINCE", right=True, rank=3),
    Column("RETRY IN", right=True, rank=1),
    Column("CALLS", right=True, rank=4),
    Column("FAILED", right=True, rank=4),
    Column("IN A ROW", right=True, rank=3),
    Column("LAST FAILURE", rank=2),
)


def explain(remote: Remote, model: str, prompt: str, strategy: str, output: TextIO, *, as_json: bool) -> None:
    """Writes where a call would go and why, one row for each target.

    Args:
        remote: the gateway.
        model: public or pinned name.
        prompt: of the call; empty for one that does not matter.
        strategy: that the call would name; empty for none.
        output: gets the table.
        as_json: the reply as protobuf's JSON.

    Raises:
        Problem: the question failed. A call that would be refused is an answer.
    """
    options = CompleteOptions()
    if strategy:
        options["routing"] = {"strategy": f"ROUTING_STRATEGY_{strategy.upper()}"}
    with remote.client() as client:
        found = client.explain_route(model, sent(prompt, "the prompt") or PROMPT, timeout=remote.timeout_s, **options)
    if as_json:
        write_json(json_of(found, zeros=True), output)
        return
    _show_route(found, output)


def breakers(remote: Remote, provider: str, output: TextIO, *, as_json: bool) -> None:
    """Writes how the circuit breakers are, one row for each target that was used lately.

    Raises:
        Problem: the call failed.
    """
    with remote.client() as client:
        found = client.circuit_breakers(provider, timeout=remote.timeout_s)
    if as_json:
        write_json(json_of(found, zeros=True), output)
        return
    screen = Screen(output)
    if not found.enabled:
        screen.line("breakers are switched off by the configuration", fg="yellow")
    elif not found.circuit_breakers:
        screen.line("no target was used lately: all are closed")
    show([Table(BREAKERS, [_breaker_row(each) for each in found.circuit_breakers])], output)
    _say_workers(found.worker_count, screen)


def _show_route(found: route_pb2.ExplainRouteResponse, output: TextIO) -> None:
    screen = Screen(output)
    decision = found.routing_decision
    screen.write(found.model, bold=True)
    screen.write(f"  {_name(routing_pb2.RoutingStrategy, 'ROUTING_STRATEGY', decision.strategy).lower()}\n")
    table = Table(ROUTE)
    for number, (candidate, standing) in enumerate(zip(decision.candidates, found.standings, strict=True), 1):
        state = _state(standing.circuit_state)
        row = (
            str(number) if candidate.eligible else "",
            f"{candidate.target.provider}/{candidate.target.upstream_model}",
            Cell(candidate.reason, None if candidate.eligible else "yellow"),
            Cell(state, COLOURS.get(state)),
            f"{standing.health:.0%}",
            f"{standing.error_rate:.0%}",
            f"{standing.time_to_first_token_us / 1000:,.0f} ms",
            f"{standing.output_tokens_per_second:,.0f}/s",
            str(standing.in_flight_attempt_count),
            _seconds(standing.cooldown_left_ms),
        )
        table.rows.append(row)
    show([table], output)
    if found.refusal:
        reason = _name(error_pb2.ErrorReason, "ERROR_REASON", found.refusal)
        wait = f", retry in {_seconds(found.retry_after_ms)}" if found.HasField("retry_after_ms") else ""
        screen.line(f"the call would be refused: {reason}{wait}", fg="red")
    _say_workers(found.worker_count, screen)


def _breaker_row(found: circuit_breaker_pb2.CircuitBreaker) -> tuple[str | Cell, ...]:
    state = _state(found.state)
    last = found.last_failure_reason
    return (
        f"{found.provider}/{found.upstream_model}",
        found.region or UNKNOWN,
        Cell(state, COLOURS.get(state)),
        _seconds(found.state_age_ms),
        _seconds(found.retry_in_ms),
        f"{found.call_count:,}",
        f"{found.failure_count:,}",
        f"{found.consecutive_failure_count:,}",
        _name(error_pb2.ErrorReason, "ERROR_REASON", last) if last else UNKNOWN,
    )


def _say_workers(count: int, screen: Screen) -> None:
    if count > 1:
        screen.line(f"one of {count} workers: each learns by itself", dim=True)


def _state(value: circuit_breaker_pb2.CircuitState.ValueType) -> str:
    return _name(circuit_breaker_pb2.CircuitState, "CIRCUIT_STATE", value).lower().replace("_", " ")


def _name(enum: Any, prefix: str, value: int) -> str:
    """Returns the name of an enum's value without the prefix; of one that is newer than this client, its number."""
    names: dict[int, str] = {number: name for name, number in enum.items()}
    return names[value].removeprefix(f"{prefix}_") if value in names else str(value)


def _seconds(milliseconds: int) -> str:
    return UNKNOWN if milliseconds <= 0 else f"{milliseconds / 1000:,.0f} s"
