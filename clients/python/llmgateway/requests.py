"""Builds requests from what callers write. One table says what is accepted in place of a proto."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypedDict

from llmgateway.formats import SchemaLike, ToolLike, response_format, tool, tool_choice
from llmgateway.messages import MessagesLike, messages
from llmgateway.v1 import (
    completion_pb2,
    embedding_pb2,
    message_pb2,
    provider_options_pb2,
    routing_pb2,
    status_pb2,
    tool_pb2,
)

Effort = Literal["none", "minimal", "low", "medium", "high", "max"]
Period = Literal["hour", "day", "week", "month"]
Purpose = Literal["document", "query", "similarity", "classification", "clustering"]


class CompleteOptions(TypedDict, total=False):
    """Options of a completion. None is as if it were not given; the protos say units, ranges and defaults."""

    system: str | None
    """Instructions of the application, put before the messages."""
    tools: Iterable[ToolLike] | None
    """`Tool`s, or mappings with `name`, `description`, `parameters` (JSON Schema or a class that has one), `strict`."""
    tool_choice: str | tool_pb2.ToolChoice | None
    """`auto`, `none`, `required`, or the name of a tool."""
    parallel_tool_calls: bool | None
    response_format: SchemaLike | tool_pb2.ResponseFormat | None
    """`text`, `json`, a JSON Schema, or a class that has one (`model_json_schema`, as pydantic's models)."""
    temperature: float | None
    top_p: float | None
    top_k: int | None
    max_output_tokens: int | None
    stop: str | Iterable[str] | None
    seed: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    reasoning: Effort | int | completion_pb2.ReasoningOptions | None
    """An effort by name, or a budget in tokens."""
    logprobs: int | completion_pb2.LogprobsOptions | None
    """How many alternatives to each token, from 0."""
    service_tier: str | None
    end_user_id: str | None
    provider_options: provider_options_pb2.ProviderOptions | Mapping[str, Any] | None
    routing: routing_pb2.RoutingOptions | Mapping[str, Any] | None
    cache: completion_pb2.CacheOptions | Mapping[str, Any] | None
    limits: completion_pb2.CallLimits | Mapping[str, Any] | None
    metadata: completion_pb2.CallMetadata | Mapping[str, Any] | None
    idempotency_key: str | None
    priority: Literal["interactive", "batch"] | None
    stream_options: completion_pb2.StreamOptions | Mapping[str, Any] | None
    conversation_id: str | None
    unsupported_options: Literal["refuse", "drop"] | None


def complete_request(
    model: str = "",
    given: MessagesLike = (),
    *,
    request: completion_pb2.CompleteRequest | None = None,
    options: CompleteOptions,
) -> completion_pb2.CompleteRequest:
    """Builds a request for a completion.

    Args:
        model: public name or pinned `provider/model`; empty is the gateway's default.
        given: the conversation; a text alone is what the user says.
        request: a whole request, which is sent as it is; then nothing else may be given.
        options: what was written by name.

    Raises:
        TypeError: an option does not exist, or has a value of the wrong type.
        ValueError: a value does not exist, or `request` is not alone.
    """
    wanted = {name: value for name, value in options.items() if value is not None}
    unknown = wanted.keys() - CompleteOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"a completion has no option {', '.join(sorted(unknown))}")
    if request is not None:
        if model or wanted or given != ():
            raise ValueError("a whole request is sent as it is: put model, messages and options into it")
        return request
    conversation = messages(given)
    system = wanted.pop("system", None)
    if system is not None:
        part = message_pb2.Part(text=str(system))
        conversation.insert(0, message_pb2.Message(role=message_pb2.ROLE_SYSTEM, parts=[part]))
    fields: dict[str, Any] = {
        name: _CONVERT[name](value) if name in _CONVERT else value for name, value in wanted.items()
    }
    return completion_pb2.CompleteRequest(model=model, messages=conversation, **fields)


def embed_request(
    model: str, inputs: str | Iterable[str], *, dimensions: int | None, purpose: Purpose | None
) -> embedding_pb2.EmbedRequest:
    """Builds a request for embeddings; one text alone is a list of one."""
    return embedding_pb2.EmbedRequest(
        model=model,
        inputs=_texts(inputs),
        dimensions=dimensions,
        purpose=value_of(embedding_pb2.EmbeddingPurpose, "EMBEDDING_PURPOSE", purpose or "unspecified"),
    )


def metrics_request(provider: str, period: Period | None) -> status_pb2.MetricsRequest:
    """Builds a request for figures; without a period since the start or the last reset."""
    value = value_of(status_pb2.MetricsPeriod, "METRICS_PERIOD", period or "unspecified")
    return status_pb2.MetricsRequest(provider=provider, period=value)


def value_of(enum: Any, prefix: str, name: object) -> Any:
    """Returns the value of an enum by its name in lower case without its prefix; numbers are passed through.

    Args:
        enum: of a generated module.

    Raises:
        ValueError: it has no such value.
    """
    if isinstance(name, int):
        return name
    try:
        return enum.Value(f"{prefix}_{str(name).upper()}")
    except ValueError:
        names = ", ".join(key.removeprefix(f"{prefix}_").lower() for key in enum.keys()[1:])
        raise ValueError(f"there is no such {prefix.lower()}; there are {names}") from None


def _texts(given: str | Iterable[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _reasoning(given: str | int | completion_pb2.ReasoningOptions) -> completion_pb2.ReasoningOptions:
    if isinstance(given, completion_pb2.ReasoningOptions):
        return given
    if isinstance(given, int):
        return completion_pb2.ReasoningOptions(budget_token_count=given)
    effort = value_of(completion_pb2.ReasoningEffort, "REASONING_EFFORT", given)
    return completion_pb2.ReasoningOptions(effort=effort)


def _logprobs(given: int | completion_pb2.LogprobsOptions) -> completion_pb2.LogprobsOptions:
    return completion_pb2.LogprobsOptions(top_count=given) if isinstance(given, int) else given


_CONVERT: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "tools": lambda tools: [tool(each) for each in tools],
        "tool_choice": tool_choice,
        "response_format": response_format,
        "stop": _texts,
        "reasoning": _reasoning,
        "logprobs": _logprobs,
        "priority": lambda name: value_of(completion_pb2.Priority, "PRIORITY", name),
        "unsupported_options": lambda name: value_of(
            completion_pb2.UnsupportedOptionPolicy, "UNSUPPORTED_OPTION_POLICY", name
        ),
    }
)
