"""What stands on spans, by the semantic conventions: names and numbers, never content.

Sources: https://opentelemetry.io/docs/specs/semconv/rpc/grpc/ for the server span of a call,
https://github.com/open-telemetry/semantic-conventions-genai (client inference, embeddings) for the client span of an
attempt. Names that begin with `llmgateway.` are ours. docs/telemetry.md has the same tables; a test holds them equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from opentelemetry.util.types import AttributeValue

from llmgateway_server.core.calls import Attempt, CallScope, Outcome
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.events import FinishReason
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, CountTokensRequest, FormatKind, Operation

SCHEMA_URL = "https://opentelemetry.io/schemas/1.43.0"
OPERATIONS = {Operation.COMPLETE: "chat", Operation.EMBED: "embeddings"}
"""Operations that the conventions have a name for; others keep ours."""
SERVER_ERRORS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Status codes that are errors of a server; the others are its right answer to a wrong question."""
REQUEST = {
    "gen_ai.request.temperature": "temperature",
    "gen_ai.request.top_p": "top_p",
    "gen_ai.request.top_k": "top_k",
    "gen_ai.request.max_tokens": "max_output_tokens",
    "gen_ai.request.seed": "seed",
    "gen_ai.request.frequency_penalty": "frequency_penalty",
    "gen_ai.request.presence_penalty": "presence_penalty",
    "gen_ai.embeddings.dimension.count": "dimensions",
}
"""Numbers of a request, by attribute; what the caller left open has none."""
USAGE = {
    "gen_ai.usage.input_tokens": "input_token_count",
    "gen_ai.usage.output_tokens": "output_token_count",
    "gen_ai.usage.cache_read.input_tokens": "cache_read_token_count",
    "gen_ai.usage.reasoning.output_tokens": "reasoning_token_count",
}
NAME = re.compile(r"[\w.:/@+-]{1,128}", re.ASCII)
"""Names and ids that a provider chooses; what looks otherwise is not passed on."""


@dataclass(slots=True, frozen=True)
class Surroundings:
    """What spans tell of the gateway itself; the composition root knows it."""

    codes: Mapping[Reason, str] = field(default_factory=dict)
    """The status code of each reason, by its canonical name."""
    servers: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """Host and port of each account that has an address."""
    clock: Clock | None = None
    """The clock of deadlines. None: a call that its caller ended was cancelled, whatever its deadline."""


@dataclass(slots=True)
class Answered:
    """What a provider said of its answer, as far as spans show it."""

    model: str = ""
    response_id: str = ""
    finish_reason: FinishReason | None = None


def method_of(scope: CallScope) -> str:
    """Returns the method as `package.Service/Method`."""
    return scope.method.lstrip("/")


def operation_of(attempt: Attempt) -> str:
    """Returns the conventions' name of what is asked for."""
    operation = attempt.call.operation
    return OPERATIONS.get(operation, operation.value)


def model_of(attempt: Attempt) -> str:
    """Returns the upstream model without a simulator's script, which may hold a text."""
    return _without_script(attempt.target.upstream_model)


def of_call(scope: CallScope) -> dict[str, AttributeValue]:
    """Returns what is known when a call arrives."""
    return {"rpc.system.name": "grpc", "rpc.method": method_of(scope), "llmgateway.call_id": scope.call_id}


def of_call_end(scope: CallScope, code: str, reason: Reason | None) -> dict[str, AttributeValue]:
    """Returns what is known when a call has ended.

    Args:
        code: canonical name of the status code.
        reason: why it failed, if it did.
    """
    found: dict[str, AttributeValue] = {"rpc.response.status_code": code}
    if reason is not None:
        found["llmgateway.reason"] = reason.value
    if code in SERVER_ERRORS:
        found["error.type"] = code
    if scope.principal.tenant:
        found["llmgateway.tenant"] = scope.principal.tenant
    if scope.call is not None and scope.call.resolved is not None:
        found["llmgateway.model"] = scope.call.resolved.name
        found["llmgateway.attempt_count"] = len(scope.call.attempts)
    return found


def of_attempt(attempt: Attempt, surroundings: Surroundings) -> dict[str, AttributeValue]:
    """Returns what is known when an attempt begins."""
    found: dict[str, AttributeValue] = {
        "gen_ai.operation.name": operation_of(attempt),
        "gen_ai.provider.name": attempt.target.vendor,
        "gen_ai.request.model": model_of(attempt),
        "llmgateway.provider": attempt.target.provider,
        "llmgateway.attempt": attempt.record.number,
    }
    if attempt.call.streaming:
        found["gen_ai.request.stream"] = True
    if (server := surroundings.servers.get(attempt.target.provider)) is not None:
        found["server.address"], found["server.port"] = server
    request = attempt.call.request
    if isinstance(request, CountTokensRequest):
        return found
    for name, field_name in REQUEST.items():
        if (value := getattr(request, field_name, None)) is not None:
            found[name] = value
    if isinstance(request, CompleteRequest) and request.response_format is not None:
        found["gen_ai.output.type"] = "text" if request.response_format.kind is FormatKind.TEXT else "json"
    return found


def of_attempt_end(attempt: Attempt, answered: Answered) -> dict[str, AttributeValue]:
    """Returns what is known when an attempt has ended; the meter has filled its record."""
    record = attempt.record
    found: dict[str, AttributeValue] = {
        "llmgateway.outcome": (record.outcome or Outcome.CANCELLED).value,
        "llmgateway.charge": record.charge.value,
    }
    if record.reason is not None:
        found["llmgateway.reason"] = record.reason.value
    if record.outcome is Outcome.FAILED:
        found["error.type"] = (record.reason or Reason.INTERNAL).value
    if record.http_status is not None:
        found["http.response.status_code"] = record.http_status
    if record.key_id:
        found["llmgateway.key_id"] = record.key_id
    if attempt.call.streaming and record.time_to_first_token_s is not None:
        found["gen_ai.response.time_to_first_chunk"] = record.time_to_first_token_s
    if answered.finish_reason is not None:
        found["gen_ai.response.finish_reasons"] = (answered.finish_reason.value.lower(),)
    told = {"gen_ai.response.model": _without_script(answered.model), "gen_ai.response.id": answered.response_id}
    found |= {name: text for name, text in told.items() if NAME.fullmatch(text) is not None}
    if (usage := record.usage) is not None:
        for name, field_name in USAGE.items():
            if (count := getattr(usage, field_name)) is not None:
                found[name] = count
        written = (usage.cache_write_5m_token_count, usage.cache_write_1h_token_count)
        if any(count is not None for count in written):
            found["gen_ai.usage.cache_creation.input_tokens"] = sum(count or 0 for count in written)
        found["llmgateway.usage_source"] = usage.source.value
    if record.cost is not None:
        found["llmgateway.cost_nano_usd"] = record.cost.total_nano_usd
    return found


def _without_script(model: str) -> str:
    return model.partition("?")[0]
