"""Requests from the wire into the core's words, with the checks that a schema cannot say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmgateway.v1 import completion_pb2, embedding_pb2, routing_pb2, tool_pb2
from llmgateway_server.contract import unserved
from llmgateway_server.contract.json_text import check_json_object
from llmgateway_server.contract.messages_in import Conversation
from llmgateway_server.contract.schema import refuse, violations
from llmgateway_server.core.errors import RequestError, Violation
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import (
    NO_WISHES,
    CallMetadata,
    CompleteRequest,
    CountTokensRequest,
    EmbedRequest,
    FormatKind,
    HedgePolicy,
    MidStreamPolicy,
    ReasoningOptions,
    ResponseFormat,
    RoutingOptions,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)

MAX_TEXT_BYTES = 8 * 1024 * 1024
"""Text of a request; the message limit of 16 MiB leaves room for media (docs/reliability.md)."""

MAX_MESSAGES = 10_000
"""As the rule of `CompleteRequest.messages` says."""
MAX_PARTS = 20_000
"""Messages and parts of a request together; each is allowed 10,000, their product is not."""
LARGE_PART_COUNT = 500
"""From here on a request is validated and translated beside the event loop, in pieces."""
LARGE_BYTES = 2 * 1024
"""Encoded; in less there is room for a thousand empty parts, which are refused in a few milliseconds."""

_EFFORTS = {
    completion_pb2.REASONING_EFFORT_NONE: "none",
    completion_pb2.REASONING_EFFORT_MINIMAL: "minimal",
    completion_pb2.REASONING_EFFORT_LOW: "low",
    completion_pb2.REASONING_EFFORT_MEDIUM: "medium",
    completion_pb2.REASONING_EFFORT_HIGH: "high",
    completion_pb2.REASONING_EFFORT_MAX: "max",
}
_CHOICES = {
    tool_pb2.TOOL_CHOICE_MODE_AUTO: ToolChoiceMode.AUTO,
    tool_pb2.TOOL_CHOICE_MODE_NONE: ToolChoiceMode.NONE,
    tool_pb2.TOOL_CHOICE_MODE_REQUIRED: ToolChoiceMode.REQUIRED,
    tool_pb2.TOOL_CHOICE_MODE_NAMED: ToolChoiceMode.NAMED,
}


def part_count(message: Any) -> int:
    """Returns how many messages and parts a completion has, so that the caller can decide where to translate it.

    Raises:
        RequestError: INVALID_REQUEST, there are more than anybody validates in reasonable time.
    """
    count = len(message.messages)
    if count <= MAX_PARTS:
        count += sum([len(each.parts) for each in message.messages])
    if count > MAX_PARTS:
        refuse([Violation("messages", f"must have at most {MAX_PARTS} messages and parts together", "messages.parts")])
    return count


def check_rules(message: Any) -> None:
    """Checks the rules of a completion in pieces: the engine does not let other threads run while it checks one.

    Raises:
        RequestError: INVALID_REQUEST with every field that breaks its rule.
    """
    shell = type(message)()
    shell.CopyFrom(message)
    del shell.messages[1:]
    found = violations(shell)
    for i, each in enumerate(message.messages[1:MAX_MESSAGES], start=1):
        found += [Violation(f"messages[{i}].{bad.field}", bad.description, bad.rule) for bad in violations(each)]
    if len(message.messages) > MAX_MESSAGES:
        found.append(Violation("messages", f"must have at most {MAX_MESSAGES} items", "repeated.max_items"))
    refuse(found)


def complete_request(message: Any, prefix: str = "") -> CompleteRequest:
    """Translates a valid CompleteRequest message.

    Args:
        prefix: path of the message inside the one that was sent, with its dot, for the paths of violations.

    Raises:
        RequestError: INVALID_REQUEST, REQUEST_TOO_LARGE, or FEATURE_NOT_CONFIGURED for what is not served here.
    """
    present = {field.name: value for field, value in message.ListFields()}
    unserved.refuse_unserved(present, unserved.COMPLETION, prefix)
    conversation = Conversation(prefix)
    messages = conversation.read(message.messages)
    found = conversation.violations
    tools = _tools(message, found, prefix) if "tools" in present or "tool_choice" in present else []
    response_format = _response_format(message, found, prefix)
    if (
        "routing" in present
        and message.routing.mid_stream_policy == routing_pb2.MID_STREAM_POLICY_CONTINUE
        and (tools or (response_format is not None and response_format.kind is not FormatKind.TEXT))
    ):
        what = "cannot be CONTINUE with tools or JSON output, which no other target can go on with"
        found.append(Violation(f"{prefix}routing.mid_stream_policy", what, "routing.continue"))
    refuse(found)
    text_bytes = conversation.text_byte_count + sum(
        len(text.encode()) for tool in tools for text in (tool.parameters_json_schema, tool.description)
    )
    _refuse_too_large(text_bytes)
    options: dict[str, Any] = {}
    for name, value in present.items():
        if name in _SAME:
            options[name] = value
        elif name in _TRANSLATED:
            option, translate = _TRANSLATED[name]
            options[option] = translate(value)
    return CompleteRequest(
        messages=messages,
        tools=tools,
        response_format=response_format,
        input_byte_count=text_bytes,
        **{"model": ""} | options,
    )


def count_tokens_request(message: Any) -> CountTokensRequest:
    """Translates a valid CountTokensRequest message; errors as in `complete_request`."""
    return CountTokensRequest(complete_request(message.request, "request."))


def embed_request(message: Any) -> EmbedRequest:
    """Translates a valid EmbedRequest message; errors as in `complete_request`."""
    unserved.refuse_unserved({field.name: value for field, value in message.ListFields()}, unserved.EMBEDDING)
    inputs = list(message.inputs)
    text_bytes = sum(len(text.encode()) for text in inputs)
    _refuse_too_large(text_bytes)
    purpose = embedding_pb2.EmbeddingPurpose.Name(message.purpose).removeprefix("EMBEDDING_PURPOSE_").lower()
    return EmbedRequest(
        model=message.model,
        inputs=inputs,
        dimensions=_optional(message, "dimensions"),
        purpose="" if purpose == "unspecified" else purpose,
        end_user_id=message.end_user_id,
        routing=_routing(message.routing) if message.HasField("routing") else NO_WISHES,
        metadata=_metadata(message.metadata),
        input_byte_count=text_bytes,
    )


def max_latency_s(message: Any) -> float | None:
    """Returns the caller's cap on the time of a call in seconds, beside its deadline."""
    limits = message.limits
    return limits.max_latency_ms / 1000 if limits.HasField("max_latency_ms") else None


def _optional(message: Any, field: str) -> Any:
    return getattr(message, field) if message.HasField(field) else None


def _refuse_too_large(text_bytes: int) -> None:
    if text_bytes > MAX_TEXT_BYTES:
        raise RequestError(Reason.REQUEST_TOO_LARGE, slots={"limitBytes": str(MAX_TEXT_BYTES)})


def _tools(message: Any, found: list[Violation], prefix: str) -> list[Tool]:
    tools: list[Tool] = []
    names: set[str] = set()
    for i, tool in enumerate(message.tools):
        path = f"{prefix}tools[{i}]"
        if tool.name in names:
            found.append(Violation(f"{path}.name", "must be unique among the tools", "tool.unique"))
        names.add(tool.name)
        if tool.parameters_json_schema:
            found += check_json_object(f"{path}.parameters_json_schema", tool.parameters_json_schema)
        tools.append(
            Tool(
                tool.name,
                tool.description,
                tool.parameters_json_schema,
                _optional(tool, "strict"),
                tool.cache_breakpoint,
            )
        )
    choice = message.tool_choice
    if choice.mode == tool_pb2.TOOL_CHOICE_MODE_NAMED and choice.name not in names:
        found.append(Violation(f"{prefix}tool_choice.name", "must name one of the tools", "tool_choice.known"))
    if choice.mode == tool_pb2.TOOL_CHOICE_MODE_REQUIRED and not names:
        found.append(Violation(f"{prefix}tool_choice.mode", "needs at least one tool", "tool_choice.tools"))
    return tools


def _response_format(message: Any, found: list[Violation], prefix: str) -> ResponseFormat | None:
    if not message.HasField("response_format"):
        return None
    match message.response_format.WhichOneof("format"):
        case "json_schema":
            schema = message.response_format.json_schema
            found += check_json_object(f"{prefix}response_format.json_schema.schema_json", schema.schema_json)
            return ResponseFormat(
                FormatKind.JSON_SCHEMA, schema.name, schema.description, schema.schema_json, _optional(schema, "strict")
            )
        case "json_object":
            return ResponseFormat(FormatKind.JSON_OBJECT)
        case _:
            return ResponseFormat(FormatKind.TEXT)


def _reasoning(reasoning: Any) -> ReasoningOptions:
    return ReasoningOptions(
        effort=_EFFORTS.get(reasoning.effort),
        budget_token_count=_optional(reasoning, "budget_token_count"),
        include_text=_optional(reasoning, "include_text"),
    )


def _plain(message: Any) -> dict[str, Any]:
    """Returns the fields that are set; an empty message is an empty dict."""
    return {field.name: _plain_value(field, value) for field, value in message.ListFields()}


def _plain_value(field: Any, value: Any) -> Any:
    if field.message_type is None:
        return list(value) if field.is_repeated else value
    if field.message_type.GetOptions().map_entry:
        return dict(value)
    return [_plain(each) for each in value] if field.is_repeated else _plain(value)


def _hedge(hedge: Any) -> HedgePolicy:
    delay_ms = _optional(hedge, "delay_ms")
    return HedgePolicy(None if delay_ms is None else delay_ms / 1000, _optional(hedge, "max_extra_cost_nano_usd"))


def _routing(routing: Any) -> RoutingOptions:
    strategy = routing_pb2.RoutingStrategy.Name(routing.strategy).removeprefix("ROUTING_STRATEGY_")
    policy = routing_pb2.MidStreamPolicy.Name(routing.mid_stream_policy).removeprefix("MID_STREAM_POLICY_")
    return RoutingOptions(
        strategy="" if strategy == "UNSPECIFIED" else strategy.lower(),
        preferred_providers=tuple(routing.preferred_providers),
        excluded_providers=tuple(routing.excluded_providers),
        required_capabilities=frozenset(
            routing_pb2.Capability.Name(each).removeprefix("CAPABILITY_") for each in routing.required_capabilities
        ),
        tags=frozenset(routing.tags),
        session_affinity_key=routing.session_affinity_key,
        hedge=_hedge(routing.hedge) if routing.HasField("hedge") else None,
        mid_stream_policy=MidStreamPolicy.FAIL if policy == "UNSPECIFIED" else MidStreamPolicy(policy),
        fallback_enabled=routing.fallback_enabled if routing.HasField("fallback_enabled") else True,
        max_attempts=_optional(routing, "max_attempts"),
    )


def _metadata(metadata: Any) -> CallMetadata:
    return CallMetadata(metadata.user, metadata.project, metadata.feature, dict(metadata.tags))


_SAME = frozenset(
    {
        "model",
        "parallel_tool_calls",
        "temperature",
        "top_p",
        "top_k",
        "max_output_tokens",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "service_tier",
        "end_user_id",
    }
)
"""Fields of a completion that mean the same in the core; absent ones keep the core's default."""
_TRANSLATED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "tool_choice": ("tool_choice", lambda choice: ToolChoice(_CHOICES[choice.mode], choice.name)),
    "stop": ("stop", tuple),
    "reasoning": ("reasoning", _reasoning),
    "logprobs": ("logprobs_top_count", lambda logprobs: logprobs.top_count),
    "provider_options": ("provider_options", _plain),
    "routing": ("routing", _routing),
    "metadata": ("metadata", _metadata),
    "unsupported_options": (
        "drop_unsupported",
        lambda policy: policy == completion_pb2.UNSUPPORTED_OPTION_POLICY_DROP,
    ),
    "stream_options": ("max_delta_delay_s", lambda options: options.max_delta_delay_ms / 1000),
}
"""Other fields, with the option of the core that each stands for."""
