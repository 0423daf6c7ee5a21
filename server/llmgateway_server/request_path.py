"""The path of a request on one page: three rings, outermost step first. `llmgateway path` prints it.

A test holds the snapshot.

A step belongs to the earliest ring that knows enough: metadata → call ring, message → request ring, target → attempt
ring. Each step says in `why` for what it stands where it does. A step that has nothing to do is not in its ring.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmgateway_server.admission.authenticate import Authenticator
from llmgateway_server.admission.gate import Gate
from llmgateway_server.admission.throttle import Throttle
from llmgateway_server.attempts.bounds import Bounds
from llmgateway_server.attempts.breaker_stage import BreakerStage
from llmgateway_server.attempts.meter import Meter
from llmgateway_server.attempts.timeouts import Timeouts
from llmgateway_server.config.settings import Settings
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.reply import AttemptStage, CallStage, OpenAttempt
from llmgateway_server.guardrails.deny_list import DenyList
from llmgateway_server.observe.records import Records
from llmgateway_server.observe.statistics import Statistics
from llmgateway_server.observe.trace import Tracing
from llmgateway_server.pipeline.authorize import Authorize
from llmgateway_server.pipeline.record import Record
from llmgateway_server.pipeline.screen import Screen
from llmgateway_server.routing.catalog import Catalog
from llmgateway_server.routing.failover import Failover, Routes
from llmgateway_server.transport import methods
from llmgateway_server.transport.interceptors.admit import Admit
from llmgateway_server.transport.interceptors.authenticate import Authenticate
from llmgateway_server.transport.interceptors.deadline import DeadlineStep
from llmgateway_server.transport.interceptors.status import Status
from llmgateway_server.transport.interceptors.step import Step
from llmgateway_server.transport.interceptors.throttle import ThrottleStep
from llmgateway_server.transport.interceptors.trace import Trace


@dataclass(slots=True, frozen=True)
class Parts:
    """What the steps are made of."""

    settings: Settings
    clock: Clock
    records: Records
    statistics: Statistics
    tracing: Tracing
    gate: Gate
    throttle: Throttle
    authenticator: Authenticator
    catalog: Catalog
    routes: Routes


def call_steps(parts: Parts) -> tuple[Step, ...]:
    """Returns the call ring: gRPC interceptors that see metadata only."""
    return (
        Status(parts.clock, parts.records, parts.statistics, parts.gate),
        Trace(parts.tracing),
        DeadlineStep(parts.settings.deadlines, parts.clock, methods.streaming_methods()),
        Admit(parts.gate),
        Authenticate(parts.authenticator, methods.permissions()),
        ThrottleStep(parts.throttle),
    )


def request_stages(parts: Parts) -> tuple[CallStage, ...]:
    """Returns the request ring without its innermost step: once per call, on the decoded message."""
    terms = parts.settings.screen.blocked_terms
    return (
        Record(parts.clock, parts.records, parts.statistics),
        Authorize(parts.catalog),
        *((Screen(DenyList(terms)),) if terms else ()),
    )


def failover(parts: Parts, open_attempt: OpenAttempt) -> Failover:
    """Returns the innermost step of the request ring, which owns the attempts."""
    settings = parts.settings
    return Failover(open_attempt, parts.routes, settings.max_attempts, settings.timeouts.first_token_s)


def attempt_stages(parts: Parts) -> tuple[AttemptStage, ...]:
    """Returns the attempt ring without the provider: once per try, on the chosen target."""
    return (
        Meter(parts.clock, parts.tracing),
        *((BreakerStage(parts.routes.breakers),) if parts.settings.breakers.enabled else ()),
        Bounds(parts.settings.bounds),
        Timeouts(parts.settings.timeouts, parts.clock),
    )


def describe(parts: Parts) -> str:
    """Returns the three rings as text, one step a line."""
    lines = ["call ring: once per RPC, metadata only"]
    lines += [_line(step.name, step.why) for step in call_steps(parts)]
    lines.append("request ring: once per call, decoded message")
    lines += [_line(stage.name, stage.why) for stage in request_stages(parts)]
    lines.append(_line(Failover.name, Failover.why))
    lines.append("attempt ring: once per try, chosen target")
    lines += [_line(stage.name, stage.why) for stage in attempt_stages(parts)]
    lines.append(_line("provider", "encodes, exchanges bytes, decodes"))
    return "\n".join(lines)


def _line(name: str, why: str) -> str:
    return f"  {name:<13} {why}"
